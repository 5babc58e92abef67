//! Log → Delta against Parquet encoding alone, on the same rows: `cargo run -p headwater-sink-offline --example bench_log_to_lake [rows] [runs]`.
//!
//! The baseline is what one core reaches when it does nothing but encode the finished columns into Parquet in memory, by
//! its processor time. The sink reads the log, decodes, builds columns, encodes, writes to a local folder with sync, and
//! commits; its rate is given by the clock, with all cores that it gets, and by the processor time of all its threads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::change::{Change, Op, ShardId, Source, StreamArn, TableName};
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::codec;
use headwater_common::completeness::Mark;
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::key::ItemKey;
use headwater_common::ledger::Slot;
use headwater_common::log::{ChangeLog, CommitBatch, LogEvent, LogRecord, Offset, Ownership, TablePartition};
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::progress::SinkProgress;
use headwater_common::value::Item;
use headwater_sink_offline::encode::Rows;
use headwater_sink_offline::plan::{Plan, Values};
use headwater_sink_offline::{Lake, Settings, SinkOffline, file};
use tokio_util::sync::CancellationToken;

fn entity() -> Entity {
    let feature = |name: &str, of: &str| serde_json::json!({ "name": name, "type": of });
    serde_json::from_value(serde_json::json!({
        "entity": "flights",
        "key": { "partition": { "name": "carrier", "type": "string" }, "sort": { "name": "flight", "type": "string" } },
        "event_time": "observed_at",
        "write_time": "written_at",
        "features": [
            feature("origin", "keyword"), feature("destination", "keyword"), feature("tail", "keyword"),
            feature("departure_delay", "long"), feature("arrival_delay", "long"), feature("distance", "long"),
            feature("air_time", "double"), feature("speed", "double"), feature("wind", "double"),
            feature("cancelled", "bool"), feature("scheduled", "timestamp"), feature("remark", "text"),
            serde_json::json!({ "name": "fare", "type": { "decimal": { "precision": 12, "scale": 2 } } }),
            serde_json::json!({ "name": "place", "type": "geo_point" }),
        ],
    }))
    .unwrap()
}

/// About 600 bytes of DynamoDB JSON.
fn change(n: u64) -> Change {
    let x = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let part = |shift: u32, of: u64| (x >> shift) % of;
    let image = format!(
        r#"{{"air_time":{{"N":"{}.5"}},"arrival_delay":{{"N":"{}"}},"cancelled":{{"BOOL":{}}},"carrier":{{"S":"C{}"}},"departure_delay":{{"N":"{}"}},"destination":{{"S":"D{}"}},"distance":{{"N":"{}"}},"fare":{{"N":"{}.{:02}"}},"flight":{{"S":"F{}"}},"observed_at":{{"N":"{}"}},"origin":{{"S":"O{}"}},"place":{{"M":{{"lat":{{"N":"{}.{}"}},"lon":{{"N":"-{}.{}"}}}}}},"remark":{{"S":"gate {} changed, boarding in {} minutes"}},"scheduled":{{"S":"2013-{:02}-{:02}T{:02}:15:00Z"}},"speed":{{"N":"{}.{}"}},"tail":{{"S":"N{}"}},"wind":{{"N":"{}.{}"}},"written_at":{{"N":"{}"}}}}"#,
        part(3, 400),
        part(5, 200),
        part(7, 20) == 0,
        part(9, 16),
        part(11, 180),
        part(13, 300),
        part(15, 4000),
        part(17, 900),
        part(19, 100),
        part(4, 50_000),
        1_357_000_000_000 + n,
        part(23, 300),
        part(25, 89),
        part(27, 9999),
        part(29, 179),
        part(31, 9999),
        part(33, 80),
        part(35, 60),
        1 + part(37, 12),
        1 + part(39, 28),
        part(41, 24),
        part(43, 600),
        part(45, 99),
        part(47, 4000),
        part(49, 90),
        part(51, 99),
        1_700_000_000_000 + n,
    );
    let item = Item::from_json(&image).unwrap();
    Change {
        table: TableName::new("flights"),
        key: ItemKey::of(&item, "carrier", Some("flight")).unwrap(),
        op: Op::Modify,
        version: Version::new((1_700_000_000 << 30) + n).unwrap(),
        created: Timestamp::from_millis(1_700_000_000_000 + n as i64),
        after: Some(item),
        before: None,
        changed: None,
        source: Source {
            stream: StreamArn::new("arn:aws:dynamodb:eu-west-1:1:table/flights/stream/2024"),
            generation: 1,
            shard: ShardId::new("shardId-00000001700000000000-0123abcd"),
            sequence: SequenceNumber::parse(&format!("{}", 100_000_000_000_000_000_000_u128 + u128::from(n))).unwrap(),
            event_id: format!("{x:032x}"),
            identity: None,
        },
    }
}

