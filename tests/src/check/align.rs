//! The rows of one key laid beside the steps of its timeline, which every checker of the history looks at.

use std::collections::BTreeMap;

use headwater_common::change::Op;

use crate::history::{Key, WriteId};
use crate::model::{Effect, Removal, Timeline};
use crate::observed::HistoryRow;

/// A row, in log order among its key's.
#[derive(Clone, Debug)]
pub struct Placed<'a> {
    pub row: &'a HistoryRow,
    /// The step that it shows; `None` for one that never was.
    pub step: Option<usize>,
    /// The earlier row that it says again.
    pub repeats: Option<&'a HistoryRow>,
}

impl Placed<'_> {
    pub fn place(&self) -> String {
        let row = self.row;
        format!("version {} at {}/{}", row.version, row.log_partition, row.log_offset)
    }
}

/// The rows of every key, in log order. Dead letters are left out: they have no key.
pub fn by_key(rows: &[HistoryRow]) -> BTreeMap<Key, Vec<&HistoryRow>> {
    let mut keys: BTreeMap<Key, Vec<&HistoryRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.error.is_none()) {
        keys.entry(row.key()).or_default().push(row);
    }
    for rows in keys.values_mut() {
        rows.sort_by_key(|row| (row.log_partition, row.log_offset, row.version));
    }
    keys
}

pub fn align<'a>(timeline: &Timeline, rows: &[&'a HistoryRow]) -> Vec<Placed<'a>> {
    let mut placed = mark_repeats(rows);
    for row in &mut placed {
        row.step = written_by(row.row).and_then(|id| timeline.step_of(&id));
    }
    place_removals(timeline, &mut placed);
    placed
}

pub fn written_by(row: &HistoryRow) -> Option<WriteId> {
    row.item.as_ref().and_then(WriteId::of)
}

/// A row says another again when it shows the same write, or is the same event.
fn mark_repeats<'a>(rows: &[&'a HistoryRow]) -> Vec<Placed<'a>> {
    let mut writes: BTreeMap<WriteId, &'a HistoryRow> = BTreeMap::new();
    let mut events: BTreeMap<(bool, String), &'a HistoryRow> = BTreeMap::new();
    let mut placed = Vec::with_capacity(rows.len());
    for row in rows {
        let mut repeats = None;
        if let Some(id) = written_by(row) {
            repeats = Some(*writes.entry(id).or_insert(row));
        }
        // A removal names no write: the same event, or else the same version.
        if row.item.is_none() {
            let event = row.event_id.clone().unwrap_or_else(|| row.version.to_string());
            repeats = Some(*events.entry((row.event_id.is_some(), event)).or_insert(row));
        }
        let repeats = repeats.filter(|first| !std::ptr::eq(*first, *row));
        placed.push(Placed { row, step: None, repeats });
    }
    placed
}

/// A removal belongs to the step between the states around it.
fn place_removals(timeline: &Timeline, placed: &mut [Placed<'_>]) {
    let mut taken = vec![false; timeline.steps.len()];
    let mut last = None;
    for at in 0..placed.len() {
        if placed[at].repeats.is_some() {
            continue;
        }
        if placed[at].row.item.is_some() {
            last = placed[at].step.or(last);
            continue;
        }
        let kind = if placed[at].row.op == Some(Op::Expire) { Removal::Expire } else { Removal::Delete };
        let next = placed[at + 1..].iter().filter(|row| row.repeats.is_none()).find_map(|row| row.step);
        let from = last.map_or(0, |last| last + 1);
        let until = next.filter(|next| *next > from).unwrap_or(timeline.steps.len());
        let open = |step: &usize| timeline.steps[*step].effect == Effect::Removed(kind) && !taken[*step];
        let step = (from..until)
            .find(|step| open(step) && timeline.steps[*step].certain)
            .or_else(|| (from..until).find(|step| open(step)));
        if let Some(step) = step {
            taken[step] = true;
            last = Some(step);
        }
        placed[at].step = step;
    }
}
