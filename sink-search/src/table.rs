//! One table in the pipeline: its buffer, the write that is under way, and what is durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::definition::Entity;
use headwater_common::log::{Extent, LogId, Offset, TablePartition};
use headwater_common::metric;
use headwater_common::progress::{Lag, TableProgress};
use tokio::task::JoinSet;

use crate::buffer::{Buffer, Cut};
use crate::index::{Applied, IndexError, Outcome, Progress, SearchIndex};
use crate::settings::Settings;
use crate::write::{self, Standing};

/// The label of this sink's metrics.
pub(crate) const SINK: &str = "search";

/// Counted since the process started, whatever sessions there were.
#[derive(Default)]
pub(crate) struct Totals {
    applied: u64,
    dead_letters: u64,
    lag: Lag,
}

pub(crate) struct Table {
    index: Arc<dyn SearchIndex>,
    log: LogId,
    of: u16,
    write_time: Option<String>,
    pub buffer: Buffer,
    /// What the index holds.
    durable: Progress,
    /// A write or a purge is under way; there is one at a time.
    pub writing: bool,
    in_flight: usize,
    /// When to look for old tombstones again.
    pub purge: Instant,
    behind: u64,
    assigned: Vec<u16>,
    pub totals: Totals,
}

/// What came of a task.
pub(crate) enum Done {
    Applied { table: TableName, cut: Box<Cut>, applied: Result<Applied, IndexError> },
    Purged { table: TableName, purged: Result<u64, IndexError> },
}

impl Done {
    pub fn table(&self) -> &TableName {
        match self {
            Done::Applied { table, .. } | Done::Purged { table, .. } => table,
        }
    }
}

impl Table {
    pub fn new(
        entity: &Entity,
        index: Arc<dyn SearchIndex>,
        log: LogId,
        of: u16,
        durable: Progress,
        totals: Totals,
        now: Instant,
    ) -> Table {
        let write_time = entity.write_time.clone();
        let buffer = Buffer::new(log.clone(), of, write_time.clone(), now);
        Table {
            index,
            log,
            of,
            write_time,
            buffer,
            durable,
            writing: false,
            in_flight: 0,
            purge: now,
            behind: 0,
            assigned: Vec::new(),
            totals,
        }
    }

    /// Learns what the index holds by now: other workers may have moved it.
    pub async fn look_again(&mut self) -> Result<(), IndexError> {
        self.durable.advance(&self.index.progress().await?);
        Ok(())
    }

    /// Begins a partition at what the index holds of it, and says where that is.
    pub fn assign(&mut self, partition: u16) -> Offset {
        let held = self.durable.partitions.get(&partition).copied().unwrap_or_default();
        self.buffer.begin(partition, held);
        if !self.assigned.contains(&partition) {
            self.assigned.push(partition);
        }
        held.next
    }

    /// What was being written is read again where it is not durable.
    pub fn abandon_write(&mut self) {
        self.writing = false;
        self.in_flight = 0;
    }

    /// Forgets what is not written, and begins again without the partitions that are gone.
    pub fn restart(&mut self, gone: &[u16], now: Instant) -> Vec<(u16, Offset)> {
        self.assigned.retain(|partition| !gone.contains(partition));
        self.buffer = Buffer::new(self.log.clone(), self.of, self.write_time.clone(), now);
        self.assigned.clone().into_iter().map(|partition| (partition, self.assign(partition))).collect()
    }

    pub fn partitions(&self, name: &TableName) -> Vec<TablePartition> {
        let at = |partition: &u16| TablePartition { table: name.clone(), partition: *partition };
        self.assigned.iter().map(at).collect()
    }

