//! A sink's reader of the embedded log: every partition is its own, for as long as it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::store::Store;
use super::{blocked, blocking};
use crate::change::TableName;
use crate::log::{Delivery, LogError, LogRecord, Offset, Subscription, TablePartition};

/// Bytes of records in one delivery, about.
const DELIVERY_BYTES: usize = 1 << 20;

pub(super) struct EmbeddedSubscription {
    store: Arc<Store>,
    group: String,
    tables: Vec<TableName>,
    published: watch::Receiver<u64>,
    assigned: bool,
    started: BTreeMap<TablePartition, Offset>,
    paused: BTreeSet<TablePartition>,
    reading: Option<Reading>,
}

type PartitionRecords = (TablePartition, Vec<LogRecord>);

/// A read on its way. It outlives a caller that waits for something else meanwhile, whose log would otherwise be read
/// again for every interruption.
struct Reading {
    from: BTreeMap<TablePartition, Offset>,
    work: JoinHandle<Result<Vec<PartitionRecords>, LogError>>,
}

impl EmbeddedSubscription {
    pub(super) fn new(store: Arc<Store>, group: &str, tables: &[TableName]) -> EmbeddedSubscription {
        EmbeddedSubscription {
            published: store.published(),
            store,
            group: group.to_owned(),
            tables: tables.to_vec(),
            assigned: false,
            started: BTreeMap::new(),
            paused: BTreeSet::new(),
            reading: None,
        }
    }

    fn partitions(&self) -> Vec<TablePartition> {
        let all = 0..self.store.layout().partitions;
        let of = |table: &TableName| {
            all.clone().map(|partition| TablePartition { table: table.clone(), partition }).collect::<Vec<_>>()
        };
        self.tables.iter().flat_map(of).collect()
    }

    /// The positions move only when the records are in hand, so nothing is lost when this is cancelled.
    async fn read(&mut self) -> Result<Vec<LogRecord>, LogError> {
        let reading = match self.reading.take() {
            Some(reading) => reading,
            None => Reading::begin(self.store.clone(), self.open()),
        };
        // In its place while it is waited for.
        let outcome = (&mut self.reading.insert(reading).work).await;
        let from = self.reading.take().map(|reading| reading.from).unwrap_or_default();
        let mut records = Vec::new();
        for (at, more) in blocked(outcome)? {
            // What was started elsewhere or paused since is read again, when its time comes.
            let as_before = self.started.get(&at) == from.get(&at) && !self.paused.contains(&at);
            if let Some(last) = more.last().filter(|_| as_before) {
                self.started.insert(at, last.offset.next());
                records.extend(more);
            }
        }
        Ok(records)
    }

    fn open(&self) -> BTreeMap<TablePartition, Offset> {
        let open = self.started.iter().filter(|(at, _)| !self.paused.contains(at));
        open.map(|(at, next)| (at.clone(), *next)).collect()
    }
}

impl Reading {
    /// A share of the budget for each partition, so that a busy one does not starve the others.
    fn begin(store: Arc<Store>, from: BTreeMap<TablePartition, Offset>) -> Reading {
        let open = from.clone();
        let work = tokio::task::spawn_blocking(move || {
            let share = DELIVERY_BYTES / open.len().max(1);
            let mut records = Vec::new();
            for (at, next) in open {
                let more = store.read(&at, next, share)?;
                records.push((at, more));
            }
            Ok(records)
        });
        Reading { from, work }
    }
}

#[async_trait]
impl Subscription for EmbeddedSubscription {
    async fn next(&mut self) -> Result<Delivery, LogError> {
        if !self.assigned {
            self.assigned = true;
            return Ok(Delivery::Assigned(self.partitions()));
        }
        loop {
            // Seen before it is read: what is published in between wakes the next round.
            self.published.borrow_and_update();
            let stale = self.reading.is_some();
            let records = self.read().await?;
            if !records.is_empty() {
                return Ok(Delivery::Records(records));
            }
            if stale {
                // Of what is open now, it may have said nothing.
                continue;
            }
            if self.published.changed().await.is_err() {
                return Err(LogError::Unavailable("the log is closed".into()));
            }
        }
    }

    async fn start(&mut self, at: &TablePartition, offset: Offset) -> Result<(), LogError> {
        if !self.tables.contains(&at.table) {
            return Err(LogError::Misconfigured(format!("{at} is not part of this subscription")));
        }
        let extent = self.store.extent(at)?;
        if offset > extent.end {
            return Err(LogError::Misconfigured(format!(
                "the sink holds {at} up to offset {offset}, the log ends at {}: the log was made anew or belongs to another data folder; rebuild the sink",
                extent.end
            )));
        }
        if offset < extent.start {
            return Err(LogError::Misconfigured(format!(
                "the sink needs {at} from offset {offset} on, the log begins at {}: rebuild the sink",
                extent.start
            )));
        }
        self.started.insert(at.clone(), offset);
        Ok(())
    }

    fn pause(&mut self, partitions: &[TablePartition]) {
        self.paused.extend(partitions.iter().cloned());
    }

    fn resume(&mut self, partitions: &[TablePartition]) {
        for at in partitions {
            self.paused.remove(at);
        }
    }

    async fn report(&mut self, progress: &BTreeMap<TablePartition, Offset>) -> Result<(), LogError> {
        let (store, group, progress) = (self.store.clone(), self.group.clone(), progress.clone());
        blocking(move || store.report(&group, &progress)).await
    }
}
