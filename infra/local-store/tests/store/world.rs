//! A store in a temporary folder, clients for it, and what the tests ask of them.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_dynamodbstreams::types::{Record, ShardIteratorType};
use aws_smithy_types::retry::RetryConfig;
use headwater_local_store::{Environment, LocalStore, Settings};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

pub struct World {
    pub folder: TempDir,
    store: Option<LocalStore>,
    settings: Settings,
    environment: Environment,
}

impl World {
    pub fn start() -> World {
        World::start_in(Settings::default(), Environment::default())
    }

    /// The settings' address and folder are replaced by ones of this world.
    pub fn start_in(settings: Settings, environment: Environment) -> World {
        let folder = TempDir::new().unwrap();
        let settings = settings_in(folder.path(), settings);
        let store = Some(LocalStore::start_in(settings.clone(), environment.clone()).unwrap());
        World { folder, store, settings, environment }
    }

    pub fn store(&self) -> &LocalStore {
        self.store.as_ref().unwrap()
    }

    pub async fn stop(&mut self) {
        self.store.take().unwrap().shutdown().await.unwrap();
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        self.store = Some(LocalStore::start_in(self.settings.clone(), self.environment.clone()).unwrap());
    }

    pub fn client(&self) -> aws_sdk_dynamodb::Client {
        client(&self.store().endpoint())
    }

    /// Every record of the table's stream, from its beginning to its present end.
    pub async fn records(&self, table: &str) -> Vec<Record> {
        records(&self.store().endpoint(), table).await
    }

    pub async fn numbers(&self, table: &str) -> Vec<String> {
        self.records(table).await.iter().map(number).collect()
    }
}

pub fn settings_in(folder: &Path, settings: Settings) -> Settings {
    Settings { address: "127.0.0.1:0".parse().unwrap(), folder: folder.to_owned(), ..settings }
}

pub fn client(endpoint: &str) -> aws_sdk_dynamodb::Client {
    aws_sdk_dynamodb::Client::from_conf(
        aws_sdk_dynamodb::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_dynamodb::config::Region::new("eu-nowhere-7"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new("anybody", "anything", None, None, "tests"))
            .retry_config(RetryConfig::disabled())
            .build(),
    )
}

fn streams(endpoint: &str) -> aws_sdk_dynamodbstreams::Client {
    aws_sdk_dynamodbstreams::Client::from_conf(
        aws_sdk_dynamodbstreams::Config::builder()
            .behavior_version_latest()
            .region(aws_sdk_dynamodbstreams::config::Region::new("eu-nowhere-7"))
            .endpoint_url(endpoint)
            .credentials_provider(Credentials::new("anybody", "anything", None, None, "tests"))
            .build(),
    )
}

/// A table with the string key `k` and a stream of both images.
pub async fn create_table(client: &aws_sdk_dynamodb::Client, table: &str) {
    let key = KeySchemaElement::builder().attribute_name("k").key_type(KeyType::Hash).build().unwrap();
    let name = AttributeDefinition::builder().attribute_name("k").attribute_type(ScalarAttributeType::S);
    client
        .create_table()
        .table_name(table)
        .key_schema(key)
        .attribute_definitions(name.build().unwrap())
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(stream(true))
        .send()
        .await
        .unwrap();
}

pub fn stream(enabled: bool) -> StreamSpecification {
    let stream = StreamSpecification::builder().stream_enabled(enabled);
    let stream = if enabled { stream.stream_view_type(StreamViewType::NewAndOldImages) } else { stream };
    stream.build().unwrap()
}

pub async fn put(client: &aws_sdk_dynamodb::Client, table: &str, key: &str, value: &str) {
    client.put_item().table_name(table).item("k", s(key)).item("v", s(value)).send().await.unwrap();
}

pub async fn get(client: &aws_sdk_dynamodb::Client, table: &str, key: &str) -> Option<HashMap<String, AttributeValue>> {
    client.get_item().table_name(table).key("k", s(key)).consistent_read(true).send().await.unwrap().item
}

pub fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

pub fn number(record: &Record) -> String {
    record.dynamodb().unwrap().sequence_number().unwrap().to_owned()
}

pub async fn records(endpoint: &str, table: &str) -> Vec<Record> {
    let arn = client(endpoint).describe_table().table_name(table).send().await.unwrap();
    let arn = arn.table().unwrap().latest_stream_arn().unwrap().to_owned();
    let client = streams(endpoint);
    let described = client.describe_stream().stream_arn(&arn).send().await.unwrap();
    let shard = described.stream_description().unwrap().shards()[0].shard_id().unwrap().to_owned();
    let iterator = client.get_shard_iterator().stream_arn(arn).shard_id(shard);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let (mut iterator, mut all) = (iterator.shard_iterator, Vec::new());
    loop {
        let page = client.get_records().set_shard_iterator(iterator).send().await.unwrap();
        if page.records().is_empty() {
            return all;
        }
        all.extend(page.records.unwrap_or_default());
        iterator = page.next_shard_iterator;
    }
}

/// Waits until `look` gives something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} did not happen in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
