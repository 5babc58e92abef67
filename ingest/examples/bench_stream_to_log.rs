//! Stream → log against a bare GetRecords loop, on the same records of the same server:
//! `cargo run -p headwater-ingest --example bench_stream_to_log [records] [runs]`.
//!
//! `DYNAMODB_ENDPOINT` names the server (`infra/servers/up`). The loop asks for one page after the other and drops them.
//! Ingest reads the same shard from its beginning into a log that is new in each run: it converts, numbers, encodes, and
//! commits durably. Both are timed by the clock, and by the processor time of this process; medians are printed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, PutRequest, ScalarAttributeType,
    StreamSpecification, StreamViewType, WriteRequest,
};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use headwater_common::change::TableName;
use headwater_common::clock::SystemClock;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_ingest::{Ingest, Settings};
use tokio_util::sync::CancellationToken;

/// The logs to measure, each made anew in a folder that is empty.
const LOGS: [(&str, OpenLog); 1] = [("embedded", embedded)];

type OpenLog = fn(&Path) -> Arc<dyn ChangeLog>;

fn embedded(folder: &Path) -> Arc<dyn ChangeLog> {
    Arc::new(EmbeddedLog::open(folder, Layout::default()).unwrap())
}

/// One run's figures.
#[derive(Clone, Copy)]
struct Run {
    seconds: f64,
    processor_seconds: f64,
}

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>().expect("a count"));
    let records = arguments.next().unwrap_or(20_000);
    let runs = arguments.next().unwrap_or(5);
    let endpoint = std::env::var("DYNAMODB_ENDPOINT").expect("DYNAMODB_ENDPOINT (infra/servers/up exports it)");
    let source = Source::create(&endpoint).await;
    source.fill(records).await;
    println!("{records} records of about 1 KB, one shard, {runs} runs; load {}", load());
    for (name, open) in LOGS {
        let (mut bare, mut ingest) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            bare.push(source.loop_over(records).await);
            ingest.push(source.ingest_into(open, records).await);
        }
        let (bare, ingest) = (report("GetRecords loop", records, &bare), report(name, records, &ingest));
        println!("{name}: {:.0} % of the loop", 100.0 * bare.seconds / ingest.seconds);
    }
    println!("load {}", load());
    source.tables.delete_table().table_name(&source.table).send().await.unwrap();
}

fn report(name: &str, records: usize, runs: &[Run]) -> Run {
    let median = |of: fn(&Run) -> f64| {
        let mut values: Vec<f64> = runs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (seconds, processor_seconds) = (median(|run| run.seconds), median(|run| run.processor_seconds));
    let rates: Vec<String> = runs.iter().map(|run| format!("{:.0}", records as f64 / run.seconds)).collect();
    println!(
        "{name:>16}: {:>7.0} records/s, {:>5.1} µs of processor time a record (runs: {})",
        records as f64 / seconds,
        1e6 * processor_seconds / records as f64,
        rates.join(" ")
    );
    Run { seconds, processor_seconds }
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
        let (began, processor) = (Instant::now(), processor_seconds());
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
        Run { seconds: began.elapsed().as_secs_f64(), processor_seconds: processor_seconds() - processor }
    }

    /// From the start of the stage until the last record is durable.
    async fn ingest_into(&self, open: OpenLog, records: usize) -> Run {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let (health, stop) = (Health::default(), CancellationToken::new());
        let ingest = Ingest {
            streams: self.streams.clone(),
            tables_client: self.tables.clone(),
            tables: vec![TableName::new(&self.table)],
            log,
            // `/status` counts as often as marks are written.
            settings: Settings { mark_ms: 20, ..Settings::default() },
            clock: Arc::new(SystemClock),
            health: health.clone(),
        };
        let (began, processor) = (Instant::now(), processor_seconds());
        let running = tokio::spawn(ingest.run(stop.clone()));
        let committed = || -> Option<u64> { health.status().get("ingest")?["tables"][&self.table]["records"].as_u64() };
        while committed().unwrap_or(0) < records as u64 {
            assert!(!running.is_finished(), "ingest ended by itself");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let run = Run { seconds: began.elapsed().as_secs_f64(), processor_seconds: processor_seconds() - processor };
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

/// User and system time of all threads of this process, in steps of 10 ms.
fn processor_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit(')').next().unwrap();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    fields[11..=12].iter().map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>() / TICKS_PER_SECOND
}

fn load() -> String {
    std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default().to_owned()
}
