//! What the stage says of itself: readiness with its reasons, `/status`, gauges.

use std::collections::BTreeMap;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::health::Health;
use headwater_common::ledger::{GapCause, GapEntry, Ledger, ShardEntry, ShardStatus};
use headwater_common::metric;
use serde::Serialize;

use crate::lineage::{RETENTION, attended};

/// The stage's name on the board.
pub(crate) const PART: &str = "ingest";

/// What is wrong now, by what it is about. Ready is who has nothing to say here.
#[derive(Debug, Default)]
pub(crate) struct Troubles(BTreeMap<String, String>);

impl Troubles {
    pub(crate) fn set(&mut self, about: String, reason: Option<String>) {
        match reason {
            Some(reason) => self.0.insert(about, reason),
            None => self.0.remove(&about),
        };
    }

    pub(crate) fn tell(&self, health: &Health, ledger: &Ledger, tables: &[TableName], now: Timestamp) {
        let mut reasons: Vec<String> = self.0.values().cloned().collect();
        reasons.extend(gaps(ledger, tables));
        match reasons.is_empty() {
            true => health.ready(PART, now),
            false => health.not_ready(PART, &reasons.join("; "), now),
        }
    }
}

/// One sentence for each table with gaps that are not repaired.
fn gaps(ledger: &Ledger, tables: &[TableName]) -> Vec<String> {
    let sentence = |table: &TableName| {
        let open: Vec<&GapEntry> = ledger.open_gaps().filter(|gap| gap.table == *table).collect();
        let first = open.first()?;
        let from = first.from.as_ref().map_or("the beginning".to_owned(), |from| format!("sequence number {from}"));
        Some(format!(
            "{} range(s) of table {table}'s stream were lost unread, the first in shard {} after {from}: build the sinks again from the table, then mark the gap as repaired",
            open.len(),
            first.shard,
        ))
    };
    tables.iter().filter_map(sentence).collect()
}

/// The stage's part of `/status`.
#[derive(Debug, Serialize)]
pub(crate) struct Status {
    pub slots: usize,
    pub tables: BTreeMap<TableName, TableStatus>,
}

#[derive(Debug, Serialize)]
pub(crate) struct TableStatus {
    pub stream: Option<StreamArn>,
    pub generation: Option<u32>,
    pub shards_open: usize,
    pub shards_finished: usize,
    pub shards_lost: usize,
    /// Changes committed since the process started.
    pub records: u64,
    /// The smallest T of this worker's slots.
    pub complete_until: Option<Timestamp>,
    pub gaps: Vec<Gap>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Gap {
    pub shard: ShardId,
    pub generation: u32,
    pub from: Option<String>,
    pub to: Option<String>,
    pub cause: GapCause,
    pub found: Timestamp,
}

impl TableStatus {
    pub(crate) fn of(ledger: &Ledger, table: &TableName, records: u64, complete_until: Option<Timestamp>) -> Self {
        let stream = ledger.current_stream(table);
        let count = |status: ShardStatus| {
            ledger.shards.values().filter(|shard| shard.table == *table && shard.status == status).count()
        };
        let gap = |gap: &GapEntry| Gap {
            shard: gap.shard.clone(),
            generation: gap.generation,
            from: gap.from.as_ref().map(ToString::to_string),
            to: gap.to.as_ref().map(ToString::to_string),
            cause: gap.cause,
            found: gap.found,
        };
        TableStatus {
            stream: stream.map(|stream| stream.stream.clone()),
            generation: stream.map(|stream| stream.generation),
            shards_open: count(ShardStatus::Open),
            shards_finished: count(ShardStatus::Finished),
            shards_lost: count(ShardStatus::Lost),
            records,
            complete_until,
            gaps: ledger.open_gaps().filter(|open| open.table == *table).map(gap).collect(),
        }
    }
}

/// A table's gauge: what the gap ledger holds of it.
pub(crate) fn gauge_gaps(table: &TableName, gaps: usize) {
    metrics::gauge!(metric::GAPS_OPEN, "table" => table.to_string()).set(gaps as f64);
}

/// A shard's gauges: how far it is behind, and how long what is unread is held at least.
pub(crate) fn gauge(entry: &ShardEntry, now: Timestamp) {
    let behind = now.since(attended(entry));
    let labels = [("table", entry.table.to_string()), ("shard", entry.shard.to_string())];
    metrics::gauge!(metric::INGEST_LAG, &labels).set(behind.as_secs_f64());
    metrics::gauge!(metric::TIME_TO_TRIM, &labels).set(RETENTION.saturating_sub(behind).as_secs_f64());
}
