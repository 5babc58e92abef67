//! Kafka → OpenSearch: the sink beside a Python loader (confluent-kafka and opensearch-py's `streaming_bulk`), on the same
//! messages, into indexes of the same settings and mapping, with the same documents and external versions.
//!
//! `bench_bulk [--brokers HOST:PORT[,…]] [--opensearch URL] [--documents N] [--runs N] [--pid PID]`; the addresses default to
//! those that `infra/servers/up` exports, `--pid` is OpenSearch's, whose processor time is then printed too. The runs of both
//! are interleaved; it prints each and the medians: documents a second, from the moment that the partitions are assigned
//! until all is searchable, and processor time of the client for each document.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::change::{Change, TableName};
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::definition::{Entity, parse};
use headwater_common::health::Health;
use headwater_common::progress::SinkProgress;
use headwater_common::value::Item;
use headwater_kafka::KafkaLog;
use headwater_sink_search::opensearch::OpenSearch;
use headwater_sink_search::{SearchIndex, SinkSearch};
use headwater_tests::error::Error as Fault;
use headwater_tests::filled;
use headwater_tests::measure::{Running, median, processor_seconds, say};
use headwater_tests::python::Python;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

type Any = Box<dyn Error + Send + Sync>;

const TABLE: &str = "aircraft";

#[derive(Clone)]
struct Plan {
    brokers: String,
    opensearch: String,
    /// Of the topic and the group; the indexes have their own.
    prefix: String,
    documents: u64,
    runs: usize,
    pid: Option<u32>,
    /// The prefix of this child's index.
    child: Option<String>,
}

fn plan() -> Result<Plan, Any> {
    let given = |name: &str| std::env::var(name).unwrap_or_default();
    let mut plan = Plan {
        brokers: given("KAFKA_BOOTSTRAP"),
        opensearch: given("OPENSEARCH_URL"),
        prefix: format!("bench-{}", uuid::Uuid::new_v4().simple()),
        documents: 100_000,
        runs: 5,
        pid: None,
        child: None,
    };
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--brokers" => plan.brokers = value,
            "--opensearch" => plan.opensearch = value,
            "--prefix" => plan.prefix = value,
            "--documents" => plan.documents = value.parse()?,
            "--runs" => plan.runs = value.parse()?,
            "--pid" => plan.pid = Some(value.parse()?),
            "--child" => plan.child = Some(value),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    if plan.brokers.is_empty() || plan.opensearch.is_empty() {
        return Err("no servers: infra/servers/up && source headwater-servers/env".into());
    }
    Ok(plan)
}

#[tokio::main]
async fn main() -> Result<(), Any> {
    let plan = plan()?;
    if let Some(prefix) = &plan.child {
        return sink(&plan, prefix).await;
    }
    let python = Python::of(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bench_bulk"))).await?;
    let log = plan.log().await?;
    let table = TableName::new(TABLE);
    let bytes = filled::fill(&log, &table, plan.documents, Timestamp::from_millis(1), change).await?;
    println!("{} messages of {bytes} bytes, medians of {} interleaved runs", plan.documents, plan.runs);
    println!("{:<12}{:>10}{:>16}{:>18}", "", "docs/s", "client µs/doc", "OpenSearch µs/doc");
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for at in 0..plan.runs {
        let mut both = ["sink", "loader"];
        both.rotate_left(at % 2);
        let mut indexes = Vec::new();
        for way in both {
            let prefix = format!("{}-{way}-{at}", plan.prefix);
            let run = run(&plan, &log, &python, way, &prefix).await?;
            run.print(way);
            runs.entry(way).or_default().push(run);
            indexes.push(prefix);
        }
        plan.compare(&indexes).await?;
    }
    let medians: Vec<Run> = ["sink", "loader"].iter().map(|way| Run::median(&runs[way])).collect();
    println!("medians");
    medians[0].print("sink");
    medians[1].print("loader");
    println!(
        "ratio: {:.2} of the loader's documents a second, with {:.2} of its processor time",
        medians[0].rate / medians[1].rate,
        medians[0].client / medians[1].client
    );
    Ok(())
}

/// Of one run: documents a second, processor time for each in µs.
struct Run {
    rate: f64,
    client: f64,
    server: f64,
}

impl Run {
    fn median(runs: &[Run]) -> Run {
        let of = |field: fn(&Run) -> f64| median(runs.iter().map(field));
        Run { rate: of(|run| run.rate), client: of(|run| run.client), server: of(|run| run.server) }
    }

    fn print(&self, way: &str) {
        println!("{way:<12}{:>10.0}{:>16.1}{:>18.1}", self.rate, self.client, self.server);
    }
}

impl Plan {
    async fn log(&self) -> Result<KafkaLog, Any> {
        let settings = headwater_kafka::Settings {
            bootstrap: self.brokers.clone(),
            prefix: self.prefix.clone(),
            slots: 1,
            partitions: 4,
            replication: 1,
            min_insync: 1,
            ..headwater_kafka::Settings::default()
        };
        Ok(KafkaLog::connect(&settings, Health::default(), Arc::new(SystemClock)).await?)
    }

    async fn cluster(&self, prefix: &str) -> Result<OpenSearch, Any> {
        let settings = headwater_sink_search::opensearch::Settings {
            urls: vec![self.opensearch.clone()],
            prefix: prefix.to_owned(),
            replicas: 0,
            ..headwater_sink_search::opensearch::Settings::default()
        };
        Ok(OpenSearch::connect(&settings).await?)
    }

    /// Both indexes hold the same documents, and go.
    async fn compare(&self, prefixes: &[String]) -> Result<(), Any> {
        let client = reqwest::Client::new();
        let mut held = Vec::new();
        for prefix in prefixes {
            let index = format!("{}/{prefix}-{TABLE}-000001", self.opensearch);
            let some = json!({ "size": 1000, "version": true, "track_total_hits": true, "sort": ["_hw.key"],
                "query": { "exists": { "field": "_hw.version" } } });
            let ask = client.post(format!("{index}/_search")).header("content-type", "application/json");
            let answer: Value = serde_json::from_str(&ask.body(some.to_string()).send().await?.text().await?)?;
            let document = |hit: &Value| (hit["_id"].clone(), hit["_version"].clone(), hit["_source"].clone());
            let hits: Vec<_> = answer["hits"]["hits"].as_array().into_iter().flatten().map(document).collect();
            held.push((answer["hits"]["total"]["value"].clone(), hits));
            client.delete(&index).send().await?;
        }
        if held[0].0 != self.documents {
            return Err(format!("{} documents of {}", held[0].0, self.documents).into());
        }
        if held[0] != held[1] {
            let pair = held[0].1.iter().zip(&held[1].1).find(|(one, other)| one != other);
            return Err(format!("the indexes differ: {} and {}, {pair:?}", held[0].0, held[1].0).into());
        }
        Ok(())
    }
}

async fn run(plan: &Plan, log: &KafkaLog, python: &Python, way: &str, prefix: &str) -> Result<Run, Any> {
    // Both indexes are made by the sink's own code.
    drop(plan.cluster(prefix).await?.open(&entity()?, log).await?);
    let mut command = if way == "sink" {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["--brokers", &plan.brokers, "--opensearch", &plan.opensearch, "--prefix", &plan.prefix]);
        command.args(["--documents", &plan.documents.to_string(), "--child", prefix]);
        command
    } else {
        let mut command = python.command("bulk_loader.py");
        let (topic, index) = (format!("{}.{TABLE}.changes", plan.prefix), format!("{prefix}-{TABLE}-000001"));
        command.args([&plan.brokers, &topic, prefix, &plan.opensearch, &index, &plan.documents.to_string()]);
        command
    };
    let mut child = Running::start(&mut command)?;
    child.line("began")?;
    let (began, server) = (Instant::now(), plan.pid.map_or(f64::NAN, processor_seconds));
    let client: f64 = child.line("done ")?.parse()?;
    let (took, after) = (began.elapsed().as_secs_f64(), plan.pid.map_or(f64::NAN, processor_seconds));
    let each = |seconds: f64| seconds * 1e6 / plan.documents as f64;
    Ok(Run { rate: plan.documents as f64 / took, client: each(client), server: each(after - server) })
}

