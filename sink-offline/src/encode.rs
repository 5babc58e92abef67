//! Changes → rows of `<table>_history`, column by column.
//!
//! Promises that every record becomes exactly one row: an attribute that is not of its declared type goes to `_rescued`
//! and leaves its column null, a record that can't be decoded goes there whole.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use headwater_common::attribute::{Attribute, Plain};
use headwater_common::canonical;
use headwater_common::change::{Change, Op, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::key::{KeyRef, text_into};
use headwater_common::log::{LogRecord, Offset};
use headwater_common::number;
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::typed::moment_of;
use headwater_common::value::Item;
use serde_json::value::RawValue;

use crate::columns::{FeatureColumn, micros, strings, timestamps};
use crate::gathered::Gathered;
use crate::plan::{Plan, Values};

/// Under this name `_rescued` holds a record that can't be decoded, as binary.
pub const RESCUED_RECORD: &str = "_record";

/// Rows while they are gathered.
pub struct Rows {
    plan: Arc<Plan>,
    key: StringBuilder,
    pk: StringBuilder,
    sk: StringBuilder,
    version: Int64Builder,
    op: StringBuilder,
    event_ts: TimestampMicrosecondBuilder,
    event_time: TimestampMicrosecondBuilder,
    seq: StringBuilder,
    shard: StringBuilder,
    event_id: StringBuilder,
    log_partition: Int32Builder,
    log_offset: Int64Builder,
    changed: ListBuilder<StringBuilder>,
    item: StringBuilder,
    features: Vec<FeatureColumn>,
    rescued: StringBuilder,
    error: StringBuilder,
    rows: usize,
    bytes: usize,
    /// Room for a key's canonical bytes, and their text.
    key_bytes: Vec<u8>,
    key_text: String,
}

/// What a change had to say when it became a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Attributes that were not of their declared type.
    pub mismatches: usize,
    /// When the producer wrote the change, by the attribute that it stamps.
    pub written: Option<Timestamp>,
}

/// What a row holds of a change beside its image.
struct Head<'a> {
    key: KeyRef<'a>,
    version: Version,
    op: Op,
    created: Timestamp,
    sequence: &'a SequenceNumber,
    shard: &'a str,
    event_id: &'a str,
    changed: Option<Vec<&'a str>>,
}

/// Bytes of a row beside its item, about.
const ROW_BYTES: usize = 320;

impl Rows {
    pub fn new(plan: Arc<Plan>) -> Rows {
        Rows::with_capacity(plan, 0, 0)
    }

    /// With room for so many rows, from records of so many bytes in all.
    pub fn with_capacity(plan: Arc<Plan>, rows: usize, bytes: usize) -> Rows {
        let features = plan.schema.features().iter();
        let features = features.map(|column| FeatureColumn::with_capacity(column.column_type, rows)).collect();
        let text = |width: usize| StringBuilder::with_capacity(rows, rows * width);
        Rows {
            plan,
            key: text(48),
            pk: text(24),
            sk: text(24),
            version: Int64Builder::with_capacity(rows),
            op: text(1),
            event_ts: timestamps(rows),
            event_time: timestamps(rows),
            seq: text(40),
            shard: text(40),
            event_id: text(36),
            log_partition: Int32Builder::with_capacity(rows),
            log_offset: Int64Builder::with_capacity(rows),
            changed: strings(),
            item: StringBuilder::with_capacity(rows, bytes),
            features,
            rescued: text(0),
            error: text(0),
            rows: 0,
            bytes: 0,
            key_bytes: Vec::new(),
            key_text: String::new(),
        }
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
        let plan = self.plan.clone();
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
        self.row_of(partition, offset, &head, json.as_deref(), &values)
    }

