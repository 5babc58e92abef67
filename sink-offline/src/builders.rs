//! The columns of `<table>_history` while they are filled, one row at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Builder, Int64Builder, ListBuilder, StringBuilder, TimestampMicrosecondBuilder};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use headwater_common::attribute::{Attribute, Plain};
use headwater_common::change::Op;
use headwater_common::clock::Timestamp;
use headwater_common::key::{KeyRef, text_into};
use headwater_common::log::{LogRecord, Offset};
use headwater_common::number;
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::typed::moment_of;
use serde_json::value::RawValue;

use crate::columns::{FeatureColumn, micros, strings, timestamps};
use crate::encode::{Pushed, RESCUED_RECORD};
use crate::plan::{Plan, Values};

/// What a row holds of a change beside its image.
pub(crate) struct Head<'a> {
    pub(crate) key: KeyRef<'a>,
    pub(crate) version: Version,
    pub(crate) op: Op,
    pub(crate) created: Timestamp,
    pub(crate) sequence: &'a SequenceNumber,
    pub(crate) shard: &'a str,
    pub(crate) event_id: &'a str,
    pub(crate) changed: Option<Vec<&'a str>>,
}

/// One builder for each column but that of the commit's time.
pub(crate) struct Builders {
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
    /// Room for a key's canonical bytes, and their text.
    key_bytes: Vec<u8>,
    key_text: String,
}

impl Builders {
    /// With room for so many rows, from records of so many bytes in all.
    pub(crate) fn with_capacity(plan: &Plan, rows: usize, bytes: usize) -> Builders {
        let features = plan.schema.features().iter();
        let features = features.map(|column| FeatureColumn::with_capacity(column.column_type, rows)).collect();
        let text = |width: usize| StringBuilder::with_capacity(rows, rows * width);
        Builders {
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
            key_bytes: Vec::new(),
            key_text: String::new(),
        }
    }

    /// Appends a change; `json` is its new image, `values` what the plan reads of it.
    pub(crate) fn change(
        &mut self,
        plan: &Plan,
        (partition, offset): (u16, Offset),
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
            Some(json) => self.image(plan, json, values),
            None => {
                self.no_image(None);
                Pushed::default()
            }
        };
        self.place(partition, offset);
        pushed
    }

    /// Appends a record that can't be decoded, whole.
    pub(crate) fn dead_letter(&mut self, record: &LogRecord, reason: &str) {
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
        self.place(record.at.partition, record.offset);
    }

    fn place(&mut self, partition: u16, offset: Offset) {
        self.log_partition.append_value(i32::from(partition));
        self.log_offset.append_value(i64::try_from(offset.0).unwrap_or(i64::MAX));
    }

    fn no_image(&mut self, rescued: Option<String>) {
        self.event_time.append_null();
        self.item.append_null();
        self.rescued.append_option(rescued);
        for column in &mut self.features {
            column.append_null();
        }
    }

    fn image(&mut self, plan: &Plan, json: &str, values: &Values<'_>) -> Pushed {
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

    /// The columns so far; what is appended afterwards are other rows.
    pub(crate) fn finish(&mut self) -> Vec<ArrayRef> {
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
        columns
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
