//! The three stores as verification reads them: the table by its API, the lake and the index where they lie.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use headwater_common::clock::Timestamp;
use headwater_common::definition::Entity;
use headwater_common::key::{ItemKey, KeyBytes};
use headwater_common::value::Item;
use headwater_lake::query::{LakeReader, Settings};
use headwater_sdk::{FeatureStore, from_attributes, to_attributes};
use headwater_sink_search::SearchIndex;
use tokio::time::Instant;

use super::digest::{Digests, Fingerprint};
use crate::failure::Failure;
use crate::sql;
use crate::stores::Stores;

/// Documents read from the index in one step.
const PAGE: usize = 2000;
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub struct Sources {
    features: FeatureStore,
    /// `None` where the lake is not asked.
    lake: Option<LakeReader>,
    index: Index,
}

enum Index {
    /// The one that serves, found anew for each reading.
    Serving(Stores),
    This(Arc<dyn SearchIndex>),
}

/// Which store to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Store {
    Table,
    Lake,
    Index,
}

impl Store {
    fn name(self) -> &'static str {
        match self {
            Store::Table => "table",
            Store::Lake => "lake",
            Store::Index => "index",
        }
    }
}

impl Sources {
    /// `features` gives the tables.
    pub fn open(stores: Stores, features: FeatureStore) -> Result<Sources, Failure> {
        let lake = Some(sql::reader(&stores, Settings::default())?);
        Ok(Sources { features, lake, index: Index::Serving(stores) })
    }

    /// The tables and one index alone.
    pub fn of_index(features: FeatureStore, index: Arc<dyn SearchIndex>) -> Sources {
        Sources { features, lake: None, index: Index::This(index) }
    }