    /// Appends the change of `table` that the record holds in canonical form. `None`, without a row, if it doesn't.
    /// `values` is room that records share.
    pub fn push_canonical<'a>(
        &mut self,
        table: &TableName,
        record: &'a LogRecord,
        values: &mut Values<'a>,
    ) -> Option<Pushed> {
        let plan = self.plan.clone();
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
        Some(self.row_of(record.at.partition, record.offset, &head, change.after, values))
    }

    fn row_of(
        &mut self,
        partition: u16,
        offset: Offset,
        head: &Head<'_>,
        json: Option<&str>,
        values: &Values<'_>,
    ) -> Pushed {
        head.key.canonical_into(&mut self.key_bytes);
        text_into(&self.key_bytes, &mut self.key_text);
        self.key.append_value(&self.key_text);
        self.pk.append_value(head.key.partition.1.readable());
        self.sk.append_option(head.key.sort.as_ref().map(|(_, value)| value.readable()));
        self.version.append_value(head.version.as_i64());
        self.op.append_value(head.op.code());
        self.event_ts.append_option(micros(head.created));
        self.seq.append_value(head.sequence.padded());
        self.shard.append_value(head.shard);
        self.event_id.append_value(head.event_id);
        match &head.changed {
            Some(names) => self.changed.append_value(names.iter().map(Some)),
            None => self.changed.append_null(),
        }
        self.error.append_null();
        let pushed = match json {
            Some(json) => self.image(json, values),
            None => {
                self.no_image(None);
                Pushed::default()
            }
        };
        // Once in `item`, and about as much again in the columns.
        self.row(partition, offset, ROW_BYTES + 2 * json.map_or(0, str::len));
        pushed
    }

    /// Appends a record that can't be decoded, whole.
    pub fn push_dead_letter(&mut self, record: &LogRecord, reason: &str) {
        for text in [&mut self.key, &mut self.pk, &mut self.sk, &mut self.op] {
            text.append_null();
        }
        for text in [&mut self.seq, &mut self.shard, &mut self.event_id] {
            text.append_null();
        }
        self.version.append_null();
        self.event_ts.append_null();
        self.changed.append_null();
        self.no_image(Some(format!(r#"{{"{RESCUED_RECORD}":{{"B":"{}"}}}}"#, BASE64.encode(&record.value))));
        self.error.append_value(reason);
        self.row(record.at.partition, record.offset, ROW_BYTES + 2 * record.value.len());
    }

    fn row(&mut self, partition: u16, offset: Offset, bytes: usize) {
        self.log_partition.append_value(i32::from(partition));
        self.log_offset.append_value(i64::try_from(offset.0).unwrap_or(i64::MAX));
        self.rows += 1;
        self.bytes += bytes;
    }

    fn no_image(&mut self, rescued: Option<String>) {
        self.event_time.append_null();
        self.item.append_null();
        self.rescued.append_option(rescued);
        for column in &mut self.features {
            column.append_null();
        }
    }

    fn image(&mut self, json: &str, values: &Values<'_>) -> Pushed {
        let plan = self.plan.clone();
        let mut rescued: Vec<(&str, Attribute<'_>)> = Vec::new();
        self.item.append_value(json);
        let event_time = plan.event_time(values);
        let at = event_time.and_then(|(_, attribute)| moment_of(attribute.plain).ok()).and_then(micros);
        self.event_time.append_option(at);
        rescued.extend(event_time.filter(|(_, found)| at.is_none() && found.plain != Plain::Null));
        for (place, ((name, feature_type), column)) in plan.features.iter().zip(&mut self.features).enumerate() {
            let Some(attribute) = values.feature(place) else {
                column.append_null();
                continue;
            };
            let mut nested = None;
            let held = match feature_type.read_attribute(&attribute, &mut nested) {
                Ok(Some(typed)) => column.append(&typed),
                Ok(None) => {
                    column.append_null();
                    true
                }
                Err(_) => {
                    column.append_null();
                    false
                }
            };
            if !held {
                rescued.push((name, attribute));
            }
        }
        self.rescued.append_option(rescued_json(&rescued));
        let written = plan.write_time(values).and_then(|attribute| match attribute.plain {
            Plain::N(number) => number::to_i64(number),
            Plain::S(_) | Plain::Bool(_) | Plain::Null | Plain::Nested => None,
        });
        // An attribute that is read for two columns was of neither's type, and is there once.
        let mismatches = rescued.iter().map(|(name, _)| name).collect::<BTreeSet<_>>().len();
        Pushed { mismatches, written: written.map(Timestamp::from_millis) }
    }

    /// Takes the rows; what is pushed afterwards are other rows.
    pub fn finish(&mut self) -> Gathered {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.key.finish()),
            Arc::new(self.pk.finish()),
            Arc::new(self.sk.finish()),
            Arc::new(self.version.finish()),
            Arc::new(self.op.finish()),
            Arc::new(self.event_ts.finish()),
            Arc::new(self.event_time.finish()),
            Arc::new(self.seq.finish()),
            Arc::new(self.shard.finish()),
            Arc::new(self.event_id.finish()),
            Arc::new(self.log_partition.finish()),
            Arc::new(self.log_offset.finish()),
            Arc::new(self.changed.finish()),
            Arc::new(self.item.finish()),
        ];
        columns.extend(self.features.iter_mut().map(FeatureColumn::finish));
        columns.push(Arc::new(self.rescued.finish()));
        columns.push(Arc::new(self.error.finish()));
        let (rows, bytes) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.bytes));
        Gathered::new(self.plan.clone(), columns, rows, bytes)
    }
}

/// The attributes as one object, sorted by name.
fn rescued_json(rescued: &[(&str, Attribute<'_>)]) -> Option<String> {
    if rescued.is_empty() {
        return None;
    }
    // An attribute's JSON is JSON.
    let read = |json| serde_json::from_str::<&RawValue>(json).ok();
    let all = rescued.iter().filter_map(|(name, attribute)| Some((*name, read(attribute.json)?)));
    let rescued: BTreeMap<&str, &RawValue> = all.collect();
    serde_json::to_string(&rescued).ok()
}
