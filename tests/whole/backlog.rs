//! A sink that starts far behind, on Kafka: it holds no more than its settings say, and every change arrives once.
//!
//! `HEADWATER_BACKLOG` sets how many changes of about 1 KB lie in the log before the worker starts: 1200000 are ten minutes
//! of 2,000 writes a second.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::health::Health;
use headwater_common::metric;
use headwater_kafka::KafkaLog;
use headwater_tests::filled::{self, measurements};
use headwater_tests::lake::Tail;
use headwater_tests::measure::peak_memory;
use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::{run, servers, wait, workload};
use serde_json::json;

use crate::operations::metrics;
use crate::stack::{BINARY, PATIENCE};

const PARTITIONS: u16 = 4;
/// What the worker may hold of rows, and of records before they are rows. The backlog is many times as much.
const MEMORY_BYTES: u64 = 8 << 20;
const FETCH_BUFFER_BYTES: u64 = 2 << 20;
/// What a worker has beside that: the program, its threads and connections, one flush while it is encoded.
const BASE_BYTES: u64 = 160 << 20;
/// A backlog is caught up with at this rate at least, on a machine that does much else.
const CHANGES_A_SECOND: u64 = 1_000;
/// When the backlog ends, for the sinks' completeness.
const END: Timestamp = Timestamp::from_millis(1_800_000_000_000);

fn changes() -> u64 {
    std::env::var("HEADWATER_BACKLOG").ok().map_or(100_000, |text| text.parse().unwrap())
}

fn table() -> TableName {
    TableName::new(measurements::TABLE)
}

/// A sink's worker, and the log that it is behind.
struct Behind {
    settings: serde_json::Value,
    launch: Launch,
    changes: u64,
}

impl Behind {
    /// The backlog is in the log; nothing is started yet. `None` where the environment names no Kafka.
    async fn new(folder: &Path, sink: &str) -> Option<Behind> {
        let definitions = folder.join("measurements.yaml");
        std::fs::write(&definitions, workload::yaml(&measurements::entity().unwrap())).unwrap();
        let prefix = format!("backlog-{}-{}", std::process::id(), crate::stack::now().as_millis());
        let settings = json!({
            "definitions": definitions,
            "kafka": {
                "bootstrap": servers::kafka()?, "prefix": prefix, "slots": 1, "partitions": PARTITIONS,
                "replication": 1, "min_insync": 1, "max_message_bytes": 1 << 20,
                "fetch_buffer_bytes": FETCH_BUFFER_BYTES,
            },
            "lake": {"place": folder.join("lake")},
            "sink_offline": {"memory_bytes": MEMORY_BYTES, "retry_cap_ms": 500, "idle_complete_ms": 500},
        });
        let kafka = serde_json::from_value(settings["kafka"].clone()).unwrap();
        let log = KafkaLog::connect(&kafka, Health::default(), Arc::new(SystemClock)).await.unwrap();
        let changes = changes();
        filled::fill(&log, &table(), changes, END, measurements::change).await.unwrap();
        let file = folder.join("headwater.yaml");
        std::fs::write(&file, settings.to_string()).unwrap();
        let status = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let launch = Launch {
            binary: BINARY.into(),
            arguments: [sink, "--settings", file.to_str().unwrap()].map(str::to_owned).into(),
            environment: vec![("HEADWATER_HTTP__ADDRESS".into(), status.to_string())],
            status,
            log: folder.join("log.txt"),
            patience: PATIENCE,
        };
        Some(Behind { settings, launch, changes })
    }

    fn lake(&self) -> PathBuf {
        self.settings["lake"]["place"].as_str().unwrap().into()
    }

    async fn metric(&self, name: &str) -> f64 {
        metrics(self.launch.status).await.get(name).map_or(0.0, |family| family.values(&[]).iter().sum())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.launch.log).unwrap_or_default()
    }
}

