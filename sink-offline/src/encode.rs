//! Changes → rows of `<table>_history`, column by column.
//!
//! Promises that every record becomes exactly one row: an attribute that is not of its declared type goes to `_rescued`
//! and leaves its column null, a record that can't be decoded goes there whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use headwater_common::canonical;
use headwater_common::change::{Change, Op, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::key::ItemKey;
use headwater_common::log::{LogRecord, Offset};
use headwater_common::number::Number;
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::typed::moment;
use headwater_common::value::Value;

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
    values: Values,
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
    key: &'a ItemKey,
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
        let features = plan.schema.features().iter().map(|column| FeatureColumn::new(column.column_type)).collect();
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
            values: Values::default(),
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
        let mut values = std::mem::take(&mut self.values);
        let json = change.after.as_ref().map(|item| {
            self.plan.read(item, &mut values);
            item.to_json()
        });
        let head = Head {
            key: &change.key,
            version: change.version,
            op: change.op,
            created: change.created,
            sequence: &change.source.sequence,
            shard: change.source.shard.as_str(),
            event_id: &change.source.event_id,
            changed: change.changed.as_ref().map(|names| names.iter().map(String::as_str).collect()),
        };
        let pushed = self.row_of(partition, offset, &head, json.as_deref(), &values);
        self.values = values;
        pushed
    }

    /// Appends the change of `table` that the record holds in canonical form. `None`, without a row, if it doesn't.
    pub fn push_canonical(&mut self, table: &TableName, record: &LogRecord) -> Option<Pushed> {
        let (plan, mut values) = (self.plan.clone(), std::mem::take(&mut self.values));
        let change = canonical::read(&record.value, &mut plan.reader(&mut values));
        let pushed = change.filter(|change| change.table == table.as_str()).map(|change| {
            let head = Head {
                key: &change.key,
                version: change.version,
                op: change.op,
                created: change.created,
                sequence: &change.sequence,
                shard: change.shard,
                event_id: change.event_id,
                changed: change.changed,
            };
            self.row_of(record.at.partition, record.offset, &head, change.after, &values)
        });
        self.values = values;
        pushed
    }

    fn row_of(
        &mut self,
        partition: u16,
        offset: Offset,
        head: &Head<'_>,
        json: Option<&str>,
        values: &Values,
    ) -> Pushed {
        self.key.append_value(head.key.canonical().to_text());
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

    fn image(&mut self, json: &str, values: &Values) -> Pushed {
        let plan = self.plan.clone();
        let mut rescued = Vec::new();
        self.item.append_value(json);
        let event_time = plan.event_time(values);
        let at = event_time.and_then(|(_, value)| moment(value).ok()).and_then(micros);
        self.event_time.append_option(at);
        rescued.extend(event_time.filter(|(_, value)| at.is_none() && **value != Value::Null));
        for (place, ((name, feature_type), column)) in plan.features.iter().zip(&mut self.features).enumerate() {
            let Some(value) = values.feature(place) else {
                column.append_null();
                continue;
            };
            let held = match feature_type.read(value) {
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
                rescued.push((name, value));
            }
        }
        let rescued: BTreeMap<&str, &Value> = rescued.into_iter().collect();
        let json = (!rescued.is_empty()).then(|| serde_json::to_string(&rescued).ok()).flatten();
        self.rescued.append_option(json);
        let written = plan.write_time(values).and_then(Value::as_number).and_then(Number::to_i64);
        Pushed { mismatches: rescued.len(), written: written.map(Timestamp::from_millis) }
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
