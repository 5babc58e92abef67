//! P4: when writes have stopped, the table, the lake's current table and the index hold the same items.
//!
//! Leaves to P1 what is missing although it certainly lives, to P5 and P6 what should not be there at all, and to P11
//! an item of the lake that is the right write with the wrong content.

use std::collections::{BTreeMap, BTreeSet};

use headwater_common::change::Op;
use headwater_common::value::Item;

use super::align::{by_key, written_by};
use super::{Promise, Violation};
use crate::history::{Key, WriteId, may_expire};
use crate::model::Model;
use crate::observed::{HistoryRow, Observed};

struct Held<'a> {
    version: i64,
    item: Option<&'a Item>,
}

pub fn convergence(model: &Model, observed: &Observed) -> Vec<Violation> {
    let rows = by_key(&observed.history);
    let mut violations = Vec::new();
    if let Some(current) = &observed.current {
        let held =
            current.iter().map(|row| (row.key(), Held { version: row.version, item: Some(&row.item) })).collect();
        violations.extend(compare(model, observed, &rows, "the current table", &held, true));
    }
    if let Some(index) = &observed.index {
        let key = |table: &str, id: &str| model.key_of_document(table, id).cloned();
        let live = index.iter().filter(|document| document.live);
        let held = live
            .filter_map(|document| {
                let held = Held { version: document.version, item: document.item.as_ref() };
                Some((key(document.table.as_str(), &document.id)?, held))
            })
            .collect();
        violations.extend(compare(model, observed, &rows, "the index", &held, false));
    }
    violations
}

fn compare(
    model: &Model,
    observed: &Observed,
    rows: &BTreeMap<Key, Vec<&HistoryRow>>,
    sink: &str,
    held: &BTreeMap<Key, Held<'_>>,
    content_is_p11: bool,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let keys: BTreeSet<&Key> = observed.scan.keys().chain(held.keys()).collect();
    for key in keys {
        let rows = rows.get(key).map_or(&[] as &[_], Vec::as_slice);
        let timeline = model.keys.get(key);
        let text = match (observed.scan.get(key), held.get(key)) {
            (Some(_), None) if timeline.is_some_and(|timeline| timeline.is_certainly_live()) => None,
            (Some(item), None) if may_expire(item) && rows.last().is_some_and(|row| row.op == Some(Op::Expire)) => None,
            (Some(_), None) => Some(format!("is in the table and not in {sink}")),
            (None, Some(_)) if timeline.is_none_or(|timeline| timeline.is_certainly_gone()) => None,
            (None, Some(held)) => Some(format!("is in {sink} as version {} and not in the table", held.version)),
            (Some(item), Some(held)) => differs(item, held, rows, sink, content_is_p11),
            (None, None) => None,
        };
        violations.extend(text.map(|text| Violation::new(Promise::P4Convergence, model, key, text)));
    }
    violations
}

fn differs(item: &Item, held: &Held<'_>, rows: &[&HistoryRow], sink: &str, content_is_p11: bool) -> Option<String> {
    let writes = (WriteId::of(item), held.item.and_then(WriteId::of));
    if let Some(shown) = held.item
        && shown.normalised() != item.normalised()
        && !(content_is_p11 && writes.0 == writes.1)
    {
        let names = Item::changed(&item.normalised(), &shown.normalised());
        let of = |id: Option<WriteId>| id.map_or("no write".to_owned(), |id| id.to_string());
        let (table, sunk) = (of(writes.0), of(writes.1));
        return Some(format!("{sink} holds {sunk} as version {}, the table {table}; {names:?} differ", held.version));
    }
    // The version must be that of the same write's row; where the row is lost, P1 says so.
    let mut same = rows.iter().filter(|row| writes.0.is_some() && written_by(row) == writes.0).peekable();
    if same.peek().is_some() && same.all(|row| row.version != held.version) {
        return Some(format!("{sink} says version {}, which is not that write's in the history", held.version));
    }
    None
}