async fn fill(log: &EmbeddedLog, rows: u64) {
    let mut member = log.join().await.unwrap();
    let Ownership::Acquired(mut writer) = member.changed().await.unwrap() else { panic!("no slot") };
    for start in (0..rows).step_by(5_000) {
        let event = |n: u64| {
            let change = change(n);
            LogEvent { table: change.table.clone(), key: change.key.canonical(), value: codec::encode(&change) }
        };
        let events = (start..(start + 5_000).min(rows)).map(event).collect();
        let _ = writer.commit(CommitBatch { events, ..CommitBatch::default() }).await.unwrap();
    }
    let slots = (0..log.slots()).map(|slot| (Slot(slot), Timestamp::from_millis(1))).collect();
    log.mark(&TableName::new("flights"), &Mark { of: log.slots(), slots }).await.unwrap();
}

/// Encoding alone: the same rows, as columns already, by one thread.
fn encoding(rows: u64) -> (Duration, usize) {
    let mut gathered = Rows::new(Arc::new(Plan::of(&entity()).unwrap()));
    let mut batches = Vec::new();
    for n in 0..rows {
        gathered.push(0, Offset(n), &change(n));
        if gathered.bytes() >= Settings::default().flush_bytes || n + 1 == rows {
            batches.extend(gathered.finish().stamped(Timestamp::from_millis(1)).unwrap());
        }
    }
    let start = processor();
    let file = |batch| file::encode(std::slice::from_ref(batch), file::properties(1).unwrap()).unwrap();
    let bytes = batches.iter().map(|batch| file(batch).len()).sum();
    (processor() - start, bytes)
}

/// From bytes on the log to columns, by one thread.
fn decoding(rows: u64) -> Duration {
    let at = TablePartition { table: TableName::new("flights"), partition: 0 };
    let record = |n| LogRecord { at: at.clone(), offset: Offset(n), key: None, value: codec::encode(&change(n)) };
    let records: Vec<_> = (0..rows).map(record).collect();
    let mut gathered = Rows::new(Arc::new(Plan::of(&entity()).unwrap()));
    let start = processor();
    let mut values = Values::default();
    for record in &records {
        gathered.push_canonical(&at.table, record, &mut values).unwrap();
    }
    processor() - start
}

/// Processor time that this process has used so far.
fn processor() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let words: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = words[11].parse::<u64>().unwrap() + words[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn sink(log: &EmbeddedLog, rows: u64) -> Duration {
    let folder = tempfile::tempdir().unwrap();
    let health = Health::default();
    let sink = SinkOffline {
        log: Arc::new(log.clone()),
        lake: Lake::local(folder.path()).unwrap(),
        entities: vec![entity()],
        settings: Settings { flush_ms: 300, idle_complete_ms: 1, ..Settings::default() },
        clock: Arc::new(SystemClock),
        health: health.clone(),
    };
    let shutdown = CancellationToken::new();
    let start = Instant::now();
    let task = tokio::spawn(sink.run(shutdown.clone()));
    loop {
        tokio::time::sleep(Duration::from_millis(5)).await;
        let Some(status) = health.status().remove("sink-offline") else { continue };
        let progress: SinkProgress = serde_json::from_value(status).unwrap();
        if progress.tables.values().any(|table| table.applied == rows) {
            break;
        }
    }
    let elapsed = start.elapsed();
    shutdown.cancel();
    task.await.unwrap().unwrap();
    elapsed
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default| arguments.get(at).map_or(default, |argument| argument.parse::<u64>().unwrap());
    let (rows, runs) = (number(0, 300_000), number(1, 5));
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), Layout::default()).unwrap();
    fill(&log, rows).await;
    let rate = |time: Duration| rows as f64 / time.as_secs_f64();
    if arguments.get(2).is_some_and(|only| only == "sink") {
        eprintln!("filled");
        for _ in 0..runs {
            let before = processor();
            sink(&log, rows).await;
            println!("{:.0} rows per second of processor", rate(processor() - before));
        }
        return;
    }
    let (mut base, mut whole, mut one_core) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        let (encoding, bytes) = tokio::task::spawn_blocking(move || encoding(rows)).await.unwrap();
        let before = processor();
        let sunk = sink(&log, rows).await;
        let used = processor() - before;
        base.push(rate(encoding));
        whole.push(rate(sunk));
        one_core.push(rate(used));
        println!(
            "encoding {:.0} rows/s ({} bytes/row), log to Delta {:.0} rows/s, {:.0} rows per second of processor",
            rate(encoding),
            bytes as u64 / rows,
            rate(sunk),
            rate(used)
        );
    }
    let decoding = tokio::task::spawn_blocking(move || decoding(rows)).await.unwrap();
    println!("from the log's bytes to columns, alone: {:.0} rows/s", rate(decoding));
    let (base, whole, one_core) = (median(base), median(whole), median(one_core));
    println!("median: encoding {base:.0} rows/s, log to Delta {whole:.0} rows/s, ratio {:.2}", whole / base);
    println!("of one core: {one_core:.0} rows/s, ratio {:.2}", one_core / base);
}
