//! Changes → rows of `<table>_history`, column by column.
//!
//! Promises that every record becomes exactly one row: an attribute that is not of its declared type goes to `_rescued`
//! and leaves its column null, a record that can't be decoded goes there whole.

use std::sync::Arc;

use headwater_common::canonical;
use headwater_common::change::{Change, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::log::{LogRecord, Offset};
use headwater_common::value::Item;

use crate::builders::{Builders, Head};
use crate::gathered::Gathered;
use crate::plan::{Plan, Values};

/// Under this name `_rescued` holds a record that can't be decoded, as binary.
pub const RESCUED_RECORD: &str = "_record";

/// Rows while they are gathered.
pub struct Rows {
    plan: Arc<Plan>,
    columns: Builders,
    rows: usize,
    bytes: usize,
}

/// What a change had to say when it became a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Attributes that were not of their declared type.
    pub mismatches: usize,
    /// When the producer wrote the change, by the attribute that it stamps.
    pub written: Option<Timestamp>,
}

/// Bytes of a row beside its item, about.
const ROW_BYTES: usize = 320;

impl Rows {
    pub fn new(plan: Arc<Plan>) -> Rows {
        Rows::with_capacity(plan, 0, 0)
    }

    /// With room for so many rows, from records of so many bytes in all.
    pub fn with_capacity(plan: Arc<Plan>, rows: usize, bytes: usize) -> Rows {
        let columns = Builders::with_capacity(&plan, rows, bytes);
        Rows { plan, columns, rows: 0, bytes: 0 }
    }

    pub fn len(&self) -> usize {
        self.rows
    }

    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes held, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a change.
    pub fn push(&mut self, partition: u16, offset: Offset, change: &Change) -> Pushed {
        let plan = &*self.plan;
        let texts = change.after.as_ref().map(|item| plan.texts(item)).unwrap_or_default();
        let values = change.after.as_ref().map(|item| plan.read(item, &texts)).unwrap_or_default();
        let json = change.after.as_ref().map(Item::to_json);
        let head = Head {
            key: change.key.borrowed(),
            version: change.version,
            op: change.op,
            created: change.created,
            sequence: &change.source.sequence,
            shard: change.source.shard.as_str(),
            event_id: &change.source.event_id,
            changed: change.changed.as_ref().map(|names| names.iter().map(String::as_str).collect()),
        };
        let pushed = self.columns.change(plan, (partition, offset), &head, json.as_deref(), &values);
        self.count(json.map_or(0, |json| json.len()));
        pushed
    }

    /// Appends the change of `table` that the record holds in canonical form. `None`, without a row, if it doesn't.
    /// `values` is room that records share.
    pub fn push_canonical<'a>(
        &mut self,
        table: &TableName,
        record: &'a LogRecord,
        values: &mut Values<'a>,
    ) -> Option<Pushed> {
        let plan = &*self.plan;
        let change = canonical::read(&record.value, &mut plan.reader(values))?;
        if change.table != table.as_str() {
            return None;
        }
        let head = Head {
            key: change.key,
            version: change.version,
            op: change.op,
            created: change.created,
            sequence: &change.sequence,
            shard: change.shard,
            event_id: change.event_id,
            changed: change.changed,
        };
        let at = (record.at.partition, record.offset);
        let pushed = self.columns.change(plan, at, &head, change.after, values);
        self.count(change.after.map_or(0, str::len));
        Some(pushed)
    }

    /// Appends a record that can't be decoded, whole.
    pub fn push_dead_letter(&mut self, record: &LogRecord, reason: &str) {
        self.columns.dead_letter(record, reason);
        self.count(record.value.len());
    }

    /// What a row keeps is there once as it came, and about as much again in its columns.
    fn count(&mut self, bytes: usize) {
        self.rows += 1;
        self.bytes += ROW_BYTES + 2 * bytes;
    }

    /// Takes the rows; what is pushed afterwards are other rows.
    pub fn finish(&mut self) -> Gathered {
        let columns = self.columns.finish();
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        Gathered::new(self.plan.clone(), columns, rows, bytes)
    }
}
