//! Stream → log against a bare GetRecords loop, on the same records of the same server:
//! `cargo run -p headwater-ingest --example bench_stream_to_log [records] [runs]`.
//!
//! `DYNAMODB_ENDPOINT` names the server (`infra/servers/up`); the log is the embedded one and, where `KAFKA_BOOTSTRAP` names
//! brokers, Kafka. The loop asks for one page after the other and drops them. Ingest reads the same shard from its beginning
//! into a log that is new in each run: it converts, numbers, encodes, and commits durably. Its time runs from the first
//! commit, so that the start of a worker is left out. Both are timed by the clock, and by the processor time of this
//! process, without the servers'; the runs are interleaved and medians printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
    StreamSpecification, StreamViewType, WriteRequest,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use futures::future::BoxFuture;
use headwater_common::change::TableName;
use headwater_common::clock::SystemClock;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_ingest::{Ingest, Settings};
use headwater_kafka::KafkaLog;
use headwater_tests::measure::{load, median, processor_seconds};
use tokio_util::sync::CancellationToken;

/// Where a log is made anew for each run: an empty folder, and the brokers where there are some.
struct Place {
    folder: PathBuf,
    brokers: Option<String>,
}

/// The logs to measure. `None` where the place has no room for such a log.
const LOGS: [(&str, OpenLog); 2] = [("embedded", embedded), ("kafka", kafka)];

type OpenLog = fn(Place) -> BoxFuture<'static, Option<Arc<dyn ChangeLog>>>;

fn embedded(place: Place) -> BoxFuture<'static, Option<Arc<dyn ChangeLog>>> {
    let log = EmbeddedLog::open(&place.folder, Layout::default()).unwrap();
    Box::pin(std::future::ready(Some(Arc::new(log) as Arc<dyn ChangeLog>)))
}

fn kafka(place: Place) -> BoxFuture<'static, Option<Arc<dyn ChangeLog>>> {
    Box::pin(async move {
        let settings = headwater_kafka::Settings {
            bootstrap: place.brokers?,
            prefix: format!("bench-{:016x}", rand::random::<u64>()),
            partitions: Layout::default().partitions,
            replication: 1,
            min_insync: 1,
            ..headwater_kafka::Settings::default()
        };
        let log = KafkaLog::connect(&settings, Health::default(), Arc::new(SystemClock)).await.unwrap();
        Some(Arc::new(log) as Arc<dyn ChangeLog>)
    })
}

/// Of one run: records a second by the clock, and the processor time of each in seconds.
#[derive(Clone, Copy)]
struct Run {
    rate: f64,
    each: f64,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a count"));
    let records = arguments.next().unwrap_or(40_000);
    let runs = arguments.next().unwrap_or(5);
    let endpoint = std::env::var("DYNAMODB_ENDPOINT").expect("DYNAMODB_ENDPOINT (infra/servers/up exports it)");
    let source = Source::create(&endpoint).await;
    source.fill(records).await;
    println!("{records} records of about 1 KB, one shard, {runs} runs; {}", load());
    for (name, open) in LOGS {
        let (mut bare, mut ingest) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let folder = tempfile::tempdir().unwrap();
            let place = Place { folder: folder.path().to_owned(), brokers: std::env::var("KAFKA_BOOTSTRAP").ok() };
            let Some(log) = open(place).await else { break };
            bare.push(source.loop_over(records).await);
            ingest.push(source.ingest_into(log, records).await);
        }
        if ingest.is_empty() {
            println!("{name}: left out, KAFKA_BOOTSTRAP is not set (infra/servers/up exports it)");
            continue;
        }
        let (bare, ingest) = (report("GetRecords loop", &bare), report(name, &ingest));
        println!("{name}: {:.0} % of the loop", 100.0 * ingest / bare);
    }
    println!("{}", load());
    source.tables.delete_table().table_name(&source.table).send().await.unwrap();
}

/// Gives the median of the rates.
fn report(name: &str, runs: &[Run]) -> f64 {
    let (rate, each) = (median(runs.iter().map(|run| run.rate)), median(runs.iter().map(|run| run.each)));
    let rates: Vec<String> = runs.iter().map(|run| format!("{:.0}", run.rate)).collect();
    println!(
        "{name:>16}: {rate:>7.0} records/s, {:>5.1} µs of processor time a record (runs: {})",
        1e6 * each,
        rates.join(" ")
    );
    rate
}

/// A table and its stream.
struct Source {
    table: String,
    tables: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
}

