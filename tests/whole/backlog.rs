//! A sink that is far behind, on Kafka: it holds no more than its settings say, and every change arrives.
//!
//! `HEADWATER_BACKLOG` sets how many changes of about 1 KB lie in the log before the sink may write: 1200000 are ten minutes
//! of 2,000 writes a second.

use std::cell::Cell;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::health::Health;
use headwater_common::metric;
use headwater_common::value::Item;
use headwater_kafka::KafkaLog;
use headwater_sink_search::SearchIndex as _;
use headwater_sink_search::opensearch::{self, OpenSearch};
use headwater_tests::filled::{self, measurements};
use headwater_tests::lake::Tail;
use headwater_tests::measure::peak_memory;
use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::{http, run, servers, wait, workload};
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
    /// Nothing is in the log yet, and nothing is started. `None` where the environment names no servers.
    async fn new(folder: &Path, sink: &str) -> Option<Behind> {
        let definitions = folder.join("measurements.yaml");
        std::fs::write(&definitions, workload::yaml(&measurements::entity().unwrap())).unwrap();
        let prefix = format!("backlog-{sink}-{}-{}", std::process::id(), crate::stack::now().as_millis());
        let settings = json!({
            "definitions": definitions,
            "kafka": {
                "bootstrap": servers::kafka()?, "prefix": prefix, "slots": 1, "partitions": PARTITIONS,
                "replication": 1, "min_insync": 1, "max_message_bytes": 1 << 20,
                "fetch_buffer_bytes": FETCH_BUFFER_BYTES,
            },
            "lake": {"place": folder.join("lake")},
            "sink_offline": {"memory_bytes": MEMORY_BYTES, "retry_cap_ms": 500, "idle_complete_ms": 500},
            "opensearch": {"urls": [servers::opensearch()?], "prefix": prefix, "replicas": 0, "bulk_bytes": 1 << 20},
            "sink_search": {
                "buffer_bytes": MEMORY_BYTES, "flush_bytes": MEMORY_BYTES / 2, "retry_cap_ms": 500, "idle_complete_ms": 500,
            },
        });
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
        Some(Behind { settings, launch, changes: changes() })
    }

    /// Puts the backlog into the log.
    async fn fill(&self) {
        let kafka = serde_json::from_value(self.settings["kafka"].clone()).unwrap();
        let log = KafkaLog::connect(&kafka, Health::default(), Arc::new(SystemClock)).await.unwrap();
        filled::fill(&log, &table(), self.changes, END, measurements::change).await.unwrap();
    }

    async fn start(&self) -> Process {
        let mut process = Process::start(&self.launch).unwrap();
        process.wait_for("/livez").await.unwrap();
        process
    }

    /// Every partition is paused, and nothing more is read: who pauses nothing has had the time to read on.
    async fn stuck(&self) {
        let seen = Cell::new((0.0, 0));
        wait::until("every partition paused and nothing read", PATIENCE, async || {
            let (paused, held) = (self.metric(metric::SINK_PAUSED).await, self.metric(metric::SINK_BUFFER).await);
            let times = if seen.get().0 == held { seen.get().1 + 1 } else { 0 };
            seen.set((held, times));
            let stuck = paused == f64::from(PARTITIONS) && times >= 20;
            if stuck { Ok(()) } else { Err(format!("{paused} paused, {held} bytes held\n{}", self.log())) }
        })
        .await
        .unwrap();
        assert!(self.metric(metric::SINK_BEHIND).await > 0.0);
    }

    /// Everything is written, and the process, which was so large while it was stuck, was never larger than it may be.
    async fn catches_up(&self, sink: &str, process: Process, stuck: u64) {
        let patience = PATIENCE + Duration::from_secs(self.changes / CHANGES_A_SECOND);
        run::wait_complete(self.launch.status, &[sink], &[table()], END, patience).await.unwrap();
        wait::until("no partition paused", PATIENCE, async || {
            let paused = self.metric(metric::SINK_PAUSED).await;
            if paused == 0.0 { Ok(()) } else { Err(format!("{paused} paused")) }
        })
        .await
        .unwrap();
        let (peak, pauses) = (peak_memory(process.id().unwrap()), self.metric(metric::SINK_PAUSES).await);
        println!(
            "{sink}, {} changes: {} MiB while stuck, {} MiB at most, {pauses} pauses",
            self.changes,
            stuck >> 20,
            peak >> 20
        );
        let limit = BASE_BYTES + MEMORY_BYTES + FETCH_BUFFER_BYTES;
        assert!(peak < limit, "{peak} bytes of memory, the settings allow {limit}");
        assert!(process.stop(PATIENCE).await.unwrap().success(), "{}", self.log());
    }

    fn lake(&self) -> PathBuf {
        self.settings["lake"]["place"].as_str().unwrap().into()
    }

    fn open_search(&self) -> opensearch::Settings {
        serde_json::from_value(self.settings["opensearch"].clone()).unwrap()
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
async fn a_lake_that_is_far_behind_is_caught_up_with_within_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let Some(behind) = Behind::new(folder.path(), "sink-offline").await else { return };
    behind.fill().await;
    let barrier = Barrier::before(&behind.lake().join(format!("{}_history", table())));
    let process = behind.start().await;
    behind.stuck().await;
    assert!(behind.log().contains("the lake is held up"), "{}", behind.log());
    let stuck = peak_memory(process.id().unwrap());
    barrier.lift();
    behind.catches_up("sink-offline", process, stuck).await;
    assert_every_change_once(&behind);
}