/// In the place of the folders that today's and tomorrow's files would go to, so that the lake takes none.
struct Barrier(Vec<PathBuf>);

impl Barrier {
    fn before(table: &Path) -> Barrier {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        std::fs::create_dir_all(table).unwrap();
        let now = crate::stack::now();
        let days = [now, Timestamp::from_millis(now.as_millis() + DAY.as_millis() as i64)];
        let files = days.map(|day| table.join(format!("_date={}", &day.to_rfc3339()[..10]))).to_vec();
        files.iter().for_each(|file| std::fs::write(file, "no folder").unwrap());
        Barrier(files)
    }

    fn lift(self) {
        self.0.iter().for_each(|file| std::fs::remove_file(file).unwrap());
    }
}

/// GIVEN a log that holds many times what a sink may, and a lake that takes nothing WHEN the sink's worker starts THEN it
/// reads until it holds what it may and pauses its partitions; WHEN the lake takes files again THEN the worker resumes
/// them and catches up, has at no time been larger than its settings say, and the lake holds every change once.
#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_far_behind_catches_up_within_its_memory() {
    let folder = tempfile::tempdir().unwrap();
    let Some(behind) = Behind::new(folder.path(), "sink-offline").await else { return };
    let history = behind.lake().join(format!("{}_history", table()));
    let barrier = Barrier::before(&history);
    let mut process = Process::start(&behind.launch).unwrap();
    process.wait_for("/livez").await.unwrap();
    let pid = process.id().unwrap();
    wait::until("every partition paused", PATIENCE, async || {
        let (paused, log) = (behind.metric(metric::SINK_PAUSED).await, behind.log());
        // Time enough to read on for who pauses nothing.
        let refused = log.matches("the lake is held up").count();
        if paused == f64::from(PARTITIONS) && refused > 5 { Ok(()) } else { Err(format!("{paused} paused\n{log}")) }
    })
    .await
    .unwrap();
    assert!(behind.metric(metric::SINK_BEHIND).await > 0.0);
    let stuck = peak_memory(pid);
    barrier.lift();
    let patience = PATIENCE + Duration::from_secs(behind.changes / CHANGES_A_SECOND);
    run::wait_complete(behind.launch.status, &["sink-offline"], &[table()], END, patience).await.unwrap();
    wait::until("no partition paused", PATIENCE, async || {
        let paused = behind.metric(metric::SINK_PAUSED).await;
        if paused == 0.0 { Ok(()) } else { Err(format!("{paused} paused")) }
    })
    .await
    .unwrap();
    let (peak, pauses) = (peak_memory(pid), behind.metric(metric::SINK_PAUSES).await);
    println!(
        "{} changes: {} MiB while stuck, {} MiB at most, {pauses} pauses",
        behind.changes,
        stuck >> 20,
        peak >> 20
    );
    let limit = BASE_BYTES + MEMORY_BYTES + FETCH_BUFFER_BYTES;
    assert!(peak < limit, "{peak} bytes of memory, the settings allow {limit}");
    assert!(process.stop(PATIENCE).await.unwrap().success(), "{}", behind.log());
    assert_every_change_once(&behind);
}

fn assert_every_change_once(behind: &Behind) {
    let mut tail = Tail::of(&behind.lake(), &table());
    let mut times = vec![0_u32; behind.changes as usize];
    while let Some(rows) = tail.next_commit().unwrap() {
        for row in rows {
            let item = row.item.as_ref().unwrap();
            let n = measurements::number(item).unwrap();
            let change = measurements::change(n).unwrap();
            assert_eq!((Some(item), row.version), (change.after.as_ref(), change.version.as_i64()), "change {n}");
            times[n as usize] += 1;
        }
    }
    let wrong: Vec<_> = times.iter().enumerate().filter(|(_, times)| **times != 1).take(10).collect();
    assert!(wrong.is_empty(), "changes that are not there once, and how often they are: {wrong:?}");
}
