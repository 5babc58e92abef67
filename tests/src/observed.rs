//! What a run left in the stores, as values: read from the lake's files, from the table, or from the command's JSON.

use std::collections::BTreeMap;

use headwater_common::change::{Op, TableName};
use headwater_common::value::Item;
use serde_json::Value as Json;

use crate::error::Error;
use crate::history::Key;

/// One row of `<table>_history`.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryRow {
    pub table: TableName,
    /// `_key`; empty for a record that could not be decoded.
    pub key: String,
    pub version: i64,
    pub op: Option<Op>,
    /// The new image; `None` for a removal.
    pub item: Option<Item>,
    pub log_partition: i64,
    pub log_offset: i64,
    pub event_id: Option<String>,
    /// Why the record could not be decoded.
    pub error: Option<String>,
}

/// One row of `<table>_current`.
#[derive(Clone, Debug, PartialEq)]
pub struct CurrentRow {
    pub table: TableName,
    pub key: String,
    pub version: i64,
    pub item: Item,
}

/// One document of the index, tombstones included.
#[derive(Clone, Debug, PartialEq)]
pub struct IndexDocument {
    pub table: TableName,
    /// The document's id, which for a long key is a digest.
    pub id: String,
    pub version: i64,
    pub live: bool,
    /// The whole image; `None` for a tombstone.
    pub item: Option<Item>,
}

/// Everything that the checkers look at. Take the scan first, then wait until the sinks are complete past it, then
/// read them: else a removal by the time to live in between looks like a difference.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    pub scan: BTreeMap<Key, Item>,
    pub history: Vec<HistoryRow>,
    /// `None` when the run has no such store.
    pub current: Option<Vec<CurrentRow>>,
    pub index: Option<Vec<IndexDocument>>,
}

impl HistoryRow {
    pub fn key(&self) -> Key {
        Key { table: self.table.clone(), text: self.key.clone() }
    }

    /// From a row of `select * from <table>_history` as JSON, its columns by their names in the lake.
    pub fn from_json(table: &TableName, row: &Json) -> Result<HistoryRow, Error> {
        Ok(HistoryRow {
            table: table.clone(),
            key: text(row, "_key").unwrap_or_default(),
            version: integer(row, "_version")?.unwrap_or_default(),
            op: text(row, "_op").map(|code| op(&code)).transpose()?,
            item: item(row, "item")?,
            log_partition: integer(row, "_log_partition")?.unwrap_or(-1),
            log_offset: integer(row, "_log_offset")?.unwrap_or(-1),
            event_id: text(row, "_event_id"),
            error: text(row, "_error"),
        })
    }
}

impl CurrentRow {
    pub fn key(&self) -> Key {
        Key { table: self.table.clone(), text: self.key.clone() }
    }

    /// From a row of `select _key, _version, item from <table>_current` as JSON.
    pub fn from_json(table: &TableName, row: &Json) -> Result<CurrentRow, Error> {
        let missing = |name: &str| Error::answer("a row of the current table", format!("no {name}"));
        Ok(CurrentRow {
            table: table.clone(),
            key: text(row, "_key").ok_or_else(|| missing("_key"))?,
            version: integer(row, "_version")?.ok_or_else(|| missing("_version"))?,
            item: item(row, "item")?.ok_or_else(|| missing("item"))?,
        })
    }
}

pub fn op(code: &str) -> Result<Op, Error> {
    serde_json::from_value(Json::from(code)).map_err(|error| Error::answer("a change's op", error))
}

fn text(row: &Json, name: &str) -> Option<String> {
    row.get(name).and_then(Json::as_str).map(str::to_owned)
}

/// A number, or a number as text: a JSON reader that knows doubles only must be told big integers so.
fn integer(row: &Json, name: &str) -> Result<Option<i64>, Error> {
    match row.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()))
            .map(Some)
            .ok_or_else(|| Error::answer(format!("column {name}"), format!("{value} is no whole number"))),
    }
}

/// DynamoDB JSON, as an object or as text that holds one.
fn item(row: &Json, name: &str) -> Result<Option<Item>, Error> {
    let read = match row.get(name) {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::String(text)) => Item::from_json(text),
        Some(value) => serde_json::from_value(value.clone()),
    };
    read.map(Some).map_err(|error| Error::answer(format!("column {name}"), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_json_with_items_as_text_or_object() {
        let table = TableName::new("t");
        let row = serde_json::json!({
            "_key": "k", "_version": "9007199254740993", "_op": "u", "item": "{\"a\":{\"N\":\"1\"}}",
            "_log_partition": 3, "_log_offset": 7, "_event_id": "e", "_error": null,
        });
        let read = HistoryRow::from_json(&table, &row).unwrap();
        assert_eq!((read.version, read.op, read.log_offset), (9_007_199_254_740_993, Some(Op::Modify), 7));
        let current = serde_json::json!({"_key": "k", "_version": 1, "item": {"a": {"N": "1"}}});
        assert_eq!(Some(CurrentRow::from_json(&table, &current).unwrap().item), read.item);
        assert!(CurrentRow::from_json(&table, &serde_json::json!({"_key": "k"})).is_err());
    }
}