/// The same of an index that takes nothing: at the end it holds every item.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_is_far_behind_is_caught_up_with_within_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let Some(behind) = Behind::new(folder.path(), "sink-search").await else { return };
    let mut process = behind.start().await;
    process.wait_for("/readyz").await.unwrap();
    assert!(process.stop(PATIENCE).await.unwrap().success());
    block_writes(&behind.open_search(), true).await;
    behind.fill().await;
    let process = behind.start().await;
    behind.stuck().await;
    assert!(behind.log().contains("a block forbids writing"), "{}", behind.log());
    let stuck = peak_memory(process.id().unwrap());
    block_writes(&behind.open_search(), false).await;
    behind.catches_up("sink-search", process, stuck).await;
    assert_every_item_found(&behind).await;
    let (server, index) = index_of(&behind.open_search());
    http::delete(server, &index).await.unwrap();
}

/// Where the index is, and its path there.
fn index_of(settings: &opensearch::Settings) -> (SocketAddr, String) {
    let server = http::address(&settings.urls[0]).unwrap();
    (server, format!("/{}", opensearch::names::index(&settings.prefix, measurements::TABLE, 1)))
}

async fn block_writes(settings: &opensearch::Settings, block: bool) {
    let (server, index) = index_of(settings);
    let body = json!({ "index.blocks.write": block.then_some(true) });
    let answer = http::put_json(server, &format!("{index}/_settings"), &body).await.unwrap();
    assert_eq!(answer.status, 200, "{}", answer.body);
}

async fn assert_every_item_found(behind: &Behind) {
    let server = OpenSearch::connect(&behind.open_search()).await.unwrap();
    let index = server.open_read_only(&measurements::entity().unwrap()).await.unwrap();
    let (mut found, mut after) = (vec![false; behind.changes as usize], None::<String>);
    loop {
        let page = index.scan(after.as_deref(), 1000).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        for document in page {
            let item = Item::from_json(document.item.as_ref().unwrap()).unwrap();
            let n = measurements::number(&item).unwrap();
            let change = measurements::change(n).unwrap();
            assert_eq!((Some(item), document.version), (change.after, change.version), "change {n}");
            found[n as usize] = true;
        }
    }
    let missing: Vec<_> = (0..).zip(&found).filter(|(_, found)| !**found).map(|(n, _): (u64, _)| n).take(10).collect();
    assert!(missing.is_empty(), "items that are not in the index: {missing:?}");
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
