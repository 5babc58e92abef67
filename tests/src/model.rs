//! The reference model: what each item went through, and what may be left of it.
//!
//! Folds a [`History`] into *steps* per key: the states and removals in the order in which the key's one writer made
//! them. A step is *certain* when an answer or a later observation proves it, else *possible*: a write without an
//! answer, or a removal by the time to live. What a sink shows is then held against the steps: the certain ones must
//! be there, the possible ones may be, anything else must not.
//!
//! Assumes that a write whose answer was lost took effect, if at all, before the read that followed it.

use std::collections::{BTreeMap, BTreeSet};

use headwater_common::value::{Item, Value};

use crate::history::{Action, Before, Found, History, Key, Outcome, Write, WriteId, may_expire};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removal {
    Delete,
    Expire,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// `item` is unknown for an update whose answer was lost and whose result nobody read.
    State {
        id: WriteId,
        item: Option<Item>,
    },
    Removed(Removal),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub effect: Effect,
    pub certain: bool,
}

impl Step {
    fn may_expire(&self) -> bool {
        matches!(&self.effect, Effect::State { item: Some(item), .. } if may_expire(item))
            || matches!(&self.effect, Effect::State { item: None, .. })
    }
}

/// Where a key may be: before its first step, or after the step with this index.
type At = Option<usize>;

/// One key's steps.
#[derive(Clone, Debug)]
pub struct Timeline {
    /// The key as people read it.
    pub label: String,
    pub steps: Vec<Step>,
    by_write: BTreeMap<WriteId, usize>,
    /// Where it may be at the end; more than one only when an outcome stayed unknown.
    now: BTreeSet<At>,
}

/// What may be left of a key when the writes have stopped: `None` for nothing.
pub type Finals = BTreeSet<Option<WriteId>>;

#[derive(Clone, Debug, Default)]
pub struct Model {
    pub keys: BTreeMap<Key, Timeline>,
    /// Where the source itself contradicts the history: the run proves nothing then.
    pub contradictions: Vec<(Key, String)>,
    by_document: BTreeMap<(String, String), Key>,
}

impl Model {
    pub fn of(history: &History) -> Model {
        let mut model = Model::default();
        for write in &history.writes {
            let key = &write.intent.key;
            let timeline = model.keys.entry(key.clone()).or_insert_with(|| Timeline::new(&write.intent.key_item));
            if let Err(contradiction) = timeline.take(write) {
                model.contradictions.push((key.clone(), format!("{}: {contradiction}", write.intent.id)));
            }
        }
        model.by_document =
            model.keys.keys().map(|key| ((key.table.to_string(), key.document_id()), key.clone())).collect();
        model
    }

    pub fn key_of_document(&self, table: &str, document_id: &str) -> Option<&Key> {
        self.by_document.get(&(table.to_owned(), document_id.to_owned()))
    }

    pub fn label(&self, key: &Key) -> String {
        let label = self.keys.get(key).map_or("a key that was never written", |timeline| timeline.label.as_str());
        format!("{} {label} ({})", key.table, shortened(&key.text, 24))
    }
}

impl Timeline {
    fn new(key_item: &Item) -> Timeline {
        Timeline {
            label: shortened(&key_item.to_json(), 80),
            steps: Vec::new(),
            by_write: BTreeMap::new(),
            now: BTreeSet::from([None]),
        }
    }

    pub fn finals(&self) -> Finals {
        let mut finals = Finals::new();
        for at in &self.now {
            match at.and_then(|at| self.steps.get(at)) {
                Some(step @ Step { effect: Effect::State { id, .. }, .. }) => {
                    finals.insert(Some(id.clone()));
                    if step.may_expire() {
                        finals.insert(None);
                    }
                }
                _ => {
                    finals.insert(None);
                }
            }
        }
        finals
    }

    pub fn is_certainly_live(&self) -> bool {
        self.finals().iter().all(Option::is_some)
    }

    /// No write can have left anything.
    pub fn is_certainly_gone(&self) -> bool {
        self.finals().iter().all(Option::is_none)
    }

    pub fn step_of(&self, id: &WriteId) -> Option<usize> {
        self.by_write.get(id).copied()
    }

    fn take(&mut self, write: &Write) -> Result<(), String> {
        match &write.outcome {
            Outcome::Failed { .. } => Ok(()),
            Outcome::Acknowledged { before, after } => self.acknowledged(write, before, after.as_ref()),
            Outcome::Unknown { found, .. } => self.unknown(write, found),
        }
    }

    fn acknowledged(&mut self, write: &Write, before: &Before, after: Option<&Item>) -> Result<(), String> {
        let observed = match (before, &write.intent.action, after) {
            (Before::NotTold, Action::Update { .. }, Some(after)) => self.check_update(write, after),
            (Before::NotTold, ..) => Ok(()),
            (Before::Absent, ..) => self.observe_absent(),
            (Before::Present(Some(id)), ..) => self.observe_present(id),
            (Before::Present(None), ..) => Err("the item before it names no write".to_owned()),
        };
        match &write.intent.action {
            Action::Put(item) => self.state(write, Some(item.clone()), true),
            Action::Update { .. } => self.state(write, after.cloned(), true),
            Action::Delete if *before == Before::Absent => {}
            Action::Delete => self.removed(true),
        }
        observed
    }

