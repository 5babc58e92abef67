//! One table in the loop: its buffer, the task that has its committer, and when it wants to commit.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::log::{Extent, LogRecord, Offset, Subscription, TablePartition};
use headwater_common::metric;
use headwater_common::progress::{Lag, TableProgress};
use metrics::{counter, gauge, histogram};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::buffer::{Buffer, Taken};
use crate::commit::Committer;
use crate::decode::{Decoded, Undecoded};
use crate::error::Error;
use crate::flush::{Flushed, Outcome};
use crate::lake::TableLocation;
use crate::open::Opened;
use crate::plan::Plan;
use crate::position::complete_until;
use crate::settings::Settings;

/// The label that tells this sink's metrics from others'.
const SINK: &str = "offline";

/// Limits of one table, which follow from the settings and the number of tables.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) flush_bytes: usize,
    pub(crate) share: usize,
    pub(crate) flush_after: Duration,
    pub(crate) idle_after: Duration,
}

impl Limits {
    pub(crate) fn of(settings: &Settings, tables: usize) -> Limits {
        Limits {
            flush_bytes: settings.flush_at(tables),
            share: settings.share(tables),
            flush_after: settings.flush_after(),
            idle_after: settings.idle_complete_after(),
        }
    }
}

/// The task that works for a table. There is one at a time.
pub(crate) enum Work {
    /// None: the table is closed, or its committer is here.
    None,
    Opening,
    /// Bytes of the rows in flight.
    Flushing(usize),
}

pub(crate) struct Table {
    pub(crate) name: TableName,
    pub(crate) plan: Arc<Plan>,
    pub(crate) location: TableLocation,
    pub(crate) buffer: Buffer,
    /// Counts how often the table was opened: what was read for an earlier opening is not taken in.
    pub(crate) opening: u64,
    pub(crate) work: Work,
    /// Ends the present task; a new one for each.
    pub(crate) cancel: CancellationToken,
    /// Partitions that are this worker's.
    pub(crate) assigned: BTreeSet<u16>,
    /// The table must be opened anew once no task works for it.
    pub(crate) stale: bool,
    /// Why, where that is worth a pause before.
    pub(crate) trouble: Option<Error>,
    /// Partitions that the log was told to pause.
    paused: Vec<TablePartition>,
    /// Of partitions that were taken away; dropped once nothing of them can be published any more.
    pub(crate) acknowledge: Vec<Arc<oneshot::Sender<()>>>,
    committer: Option<Committer>,
    partitions: u16,
    first_row: Option<Instant>,
    last_commit: Instant,
    complete_until: Option<Timestamp>,
    applied: u64,
    dead_letters: u64,
    behind: u64,
    lag: Lag,
}

impl Table {
    pub(crate) fn new(name: TableName, plan: Arc<Plan>, location: TableLocation, now: Instant) -> Table {
        Table {
            buffer: Buffer::default(),
            opening: 0,
            name,
            plan,
            location,
            work: Work::None,
            cancel: CancellationToken::new(),
            assigned: BTreeSet::new(),
            stale: false,
            trouble: None,
            paused: Vec::new(),
            acknowledge: Vec::new(),
            committer: None,
            partitions: 0,
            first_row: None,
            last_commit: now,
            complete_until: None,
            applied: 0,
            dead_letters: 0,
            behind: 0,
            lag: Lag::default(),
        }
    }

    /// Forgets what was read and not committed; it is read again.
    pub(crate) fn reset(&mut self) {
        self.buffer = Buffer::default();
        self.opening += 1;
        self.committer = None;
        self.first_row = None;
        self.stale = false;
        self.acknowledge.clear();
    }

    /// Answers where to read each of the assigned partitions from.
    pub(crate) fn opened(&mut self, opened: Opened, now: Instant) -> Vec<(TablePartition, Offset)> {
        self.work = Work::None;
        self.last_commit = now;
        self.partitions = opened.partitions;
        let txns = opened.committer.txns();
        self.complete_until = complete_until(txns, opened.committer.log(), self.partitions);
        self.committer = Some(opened.committer);
        let mut from = Vec::new();
        for (partition, start) in opened.starts {
            self.buffer.start(partition, &start);
            from.push((TablePartition { table: self.name.clone(), partition }, start.next));
        }
        from
    }

    /// The records that are new, to be decoded.
    pub(crate) fn claim(&mut self, mut records: Vec<LogRecord>) -> Undecoded {
        records.retain(|record| self.buffer.claim(record));
        let bytes = records.iter().map(|record| record.value.len()).sum();
        let (table, plan, opening) = (self.name.clone(), self.plan.clone(), self.opening);
        Undecoded { table, plan, opening, records, bytes }
    }

    pub(crate) fn accept(&mut self, decoded: Decoded, now: Instant) {
        if self.stale || decoded.opening != self.opening {
            return;
        }
        self.buffer.accept(decoded);
        if self.first_row.is_none() && self.buffer.has_rows() {
            self.first_row = Some(now);
        }
    }

    pub(crate) fn held(&self) -> usize {
        let in_flight = if let Work::Flushing(bytes) = self.work { bytes } else { 0 };
        self.buffer.held() + in_flight
    }

