//! The store: a client, and the entities that it may write.

use std::collections::BTreeMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use headwater_common::clock::{Clock, SystemClock};
use headwater_common::definition::Entity;
use headwater_common::nearest::hint;

use crate::connect::{host, sdk_config};
use crate::entity::EntityStore;
use crate::error::Error;
use crate::table::Ensured;

/// What a store can be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whether attributes that no definition names may be written. The lake keeps them in `item`, untyped. Default no.
    pub unknown_attributes: bool,
    /// Whether reads see every write that came before them, at twice the cost. Default no.
    pub consistent_reads: bool,
    /// How often `batch_get` asks again for keys that DynamoDB left unprocessed, with back-off. Default 10.
    pub batch_attempts: u32,
    /// Requests that one `batch_get` has under way at once. Default 4.
    pub batch_requests: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { unknown_attributes: false, consistent_reads: false, batch_attempts: 10, batch_requests: 4 }
    }
}

/// Reads and writes the online store by entity. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct FeatureStore {
    client: Client,
    entities: Arc<BTreeMap<String, Arc<Entity>>>,
    settings: Settings,
    clock: Arc<dyn Clock>,
}

impl FeatureStore {
    /// Uses a client that is set up already. Retries and time-outs are the client's.
    pub fn new(client: Client, entities: Vec<Entity>) -> FeatureStore {
        let entities = entities.into_iter().map(|entity| (entity.entity.clone(), Arc::new(entity))).collect();
        FeatureStore {
            client,
            entities: Arc::new(entities),
            settings: Settings::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// Makes a client by [`sdk_config`]: `None` for AWS, or the address of a DynamoDB-compatible server. Sends nothing.
    pub async fn connect(endpoint: Option<&str>, entities: Vec<Entity>) -> Result<FeatureStore, Error> {
        if let Some(endpoint) = endpoint.filter(|endpoint| host(endpoint).is_none()) {
            return Err(Error::Endpoint { endpoint: endpoint.to_owned() });
        }
        Ok(FeatureStore::new(Client::new(&sdk_config(endpoint).await), entities))
    }

    pub fn with_settings(self, settings: Settings) -> FeatureStore {
        FeatureStore { settings, ..self }
    }

    /// Stamps `write_time` by this clock instead of the machine's.
    pub fn with_clock(self, clock: Arc<dyn Clock>) -> FeatureStore {
        FeatureStore { clock, ..self }
    }

    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The store of one entity. Sends nothing: whether the table exists shows at the first call.
    pub fn entity(&self, name: &str) -> Result<EntityStore, Error> {
        match self.entities.get(name) {
            Some(entity) => Ok(self.store_of(entity)),
            None => Err(Error::UnknownEntity {
                entity: name.to_owned(),
                hint: hint(name, self.entities.keys().map(String::as_str)),
            }),
        }
    }

    /// Makes sure that every entity's table is there and can be followed; see [`EntityStore::ensure_table`].
    pub async fn ensure_tables(&self) -> Result<BTreeMap<String, Ensured>, Error> {
        let mut ensured = BTreeMap::new();
        for (name, entity) in self.entities.iter() {
            ensured.insert(name.clone(), self.store_of(entity).ensure_table().await?);
        }
        Ok(ensured)
    }

    fn store_of(&self, entity: &Arc<Entity>) -> EntityStore {
        EntityStore::new(self.client.clone(), entity.clone(), self.settings.clone(), self.clock.clone())
    }
}