    fn unknown(&mut self, write: &Write, found: &Found) -> Result<(), String> {
        let earlier = self.now.clone();
        match &write.intent.action {
            Action::Put(item) => self.state(write, Some(item.clone()), false),
            Action::Update { .. } => {
                let item = match found {
                    Found::Present(item) if WriteId::of(item).as_ref() == Some(&write.intent.id) => {
                        Some(item.as_ref().clone())
                    }
                    _ => None,
                };
                self.state(write, item, false);
            }
            Action::Delete => self.removed(false),
        }
        self.now.extend(earlier);
        match found {
            Found::NotRead => Ok(()),
            Found::Absent => self.observe_absent(),
            Found::Present(item) => match WriteId::of(item) {
                Some(id) => self.observe_present(&id),
                None => Err("the item read after it names no write".to_owned()),
            },
        }
    }

    /// Goes to a new state; where the time to live may end it, the possible removal is a step of its own.
    fn state(&mut self, write: &Write, item: Option<Item>, certain: bool) {
        let step = Step { effect: Effect::State { id: write.intent.id.clone(), item }, certain };
        let expires = step.may_expire();
        self.now = BTreeSet::from([Some(self.steps.len())]);
        self.by_write.insert(write.intent.id.clone(), self.steps.len());
        self.steps.push(step);
        if expires {
            self.steps.push(Step { effect: Effect::Removed(Removal::Expire), certain: false });
        }
    }

    fn removed(&mut self, certain: bool) {
        self.now = BTreeSet::from([Some(self.steps.len())]);
        self.steps.push(Step { effect: Effect::Removed(Removal::Delete), certain });
    }

    fn observe_present(&mut self, id: &WriteId) -> Result<(), String> {
        let at = self.step_of(id).filter(|at| self.now.contains(&Some(*at)));
        match at {
            Some(at) => {
                self.settle(at);
                Ok(())
            }
            None => Err(format!("the table held {id}, where the history allows {:?}", self.finals())),
        }
    }

    fn observe_absent(&mut self) -> Result<(), String> {
        let step = |at: &At| at.and_then(|at| self.steps.get(at));
        let fits = |at: &At| step(at).is_none_or(|step| matches!(step.effect, Effect::Removed(_)) || step.may_expire());
        let candidates: BTreeSet<At> = self.now.iter().copied().filter(fits).collect();
        match candidates.iter().copied().collect::<Vec<_>>().as_slice() {
            [] => return Err(format!("the table held nothing, where the history allows {:?}", self.finals())),
            [Some(at)] => {
                let at = *at;
                self.settle(at);
                if self.steps.get(at).is_some_and(Step::may_expire) {
                    self.settle(at + 1);
                }
            }
            _ => self.now = candidates,
        }
        Ok(())
    }

    fn settle(&mut self, at: usize) {
        self.now = BTreeSet::from([Some(at)]);
        if let Some(step) = self.steps.get_mut(at) {
            step.certain = true;
        }
    }

    /// Holds what the server made of an update against what it should have made, where the item before is known.
    fn check_update(&mut self, write: &Write, after: &Item) -> Result<(), String> {
        let Action::Update { set, remove } = &write.intent.action else { return Ok(()) };
        let [Some(at)] = self.now.iter().copied().collect::<Vec<_>>()[..] else { return Ok(()) };
        let before = match self.steps.get(at) {
            Some(Step { effect: Effect::State { item: Some(item), .. }, .. }) => item.clone(),
            Some(Step { effect: Effect::Removed(_), .. }) => write.intent.key_item.clone(),
            _ => return Ok(()),
        };
        if updated(&before, set, remove).normalised() == after.normalised() {
            return Ok(());
        }
        let expires = self.steps.get(at).is_some_and(Step::may_expire);
        if expires && updated(&write.intent.key_item, set, remove).normalised() == after.normalised() {
            self.settle(at + 1);
            return Ok(());
        }
        let names = Item::changed(&updated(&before, set, remove).normalised(), &after.normalised());
        Err(format!("the server's answer to the update is not what the update makes, in {names:?}"))
    }
}

pub fn updated(before: &Item, set: &Item, remove: &[String]) -> Item {
    let kept = before.0.iter().filter(|(name, _)| !remove.contains(name));
    kept.chain(&set.0).map(|(name, value): (&String, &Value)| (name.clone(), value.clone())).collect()
}

