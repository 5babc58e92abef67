//! P3: a change is in the history once; one version is one change; an item has one row and one document.

use std::collections::BTreeMap;

use super::align::{align, by_key};
use super::{Promise, Violation};
use crate::history::Key;
use crate::model::{Model, Timeline};
use crate::observed::{HistoryRow, Observed};

pub fn effectively_once(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut twice = |key: &Key, text: String| violations.push(Violation::new(Promise::P3Once, model, key, text));
    for (key, rows) in by_key(&observed.history) {
        let Some(timeline) = model.keys.get(&key) else { continue };
        for text in repeated(timeline, &rows) {
            twice(&key, text);
        }
    }
    let mut places: BTreeMap<_, &HistoryRow> = BTreeMap::new();
    for row in &observed.history {
        let place = (&row.table, row.log_partition, row.log_offset);
        if let Some(first) = places.insert(place, row)
            && first.key != row.key
        {
            twice(&row.key(), format!("offset {}/{} holds two changes", row.log_partition, row.log_offset));
        }
    }
    let mut seen: BTreeMap<Key, i64> = BTreeMap::new();
    for row in observed.current.iter().flatten() {
        if let Some(first) = seen.insert(row.key(), row.version) {
            twice(&row.key(), format!("two rows in the current table, versions {first} and {}", row.version));
        }
    }
    let mut seen: BTreeMap<_, i64> = BTreeMap::new();
    for document in observed.index.iter().flatten() {
        if let Some(first) = seen.insert((&document.table, &document.id), document.version) {
            let key = Key { table: document.table.clone(), text: document.id.clone() };
            let key = model.key_of_document(document.table.as_str(), &document.id).unwrap_or(&key);
            twice(key, format!("two documents in the index, versions {first} and {}", document.version));
        }
    }
    violations
}

fn repeated(timeline: &Timeline, rows: &[&HistoryRow]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut versions: BTreeMap<i64, String> = BTreeMap::new();
    for placed in align(timeline, rows) {
        if let Some(first) = placed.repeats {
            let first = format!("version {} at {}/{}", first.version, first.log_partition, first.log_offset);
            texts.push(format!("{} says again what {first} said", placed.place()));
        } else if let Some(first) = versions.insert(placed.row.version, placed.place()) {
            texts.push(format!("{} and {first} are two changes with one version", placed.place()));
        }
    }
    texts
}
