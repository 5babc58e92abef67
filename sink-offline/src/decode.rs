//! Records → columns, apart from the loop: pure, so that deliveries are decoded beside each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::codec::{self, Entry};
use headwater_common::completeness::Mark;
use headwater_common::log::{LogRecord, Offset};

use crate::encode::{Pushed, Rows};
use crate::gathered::Gathered;
use crate::plan::{Plan, Values};

/// Records of one table, in order within each partition.
pub(crate) struct Undecoded {
    pub(crate) table: TableName,
    pub(crate) plan: Arc<Plan>,
    /// Which opening of the table they were read for.
    pub(crate) opening: u64,
    pub(crate) records: Vec<LogRecord>,
    /// Bytes of the records.
    pub(crate) bytes: usize,
}

/// What they say.
pub(crate) struct Decoded {
    pub(crate) table: TableName,
    pub(crate) opening: u64,
    pub(crate) bytes: usize,
    pub(crate) gathered: Gathered,
    /// The last offset of each partition.
    pub(crate) last: BTreeMap<u16, Offset>,
    /// With their partitions, in order.
    pub(crate) marks: Vec<(u16, Mark)>,
    pub(crate) tally: Tally,
}

/// What is counted once the rows are committed.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// When the producers wrote the changes, where they say so.
    pub(crate) written: Vec<Timestamp>,
    pub(crate) dead_letters: u64,
    pub(crate) mismatches: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Tally) {
        self.written.extend(other.written);
        self.dead_letters += other.dead_letters;
        self.mismatches += other.mismatches;
    }

    fn count(&mut self, pushed: Pushed) {
        self.written.extend(pushed.written);
        self.mismatches += pushed.mismatches as u64;
    }
}

/// Works on the calling thread for as long as it takes.
pub(crate) fn decode(undecoded: Undecoded) -> Decoded {
    let Undecoded { table, plan, opening, records, bytes } = undecoded;
    let mut rows = Rows::with_capacity(plan, records.len(), bytes);
    let (mut last, mut marks, mut tally) = (BTreeMap::new(), Vec::new(), Tally::default());
    let mut values = Values::default();
    for record in &records {
        let partition = record.at.partition;
        if let Some(pushed) = rows.push_canonical(&table, record, &mut values) {
            tally.count(pushed);
            continue;
        }
        match codec::decode(&record.value) {
            Ok(Entry::Mark(mark)) => marks.push((partition, mark)),
            Ok(Entry::Change(change)) if change.table == table => {
                tally.count(rows.push(partition, record.offset, &change));
            }
            Ok(Entry::Change(change)) => {
                set_aside(&mut rows, &mut tally, record, &format!("a change of table {}", change.table));
            }
            Err(error) => set_aside(&mut rows, &mut tally, record, &error.to_string()),
        }
    }
    for run in records.chunk_by(|one, next| one.at.partition == next.at.partition) {
        last.extend(run.last().map(|record| (record.at.partition, record.offset)));
    }
    Decoded { table, opening, bytes, gathered: rows.finish(), last, marks, tally }
}

fn set_aside(rows: &mut Rows, tally: &mut Tally, record: &LogRecord, reason: &str) {
    tracing::warn!(at = %record.at, offset = record.offset.0, reason, "record set aside as a dead letter");
    rows.push_dead_letter(record, reason);
    tally.dead_letters += 1;
}
