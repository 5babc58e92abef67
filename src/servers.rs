//! The outside systems that the settings name: a change log on Kafka, a lake on S3 or in a folder, an index on
//! OpenSearch, tables on a DynamoDB API. Each is connected to when a command or a worker needs it.

use std::sync::Arc;

use headwater_common::definition::Entity;
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_sdk::FeatureStore;
use headwater_sink_offline::Lake;
use headwater_sink_search::SearchIndex;
use headwater_sink_search::opensearch::OpenSearch;

use crate::definitions;
use crate::failure::Failure;
use crate::settings::Settings;
use crate::stages::Indexes;

pub struct Servers {
    settings: Settings,
    /// Instead of those of the settings.
    entities: Option<Vec<Entity>>,
}

impl Servers {
    /// `None` where the settings name none: everything lies in a data folder then.
    pub fn named(settings: &Settings) -> Option<Servers> {
        settings.names_servers().then(|| Servers { settings: settings.clone(), entities: None })
    }

    pub fn with_entities(self, entities: Vec<Entity>) -> Servers {
        Servers { entities: Some(entities), ..self }
    }

    pub fn entities(&self) -> Result<Vec<Entity>, Failure> {
        match &self.entities {
            Some(entities) => Ok(entities.clone()),
            None => definitions::load(&self.settings.definitions),
        }
    }

    #[cfg(feature = "kafka")]
    pub async fn log(&self, health: Health) -> Result<Arc<dyn ChangeLog>, Failure> {
        let kafka = &self.settings.kafka;
        let log = headwater_kafka::KafkaLog::connect(kafka, health, Arc::new(headwater_common::clock::SystemClock))
            .await
            .map_err(|error| Failure::environment(error).at(format!("kafka.bootstrap {}", kafka.bootstrap)))?;
        Ok(Arc::new(log))
    }

    /// Kafka's client and its TLS are a third of a build, and one machine does without them.
    #[cfg(not(feature = "kafka"))]
    pub async fn log(&self, _: Health) -> Result<Arc<dyn ChangeLog>, Failure> {
        Err(Failure::usage("this program was built without Kafka").remedy("build it with `--features kafka`"))
    }

    pub fn lake(&self) -> Result<Lake, Failure> {
        let place = &self.settings.lake.place;
        Lake::open(place, &self.settings.lake.s3).map_err(|error| Failure::environment(error).at(place))
    }

    pub async fn open_search(&self) -> Result<OpenSearch, Failure> {
        let settings = &self.settings.opensearch;
        OpenSearch::connect(settings).await.map_err(|error| Failure::environment(error).at("settings opensearch"))
    }

    /// The tables' indexes for writing: made where there is none, their mappings brought up to the definitions.
    pub async fn indexes(&self, entities: &[Entity], log: &dyn ChangeLog) -> Result<Indexes, Failure> {
        let server = self.open_search().await?;
        let mut indexes = Indexes::new();
        for entity in entities {
            let index = server.open(entity, log).await.map_err(Failure::environment)?;
            indexes.insert(entity.table(), Arc::new(index));
        }
        Ok(indexes)
    }

    /// A table's index for reading.
    pub async fn index(&self, entity: &Entity) -> Result<Arc<dyn SearchIndex>, Failure> {
        let index = self.open_search().await?.open_read_only(entity).await.map_err(Failure::environment)?;
        Ok(Arc::new(index))
    }

    pub async fn features(&self, entities: Vec<Entity>) -> Result<FeatureStore, Failure> {
        FeatureStore::connect(self.endpoint(), entities)
            .await
            .map_err(|error| Failure::environment(error).at(self.endpoint().unwrap_or("DynamoDB")))
    }

    pub async fn streams(&self) -> aws_sdk_dynamodbstreams::Client {
        aws_sdk_dynamodbstreams::Client::new(&headwater_sdk::sdk_config(self.endpoint()).await)
    }

    pub fn endpoint(&self) -> Option<&str> {
        Some(self.settings.dynamodb.endpoint.as_str()).filter(|endpoint| !endpoint.is_empty())
    }
}