    /// Held in memory, written ones included until they are durable.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes() + self.in_flight
    }

    pub fn due(&self, settings: &Settings) -> Option<Instant> {
        let idle = Duration::from_millis(settings.idle_complete_ms);
        self.buffer.due(settings.flush_every(), settings.flush_bytes, idle)
    }

    /// Starts writing what was read, if there is anything.
    pub fn write(
        &mut self,
        name: &TableName,
        now: Instant,
        settings: &Settings,
        standing: &Arc<Standing>,
        writes: &mut JoinSet<Done>,
    ) {
        let Some(cut) = self.buffer.cut(now) else { return };
        self.writing = true;
        self.in_flight = cut.bytes;
        let (index, table) = (self.index.clone(), name.clone());
        let (settings, standing) = (settings.clone(), standing.clone());
        writes.spawn(async move {
            let applied = write::until_durable(&*index, &table, cut.flush.clone(), &settings, &standing).await;
            Done::Applied { table, cut: Box::new(cut), applied }
        });
    }

    /// Starts removing tombstones that are older than anything that can still come. Their age is measured against
    /// what the index is complete up to: a sink that is behind still needs them.
    pub fn purge(
        &mut self,
        name: &TableName,
        now: Instant,
        clock: Timestamp,
        settings: &Settings,
        writes: &mut JoinSet<Done>,
    ) {
        self.purge = now + Duration::from_millis(settings.purge_every_ms);
        let Some(complete) = self.durable.complete_until() else { return };
        let before = complete.min(clock).minus(Duration::from_millis(settings.tombstone_retention_ms));
        self.writing = true;
        let (index, table) = (self.index.clone(), name.clone());
        writes.spawn(async move { Done::Purged { purged: index.purge(before).await, table } });
    }

    /// Takes over what a task did; gives the offsets that are durable if there is more of them.
    pub fn done(&mut self, done: &Done, now: Timestamp) -> Option<Vec<(u16, Offset)>> {
        self.writing = false;
        self.in_flight = 0;
        match done {
            // The session ends with it.
            Done::Applied { applied: Err(_), .. } => None,
            Done::Applied { table, cut, applied: Ok(applied) } => {
                self.durable.advance(&cut.flush.progress);
                self.count(table, cut, applied, now);
                Some(self.durable.partitions.iter().map(|(partition, reached)| (*partition, reached.next)).collect())
            }
            Done::Purged { table, purged: Ok(count) } => {
                if *count > 0 {
                    tracing::info!(%table, count, "removed tombstones past their retention");
                }
                None
            }
            Done::Purged { table, purged: Err(error) } => {
                tracing::warn!(%table, %error, "old tombstones stay for now");
                None
            }
        }
    }

    fn count(&mut self, table: &TableName, cut: &Cut, applied: &Applied, now: Timestamp) {
        self.totals.applied += cut.changes;
        self.totals.dead_letters += cut.dead_letters;
        let labels = [("sink", SINK.to_owned()), ("table", table.to_string())];
        metrics::counter!(metric::SINK_CHANGES, &labels).increment(cut.changes);
        metrics::counter!(metric::SINK_COMMITS, &labels).increment(1);
        metrics::counter!(metric::TYPE_MISMATCHES, &labels).increment(applied.mismatches);
        let lags = metrics::histogram!(metric::SINK_LAG, &labels);
        for written in &cut.written {
            let lag = now.since(*written);
            self.totals.lag.record(lag);
            lags.record(lag);
        }
        for (operation, outcome) in cut.flush.operations.iter().zip(&applied.outcomes) {
            if let Outcome::Rejected(reason) = outcome {
                self.totals.dead_letters += 1;
                metrics::counter!(metric::DEAD_LETTERS, &labels).increment(1);
                tracing::warn!(%table, version = %operation.version, reason, "the search index rejects a document");
            }
        }
    }

    /// Compares what is durable with what there is.
    pub fn measure(&mut self, extents: &[Extent]) {
        let behind = |(partition, extent): (u16, &Extent)| {
            let held = self.durable.partitions.get(&partition).map_or(extent.start, |held| held.next);
            extent.end.0.saturating_sub(held.0)
        };
        self.behind = (0_u16..).zip(extents).map(behind).sum();
    }

    /// How far the table is.
    pub fn gauge(&self, name: &TableName) {
        let labels = [("sink", SINK.to_owned()), ("table", name.to_string())];
        metrics::gauge!(metric::SINK_BEHIND, &labels).set(self.behind as f64);
        if let Some(complete) = self.durable.complete_until() {
            metrics::gauge!(metric::COMPLETE_UNTIL, &labels).set(complete.as_millis() as f64 / 1000.0);
        }
    }

    pub fn progress(&self) -> TableProgress {
        TableProgress {
            complete_until: self.durable.complete_until(),
            applied: self.totals.applied,
            behind: self.behind,
            dead_letters: self.totals.dead_letters,
            lag: self.totals.lag.summary(),
        }
    }
}