/// The product's own pipeline with its default settings, until it has applied everything.
async fn sink(plan: &Plan, prefix: &str) -> Result<(), Any> {
    let log = plan.log().await?;
    let index: Arc<dyn SearchIndex> = Arc::new(plan.cluster(prefix).await?.open(&entity()?, &log).await?);
    let health = Health::default();
    let sink = SinkSearch {
        log: Arc::new(log),
        indexes: BTreeMap::from([(TableName::new(TABLE), index)]),
        entities: vec![entity()?],
        settings: headwater_sink_search::Settings::default(),
        clock: Arc::new(SystemClock),
        health: health.clone(),
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(sink.run(shutdown.clone()));
    let pid = std::process::id();
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    while !health.is_ready() {
        looks.tick().await;
    }
    let began = processor_seconds(pid);
    say("began")?;
    loop {
        looks.tick().await;
        let published = health.status().remove("sink-search").unwrap_or_default();
        let progress: SinkProgress = serde_json::from_value(published).unwrap_or_default();
        let applied: u64 = progress.tables.values().map(|table| table.applied).sum();
        if applied >= plan.documents {
            break;
        }
    }
    say(&format!("done {}", processor_seconds(pid) - began))?;
    shutdown.cancel();
    Ok(running.await??)
}

fn entity() -> Result<Entity, Any> {
    let yaml = "
entity: aircraft
key: {partition: {name: tail, type: string}}
features:
  - {name: carrier, type: keyword}
  - {name: model, type: text}
  - {name: flights, type: long}
  - {name: delay_mean_10, type: double}
  - {name: speed, type: double}
  - {name: airborne, type: bool}
  - {name: last_seen, type: timestamp}
  - {name: last_position, type: geo_point}
";
    Ok(parse(&[("aircraft.yaml", yaml)])?.pop().ok_or("no entity")?)
}

/// Every message is of another item, so that nothing is coalesced.
fn change(n: u64) -> Result<Change, Fault> {
    let image = format!(
        r#"{{"airborne":{{"BOOL":{}}},"carrier":{{"S":"C{}"}},"delay_mean_10":{{"N":"{}.25"}},"flights":{{"N":"{}"}},"last_position":{{"M":{{"lat":{{"N":"{}.5"}},"lon":{{"N":"-{}.75"}}}}}},"last_seen":{{"N":"{}"}},"model":{{"S":"Boeing 737 variant {}"}},"speed":{{"N":"{}.5"}},"tail":{{"S":"N{n:06}"}}}}"#,
        n.is_multiple_of(3),
        n % 16,
        n * 7 % 90,
        n % 4000,
        n % 60,
        n % 170,
        1_357_000_000_000 + n * 1000,
        n % 40,
        n * 13 % 900,
    );
    let item = Item::from_json(&image).map_err(|error| Fault::answer(format!("document {n}"), error))?;
    filled::change(&TableName::new(TABLE), ("tail", None), item, n)
}
