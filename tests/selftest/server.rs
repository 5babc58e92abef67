//! The embedded server, and its stream read to the end.

use std::net::SocketAddr;

use aws_credential_types::Credentials;
use aws_sdk_dynamodbstreams::config::{Config, Region};
use aws_sdk_dynamodbstreams::types::{AttributeValue, OperationType, Record, ShardIteratorType};
use dynoxide::Database;
use headwater_common::change::Op;
use headwater_common::definition::Entity;
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};
use headwater_tests::history::Key;
use headwater_tests::observed::HistoryRow;
use tokio::task::JoinHandle;

pub struct Server {
    pub address: SocketAddr,
    pub database: Database,
    running: JoinHandle<()>,
}

impl Server {
    pub async fn start() -> Server {
        let database = Database::memory().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(dynoxide::server::serve_on(listener, database.clone()));
        Server { address, database, running }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// The stream as a lake's history would hold it.
pub async fn history(endpoint: &str, entities: &[Entity]) -> Vec<HistoryRow> {
    let config = Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys("test", "test", None))
        .build();
    let client = aws_sdk_dynamodbstreams::Client::from_conf(config);
    let mut rows = Vec::new();
    for entity in entities {
        let table = entity.table();
        let streams = client.list_streams().table_name(table.as_str()).send().await.unwrap();
        let arn = streams.streams()[0].stream_arn().unwrap().to_owned();
        let stream = client.describe_stream().stream_arn(&arn).send().await.unwrap();
        for shard in stream.stream_description().unwrap().shards() {
            let request = client.get_shard_iterator().stream_arn(&arn).shard_id(shard.shard_id().unwrap());
            let start = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
            let mut iterator = start.shard_iterator().map(str::to_owned);
            while let Some(at) = iterator {
                let page = client.get_records().shard_iterator(at).send().await.unwrap();
                let offset = rows.len();
                rows.extend(page.records().iter().enumerate().map(|(at, record)| row(entity, record, offset + at)));
                iterator = page.next_shard_iterator().map(str::to_owned).filter(|_| !page.records().is_empty());
            }
        }
    }
    rows
}

fn row(entity: &Entity, record: &Record, offset: usize) -> HistoryRow {
    let data = record.dynamodb().unwrap();
    let item = |image: &std::collections::HashMap<String, AttributeValue>| -> Item {
        image.iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
    };
    let key = Key::of(entity, &item(data.keys().unwrap())).unwrap();
    let op = match record.event_name().unwrap() {
        OperationType::Insert => Op::Insert,
        OperationType::Modify => Op::Modify,
        _ if record.user_identity().is_some() => Op::Expire,
        _ => Op::Delete,
    };
    HistoryRow {
        table: key.table,
        key: key.text,
        version: offset as i64,
        op: Some(op),
        item: data.new_image().map(item),
        log_partition: 0,
        log_offset: offset as i64,
        event_id: record.event_id().map(str::to_owned),
        error: None,
    }
}

fn value(attribute: &AttributeValue) -> Value {
    let number = |text: &String| Number::parse(text.as_str()).unwrap();
    match attribute {
        AttributeValue::S(text) => Value::S(text.clone()),
        AttributeValue::N(text) => Value::N(number(text)),
        AttributeValue::B(blob) => Value::B(blob.as_ref().to_vec()),
        AttributeValue::Bool(truth) => Value::Bool(*truth),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::M(map) => Value::M(map.iter().map(|(name, inner)| (name.clone(), value(inner))).collect()),
        AttributeValue::L(list) => Value::L(list.iter().map(value).collect()),
        AttributeValue::Ss(set) => Value::Ss(set.clone()),
        AttributeValue::Ns(set) => Value::Ns(set.iter().map(number).collect()),
        AttributeValue::Bs(set) => Value::Bs(set.iter().map(|blob| blob.as_ref().to_vec()).collect()),
        other => panic!("{other:?}"),
    }
}
