//! `headwater verify`: table = lake = index, key by key.
//!
//! By digests of key ranges first, then by key in the ranges that differ. A difference counts only when it has survived
//! a re-read past the completeness of both sinks with the table's item unchanged around it: what is still on its way is
//! no difference.

mod digest;
mod sources;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{Clock, SystemClock, Timestamp};
use headwater_common::definition::Entity;
use headwater_sdk::FeatureStore;
use serde::Serialize;

use crate::Context;
use crate::args;
use crate::failure::{Exit, Failure};
use crate::folder::DataFolder;
use crate::output::{Format, grouped};
use crate::stack::Stack;
use crate::stores::Stores;
use digest::Fingerprint;
pub use sources::{Sources, Store};

/// Re-reads of what still differs, each past the completeness of both sinks.
const ROUNDS: usize = 5;

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub tables: Vec<TableReport>,
}

#[derive(Debug, Serialize)]
pub struct TableReport {
    pub table: TableName,
    pub table_items: u64,
    pub lake_items: u64,
    pub index_items: u64,
    /// Both sinks were complete up to here when they were read.
    pub complete_until: Timestamp,
    pub differences: Vec<Difference>,
    /// Keys that were written to during every re-read, so that nothing can be said of them.
    pub unsettled: Vec<String>,
}

/// One key whose stores differ. Says where it is and whether it is equal, never what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub key: String,
    pub in_lake: Against,
    pub in_index: Against,
}

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

impl Report {
    pub fn differences(&self) -> usize {
        self.tables.iter().map(|table| table.differences.len()).sum()
    }
}

pub async fn run(context: Context, verify: args::Verify) -> Result<(), Failure> {
    let patience = Duration::from_secs(verify.patience);
    let stores = Stores::of(&context)?;
    let entities = chosen(stores.entities()?, &verify.tables)?;
    let report = match &stores {
        Stores::Servers(servers) => {
            let features = servers.features(entities.clone()).await?;
            all(&Sources::open(stores, features)?, &entities, patience).await?
        }
        Stores::Folder(folder) => match folder.running() {
            Some(running) => {
                let endpoint = format!("http://{}", running.store);
                let features = FeatureStore::connect(Some(&endpoint), entities.clone())
                    .await
                    .map_err(|error| Failure::failed(error).at(endpoint))?;
                all(&Sources::open(stores, features)?, &entities, patience).await?
            }
            None => all_of_stopped(&context, folder, &entities, patience).await?,
        },
    };
    print(context.format, &report)?;
    match report.differences() {
        0 => Ok(()),
        differences => Err(Failure::new(Exit::Different, format!("{differences} keys differ"))
            .remedy("remove the data folder's `lake` or `index` folder and start again to build it anew from the log")),
    }
}

/// Starts the folder's stack: what was in flight when it stopped has to arrive before anything can be compared.
async fn all_of_stopped(
    context: &Context,
    folder: &DataFolder,
    entities: &[Entity],
    patience: Duration,
) -> Result<Report, Failure> {
    let mut settings = context.settings.clone();
    settings.store.address.set_port(0);
    settings.http.address.set_port(0);
    let stack = Stack::in_folder(folder.lock()?, &settings, folder.entities()?, None).await?;
    let sources = Sources::open(stack.stores()?, stack.features.clone())?;
    let report = all(&sources, entities, patience).await;
    stack.drain().await?;
    report
}

fn chosen(entities: Vec<Entity>, tables: &[String]) -> Result<Vec<Entity>, Failure> {
    if let Some(unknown) = tables.iter().find(|name| !entities.iter().any(|entity| entity.table().as_str() == *name)) {
        let known: Vec<_> = entities.iter().map(|entity| entity.table().to_string()).collect();
        return Err(
            Failure::usage(format!("there is no table {unknown:?}")).remedy(format!("one of {}", known.join(", ")))
        );
    }
    Ok(entities
        .into_iter()
        .filter(|entity| tables.is_empty() || tables.iter().any(|table| entity.table().as_str() == table))
        .collect())
}

