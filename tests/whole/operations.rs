//! What an operator rests on: readiness, metrics, signals, exit codes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;

use aws_sdk_dynamodb::types::AttributeValue;
use headwater_common::definition::Entity;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::metric::{self, Metric};
use headwater_common::order::Version;
use headwater_common::value::Item;
use headwater_sink_search::index::{Flush, Operation};
use headwater_sink_search::{EmbeddedIndex, SearchIndex};
use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::{client, http, run, wait};
use serde_json::Value;

use crate::exposition::{Family, parse};
use crate::stack::{BINARY, Dev, PATIENCE, SINKS};

fn entity() -> Entity {
    serde_json::from_str(
        r#"{"entity": "items", "key": {"partition": {"name": "id", "type": "string"}}, "write_time": "written",
            "features": [{"name": "text", "type": "text"}]}"#,
    )
    .unwrap()
}

async fn put(dev: &Dev, id: &str) {
    let put = client::at(&dev.endpoint).put_item().table_name("items").item("id", AttributeValue::S(id.into()));
    let written = crate::stack::now().as_millis().to_string();
    put.item("written", AttributeValue::N(written)).item("text", AttributeValue::S("x".into())).send().await.unwrap();
}

async fn started(dev: &Dev) -> Process {
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    process
}

/// A worker's launch, with a DynamoDB and brokers that nobody serves.
fn worker(folder: &Path, name: &str) -> Launch {
    let definitions = folder.join("items.yaml");
    std::fs::write(&definitions, headwater_tests::workload::yaml(&entity())).unwrap();
    let nobody = || format!("127.0.0.1:{}", free_port().unwrap());
    let status = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let environment = [
        ("HEADWATER_DEFINITIONS", definitions.display().to_string()),
        ("HEADWATER_HTTP__ADDRESS", status.to_string()),
        ("HEADWATER_KAFKA__BOOTSTRAP", nobody()),
        ("HEADWATER_DYNAMODB__ENDPOINT", format!("http://{}", nobody())),
        ("HEADWATER_OPENSEARCH__URLS", format!("['http://{}']", nobody())),
        ("HEADWATER_LAKE__PLACE", folder.join("lake").display().to_string()),
    ];
    Launch {
        binary: BINARY.into(),
        arguments: vec![name.to_owned()],
        environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
        status,
        log: folder.join("log.txt"),
        patience: PATIENCE,
    }
}

/// GIVEN a stack that starts WHEN it is asked from the first moment on THEN it is not ready before each of its stages is.
#[tokio::test(flavor = "multi_thread")]
async fn a_stack_is_not_ready_before_each_of_its_stages_is() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::new(folder.path(), vec![entity()]);
    let process = Process::start(&dev.launch).unwrap();
    let early = std::cell::Cell::new(0);
    wait::until("readiness", PATIENCE, async || {
        let Ok(answer) = http::get(dev.launch.status, "/readyz").await else { return Err("nobody answers".to_owned()) };
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        let stages = ["ingest", "sink-offline", "sink-search"].map(|stage| said["parts"][stage]["ready"] == true);
        let ready = answer.status == 200;
        assert_eq!(said["ready"], ready, "{}", answer.body);
        assert!(!ready || stages == [true; 3], "ready too early: {}", answer.body);
        early.set(early.get() + usize::from(!ready));
        if ready { Ok(()) } else { Err(answer.body) }
    })
    .await
    .unwrap();
    assert!(early.get() > 0, "the stack was never asked while it started");
    assert!(process.stop(PATIENCE).await.unwrap().success());
}

/// GIVEN workers whose servers are not there WHEN they run THEN each lives, is not ready and says why; and SIGTERM ends
/// it well.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_without_its_servers_lives_and_says_why_it_is_not_ready() {
    for name in ["ingest", "sink-offline", "sink-search"] {
        let folder = tempfile::tempdir().unwrap();
        let launch = worker(folder.path(), name);
        let mut process = Process::start(&launch).unwrap();
        process.wait_for("/livez").await.unwrap();
        wait::until("a reason", PATIENCE, async || {
            let answer = http::get(launch.status, "/readyz").await.map_err(|error| error.to_string())?;
            assert_eq!(answer.status, 503, "{name}: {}", answer.body);
            let said: Value = serde_json::from_str(&answer.body).unwrap();
            let reasons = said["parts"].as_object().unwrap().values().map(|part| part["reason"].as_str().unwrap());
            let told = reasons.filter(|reason| !["", "starting"].contains(reason)).count() > 0;
            if told { Ok(()) } else { Err(answer.body) }
        })
        .await
        .unwrap();
        let ended = process.stop(PATIENCE).await.unwrap();
        assert_eq!(ended.code(), Some(0), "{name}: {}", std::fs::read_to_string(&launch.log).unwrap());
    }
}

