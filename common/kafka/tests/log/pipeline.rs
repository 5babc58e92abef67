//! A pipeline of its own on the brokers that the tests were given: names that nobody else uses, removed at the end.

use std::sync::Arc;

use headwater_common::clock::SystemClock;
use headwater_common::health::Health;
use headwater_common::log::LogError;
use headwater_kafka::{KafkaLog, Settings};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

pub struct Pipeline {
    pub settings: Settings,
    pub health: Health,
}

impl Pipeline {
    pub fn new(bootstrap: String) -> Pipeline {
        let settings = Settings {
            bootstrap,
            prefix: format!("test-{}", uuid::Uuid::new_v4()),
            slots: 4,
            partitions: 3,
            replication: 1,
            min_insync: 1,
            revoke_timeout_ms: 1_500,
            ..Settings::default()
        };
        Pipeline { settings, health: Health::default() }
    }

    /// Another process's view of the same pipeline.
    pub async fn connect(&self) -> KafkaLog {
        self.try_connect().await.unwrap()
    }

    pub async fn try_connect(&self) -> Result<KafkaLog, LogError> {
        KafkaLog::connect(&self.settings, self.health.clone(), Arc::new(SystemClock)).await
    }

    pub fn topic(&self, table: &str) -> String {
        format!("{}.{table}.changes", self.settings.prefix)
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.bootstrap);
        config
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    pub async fn delete(&self, topic: &str) {
        let deleted = self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
        deleted.into_iter().for_each(|one| drop(one.unwrap()));
    }

    /// Whatever the test made.
    pub async fn remove(self) {
        let consumer: BaseConsumer = self.client().create().unwrap();
        let all = consumer.fetch_metadata(None, std::time::Duration::from_secs(20)).unwrap();
        let ours = all.topics().iter().map(|topic| topic.name()).filter(|name| name.starts_with(&self.settings.prefix));
        let ours: Vec<&str> = ours.collect();
        if !ours.is_empty() {
            drop(self.admin().delete_topics(&ours, &AdminOptions::new()).await.unwrap());
        }
    }
}