    /// When the table wants to commit, if it can and has something to.
    pub(crate) fn wants_flush_at(&self, limits: &Limits) -> Option<Instant> {
        self.committer.as_ref()?;
        match self.first_row {
            Some(first) if self.buffer.bytes() >= limits.flush_bytes => Some(first),
            Some(first) => Some(first + limits.flush_after),
            None => self.buffer.is_dirty().then(|| self.last_commit + limits.idle_after),
        }
    }

    /// The committer and everything read so far, for a task.
    pub(crate) fn take(&mut self) -> Option<(Committer, Taken)> {
        let committer = self.committer.take()?;
        let taken = self.buffer.take();
        self.first_row = None;
        self.work = Work::Flushing(taken.rows.bytes);
        self.cancel = CancellationToken::new();
        Some((committer, taken))
    }

    /// Takes a flush's result in. The table must be opened anew where it did not commit.
    pub(crate) fn flushed(&mut self, flushed: Flushed, wall: Timestamp, now: Instant) {
        self.work = Work::None;
        self.last_commit = now;
        let Flushed { committer, taken, outcome } = flushed;
        match outcome {
            Outcome::Committed(committed) => {
                self.complete_until = complete_until(committer.txns(), committer.log(), self.partitions);
                self.buffer.committed(&taken.moves);
                self.count(&taken, wall);
                let (version, rows, conflicts) = (committed.version, taken.rows.rows, committed.conflicts);
                tracing::debug!(table = %self.name, version, rows, conflicts, "committed");
                self.committer = Some(committer);
            }
            Outcome::Superseded(error) => {
                self.stale = true;
                self.trouble = Some(error);
            }
            Outcome::Cancelled => self.stale = true,
        }
    }

    fn count(&mut self, taken: &Taken, wall: Timestamp) {
        let table = self.name.to_string();
        let changes = taken.rows.rows as u64 - taken.tally.dead_letters;
        self.applied += changes;
        self.dead_letters += taken.tally.dead_letters;
        let lags = histogram!(metric::SINK_LAG, "sink" => SINK, "table" => table.clone());
        for written in &taken.tally.written {
            let lag = wall.since(*written);
            self.lag.record(lag);
            lags.record(lag.as_secs_f64());
        }
        counter!(metric::SINK_COMMITS, "sink" => SINK, "table" => table.clone()).increment(1);
        counter!(metric::SINK_CHANGES, "sink" => SINK, "table" => table.clone()).increment(changes);
        counter!(metric::DEAD_LETTERS, "sink" => SINK, "table" => table.clone()).increment(taken.tally.dead_letters);
        counter!(metric::TYPE_MISMATCHES, "sink" => SINK, "table" => table).increment(taken.tally.mismatches);
    }

    /// What of the log the table does not contain, by the log's present extents.
    pub(crate) fn measure(&mut self, extents: &[Extent]) {
        let behind = |(at, next): (u16, Offset)| {
            let extent = extents.get(usize::from(at))?;
            Some(extent.end.0.saturating_sub(next.max(extent.start).0))
        };
        self.behind = self.buffer.progress().filter_map(behind).sum();
    }

    pub(crate) fn report(&self, progress: &mut BTreeMap<TablePartition, Offset>) {
        for (partition, next) in self.buffer.progress() {
            progress.insert(TablePartition { table: self.name.clone(), partition }, next);
        }
    }

    pub(crate) fn progress(&self) -> TableProgress {
        TableProgress {
            complete_until: self.complete_until,
            applied: self.applied,
            behind: self.behind,
            dead_letters: self.dead_letters,
            lag: self.lag.summary(),
        }
    }

    /// A table that holds its share is not read on until it has committed.
    pub(crate) fn hold_or_release(&mut self, limits: &Limits, log: &mut dyn Subscription) {
        let full = self.held() >= limits.share;
        if full && self.paused.is_empty() {
            let at = |partition| TablePartition { table: self.name.clone(), partition };
            self.paused = self.buffer.partitions().map(at).collect();
            log.pause(&self.paused);
            counter!(metric::SINK_PAUSES, "sink" => SINK).increment(1);
        }
        if !full && !self.paused.is_empty() {
            // Those that went to another worker in the meantime are not this one's to resume.
            self.paused.retain(|at| self.assigned.contains(&at.partition));
            log.resume(&std::mem::take(&mut self.paused));
        }
    }
}

/// How far the tables are, and what they hold.
pub(crate) fn gauge<'a>(tables: impl Iterator<Item = &'a Table>) {
    let (mut held, mut paused) = (0, 0);
    for table in tables {
        held += table.held();
        paused += table.paused.len();
        let labels = [("sink", SINK.to_owned()), ("table", table.name.to_string())];
        gauge!(metric::SINK_BEHIND, &labels).set(table.behind as f64);
        if let Some(until) = table.complete_until {
            gauge!(metric::COMPLETE_UNTIL, &labels).set(until.as_millis() as f64 / 1000.0);
        }
    }
    gauge!(metric::SINK_BUFFER, "sink" => SINK).set(held as f64);
    gauge!(metric::SINK_PAUSED, "sink" => SINK).set(paused as f64);
}