/// GIVEN a connection that asks nothing WHEN the stack is told to stop THEN it ends well all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_asks_nothing_does_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::new(folder.path(), vec![entity()]);
    let process = started(&dev).await;
    let mut half = tokio::net::TcpStream::connect(dev.launch.status).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"GET /livez HT").await.unwrap();
    // Whoever asks after it is answered after the half request was read.
    assert_eq!(http::get(dev.launch.status, "/livez").await.unwrap().status, 200);
    assert!(process.stop(PATIENCE).await.unwrap().success());
    drop(half);
}

/// A stack whose lake takes nothing any more and has something to take, so that a drain has to wait for it.
async fn stuck(folder: &Path, drain_ms: u64) -> (Dev, Process) {
    let mut dev = Dev::new(folder, vec![entity()]);
    let settings = [("HEADWATER_SINK_OFFLINE__DRAIN_MS", 600_000), ("HEADWATER_DRAIN_MS", drain_ms)];
    dev.launch.environment.extend(settings.map(|(name, value)| (name.to_owned(), value.to_string())));
    let process = started(&dev).await;
    put(&dev, "first").await;
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    let log = dev.lake().join("items_history/_delta_log");
    std::fs::rename(&log, folder.join("away")).unwrap();
    std::fs::write(&log, "no folder").unwrap();
    put(&dev, "second").await;
    wait::until("the lake's trouble", PATIENCE, async || {
        let answer = http::get(dev.launch.status, "/readyz").await.map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(answer.body) }
    })
    .await
    .unwrap();
    (dev, process)
}

fn log_of(dev: &Dev) -> String {
    std::fs::read_to_string(&dev.launch.log).unwrap()
}

/// GIVEN a sink that can't write WHEN the stack drains THEN it ends at its deadline, says so, and with exit code 4.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_ends_at_its_deadline() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, process) = stuck(folder.path(), 1_000).await;
    let ended = process.stop(PATIENCE).await.unwrap();
    let log = log_of(&dev);
    assert_eq!(ended.code(), Some(4), "{log}");
    assert!(log.contains("the drain did not end in time") && log.contains("raise drain_ms"), "{log}");
}

/// GIVEN a drain that takes long after Ctrl-C WHEN a signal comes once more THEN the stack ends at once, with exit code 4, and what
/// it had not written is written after the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_drain_at_once_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (dev, process) = stuck(folder.path(), 600_000).await;
    process.signal("INT").await.unwrap();
    wait::until("the drain", PATIENCE, async || {
        let log = log_of(&dev);
        if log.contains("draining; once more to stop at once") { Ok(()) } else { Err(log) }
    })
    .await
    .unwrap();
    assert_eq!(http::get(dev.launch.status, "/livez").await.unwrap().status, 200, "it lives while it drains");
    let ended = process.stop(PATIENCE).await.unwrap();
    assert_eq!(ended.code(), Some(4), "{}", log_of(&dev));
    assert!(log_of(&dev).contains("stopped without draining"));

    let log = dev.lake().join("items_history/_delta_log");
    std::fs::remove_file(&log).unwrap();
    std::fs::rename(folder.path().join("away"), &log).unwrap();
    let process = started(&dev).await;
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    let data = dev.data.to_str().unwrap();
    let counted = crate::stack::headwater(
        &["sql", "select count(*) as n from items_history", "--json", "--data", data],
        &BTreeMap::new(),
    );
    assert_eq!(serde_json::from_slice::<Value>(&counted.stdout).unwrap()["n"], 2);
    assert!(process.stop(PATIENCE).await.unwrap().success());
}

/// A sink's name as the metrics' label `sink` has it.
pub fn label(sink: &str) -> &str {
    sink.trim_start_matches("sink-")
}

pub async fn metrics(status: SocketAddr) -> BTreeMap<String, Family> {
    let answer = http::get(status, "/metrics").await.unwrap();
    parse(&answer.body).unwrap_or_else(|error| panic!("{error} in\n{}", answer.body))
}

