//! P6: a key whose last change removed it stays removed, everywhere.

use super::align::{align, by_key};
use super::{Promise, Violation};
use crate::model::{Effect, Model};
use crate::observed::Observed;

pub fn deletes_stick(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut alive = |key, text| violations.push(Violation::new(Promise::P6DeletesStick, model, key, text));
    let gone = |key| model.keys.get(key).filter(|timeline| timeline.is_certainly_gone());
    for row in observed.current.iter().flatten() {
        if let Some((key, _)) = model.keys.get_key_value(&row.key()).filter(|(key, _)| gone(key).is_some()) {
            alive(key, format!("deleted, and in the current table as version {}", row.version));
        }
    }
    for document in observed.index.iter().flatten().filter(|document| document.live) {
        let key = model.key_of_document(document.table.as_str(), &document.id);
        if let Some(key) = key.filter(|key| gone(key).is_some()) {
            alive(key, format!("deleted, and live in the index as version {}", document.version));
        }
    }
    for (key, rows) in by_key(&observed.history) {
        let Some((known, timeline)) = model.keys.get_key_value(&key) else { continue };
        if !timeline.is_certainly_gone() {
            continue;
        }
        let placed = align(timeline, &rows);
        let removed = |step: usize| matches!(timeline.steps[step].effect, Effect::Removed(_));
        let removal = placed.iter().filter_map(|row| row.step).filter(|step| removed(*step)).max();
        let newest = placed.iter().max_by_key(|row| row.row.version);
        if let (Some(removal), Some(newest)) = (removal, newest)
            && newest.row.item.is_some()
            && newest.step.is_some_and(|step| step < removal)
        {
            alive(known, format!("deleted, and live again in the history, {}", newest.place()));
        }
    }
    violations
}
