//! `headwater verify`: table = lake = index, key by key.
//!
//! By digests of key ranges first, then by key in the ranges that differ. A difference counts only when it has survived
//! a re-read past the completeness of both sinks with the table's item unchanged around it: what is still on its way is
//! no difference.

mod compare;
mod digest;
mod sources;

use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
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
pub use compare::{Against, Compared, Stands, compare};
pub use sources::{Sources, Store};

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

pub fn chosen(entities: Vec<Entity>, tables: &[String]) -> Result<Vec<Entity>, Failure> {
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
    let compared = compare(sources, entity, patience).await?;
    let items = |store| compared.items.get(&store).copied().unwrap_or_default();
    let difference = |(key, stands): (&String, &Stands)| {
        let against = |store| stands.get(&store).copied().unwrap_or(Against::Equal);
        Difference { key: key.clone(), in_lake: against(Store::Lake), in_index: against(Store::Index) }
    };
    Ok(TableReport {
        table: entity.table(),
        table_items: items(Store::Table),
        lake_items: items(Store::Lake),
        index_items: items(Store::Index),
        complete_until: compared.complete_until,
        differences: compared.differences.iter().map(difference).collect(),
        unsettled: compared.unsettled,
    })
}
