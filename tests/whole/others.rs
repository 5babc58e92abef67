//! Others at both ends: a plain boto3 writer, and the lake read as it is by the `deltalake` package, Polars, DuckDB over
//! Arrow and, in the long form, Spark.
//!
//! `HEADWATER_SPARK=1` asks for Spark too: a Java of 17 at least, Maven, and half a gigabyte of packages.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use headwater_common::clock::SystemClock;
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_lake::maintain::{Maintenance, Settings};
use headwater_sink_offline::Lake;
use headwater_tests::process::Process;
use headwater_tests::python::Python;
use headwater_tests::{client, run, table_scan};
use serde_json::{Value, json};

use crate::canary::{dead_letters, write_rubbish};
use crate::stack::{Dev, PATIENCE, SINKS, headwater};

/// Every kind of feature; `list` is declared as what it is not.
fn entity() -> Entity {
    serde_json::from_value(json!({
        "entity": "items", "event_time": "moment",
        "key": {"partition": {"name": "id", "type": "string"}}, "features": [
            {"name": "text", "type": "text"}, {"name": "whole", "type": "long"}, {"name": "tiny", "type": "double"},
            {"name": "decimal", "type": "decimal(12,4)"}, {"name": "big", "type": "decimal(38,0)"},
            {"name": "flag", "type": "bool"}, {"name": "moment", "type": "timestamp"}, {"name": "day", "type": "date"},
            {"name": "bytes", "type": "binary"}, {"name": "place", "type": "geo_point"},
            {"name": "vector", "type": "vector(2)"}, {"name": "strings", "type": "keyword_set"},
            {"name": "numbers", "type": "number_set"}, {"name": "map", "type": "json"},
            {"name": "nothing", "type": "keyword"}, {"name": "list", "type": "number_set"}],
    }))
    .unwrap()
}

/// A lake that came about by itself: written to by boto3, with records that nobody can decode, folded, with checkpoints.
struct Made {
    lake: PathBuf,
    /// What boto3 says that the table holds.
    items: serde_json::Map<String, Value>,
    changes: u64,
    dead_letters: u64,
}

async fn make(folder: &Path, python: &Python) -> Made {
    let dev = Dev::new(folder, vec![entity()]);
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let mut written = python.run("writer.py", &[dev.endpoint.as_str(), "items", "id", "--count", "60"]).await.unwrap();
    let changes = ["puts", "updates", "deletes"].iter().map(|kind| written[kind].as_u64().unwrap()).sum::<u64>();
    let Value::Object(items) = written["items"].take() else { panic!("{written}") };
    let scan = table_scan::scan(&client::at(&dev.endpoint), &dev.entities).await.unwrap();
    assert_eq!(scan.len(), items.len());
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    // Beside the running stack, by the command.
    let data = dev.data.to_str().unwrap();
    let verified = headwater(&["verify", "--json", "--data", data], &[].into());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["tables"][0]["table_items"], scan.len(), "{report}");
    process.stop(PATIENCE).await.unwrap();

    let log = EmbeddedLog::open(&dev.data.join("log"), Layout::default()).unwrap();
    let dead = write_rubbish(&log, &dev.tables()[0]).await;
    drop(log);
    let process = Process::start(&dev.launch).unwrap();
    dead_letters(dev.launch.status, "offline", dead).await;
    process.stop(PATIENCE).await.unwrap();
    let maintenance = Maintenance {
        lake: Lake::local(&dev.lake()).unwrap(),
        entities: dev.entities.clone(),
        settings: Settings { checkpoint_commits: 1, ..Settings::default() },
        clock: Arc::new(SystemClock),
        health: Health::default(),
    };
    maintenance.run_once(&dev.tables()[0]).await.unwrap();
    Made { lake: dev.lake(), items, changes, dead_letters: dead as u64 }
}

impl Made {
    /// Deletes the commits that lead to the last checkpoint, as clean-up does once nobody may ask for their versions.
    fn forget_old_commits(&self) {
        for table in ["items_history", "items_current"] {
            let log = self.lake.join(table).join("_delta_log");
            let hint = std::fs::read(log.join("_last_checkpoint")).unwrap();
            let last = serde_json::from_slice::<Value>(&hint).unwrap()["version"].as_u64().unwrap();
            let names = std::fs::read_dir(&log).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
            let version = |name: &String| name.strip_suffix(".json").and_then(|digits| digits.parse::<u64>().ok());
            let old: Vec<String> = names.filter(|name| version(name).is_some_and(|at| at < last)).collect();
            assert_eq!(old.len() as u64, last, "{table}");
            old.iter().for_each(|name| std::fs::remove_file(log.join(name)).unwrap());
        }
    }

    async fn read(&self, python: &Python, script: &str) -> Value {
        let read = python.run(script, &[self.lake.to_str().unwrap(), "items", "--rows"]).await.unwrap();
        assert_eq!(read["agree"], true, "{read}");
        read
    }
}

