//! A seeded workload: what to write, in which order for each key, the same for the same seed.
//!
//! Each key belongs to one task, so that the order of its acknowledged writes is known. A task's writes go on for ever;
//! the writer decides how many it takes.

mod entities;
mod keys;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_common::definition::Entity;
use headwater_common::value::{Item, Value};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

pub use entities::{EVENT_TIME, all as entities, yaml};
use keys::{KeyPlan, LONG_KEY_BYTES};

use crate::history::{Action, EXPIRES, Intent, Trait, WRITE_ID, WriteId};

/// DynamoDB refuses items above 400 KiB; this leaves room for the other attributes.
const LARGE_BYTES: usize = 390 * 1024;

#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub tasks: usize,
    pub keys: usize,
    /// The share of writes that go to each task's first key.
    pub hot_share: f64,
    /// The share of puts that carry some 390 KB.
    pub large_share: f64,
}

/// Set to run a test again with the seed that a failed run printed.
const SEED: &str = "HEADWATER_TEST_SEED";

/// The seed from the environment, or else this one.
pub fn seed_or(default: u64) -> u64 {
    std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

impl Default for Settings {
    fn default() -> Self {
        Settings { seed: 1, tasks: 4, keys: 200, hot_share: 0.2, large_share: 0.002 }
    }
}

#[derive(Clone, Debug)]
pub struct Workload {
    pub settings: Settings,
    pub entities: Vec<Entity>,
    keys: Arc<Vec<KeyPlan>>,
}

impl Workload {
    pub fn new(settings: Settings) -> Workload {
        let entities = entities();
        let mut rng = StdRng::seed_from_u64(settings.seed);
        let keys = Arc::new(keys::plan(&mut rng, &entities, settings.keys.max(settings.tasks)));
        Workload { settings, entities, keys }
    }

    /// The writes of one task, without end.
    pub fn task(&self, task: usize) -> Writes {
        let owned = self.keys.iter().skip(task).step_by(self.settings.tasks.max(1)).cloned().collect();
        let seed = self.settings.seed ^ (task as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Writes {
            rng: StdRng::seed_from_u64(seed),
            workload: self.clone(),
            task,
            count: 0,
            owned,
            believed: BTreeMap::new(),
        }
    }

    pub fn entity(&self, table: &headwater_common::change::TableName) -> Option<&Entity> {
        self.entities.iter().find(|entity| &entity.table() == table)
    }
}

/// Whether the item is there, as far as a writer can believe that knows of no failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Believed {
    Live,
    Deleted,
}

/// See [`Workload::task`].
#[derive(Debug)]
pub struct Writes {
    rng: StdRng,
    workload: Workload,
    task: usize,
    count: u64,
    owned: Vec<KeyPlan>,
    believed: BTreeMap<usize, Believed>,
}

impl Iterator for Writes {
    type Item = Intent;

    fn next(&mut self) -> Option<Intent> {
        let at = if self.rng.random_bool(self.workload.settings.hot_share) {
            0
        } else {
            self.rng.random_range(0..self.owned.len().max(1))
        };
        let plan = self.owned.get(at)?.clone();
        self.count += 1;
        let mut traits = BTreeSet::new();
        if at == 0 {
            traits.insert(Trait::HotKey);
        }
        if plan.key.text.len() > LONG_KEY_BYTES {
            traits.insert(Trait::LongKey);
        }
        let id = WriteId(format!("{}-{}-{}", self.workload.settings.seed, self.task, self.count));
        let key_item = self.spelled(&plan, &mut traits);
        let (action, expires_in) = self.action(at, &plan, &id, &key_item, &mut traits);
        Some(Intent { id, key: plan.key, key_item, action, expires_in, traits })
    }
}

impl Writes {
    /// The key attributes, a number among them written in any of its ways.
    fn spelled(&mut self, plan: &KeyPlan, traits: &mut BTreeSet<Trait>) -> Item {
        let mut item = plan.item.clone();
        for value in item.0.values_mut() {
            if let Value::N(number) = value {
                let respelled = values::respelled(&mut self.rng, number);
                if &respelled != number {
                    traits.insert(Trait::RespelledKey);
                }
                *number = respelled;
            }
        }
        item
    }

    fn action(
        &mut self,
        at: usize,
        plan: &KeyPlan,
        id: &WriteId,
        key_item: &Item,
        traits: &mut BTreeSet<Trait>,
    ) -> (Action, Option<i64>) {
        let believed = self.believed.get(&at).copied();
        let live = believed == Some(Believed::Live);
        let (action, expires_in) = match self.rng.random_range(0..100) {
            0..12 if live => {
                traits.insert(Trait::Delete);
                (Action::Delete, None)
            }
            // Now and then of an item that isn't there, which changes nothing.
            12..14 => {
                traits.insert(Trait::Delete);
                (Action::Delete, None)
            }
            14..45 if live => {
                traits.insert(Trait::Update);
                (self.update(plan, id, traits), None)
            }
            _ => {
                traits.insert(Trait::Put);
                if believed == Some(Believed::Deleted) {
                    traits.insert(Trait::Reinsert);
                }
                let item = self.put(plan, id, key_item, traits);
                (Action::Put(item), self.expiry(traits))
            }
        };
        let now = if action == Action::Delete { Believed::Deleted } else { Believed::Live };
        self.believed.insert(at, now);
        (action, expires_in)
    }

    fn expiry(&mut self, traits: &mut BTreeSet<Trait>) -> Option<i64> {
        match self.rng.random_range(0..100) {
            0..5 => {
                traits.insert(Trait::Expiring);
                // DynamoDB leaves alone what has expired more than five years ago.
                Some(-self.rng.random_range(1..3600))
            }
            5..10 => Some(100 * 365 * 86_400),
            _ => None,
        }
    }

    fn put(&mut self, plan: &KeyPlan, id: &WriteId, key_item: &Item, traits: &mut BTreeSet<Trait>) -> Item {
        let features =
            self.workload.entities.get(plan.entity).map(|entity| entity.features.clone()).unwrap_or_default();
        let mut item = key_item.clone();
        for feature in features {
            // Absent now and then, and that is not NULL.
            if feature.name != WRITE_ID && self.rng.random_bool(0.7) {
                let value = self.feature_value(&feature.feature_type, traits);
                item.0.insert(feature.name, value);
            }
        }
        for _ in 0..self.rng.random_range(0..3) {
            let name = values::strange_name(&mut self.rng);
            item.0.insert(name, values::any(&mut self.rng, 3));
        }
        item.0.insert(
            EVENT_TIME.into(),
            Value::N(self.rng.random_range(1_600_000_000_000..1_700_000_000_000_i64).into()),
        );
        if self.rng.random_bool(self.workload.settings.large_share) {
            traits.insert(Trait::Large);
            // The others could carry it over the limit.
            item = key_item.clone();
            item.0.insert("payload".into(), Value::S(values::letters(&mut self.rng, 8).repeat(LARGE_BYTES / 8)));
        }
        item.0.insert(WRITE_ID.into(), Value::S(id.0.clone()));
        item
    }

    fn update(&mut self, plan: &KeyPlan, id: &WriteId, traits: &mut BTreeSet<Trait>) -> Action {
        let features =
            self.workload.entities.get(plan.entity).map(|entity| entity.features.clone()).unwrap_or_default();
        let mut set = Item::default();
        let mut remove = Vec::new();
        for feature in features.into_iter().filter(|feature| feature.name != WRITE_ID) {
            match self.rng.random_range(0..10) {
                0..2 => {
                    let value = self.feature_value(&feature.feature_type, traits);
                    set.0.insert(feature.name, value);
                }
                2 => remove.push(feature.name),
                _ => {}
            }
        }
        let name = values::strange_name(&mut self.rng);
        if self.rng.random() {
            set.0.insert(name, values::any(&mut self.rng, 2));
        } else {
            remove.push(name);
        }
        if self.rng.random_bool(0.1) {
            remove.push(EXPIRES.into());
        }
        set.0.insert(WRITE_ID.into(), Value::S(id.0.clone()));
        Action::Update { set, remove }
    }

    /// Mostly of the declared type, else NULL or of any other.
    fn feature_value(
        &mut self,
        feature_type: &headwater_common::definition::FeatureType,
        traits: &mut BTreeSet<Trait>,
    ) -> Value {
        let value = match self.rng.random_range(0..100) {
            0..6 => values::any(&mut self.rng, 2),
            6..10 => Value::Null,
            _ => values::of_type(&mut self.rng, feature_type),
        };
        if feature_type.read(&value).is_err() {
            traits.insert(Trait::TypeFlip);
        }
        if value.as_number().is_some_and(|number| number.as_str().len() >= 38) {
            traits.insert(Trait::BigNumber);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(seed: u64, task: usize, count: usize) -> Vec<Intent> {
        Workload::new(Settings { seed, ..Settings::default() }).task(task).take(count).collect()
    }

    #[test]
    fn a_seed_gives_the_same_workload_again_and_another_seed_another() {
        assert_eq!(writes(7, 0, 500), writes(7, 0, 500));
        assert_ne!(writes(7, 0, 500), writes(8, 0, 500));
    }

    #[test]
    fn every_kind_of_write_occurs_within_a_few_thousand() {
        let mut seen = BTreeSet::new();
        for task in 0..4 {
            for intent in writes(3, task, 2000) {
                seen.extend(intent.traits);
            }
        }
        let all = [
            Trait::Put,
            Trait::Update,
            Trait::Delete,
            Trait::Reinsert,
            Trait::Expiring,
            Trait::TypeFlip,
            Trait::Large,
            Trait::HotKey,
            Trait::LongKey,
            Trait::BigNumber,
            Trait::RespelledKey,
        ];
        assert_eq!(seen, all.into_iter().collect());
    }

    #[test]
    fn no_two_tasks_write_to_one_key() {
        let of = |task| writes(5, task, 2000).into_iter().map(|intent| intent.key).collect::<BTreeSet<_>>();
        assert!(of(0).is_disjoint(&of(1)));
        assert!(of(2).is_disjoint(&of(3)));
    }

    #[test]
    fn every_spelling_of_a_key_is_one_key() {
        let workload = Workload::new(Settings::default());
        for intent in workload.task(0).take(500).chain(workload.task(1).take(500)) {
            let entity = workload.entity(&intent.key.table).unwrap();
            assert_eq!(crate::history::Key::of(entity, &intent.key_item), Some(intent.key));
        }
    }
}
