//! P1: every change that the table acknowledged is in the lake's history, and its item, if it lives, in every sink.

use std::collections::BTreeSet;

use super::align::{align, by_key};
use super::{Promise, Violation};
use crate::history::Key;
use crate::model::{Effect, Model, Step};
use crate::observed::Observed;

pub fn no_loss(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut lost = |key: &Key, text: String| violations.push(Violation::new(Promise::P1NoLoss, model, key, text));
    let rows = by_key(&observed.history);
    let current: Option<BTreeSet<Key>> =
        observed.current.as_ref().map(|rows| rows.iter().map(|row| row.key()).collect());
    let index: Option<BTreeSet<Key>> = observed.index.as_ref().map(|documents| {
        let live = documents.iter().filter(|document| document.live);
        live.filter_map(|document| model.key_of_document(document.table.as_str(), &document.id)).cloned().collect()
    });
    for (key, timeline) in &model.keys {
        let placed = align(timeline, rows.get(key).map_or(&[], Vec::as_slice));
        let shown: BTreeSet<usize> = placed.iter().filter_map(|row| row.step).collect();
        for (at, step) in timeline.steps.iter().enumerate().filter(|(_, step)| step.certain) {
            if !shown.contains(&at) {
                let last = placed.iter().rfind(|row| row.step.is_some_and(|step| step < at));
                let after = last.map_or("the beginning".to_owned(), |row| row.place());
                lost(key, format!("{} is not in the history, after {after}", described(step)));
            }
        }
        if timeline.is_certainly_live() {
            for (sink, keys) in [("the current table", &current), ("the index", &index)] {
                if keys.as_ref().is_some_and(|keys| !keys.contains(key)) {
                    lost(key, format!("{:?} is live and not in {sink}", timeline.finals()));
                }
            }
        }
    }
    for row in observed.history.iter().filter(|row| row.error.is_some()) {
        let reason = row.error.as_deref().unwrap_or_default();
        let text = format!("a dead letter at {}/{}: {reason}", row.log_partition, row.log_offset);
        lost(&row.key(), text);
    }
    violations
}

fn described(step: &Step) -> String {
    match &step.effect {
        Effect::State { id, .. } => format!("write {id}"),
        Effect::Removed(kind) => format!("a removal ({kind:?})"),
    }
}