/// What all readers read, who agree: every change once, each live item, and the values as they were written.
fn hold_against(made: &Made, read: &Value) {
    let rows = |kind: &str| read[kind]["rows_as_read"].as_array().unwrap().clone();
    let (letters, changes): (Vec<Value>, Vec<Value>) =
        rows("history").into_iter().partition(|row| !row["_error"].is_null());
    assert_eq!((changes.len() as u64, letters.len() as u64), (made.changes, made.dead_letters));
    let current = rows("current");
    let keys: BTreeSet<&str> = current.iter().map(|row| row["_pk"].as_str().unwrap()).collect();
    assert_eq!(keys, made.items.keys().map(String::as_str).collect::<BTreeSet<_>>(), "one row for each item");
    assert_eq!(current.len(), keys.len());

    let of = |rows: &[Value], key: &str| rows.iter().find(|row| row["_pk"] == key).unwrap().clone();
    let expected = json!({
        "_pk": "boto3-14", "_sk": null, "_event_time": "2026-01-02T03:04:14.678000+00:00",
        "text": "Größe 🧊", "whole": 14, "decimal": "1.7500",
        "big": "12345678901234567890123456789012345678", "flag": true,
        "moment": "2026-01-02T03:04:14.678000+00:00", "day": "2026-02-15", "bytes": "AP8O",
        "place": {"lat": -33.5, "lon": 14.0}, "vector": [0.5, -14.0], "strings": ["a", "b", "c14"],
        "numbers": [1.0, 2.5, 24.0], "nothing": null, "list": null,
    });
    for row in [of(&changes, "boto3-14"), of(&current, "boto3-14")] {
        for (column, value) in expected.as_object().unwrap() {
            assert_eq!(&in_order(&row[column]), value, "{column}: {row}");
        }
        assert!((row["tiny"].as_f64().unwrap() / 1e-130 - 1.0).abs() < 1e-12, "{row}");
        let written = &made.items["boto3-14"];
        let text = |column: &str| serde_json::from_str::<Value>(row[column].as_str().unwrap()).unwrap();
        assert_eq!(text("item")["big"], written["big"]);
        assert_eq!(text("map"), written["map"]);
        assert_eq!(text("_rescued"), json!({"list": written["list"]}), "what is not as declared is kept");
    }
    assert_eq!(of(&current, "boto3-8")["text"], "", "an empty text is a text");
    assert_eq!(of(&current, "boto3-11")["text"], "a\u{0}b\n\"c\"");
    assert_eq!(of(&current, "boto3-16")["flag"], Value::Null, "an update took it away");
    let ops = changes.iter().map(|row| (row["_pk"].as_str().unwrap(), row["_op"].as_str().unwrap()));
    let ops: Vec<&str> = ops.filter(|(key, _)| *key == "boto3-13").map(|(_, op)| op).collect();
    assert_eq!(ops, ["c", "d"], "by version");
    for letter in letters {
        let kept: Value = serde_json::from_str(letter["_rescued"].as_str().unwrap()).unwrap();
        assert!(kept.to_string().contains(r#"{"B":"#), "{letter}");
        assert!(letter["_log_offset"].is_u64() && letter["_commit_ts"].is_string() && letter["_key"].is_null());
    }
}

/// A set has no order.
fn in_order(value: &Value) -> Value {
    match value {
        Value::Array(list) if list.iter().all(Value::is_string) => {
            let mut list = list.clone();
            list.sort_by_key(|text| text.to_string());
            Value::Array(list)
        }
        Value::Array(list) if list.len() > 2 => {
            let mut list = list.clone();
            list.sort_by(|one, other| one.as_f64().unwrap().total_cmp(&other.as_f64().unwrap()));
            Value::Array(list)
        }
        other => other.clone(),
    }
}

/// GIVEN what boto3 wrote WHEN `deltalake`, Polars and DuckDB read the lake THEN each reads every value, finds each by a
/// filter, and reads the same after the log's clean-up.
#[tokio::test(flavor = "multi_thread")]
async fn what_boto3_writes_is_read_by_deltalake_polars_and_duckdb() {
    let python = Python::prepare().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let made = make(folder.path(), &python).await;
    let first = std::fs::read_to_string(made.lake.join("items_history/_delta_log/00000000000000000000.json")).unwrap();
    for told in [r#""headwater.partitions":"4""#, r#""headwater.log":""#] {
        assert!(first.contains(told), "readers know when all partitions of which log have spoken: {first}");
    }
    let read = made.read(&python, "readers.py").await;
    hold_against(&made, &read);
    made.forget_old_commits();
    let again = made.read(&python, "readers.py").await;
    assert_eq!(again["history"]["duckdb"], read["history"]["duckdb"]);
    assert_eq!(again["current"]["duckdb"], read["current"]["duckdb"]);
}

/// GIVEN the same lake WHEN Spark reads it THEN it reads what `deltalake` reads, also by filters, by an earlier version,
/// and as a stream.
#[tokio::test(flavor = "multi_thread")]
async fn spark_reads_what_deltalake_reads() {
    if std::env::var_os("HEADWATER_SPARK").is_none() {
        return eprintln!("skipped: HEADWATER_SPARK is not set (a long form, see CONTRIBUTING)");
    }
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/spark");
    let (python, spark) = (Python::prepare().await.unwrap(), Python::of(&scripts).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let made = make(folder.path(), &python).await;
    let read = made.read(&python, "readers.py").await;
    hold_against(&made, &read);
    let by_spark = made.read(&spark, "read.py").await;
    println!("Spark: {}", by_spark["seconds"]);
    made.forget_old_commits();
    let after = made.read(&spark, "read.py").await;
    for kind in ["history", "current"] {
        for seen in [&by_spark, &after] {
            assert_eq!(seen[kind]["spark"]["digest"], read[kind]["deltalake"]["digest"], "{kind}: {seen}");
        }
    }
}
