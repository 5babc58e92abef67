//! Writes by which the flow is timed: a round is one to each partition of each table's log, then looked for in the sinks.
//!
//! They are writes like the workload's: recorded, and judged by every checker. Their keys are their own, so that a sink
//! has taken a round in when it shows that round's writes.

use std::collections::{BTreeMap, BTreeSet};

use headwater_common::definition::{Entity, KeyAttribute, KeyType};
use headwater_common::key::ItemKey;
use headwater_common::value::{Item, Value};

use crate::error::Error;
use crate::history::{Action, Intent, Key, Outcome, Trait, WRITE_ID, Write, WriteId};
use crate::workload::EVENT_TIME;
use crate::writer::Writer;

pub struct Probes {
    writer: Writer,
    keys: Vec<(Key, Item)>,
    rounds: u64,
    made: Vec<Write>,
}

/// What the sinks have to show: each key by the write that it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Round(pub BTreeMap<Key, WriteId>);

impl Probes {
    /// Probes of the writer's tables, whose topics have `partitions` partitions each.
    pub fn new(writer: Writer, partitions: u16) -> Probes {
        let keys = writer.workload.entities.iter().flat_map(|entity| one_for_each(entity, partitions)).collect();
        Probes { writer, keys, rounds: 0, made: Vec::new() }
    }

    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter().map(|(key, _)| key)
    }

    /// Writes the next round. A write that the table did not take is an error.
    pub async fn write(&mut self) -> Result<Round, Error> {
        self.rounds += 1;
        let mut round = BTreeMap::new();
        for (at, (key, key_item)) in self.keys.clone().into_iter().enumerate() {
            let id = WriteId(format!("{}-probe-{}-{at}", self.writer.workload.settings.seed, self.rounds));
            let mut item = key_item.clone();
            item.0.insert(WRITE_ID.into(), Value::S(id.0.clone()));
            item.0.insert(EVENT_TIME.into(), Value::N((self.rounds as i64).into()));
            let (action, traits) = (Action::Put(item), BTreeSet::from([Trait::Put]));
            let intent = Intent { id: id.clone(), key: key.clone(), key_item, action, expires_in: None, traits };
            let write = self.writer.make(intent).await;
            let outcome = write.outcome.clone();
            self.made.push(write);
            if !matches!(outcome, Outcome::Acknowledged { .. }) {
                return Err(Error::server(format!("the probe {id}"), format!("{outcome:?}")));
            }
            round.insert(key, id);
        }
        Ok(Round(round))
    }

    /// Every write of every round, in order.
    pub fn into_writes(self) -> Vec<Write> {
        self.made
    }
}

impl Round {
    /// Says what is missing from what a sink shows.
    pub fn missing<'a>(&self, shown: impl Fn(&Key) -> Option<&'a WriteId>) -> Result<(), String> {
        let missing = self.0.iter().filter(|(key, id)| shown(key) != Some(*id)).map(|(key, _)| key.to_string());
        let missing: Vec<String> = missing.collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{} are missing: {missing:?}", missing.len())) }
    }
}

/// The first keys that lie in partitions of their own.
fn one_for_each(entity: &Entity, partitions: u16) -> Vec<(Key, Item)> {
    let sort = entity.key.sort.as_ref();
    let mut found = BTreeMap::new();
    for at in 0_i64.. {
        let attributes = std::iter::once(&entity.key.partition).chain(sort);
        let item: Item = attributes.map(|attribute| (attribute.name.clone(), key_value(attribute, at))).collect();
        let name = sort.map(|sort| sort.name.as_str());
        let (Some(key), Some(typed)) = (Key::of(entity, &item), ItemKey::of(&item, &entity.key.partition.name, name))
        else {
            break;
        };
        found.entry(typed.canonical().partition(partitions)).or_insert((key, item));
        if found.len() >= usize::from(partitions) {
            break;
        }
    }
    found.into_values().collect()
}

/// What the workload's keys never begin with.
fn key_value(attribute: &KeyAttribute, at: i64) -> Value {
    match attribute.key_type {
        KeyType::String => Value::S(format!("probe/{at}")),
        KeyType::Number => Value::N((1_000_000_000 + at).into()),
        KeyType::Binary => Value::B(format!("probe/{at}").into_bytes()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::entities;

    #[test]
    fn every_partition_of_every_table_has_a_key_that_the_workload_does_not_write() {
        let workload = crate::workload::Workload::new(Default::default());
        let written: BTreeSet<Key> =
            (0..4).flat_map(|task| workload.task(task).take(2000)).map(|intent| intent.key).collect();
        for entity in entities() {
            let keys = one_for_each(&entity, 12);
            assert_eq!(keys.len(), 12);
            assert!(keys.iter().all(|(key, _)| !written.contains(key)));
        }
    }

    #[test]
    fn a_round_is_there_when_every_key_shows_its_write_and_no_other() {
        let key = |text: &str| Key { table: headwater_common::change::TableName::new("t"), text: text.into() };
        let (old, new) = (WriteId("1".into()), WriteId("2".into()));
        let round = Round([(key("a"), new.clone()), (key("b"), new.clone())].into());
        assert_eq!(round.missing(|_| Some(&new)), Ok(()));
        let seen = round.missing(|asked| if asked.text == "a" { Some(&old) } else { Some(&new) }).unwrap_err();
        assert!(seen.contains("t/a") && !seen.contains("t/b"), "{seen}");
        assert!(round.missing(|_| None).is_err());
    }
}
