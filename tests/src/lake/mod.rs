//! The lake's tables read by a path of their own: the Delta log's files and the parquet files, nothing of the product.

mod columns;
mod log;
mod tail;

use std::path::{Path, PathBuf};

use headwater_common::change::TableName;
use headwater_common::value::Item;

pub use log::{TableLog, read as table_log};
pub use tail::Tail;

use crate::error::Error;
use crate::observed::{CurrentRow, HistoryRow, op};

/// Every row of `<table>_history` in the lake at `root`.
pub fn history(root: &Path, table: &TableName) -> Result<Vec<HistoryRow>, Error> {
    let folder = history_folder(root, table);
    let mut rows = Vec::new();
    for file in log::read(&folder)?.files {
        rows.extend(history_rows(&folder.join(file), table)?);
    }
    Ok(rows)
}

fn history_folder(root: &Path, table: &TableName) -> PathBuf {
    root.join(format!("{table}_history"))
}

/// The rows of one data file.
fn history_rows(path: &Path, table: &TableName) -> Result<Vec<HistoryRow>, Error> {
    const COLUMNS: &[&str] =
        &["_key", "_version", "_op", "_log_partition", "_log_offset", "_event_id", "_error", "item"];
    let mut rows = Vec::new();
    for batch in columns::batches(path, COLUMNS)? {
        let wrong = |reason: String| Error::lake(path, reason);
        let text = |name| columns::texts(batch.column_by_name(name), name).map_err(wrong);
        let integer = |name| columns::integers(batch.column_by_name(name), name).map_err(wrong);
        let (keys, ops, items) = (text("_key")?, text("_op")?, text("item")?);
        let (events, errors) = (text("_event_id")?, text("_error")?);
        let (versions, partitions, offsets) =
            (integer("_version")?, integer("_log_partition")?, integer("_log_offset")?);
        for at in 0..batch.num_rows() {
            rows.push(HistoryRow {
                table: table.clone(),
                key: keys.get(at).unwrap_or_default(),
                version: versions.get(at).unwrap_or_default(),
                op: ops.get(at).map(|code| op(&code)).transpose()?,
                item: items.get(at).map(|text| item(path, &text)).transpose()?,
                log_partition: partitions.get(at).ok_or_else(|| wrong("a row without a partition".into()))?,
                log_offset: offsets.get(at).ok_or_else(|| wrong("a row without an offset".into()))?,
                event_id: events.get(at),
                error: errors.get(at),
            });
        }
    }
    Ok(rows)
}

/// Every row of `<table>_current` in the lake at `root`.
pub fn current(root: &Path, table: &TableName) -> Result<Vec<CurrentRow>, Error> {
    let folder = root.join(format!("{table}_current"));
    let mut rows = Vec::new();
    for file in log::read(&folder)?.files {
        current_rows(&folder.join(file), table, &mut rows)?;
    }
    Ok(rows)
}

fn current_rows(path: &Path, table: &TableName, rows: &mut Vec<CurrentRow>) -> Result<(), Error> {
    for batch in columns::batches(path, &["_key", "_version", "item"])? {
        let wrong = |reason: String| Error::lake(path, reason);
        let keys = columns::texts(batch.column_by_name("_key"), "_key").map_err(wrong)?;
        let items = columns::texts(batch.column_by_name("item"), "item").map_err(wrong)?;
        let versions = columns::integers(batch.column_by_name("_version"), "_version").map_err(wrong)?;
        for at in 0..batch.num_rows() {
            let missing = |name: &str| wrong(format!("a row without {name}"));
            rows.push(CurrentRow {
                table: table.clone(),
                key: keys.get(at).ok_or_else(|| missing("_key"))?,
                version: versions.get(at).ok_or_else(|| missing("_version"))?,
                item: item(path, &items.get(at).ok_or_else(|| missing("item"))?)?,
            });
        }
    }
    Ok(())
}

fn item(path: &Path, text: &str) -> Result<Item, Error> {
    Item::from_json(text).map_err(|error| Error::lake(path, format!("column item: {error}")))
}
