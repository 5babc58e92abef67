//! A table against the stores that are derived from it, whichever are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_common::clock::{Clock, SystemClock, Timestamp};
use headwater_common::definition::Entity;
use serde::Serialize;

use super::digest::{self, Fingerprint};
use super::sources::{Sources, Store};
use crate::failure::Failure;

/// Re-reads of what still differs, each past the completeness of the derived stores.
const ROUNDS: usize = 5;

/// How a derived store's item stands against the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Against {
    Equal,
    Different,
    Missing,
    /// In the store, not in the table.
    Extra,
}

impl Against {
    fn of(table: Option<&Fingerprint>, derived: Option<&Fingerprint>) -> Against {
        match (table, derived) {
            (None, None) => Against::Equal,
            (Some(one), Some(other)) if one == other => Against::Equal,
            (Some(_), Some(_)) => Against::Different,
            (Some(_), None) => Against::Missing,
            (None, Some(_)) => Against::Extra,
        }
    }
}

/// One key in each derived store.
pub type Stands = BTreeMap<Store, Against>;

pub struct Compared {
    /// The table's too.
    pub items: BTreeMap<Store, u64>,
    /// The derived stores were complete up to here when they were read.
    pub complete_until: Timestamp,
    /// By key; at least one store's item is not the table's.
    pub differences: BTreeMap<String, Stands>,
    /// Keys that were written to during every re-read, so that nothing can be said of them.
    pub unsettled: Vec<String>,
}

pub async fn compare(sources: &Sources, entity: &Entity, patience: Duration) -> Result<Compared, Failure> {
    let mut complete_until = sources.complete_past(entity, SystemClock.now(), patience).await?;
    let table = sources.digests(Store::Table, entity).await?;
    let (mut items, mut suspects) = (BTreeMap::from([(Store::Table, table.items())]), BTreeSet::new());
    for store in sources.derived() {
        let derived = sources.digests(*store, entity).await?;
        suspects.extend(table.differing(&derived));
        items.insert(*store, derived.items());
    }
    let mut differences = BTreeMap::new();
    let mut keys: BTreeSet<String> = BTreeSet::new();
    if !suspects.is_empty() {
        for store in [&[Store::Table], sources.derived()].concat() {
            let held = sources.holding(store, entity, |key| suspects.contains(&digest::bucket(key))).await?;
            keys.extend(held.into_keys());
        }
    }
    for _ in 0..ROUNDS {
        if keys.is_empty() {
            break;
        }
        let before = sources.table_items(entity, &keys).await?;
        complete_until = sources.complete_past(entity, SystemClock.now(), patience).await?;
        let mut derived = BTreeMap::new();
        for store in sources.derived() {
            derived.insert(*store, sources.holding(*store, entity, |key| keys.contains(key)).await?);
        }
        let after = sources.table_items(entity, &keys).await?;
        let judged = judge(&keys, &before, &after, &derived);
        differences.extend(judged.differences);
        keys = judged.unsettled;
    }
    Ok(Compared { items, complete_until, differences, unsettled: keys.into_iter().collect() })
}

struct Judged {
    differences: BTreeMap<String, Stands>,
    unsettled: BTreeSet<String>,
}

type Holding = BTreeMap<String, Fingerprint>;

/// `before` and `after` are the table's items around the reading of the derived stores.
fn judge(keys: &BTreeSet<String>, before: &Holding, after: &Holding, derived: &BTreeMap<Store, Holding>) -> Judged {
    let mut judged = Judged { differences: BTreeMap::new(), unsettled: BTreeSet::new() };
    for key in keys {
        let table = before.get(key);
        let against = |(store, held): (&Store, &Holding)| (*store, Against::of(table, held.get(key)));
        let stands: Stands = derived.iter().map(against).collect();
        if stands.values().all(|against| *against == Against::Equal) {
            continue;
        }
        if table == after.get(key) {
            judged.differences.insert(key.clone(), stands);
        } else {
            judged.unsettled.insert(key.clone());
        }
    }
    judged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holding(items: &[(&str, u128)]) -> Holding {
        items.iter().map(|(key, hash)| ((*key).to_owned(), Fingerprint { bucket: 0, hash: *hash })).collect()
    }

    #[test]
    fn only_a_difference_around_an_unchanged_item_counts() {
        let keys = ["same", "stale", "missing", "extra", "moving"].map(str::to_owned).into();
        let before = holding(&[("same", 1), ("stale", 2), ("missing", 3), ("moving", 5)]);
        let after = holding(&[("same", 1), ("stale", 2), ("missing", 3), ("moving", 6)]);
        let lake = holding(&[("same", 1), ("stale", 1), ("missing", 3), ("moving", 4)]);
        let index = holding(&[("same", 1), ("stale", 2), ("extra", 4), ("moving", 5)]);
        let judged = judge(&keys, &before, &after, &[(Store::Lake, lake), (Store::Index, index)].into());
        let both = |stands: &Stands| (stands[&Store::Lake], stands[&Store::Index]);
        let found: Vec<_> =
            judged.differences.iter().map(|(key, stands)| (key.as_str(), both(stands).0, both(stands).1)).collect();
        assert_eq!(
            found,
            [
                ("extra", Against::Equal, Against::Extra),
                ("missing", Against::Equal, Against::Missing),
                ("stale", Against::Different, Against::Equal),
            ]
        );
        assert_eq!(judged.unsettled, BTreeSet::from(["moving".to_owned()]));
    }
}
