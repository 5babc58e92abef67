//! A sink's reader of the embedded log: every partition is its own, for as long as it lives.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::store::{Store, TableLog};
use crate::change::TableName;
use crate::log::{Delivery, LogError, Offset, Subscription, TablePartition};

/// Bytes of records in one delivery, about.
const DELIVERY_BYTES: usize = 1 << 20;

pub(super) struct EmbeddedSubscription {
    store: Arc<Store>,
    group: String,
    tables: BTreeMap<TableName, Arc<TableLog>>,
    published: watch::Receiver<u64>,
    assigned: bool,
    started: BTreeMap<TablePartition, Offset>,
    paused: BTreeSet<TablePartition>,
}

impl EmbeddedSubscription {
    pub(super) fn new(store: Arc<Store>, group: &str, tables: &[TableName]) -> Result<EmbeddedSubscription, LogError> {
        let open = |name: &TableName| Ok((name.clone(), store.table(name)?));
        let tables = tables.iter().map(open).collect::<Result<_, LogError>>()?;
        Ok(EmbeddedSubscription {
            published: store.published(),
            store,
            group: group.to_owned(),
            tables,
            assigned: false,
            started: BTreeMap::new(),
            paused: BTreeSet::new(),
        })
    }

    fn partitions(&self) -> Vec<TablePartition> {
        let all = 0..self.store.layout().partitions;
        let of = |table: &TableName| {
            all.clone().map(|partition| TablePartition { table: table.clone(), partition }).collect::<Vec<_>>()
        };
        self.tables.keys().flat_map(of).collect()
    }

    /// A share of the budget for each partition, so that a busy one does not starve the others.
    fn read(&mut self) -> Result<Delivery, LogError> {
        let open: Vec<_> = self.started.iter_mut().filter(|(at, _)| !self.paused.contains(at)).collect();
        let share = DELIVERY_BYTES / open.len().max(1);
        let mut records = Vec::new();
        for (at, next) in open {
            let Some(table) = self.tables.get(&at.table) else { continue };
            let read = self.store.read(at, &table.partitions[usize::from(at.partition)], *next, share)?;
            if let Some(last) = read.last() {
                *next = last.offset.next();
            }
            records.extend(read);
        }
        Ok(Delivery::Records(records))
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
            match self.read()? {
                Delivery::Records(records) if records.is_empty() => {}
                delivery => return Ok(delivery),
            }
            if self.published.changed().await.is_err() {
                return Err(LogError::Unavailable("the log is closed".into()));
            }
        }
    }

    async fn start(&mut self, at: &TablePartition, offset: Offset) -> Result<(), LogError> {
        let known = self.tables.get(&at.table).and_then(|table| table.partitions.get(usize::from(at.partition)));
        let Some(partition) = known else {
            return Err(LogError::Misconfigured(format!("{at} is not part of this subscription")));
        };
        let extent = self.store.extent(partition)?;
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
        self.store.report(&self.group, progress)
    }
}
