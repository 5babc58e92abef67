//! The changes of one item, as of a moment by either clock.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::common::ScalarValue;
use datafusion::functions::expr_fn::coalesce;
use datafusion::prelude::{ident, lit};
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::definition::{KeyAttribute, KeyType};
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::number::Number;
use headwater_sink_offline::schema;
use serde::Serialize;

use super::error::QueryError;
use super::reader::LakeReader;

/// Which clock a moment is read by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// When it happened: the producer's event time, or where the change has none, when the item changed.
    EventTime,
    /// When the lake knew it.
    KnownAt,
}

/// One change of the item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryEntry {
    pub version: i64,
    /// `c`, `u`, `d`, `x` or `r`.
    pub op: String,
    pub event_ts: Option<Timestamp>,
    pub event_time: Option<Timestamp>,
    pub commit_ts: Option<Timestamp>,
    /// Names of the attributes that changed, where both images were known.
    pub changed: Option<Vec<String>>,
    /// The item after the change as DynamoDB JSON; `None` for a deletion.
    pub item: Option<String>,
}

const COLUMNS: [&str; 7] = [
    schema::VERSION,
    schema::OP,
    schema::EVENT_TS,
    schema::EVENT_TIME,
    schema::COMMIT_TS,
    schema::CHANGED,
    schema::ITEM,
];

impl LakeReader {
    /// The item's changes up to and including `as_of`, newest first. `key` is the partition attribute's value and, where
    /// the table has one, the sort attribute's: text as it is, numbers in decimal, binary in base64url without padding.
    pub async fn history(
        &self,
        table: &TableName,
        key: &[&str],
        as_of: Option<Timestamp>,
        by: AsOf,
    ) -> Result<Vec<HistoryEntry>, QueryError> {
        let key = self.key(table, key)?.canonical().to_text();
        let engine = self.engine()?;
        let history = self.snapshot(table).await?.history_table().map_err(|error| self.view_failed(error))?;
        let failed = |error| QueryError::of(error, self.settings.memory_bytes);
        let clock = match by {
            AsOf::KnownAt => ident(schema::COMMIT_TS),
            AsOf::EventTime => coalesce(vec![ident(schema::EVENT_TIME), ident(schema::EVENT_TS)]),
        };
        let mut rows = engine.read_table(history).and_then(|frame| frame.filter(ident(schema::KEY).eq(lit(key))));
        if let Some(as_of) = as_of {
            // A moment has milliseconds, a column microseconds: to the end of the millisecond.
            let micros = as_of.as_micros().saturating_add(999);
            let until = lit(ScalarValue::TimestampMicrosecond(Some(micros), Some(schema::UTC.into())));
            rows = rows.and_then(|frame| frame.filter(clock.lt_eq(until)));
        }
        let rows = rows
            .and_then(|frame| frame.sort(vec![ident(schema::VERSION).sort(false, true)]))
            .and_then(|frame| frame.select(COLUMNS.map(ident)))
            .map_err(failed)?;
        let batches = rows.collect().await.map_err(failed)?;
        let mut entries = Vec::new();
        for batch in &batches {
            let read = entries_of(batch).ok_or_else(|| QueryError::Failed("history has other columns".to_owned()))?;
            entries.extend(read);
        }
        // A change that the log held twice is one change.
        entries.dedup_by_key(|entry| entry.version);
        Ok(entries)
    }

    /// The typed key that these texts mean in `table`.
    pub fn key(&self, table: &TableName, key: &[&str]) -> Result<ItemKey, QueryError> {
        let definition = &self.entity(table)?.key;
        let attribute = |attribute: &KeyAttribute, text: &str| {
            typed(attribute.key_type, text).map(|value| (attribute.name.clone(), value)).ok_or_else(|| {
                let wanted = match attribute.key_type {
                    KeyType::String => "a string",
                    KeyType::Number => "a number",
                    KeyType::Binary => "base64url without padding",
                };
                QueryError::Key(format!("key attribute {} of {table} is {wanted}", attribute.name))
            })
        };
        match (key, &definition.sort) {
            ([partition], None) => Ok(ItemKey { partition: attribute(&definition.partition, partition)?, sort: None }),
            ([partition, sort], Some(second)) => Ok(ItemKey {
                partition: attribute(&definition.partition, partition)?,
                sort: Some(attribute(second, sort)?),
            }),
            (_, None) => Err(QueryError::Key(format!("a key of {table} is one value, {}", definition.partition.name))),
            (_, Some(sort)) => Err(QueryError::Key(format!(
                "a key of {table} is two values, {} and {}",
                definition.partition.name, sort.name
            ))),
        }
    }
}

fn typed(key_type: KeyType, text: &str) -> Option<KeyValue> {
    use base64::Engine as _;
    Some(match key_type {
        KeyType::String => KeyValue::S(text.to_owned()),
        KeyType::Number => KeyValue::N(Number::parse(text).ok()?),
        KeyType::Binary => KeyValue::B(base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(text).ok()?),
    })
}

fn entries_of(batch: &RecordBatch) -> Option<Vec<HistoryEntry>> {
    let column = |name: &str| batch.column_by_name(name);
    let moments = |name: &str| column(name)?.as_primitive_opt::<TimestampMicrosecondType>();
    let versions = column(schema::VERSION)?.as_primitive_opt::<Int64Type>()?;
    let (ops, items) = (column(schema::OP)?.as_string_opt::<i32>()?, column(schema::ITEM)?.as_string_opt::<i32>()?);
    let (event_ts, event_time) = (moments(schema::EVENT_TS)?, moments(schema::EVENT_TIME)?);
    let (commit_ts, changed) = (moments(schema::COMMIT_TS)?, column(schema::CHANGED)?.as_list_opt::<i32>()?);
    let moment = |array: &arrow::array::TimestampMicrosecondArray, row| {
        array.is_valid(row).then(|| Timestamp::from_millis(array.value(row).div_euclid(1000)))
    };
    let names = |row| {
        changed.is_valid(row).then(|| {
            let names = changed.value(row);
            let names = names.as_string_opt::<i32>();
            names.into_iter().flatten().flatten().map(str::to_owned).collect()
        })
    };
    let entry = |row| HistoryEntry {
        version: versions.value(row),
        op: ops.value(row).to_owned(),
        event_ts: moment(event_ts, row),
        event_time: moment(event_time, row),
        commit_ts: moment(commit_ts, row),
        changed: names(row),
        item: items.is_valid(row).then(|| items.value(row).to_owned()),
    };
    Some((0..batch.num_rows()).map(entry).collect())
}