    /// The stores that are compared with the table.
    pub fn derived(&self) -> &'static [Store] {
        if self.lake.is_some() { &[Store::Lake, Store::Index] } else { &[Store::Index] }
    }

    /// Waits until all derived stores are complete past `moment`, and says up to where they are.
    pub async fn complete_past(
        &self,
        entity: &Entity,
        moment: Timestamp,
        patience: Duration,
    ) -> Result<Timestamp, Failure> {
        let deadline = Instant::now() + patience;
        loop {
            let mut reached = Vec::new();
            for store in self.derived() {
                reached.push((store.name(), self.complete_until(*store, entity).await?));
            }
            // `None` is below every moment.
            let least = reached.iter().map(|(_, until)| *until).min().flatten();
            if let Some(until) = least.filter(|until| *until > moment) {
                return Ok(until);
            }
            if Instant::now() >= deadline {
                let until = |until: Option<Timestamp>| until.map_or_else(|| "nothing".into(), |it| it.to_rfc3339());
                let said: Vec<_> = reached
                    .into_iter()
                    .map(|(store, reached)| format!("the {store} says {}", until(reached)))
                    .collect();
                let (table, said) = (entity.table(), said.join(", "));
                return Err(Failure::environment(format!("{table} is not complete past {moment}: {said}"))
                    .remedy("see `headwater status` for what holds it up, or wait longer with --patience"));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Of a derived store that is asked.
    async fn complete_until(&self, store: Store, entity: &Entity) -> Result<Option<Timestamp>, Failure> {
        match (store, &self.lake) {
            (Store::Lake, Some(lake)) => lake.complete_until(&entity.table()).await.map_err(sql::failure),
            (Store::Index, _) => {
                let progress = self.index(entity).await?.progress().await.map_err(Failure::environment)?;
                Ok(progress.complete_until())
            }
            (Store::Table, _) | (Store::Lake, None) => Ok(None),
        }
    }

    async fn index(&self, entity: &Entity) -> Result<Arc<dyn SearchIndex>, Failure> {
        match &self.index {
            Index::Serving(stores) => stores.index(entity).await,
            Index::This(index) => Ok(index.clone()),
        }
    }

    /// Changes in the lake's history of these tables.
    pub async fn history_rows(&self, entities: &[Entity]) -> Result<u64, Failure> {
        let mut rows = 0;
        let Some(lake) = &self.lake else { return Ok(0) };
        for entity in entities {
            rows += lake.history_rows(&entity.table()).await.map_err(sql::failure)?;
        }
        Ok(rows)
    }

    pub async fn digests(&self, store: Store, entity: &Entity) -> Result<Digests, Failure> {
        let mut digests = Digests::default();
        self.each(store, entity, |key, item| digests.add(Fingerprint::of(&key, &item))).await?;
        Ok(digests)
    }

    /// The items of a store whose keys are `wanted`.
    pub async fn holding(
        &self,
        store: Store,
        entity: &Entity,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<BTreeMap<String, Fingerprint>, Failure> {
        let mut holding = BTreeMap::new();
        self.each(store, entity, |key, item| {
            if wanted(&key) {
                let fingerprint = Fingerprint::of(&key, &item);
                holding.insert(key, fingerprint);
            }
        })
        .await?;
        Ok(holding)
    }

    /// The table's items of these keys now, read consistently.
    pub async fn table_items(
        &self,
        entity: &Entity,
        keys: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Fingerprint>, Failure> {
        let mut items = BTreeMap::new();
        for key in keys {
            let item_key = item_key(entity, key)?;
            let answer = self
                .features
                .client()
                .get_item()
                .table_name(entity.table().as_str())
                .set_key(Some(to_attributes(&item_key.to_item())))
                .consistent_read(true)
                .send()
                .await
                .map_err(|error| unreadable(entity, &aws_sdk_dynamodb::error::DisplayErrorContext(error)))?;
            if let Some(attributes) = answer.item {
                let item = from_attributes(attributes).map_err(|error| unreadable(entity, &error))?;
                items.insert(key.clone(), Fingerprint::of(key, &item));
            }
        }
        Ok(items)
    }

    async fn each(&self, store: Store, entity: &Entity, give: impl FnMut(String, Item)) -> Result<(), Failure> {
        match store {
            Store::Table => self.each_of_table(entity, give).await,
            Store::Lake => self.each_of_lake(entity, give).await,
            Store::Index => self.each_of_index(entity, give).await,
        }
    }

    async fn each_of_table(&self, entity: &Entity, mut give: impl FnMut(String, Item)) -> Result<(), Failure> {
        let scan = self.features.client().scan().table_name(entity.table().as_str()).consistent_read(true);
        let mut pages = scan.into_paginator().send();
        let (partition, sort) = (&entity.key.partition.name, entity.key.sort.as_ref().map(|sort| sort.name.as_str()));
        while let Some(page) = pages.next().await {
            let page =
                page.map_err(|error| unreadable(entity, &aws_sdk_dynamodb::error::DisplayErrorContext(error)))?;
            for attributes in page.items.unwrap_or_default() {
                let item = from_attributes(attributes).map_err(|error| unreadable(entity, &error))?;
                let key = ItemKey::of(&item, partition, sort).ok_or_else(|| {
                    Failure::environment("an item has not the key that its definition names").at(entity.table())
                })?;
                give(key.canonical().to_text(), item);
            }
        }
        Ok(())
    }

    async fn each_of_lake(&self, entity: &Entity, mut give: impl FnMut(String, Item)) -> Result<(), Failure> {
        let Some(lake) = &self.lake else { return Ok(()) };
        let mut rows = match lake.live_rows(&entity.table()).await {
            Ok(rows) => rows,
            Err(headwater_lake::query::QueryError::Empty { .. }) => return Ok(()),
            Err(error) => return Err(sql::failure(error)),
        };
        while let Some(row) = rows.next().await {
            let row = row.map_err(sql::failure)?;
            give(row.key, parsed("lake", entity, &row.item)?);
        }
        Ok(())
    }

    async fn each_of_index(&self, entity: &Entity, mut give: impl FnMut(String, Item)) -> Result<(), Failure> {
        let index = self.index(entity).await?;
        let mut after: Option<String> = None;
        loop {
            let page = index.scan(after.as_deref(), PAGE).await.map_err(Failure::environment)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.key.clone());
            for document in page {
                if let Some(json) = document.item {
                    let item = parsed("index", entity, &json)?;
                    give(document.key, item);
                }
            }
        }
    }
}

fn parsed(store: &str, entity: &Entity, json: &str) -> Result<Item, Failure> {
    Item::from_json(json)
        .map_err(|error| Failure::environment(format!("an item in the {store} is no item: {error}")).at(entity.table()))
}

fn unreadable(entity: &Entity, error: &dyn std::fmt::Display) -> Failure {
    Failure::environment(format!("the table can't be read: {error}")).at(entity.table())
}

/// The typed key behind its text in the stores.
fn item_key(entity: &Entity, text: &str) -> Result<ItemKey, Failure> {
    let foreign = || Failure::environment("a key in the lake or the index is not one of the table's").at(text);
    let mut values = KeyBytes::from_text(text).and_then(|bytes| bytes.values()).ok_or_else(foreign)?.into_iter();
    let mut next = |name: &str| Some((name.to_owned(), values.next()?));
    let partition = next(&entity.key.partition.name).ok_or_else(foreign)?;
    let sort = entity.key.sort.as_ref().map(|sort| next(&sort.name).ok_or_else(foreign)).transpose()?;
    Ok(ItemKey { partition, sort })
}