/// GIVEN a stack that followed some writes WHEN Prometheus asks THEN the text has its form, each metric is one of the
/// list with help, kind and labels, and what an operator watches is there: lag and time to trim of each shard, how far
/// each sink is, and the proof counters at 0.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_show_what_an_operator_watches() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::new(folder.path(), vec![entity()]);
    let process = started(&dev).await;
    let early = metrics(dev.launch.status).await;
    for proof in metric::PROOFS {
        assert_eq!(early[proof].values(&[]), [0.0], "{proof} stands at 0 before anything happens");
    }
    for item in 0..20 {
        put(&dev, &format!("i{item}")).await;
    }
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    let shown = wait::until("all metrics", PATIENCE, async || {
        let shown = metrics(dev.launch.status).await;
        let complete = |sink: &&str| {
            shown.get(metric::COMPLETE_UNTIL).is_some_and(|all| all.values(&[("sink", label(sink))]).len() == 1)
        };
        if SINKS.iter().all(complete) { Ok(shown) } else { Err(format!("{shown:?}")) }
    })
    .await
    .unwrap();

    let known: BTreeMap<&str, &str> = metric::ALL.iter().map(|Metric { name, help }| (*name, help.trim())).collect();
    for (name, family) in &shown {
        let help = known.get(name.as_str()).unwrap_or_else(|| panic!("{name} is not in the list"));
        assert_eq!(family.help.as_deref(), Some(*help), "{name}");
        let kind = match name.as_str() {
            name if name.ends_with("_total") => "counter",
            name if metric::HISTOGRAMS.contains(&name) => "histogram",
            _ => "gauge",
        };
        assert_eq!(family.kind, kind, "{name}");
        // The help text says which labels there are.
        for label in family.labels() {
            assert!(help.contains(&format!("`{label}`")), "{name} has a label {label} that its help does not tell of");
        }
    }
    for name in [metric::INGEST_LAG, metric::TIME_TO_TRIM] {
        let family = &shown[name];
        assert_eq!(family.labels(), BTreeSet::from(["shard", "table"]), "{name}");
        assert!(
            family.values(&[("table", "items")]).iter().all(|seconds| (0.0..=86_400.0).contains(seconds)),
            "{name}"
        );
    }
    assert_eq!(shown[metric::INGEST_RECORDS].values(&[("table", "items")]), [20.0]);
    assert_eq!(shown[metric::GAPS_OPEN].values(&[("table", "items")]), [0.0]);
    let now = crate::stack::now().as_millis() as f64 / 1000.0;
    for sink in SINKS {
        let of = [("sink", label(sink)), ("table", "items")];
        assert_eq!(shown[metric::SINK_CHANGES].values(&of), [20.0], "{sink}");
        let complete = shown[metric::COMPLETE_UNTIL].values(&of)[0];
        assert!((now - 3600.0..=now).contains(&complete), "{sink} is complete until {complete}, now is {now}");
        assert_eq!(shown[metric::SINK_LAG].count(&of), 20.0, "{sink}: each change was written at a known time");
    }
    // A quantile is told within a factor of its bucket, from a flush's time up to an outage's.
    let bounds = shown[metric::SINK_LAG].bounds();
    assert!(bounds[0] <= 0.1 && bounds[bounds.len() - 1] >= 3600.0, "{bounds:?}");
    let near = bounds.windows(2).filter(|pair| pair[1] <= 10.0).all(|pair| pair[1] / pair[0] <= 2.5);
    assert!(near, "too wide to tell 3 s from what is late: {bounds:?}");
    for proof in metric::PROOFS {
        assert_eq!(shown[proof].values(&[]), [0.0], "{proof}");
    }
    assert!(process.stop(PATIENCE).await.unwrap().success());
}

/// GIVEN an index that holds what the table does not WHEN the stores are compared THEN the exit code is 1, and the key is
/// told.
#[tokio::test(flavor = "multi_thread")]
async fn stores_that_differ_are_told_by_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::new(folder.path(), vec![entity()]);
    let process = started(&dev).await;
    put(&dev, "there").await;
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    assert!(process.stop(PATIENCE).await.unwrap().success());
    let data = dev.data.to_str().unwrap();
    let verify = || crate::stack::headwater(&["verify", "--json", "--data", data], &BTreeMap::new());
    let equal = verify();
    assert_eq!(equal.status.code(), Some(0), "{}", String::from_utf8_lossy(&equal.stderr));

    let index = EmbeddedIndex::open(&dev.data.join("index/items"), &entity(), 20_000_000).unwrap();
    let key = ItemKey { partition: ("id".into(), KeyValue::S("phantom".into())), sort: None }.canonical();
    let text = key.to_text();
    let body = Item::from_json(r#"{"id":{"S":"phantom"}}"#).unwrap();
    let phantom = Operation { key, version: Version::new(1 << 40).unwrap(), body: Some(body) };
    index.apply(std::sync::Arc::new(Flush { operations: vec![phantom], ..Flush::default() })).await.unwrap();
    drop(index);
    let different = verify();
    let (said, fault) = (String::from_utf8_lossy(&different.stdout), String::from_utf8_lossy(&different.stderr));
    assert_eq!(different.status.code(), Some(1), "{said}{fault}");
    let report: Value = serde_json::from_slice(&different.stdout).unwrap();
    let differences = report["tables"][0]["differences"].as_array().unwrap();
    assert!(differences.len() == 1 && differences[0]["in_index"] == "extra", "{said}");
    assert_eq!(differences[0]["key"], text, "{said}");
}
