//! Writes per second of conditional puts of 1 KB items through the AWS SDK, for each 10,000 records, with the index on
//! the stream's records and without it, and the ratio of the last to the first.
//!
//! `cargo run -p headwater-local-store --example writes -- [records] [writes in flight]`
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::{BehaviorVersion, Config, Region, StalledStreamProtectionConfig};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use headwater_local_store::{LocalStore, Settings};

const WINDOW: u64 = 10_000;

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<u64>().unwrap());
    let records = arguments.next().unwrap_or(100_000);
    let in_flight = arguments.next().unwrap_or(32);
    for indexed in [true, false] {
        println!("index {}, {in_flight} in flight", if indexed { "on" } else { "off" });
        let rates = measure(if indexed { records } else { records.min(20_000) }, in_flight, indexed).await;
        println!("last / first: {:.2}", rates.last().unwrap() / rates.first().unwrap());
        if arguments.next().is_some() {
            break;
        }
    }
}

async fn measure(records: u64, in_flight: u64, indexed: bool) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        Settings { address: "127.0.0.1:0".parse().unwrap(), folder: folder.path().to_owned(), ..Settings::default() };
    let store = LocalStore::start(settings).unwrap();
    if !indexed {
        let file = folder.path().join("headwater-local-store.sqlite");
        rusqlite::Connection::open(file).unwrap().execute_batch("DROP INDEX headwater_stream_order").unwrap();
    }
    let client = Client::from_conf(client_config(&store.endpoint()));
    create_table(&client).await;
    let next = Arc::new(AtomicU64::new(0));
    let mut rates = Vec::new();
    while next.load(Ordering::Relaxed) < records {
        let end = next.load(Ordering::Relaxed) + WINDOW;
        let (began, (all, server)) = (Instant::now(), processor());
        let writers: Vec<_> =
            (0..in_flight).map(|_| tokio::spawn(write(client.clone(), Arc::clone(&next), end))).collect();
        let mut slowest = Duration::ZERO;
        for writer in writers {
            slowest = slowest.max(writer.await.unwrap());
        }
        next.store(end, Ordering::Relaxed);
        rates.push(WINDOW as f64 / began.elapsed().as_secs_f64());
        let spent = processor();
        let each = |micros: u64| micros as f64 / WINDOW as f64;
        println!(
            "{end:>9} records {:>8.0} writes/s, slowest {:>4} ms, processor per write: {:>4.0} us server, {:>4.0} us client",
            rates.last().unwrap(),
            slowest.as_millis(),
            each(spent.1 - server),
            each((spent.0 - spent.1) - (all - server))
        );
    }
    if indexed {
        read_back(&store, &client).await;
    }
    store.shutdown().await.unwrap();
    rates
}

/// What it costs to read the stream as ingest does.
async fn read_back(store: &LocalStore, client: &Client) {
    let streams = aws_sdk_dynamodbstreams::Client::from_conf(
        aws_sdk_dynamodbstreams::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(store.endpoint())
            .credentials_provider(Credentials::new("local", "local", None, None, "local"))
            .build(),
    );
    let table = client.describe_table().table_name("writes").send().await.unwrap();
    let arn = table.table().unwrap().latest_stream_arn().unwrap();
    let described = streams.describe_stream().stream_arn(arn).send().await.unwrap();
    let shard = described.stream_description().unwrap().shards()[0].shard_id().unwrap();
    let iterator = streams.get_shard_iterator().stream_arn(arn).shard_id(shard);
    let iterator = iterator.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
    let (mut iterator, mut count) = (iterator.shard_iterator, 0);
    let (began, before) = (Instant::now(), processor());
    loop {
        let page = streams.get_records().set_shard_iterator(iterator).send().await.unwrap();
        if page.records().is_empty() {
            break;
        }
        count += page.records().len();
        iterator = page.next_shard_iterator;
    }
    let (rate, after) = (count as f64 / began.elapsed().as_secs_f64(), processor());
    let server = (after.1 - before.1) as f64 / count as f64;
    let client = ((after.0 - after.1) - (before.0 - before.1)) as f64 / count as f64;
    println!(
        "{count:>9} read back {rate:>6.0} /s, processor per record: {server:>4.0} us server, {client:>4.0} us client"
    );
}

/// Returns how long the slowest of its writes took.
async fn write(client: Client, next: Arc<AtomicU64>, end: u64) -> Duration {
    let mut slowest = Duration::ZERO;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if number >= end {
            return slowest;
        }
        let began = Instant::now();
        let time = AttributeValue::N(number.to_string());
        client
            .put_item()
            .table_name("writes")
            .item("k", AttributeValue::S(format!("entity-{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15))))
            .item("event_time", time.clone())
            .item("write_time", AttributeValue::N("1700000000000".to_owned()))
            .item("carrier", AttributeValue::S("HW".to_owned()))
            .item("delay", AttributeValue::N("12.5".to_owned()))
            .item("delayed", AttributeValue::Bool(true))
            .item("payload", AttributeValue::S("x".repeat(900)))
            .condition_expression("attribute_not_exists(k) OR event_time < :t")
            .expression_attribute_values(":t", time)
            .send()
            .await
            .unwrap();
        slowest = slowest.max(began.elapsed());
    }
}

fn client_config(endpoint: &str) -> Config {
    Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(endpoint)
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .build()
}

async fn create_table(client: &Client) {
    let key = KeySchemaElement::builder().attribute_name("k").key_type(KeyType::Hash).build().unwrap();
    let attribute =
        AttributeDefinition::builder().attribute_name("k").attribute_type(ScalarAttributeType::S).build().unwrap();
    let stream = StreamSpecification::builder()
        .stream_enabled(true)
        .stream_view_type(StreamViewType::NewAndOldImages)
        .build()
        .unwrap();
    client
        .create_table()
        .table_name("writes")
        .key_schema(key)
        .attribute_definitions(attribute)
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(stream)
        .send()
        .await
        .unwrap();
}

/// Processor time of the whole process and of the server's threads, microseconds, from the kernel's accounts (Linux).
fn processor() -> (u64, u64) {
    let (mut all, mut server) = (0, 0);
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let task = task.unwrap().path();
        let Ok(spent) = std::fs::read_to_string(task.join("schedstat")) else { continue };
        let micros = spent.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1000;
        all += micros;
        if std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.starts_with("local-store")) {
            server += micros;
        }
    }
    (all, server)
}
