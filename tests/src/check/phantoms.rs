//! P5: nothing is anywhere that was not written. A write without an answer counts as written.

use super::align::{align, by_key, written_by};
use super::{Promise, Violation};
use crate::history::{Key, WriteId};
use crate::model::Model;
use crate::observed::Observed;
use headwater_common::value::Item;

pub fn no_phantom(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut phantom = |key: &Key, text: String| {
        violations.push(Violation::new(Promise::P5NoPhantom, model, key, text));
    };
    for (key, rows) in by_key(&observed.history) {
        let Some(timeline) = model.keys.get(&key) else {
            phantom(&key, format!("{} rows in the history, of a key that nobody wrote", rows.len()));
            continue;
        };
        for row in align(timeline, &rows).iter().filter(|row| row.step.is_none() && row.repeats.is_none()) {
            let what = match (&row.row.item, written_by(row.row)) {
                (None, _) => format!("a removal ({:?}) that nothing explains", row.row.op),
                (Some(_), None) => "an item that names no write".to_owned(),
                (Some(_), Some(id)) => format!("an item of {id}, which is no write of this key"),
            };
            phantom(&key, format!("{what}, {}", row.place()));
        }
    }
    let known = |key: &Key, item: &Item| {
        let timeline = model.keys.get(key)?;
        timeline.step_of(&WriteId::of(item)?)
    };
    for row in observed.current.iter().flatten() {
        if known(&row.key(), &row.item).is_none() {
            phantom(&row.key(), format!("the current table's version {} is of no write", row.version));
        }
    }
    for document in observed.index.iter().flatten() {
        let key = model.key_of_document(document.table.as_str(), &document.id);
        let stray = Key { table: document.table.clone(), text: document.id.clone() };
        let written = match (key, &document.item) {
            (Some(key), Some(item)) if document.live => known(key, item).is_some(),
            (key, _) => key.is_some(),
        };
        if !written {
            phantom(key.unwrap_or(&stray), format!("the index's version {} is of no write", document.version));
        }
    }
    violations
}
