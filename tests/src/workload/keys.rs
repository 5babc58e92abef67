//! The keys of a run: short and long, plain and strange, all different as DynamoDB compares them.

use std::collections::BTreeSet;

use headwater_common::definition::Entity;
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};
use rand::Rng;
use rand::rngs::StdRng;

use super::values;
use crate::history::Key;

/// A key as it is first spelled.
#[derive(Clone, Debug)]
pub struct KeyPlan {
    /// Which of the workload's entities it is a key of.
    pub entity: usize,
    pub key: Key,
    pub item: Item,
}

/// From here on a key counts as long: the index must digest it, since OpenSearch's ids end at 512 bytes.
pub const LONG_KEY_BYTES: usize = 512;

pub fn plan(rng: &mut StdRng, entities: &[Entity], count: usize) -> Vec<KeyPlan> {
    let mut taken = BTreeSet::new();
    let mut keys = Vec::with_capacity(count);
    while keys.len() < count {
        let at = keys.len();
        let entity = at % entities.len().max(1);
        let Some(definition) = entities.get(entity) else { break };
        let item = match &definition.key.sort {
            None => [(definition.key.partition.name.clone(), Value::S(string_key(rng, at)))].into_iter().collect(),
            Some(sort) => composite(rng, &definition.key.partition.name, &sort.name, at),
        };
        let Some(key) = Key::of(definition, &item) else { break };
        if taken.insert(key.clone()) {
            keys.push(KeyPlan { entity, key, item });
        }
    }
    keys
}

fn string_key(rng: &mut StdRng, at: usize) -> String {
    match at / 2 % 10 {
        0 => format!("{}", at / 20),
        1 => format!("{}.0", at / 20),
        2 => format!("{}E0", at / 20),
        3 => format!("a|{at}"),
        4 => format!("\u{1f9ca} é e\u{301} {at}"),
        5 => format!("\u{0}\u{1f}\n\"\\ {at}"),
        6 => format!("{}{at}", "long/".repeat(rng.random_range(210..390))),
        7 => format!("{}{at}", "\u{10ffff}".repeat(rng.random_range(120..400))),
        8 => format!(" ../{at}%2F?#"),
        _ => format!("profile-{at}"),
    }
}

fn composite(rng: &mut StdRng, partition: &str, sort: &str, at: usize) -> Item {
    let length = match at / 2 % 5 {
        0 => 1,
        1 => rng.random_range(1000..2048),
        _ => rng.random_range(2..40),
    };
    // Few partitions with one byte, so that several items share one.
    let partition_key = if length == 1 { vec![rng.random_range(0..3)] } else { values::bytes(rng, length) };
    [(partition.to_owned(), Value::B(partition_key)), (sort.to_owned(), Value::N(sort_key(rng, at)))]
        .into_iter()
        .collect()
}

fn sort_key(rng: &mut StdRng, at: usize) -> Number {
    match at / 2 % 4 {
        0 => Number::from(at as i64),
        1 => values::number_of(&format!("-{at}.25")),
        2 => values::number_of(&values::digits(rng, 38)),
        _ => values::number_of(&format!("{}E-100", rng.random_range(1..1_000_000))),
    }
}