pub(crate) fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use headwater_common::change::TableName;

    use super::*;
    use crate::history::{Intent, Outcome};

    fn item(id: &str, expires: Option<i64>) -> Item {
        let mut item = Item::from_json(&format!(r#"{{"p":{{"S":"k"}},"write_id":{{"S":"{id}"}}}}"#)).unwrap();
        if let Some(seconds) = expires {
            item.0.insert("expires".into(), Value::N(seconds.into()));
        }
        item
    }

    fn write(id: &str, action: Action, outcome: Outcome) -> Write {
        let key_item = Item::from_json(r#"{"p":{"S":"k"}}"#).unwrap();
        let key = Key { table: TableName::new("t"), text: "k".into() };
        let intent =
            Intent { id: WriteId(id.into()), key, key_item, action, expires_in: None, traits: BTreeSet::new() };
        Write { intent, outcome }
    }

    fn put(id: &str, before: Before) -> Write {
        write(id, Action::Put(item(id, None)), Outcome::Acknowledged { before, after: None })
    }

    fn present(id: &str) -> Before {
        Before::Present(Some(WriteId(id.into())))
    }

    fn lost(id: &str, action: Action, found: Found) -> Write {
        write(id, action, Outcome::Unknown { error: "reset".into(), found })
    }

    fn fold(writes: Vec<Write>) -> (Timeline, usize) {
        let model = Model::of(&History { writes });
        (model.keys.values().next().unwrap().clone(), model.contradictions.len())
    }

    fn finals(of: &[Option<&str>]) -> Finals {
        of.iter().map(|id| id.map(|id| WriteId(id.into()))).collect()
    }

    #[test]
    fn acknowledged_writes_are_certain_in_their_order() {
        let deleted = write("c", Action::Delete, Outcome::Acknowledged { before: present("b"), after: None });
        let (timeline, bad) = fold(vec![put("a", Before::Absent), put("b", present("a")), deleted]);
        assert_eq!(bad, 0);
        assert_eq!(timeline.steps.iter().filter(|step| step.certain).count(), 3);
        assert!(timeline.is_certainly_gone());
    }

    #[test]
    fn a_lost_answer_leaves_both_ends_open_until_something_tells() {
        let second = lost("b", Action::Put(item("b", None)), Found::NotRead);
        let (timeline, _) = fold(vec![put("a", Before::Absent), second.clone()]);
        assert_eq!(timeline.finals(), finals(&[Some("a"), Some("b")]));
        let (timeline, bad) = fold(vec![put("a", Before::Absent), second.clone(), put("c", present("b"))]);
        assert_eq!((timeline.steps[1].certain, bad), (true, 0), "the next write met it");
        let (timeline, bad) = fold(vec![put("a", Before::Absent), second, put("c", present("a"))]);
        assert_eq!((timeline.steps[1].certain, bad), (false, 0), "the next write met the one before");
        let read = lost("b", Action::Put(item("b", None)), Found::Present(Box::new(item("b", None))));
        let (timeline, _) = fold(vec![put("a", Before::Absent), read]);
        assert_eq!((timeline.steps[1].certain, timeline.finals()), (true, finals(&[Some("b")])));
    }

    #[test]
    fn a_delete_whose_answer_was_lost_is_proved_by_the_items_absence() {
        let gone = lost("b", Action::Delete, Found::Absent);
        let (timeline, bad) = fold(vec![put("a", Before::Absent), gone]);
        assert_eq!((timeline.steps[1].certain, bad), (true, 0));
        let there = lost("b", Action::Delete, Found::Present(Box::new(item("a", None))));
        let (timeline, bad) = fold(vec![put("a", Before::Absent), there]);
        assert_eq!((timeline.steps[1].certain, bad), (false, 0));
        assert!(timeline.is_certainly_live());
    }

    #[test]
    fn the_time_to_live_may_remove_and_is_proved_by_absence() {
        let expiring = write(
            "a",
            Action::Put(item("a", Some(1_700_000_000))),
            Outcome::Acknowledged { before: Before::Absent, after: None },
        );
        let (timeline, _) = fold(vec![expiring.clone()]);
        assert_eq!(timeline.finals(), finals(&[None, Some("a")]));
        assert!(!timeline.steps[1].certain);
        let (timeline, bad) = fold(vec![expiring, put("b", Before::Absent)]);
        assert_eq!((timeline.steps[1].certain, bad), (true, 0));
    }

    #[test]
    fn a_table_that_forgets_an_acknowledged_write_contradicts_the_history() {
        let (_, bad) = fold(vec![put("a", Before::Absent), put("b", Before::Absent)]);
        assert_eq!(bad, 1);
        let (_, bad) = fold(vec![put("a", Before::Absent), put("b", present("a")), put("c", present("a"))]);
        assert_eq!(bad, 1);
    }

    #[test]
    fn an_update_that_the_server_got_wrong_contradicts_the_history() {
        let update = Action::Update { set: item("b", None), remove: vec![] };
        let answer = |after| Outcome::Acknowledged { before: Before::NotTold, after: Some(after) };
        let (_, bad) = fold(vec![put("a", Before::Absent), write("b", update.clone(), answer(item("b", None)))]);
        assert_eq!(bad, 0);
        let (_, bad) = fold(vec![put("a", Before::Absent), write("b", update, answer(item("b", Some(4))))]);
        assert_eq!(bad, 1);
    }
}
