//! Whether a run can be judged at all.

use std::collections::{BTreeMap, BTreeSet};

use super::{Promise, Violation};
use crate::history::{History, Key, Tally, Trait, WriteId};
use crate::model::Model;
use crate::observed::Observed;

/// The table bears out its own answers: they agree with each other, and with what a scan finds at the end.
pub fn premise(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations: Vec<Violation> = model
        .contradictions
        .iter()
        .map(|(key, text)| Violation::new(Promise::Premise, model, key, text.clone()))
        .collect();
    let keys: BTreeSet<&Key> = model.keys.keys().chain(observed.scan.keys()).collect();
    for key in keys {
        let found = observed.scan.get(key);
        let text = match (model.keys.get(key), found) {
            (None, _) => Some("the table holds an item that nobody wrote".to_owned()),
            (Some(timeline), found) => {
                let id = found.and_then(WriteId::of);
                let finals = timeline.finals();
                (!finals.contains(&id)).then(|| format!("the table holds {id:?}, the history allows {finals:?}"))
            }
        };
        violations.extend(text.map(|text| Violation::new(Promise::Premise, model, key, text)));
    }
    violations
}

/// What must have happened at least for a run to count.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub acknowledged: usize,
    pub kills: usize,
    pub traits: BTreeMap<Trait, usize>,
}

impl Expected {
    /// `acknowledged` writes, every trait but the rare large item among them at least once.
    pub fn writes(acknowledged: usize) -> Expected {
        let traits = [
            Trait::Put,
            Trait::Update,
            Trait::Delete,
            Trait::Reinsert,
            Trait::Expiring,
            Trait::TypeFlip,
            Trait::HotKey,
            Trait::LongKey,
            Trait::BigNumber,
            Trait::RespelledKey,
        ];
        Expected { acknowledged, kills: 0, traits: traits.map(|kind| (kind, 1)).into() }
    }

    pub fn kills(mut self, kills: usize) -> Expected {
        self.kills = kills;
        self
    }
}

/// The run was no empty one.
pub fn vacuity(history: &History, kills: usize, expected: &Expected) -> Vec<Violation> {
    let Tally { acknowledged, traits, .. } = history.tally();
    let mut short = Vec::new();
    if acknowledged < expected.acknowledged {
        short.push(format!("{acknowledged} acknowledged writes of at least {}", expected.acknowledged));
    }
    if kills < expected.kills {
        short.push(format!("{kills} kills of at least {}", expected.kills));
    }
    for (kind, least) in &expected.traits {
        let had = traits.get(kind).copied().unwrap_or_default();
        if had < *least {
            short.push(format!("{had} writes with {kind:?} of at least {least}"));
        }
    }
    short.into_iter().map(|text| Violation { promise: Promise::Premise, key: "the run".to_owned(), text }).collect()
}