fn print(format: Format, report: &Report) -> Result<(), Failure> {
    format.answer(report, || {
        let mut lines = Vec::new();
        for table in &report.tables {
            lines.push(format!(
                "{}: {} items in the table, {} in the lake, {} in the index, {} differences, complete until {}",
                table.table,
                grouped(table.table_items),
                grouped(table.lake_items),
                grouped(table.index_items),
                table.differences.len(),
                table.complete_until
            ));
            lines.extend(
                table
                    .differences
                    .iter()
                    .map(|it| format!("  {}: lake {:?}, index {:?}", it.key, it.in_lake, it.in_index)),
            );
            if !table.unsettled.is_empty() {
                lines.push(format!(
                    "  {} keys were written to during every re-read: {}",
                    table.unsettled.len(),
                    table.unsettled.join(" ")
                ));
            }
        }
        lines.join("\n")
    })
}

pub async fn all(sources: &Sources, entities: &[Entity], patience: Duration) -> Result<Report, Failure> {
    let mut report = Report::default();
    for entity in entities {
        report.tables.push(one(sources, entity, patience).await?);
    }
    Ok(report)
}

async fn one(sources: &Sources, entity: &Entity, patience: Duration) -> Result<TableReport, Failure> {
    let mut complete_until = sources.complete_past(entity, SystemClock.now(), patience).await?;
    let table = sources.digests(Store::Table, entity).await?;
    let lake = sources.digests(Store::Lake, entity).await?;
    let index = sources.digests(Store::Index, entity).await?;
    let mut suspects = table.differing(&lake);
    suspects.extend(table.differing(&index));
    let mut report = TableReport {
        table: entity.table(),
        table_items: table.items(),
        lake_items: lake.items(),
        index_items: index.items(),
        complete_until,
        differences: Vec::new(),
        unsettled: Vec::new(),
    };
    if suspects.is_empty() {
        return Ok(report);
    }
    let mut keys: BTreeSet<String> = BTreeSet::new();
    for store in [Store::Table, Store::Lake, Store::Index] {
        let held = sources.holding(store, entity, |key| suspects.contains(&digest::bucket(key))).await?;
        keys.extend(held.into_keys());
    }
    for _ in 0..ROUNDS {
        let before = sources.table_items(entity, &keys).await?;
        complete_until = sources.complete_past(entity, SystemClock.now(), patience).await?;
        let lake = sources.holding(Store::Lake, entity, |key| keys.contains(key)).await?;
        let index = sources.holding(Store::Index, entity, |key| keys.contains(key)).await?;
        let after = sources.table_items(entity, &keys).await?;
        let judged = judge(&keys, &before, &after, &lake, &index);
        report.differences.extend(judged.differences);
        keys = judged.unsettled;
        if keys.is_empty() {
            break;
        }
    }
    report.complete_until = complete_until;
    report.unsettled = keys.into_iter().collect();
    Ok(report)
}

struct Judged {
    differences: Vec<Difference>,
    unsettled: BTreeSet<String>,
}

type Holding = BTreeMap<String, Fingerprint>;

/// `before` and `after` are the table's items around the reading of the sinks.
fn judge(keys: &BTreeSet<String>, before: &Holding, after: &Holding, lake: &Holding, index: &Holding) -> Judged {
    let mut judged = Judged { differences: Vec::new(), unsettled: BTreeSet::new() };
    for key in keys {
        let table = before.get(key);
        let difference = Difference {
            key: key.clone(),
            in_lake: Against::of(table, lake.get(key)),
            in_index: Against::of(table, index.get(key)),
        };
        if difference.in_lake == Against::Equal && difference.in_index == Against::Equal {
            continue;
        }
        if table == after.get(key) {
            judged.differences.push(difference);
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
        let judged = judge(&keys, &before, &after, &lake, &index);
        let found: Vec<_> = judged.differences.iter().map(|it| (it.key.as_str(), it.in_lake, it.in_index)).collect();
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