impl Source {
    async fn create(endpoint: &str) -> Source {
        let table = format!("bench-{:016x}", rand::random::<u64>());
        let tables = headwater_tests::client::at(endpoint);
        let config = aws_sdk_dynamodbstreams::Config::builder()
            .behavior_version_latest()
            .endpoint_url(endpoint)
            .region(aws_sdk_dynamodbstreams::config::Region::new("us-east-1"))
            .credentials_provider(Credentials::from_keys("test", "test", None));
        let streams = aws_sdk_dynamodbstreams::Client::from_conf(config.build());
        let view =
            StreamSpecification::builder().stream_enabled(true).stream_view_type(StreamViewType::NewAndOldImages);
        let id = AttributeDefinition::builder().attribute_name("id").attribute_type(ScalarAttributeType::S);
        tables
            .create_table()
            .table_name(&table)
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(id.build().unwrap())
            .key_schema(KeySchemaElement::builder().attribute_name("id").key_type(KeyType::Hash).build().unwrap())
            .stream_specification(view.build().unwrap())
            .send()
            .await
            .unwrap();
        Source { table, tables, streams }
    }

    async fn fill(&self, records: usize) {
        const BATCH: usize = 25;
        for first in (0..records).step_by(BATCH) {
            let requests = (first..records.min(first + BATCH)).map(|n| {
                let put = PutRequest::builder().set_item(Some(item(n))).build().unwrap();
                WriteRequest::builder().put_request(put).build()
            });
            let request = self.tables.batch_write_item().request_items(&self.table, requests.collect());
            let left = request.send().await.unwrap().unprocessed_items.unwrap_or_default();
            assert!(left.is_empty(), "the server did not take all");
        }
    }

    async fn loop_over(&self, records: usize) -> Run {
        let table = self.tables.describe_table().table_name(&self.table).send().await.unwrap().table.unwrap();
        let arn = table.latest_stream_arn.unwrap();
        let timed = Timed::from(0);
        let described = self.streams.describe_stream().stream_arn(&arn).send().await.unwrap();
        let shards = described.stream_description.unwrap().shards.unwrap();
        let mut seen = 0;
        for shard in shards {
            let request = self.streams.get_shard_iterator().stream_arn(&arn).shard_id(shard.shard_id.unwrap());
            let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
            let mut next = answer.shard_iterator;
            while let Some(iterator) = next.filter(|_| seen < records) {
                let answer = self.streams.get_records().shard_iterator(iterator).limit(1000).send().await.unwrap();
                seen += answer.records().len();
                next = answer.next_shard_iterator;
            }
        }
        assert_eq!(seen, records);
        timed.until(records as u64)
    }

    /// From the first commit until the last record is durable.
    async fn ingest_into(&self, log: Arc<dyn ChangeLog>, records: usize) -> Run {
        let (health, stop) = (Health::default(), CancellationToken::new());
        let ingest = Ingest {
            streams: self.streams.clone(),
            tables_client: self.tables.clone(),
            tables: vec![TableName::new(&self.table)],
            log,
            // `/status` counts as often as marks are written.
            settings: Settings { mark_ms: 50, ..Settings::default() },
            clock: Arc::new(SystemClock),
            health: health.clone(),
        };
        let running = tokio::spawn(ingest.run(stop.clone()));
        let committed = async |least: usize| loop {
            let records = health.status().get("ingest").and_then(|all| all["tables"][&self.table]["records"].as_u64());
            if let Some(records) = records.filter(|records| *records >= least as u64) {
                return records;
            }
            assert!(!running.is_finished(), "ingest ended by itself");
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let timed = Timed::from(committed(1).await);
        let run = timed.until(committed(records).await);
        stop.cancel();
        running.await.unwrap().unwrap();
        run
    }
}

fn item(n: usize) -> std::collections::HashMap<String, AttributeValue> {
    let number = |shift: u32| AttributeValue::N(format!("{}.25", (n.wrapping_mul(2_654_435_761) >> shift) % 100_000));
    let mut item: std::collections::HashMap<_, _> =
        (0..12).map(|at| (format!("feature_{at:02}"), number(at))).collect();
    item.insert("id".to_owned(), AttributeValue::S(format!("item-{n:08}")));
    item.insert("text".to_owned(), AttributeValue::S("the quick brown fox jumps ".repeat(26)));
    item
}

/// What is under way: how much of it was done at which time.
struct Timed {
    records: u64,
    began: Instant,
    processor: f64,
}

impl Timed {
    fn from(records: u64) -> Timed {
        Timed { records, began: Instant::now(), processor: processor_seconds(std::process::id()) }
    }

    fn until(self, records: u64) -> Run {
        let (more, processor) = ((records - self.records) as f64, processor_seconds(std::process::id()));
        assert!(more > 0.0, "everything came with the first commit: take more records");
        Run { rate: more / self.began.elapsed().as_secs_f64(), each: (processor - self.processor) / more }
    }
}
