//! A stage under test: a scripted server, an embedded log in a folder of its own, and a worker that starts and stops.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use headwater_common::change::{Change, TableName};
use headwater_common::clock::{Clock, SystemClock, Timestamp};
use headwater_common::codec::{self, Entry};
use headwater_common::completeness::Completeness;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::ledger::{Ledger, ShardEntry, ShardStatus};
use headwater_common::log::{ChangeLog, Delivery, LedgerUpdate, LogRecord};
use headwater_ingest::{Error, Ingest, Settings};
use headwater_tests::streams::ScriptedStreams;
use headwater_tests::wait;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const TABLE: &str = "flights";

pub const DEADLINE: Duration = Duration::from_secs(300);

/// Fast, so that a test waits for little.
pub fn settings() -> Settings {
    Settings {
        idle_ms: 10,
        idle_max_ms: 10,
        settle_ms: 100,
        split_settle_ms: 300,
        discovery_ms: 100,
        mark_ms: 30,
        retry_max_ms: 200,
        ..Settings::default()
    }
}

pub struct Worker {
    pub health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Worker {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap().unwrap();
    }

    /// As a crash would.
    pub async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }

    /// Waits for an end that nobody asked for.
    pub async fn ended(self) -> Result<(), Error> {
        self.task.await.unwrap()
    }

    /// Slots that it owns, by its own word.
    pub fn slots(&self) -> u64 {
        self.health.status().get("ingest").and_then(|state| state["slots"].as_u64()).unwrap_or(0)
    }

    pub fn is_running(&self) -> bool {
        !self.task.is_finished()
    }

    /// Waits until readiness is off for a reason that holds `part`.
    pub async fn not_ready_for(&self, part: &str) -> String {
        let reason = async || {
            let seen = self.health.parts().get("ingest").map(|part| (part.ready, part.reason.clone()));
            match seen {
                Some((false, reason)) if reason.contains(part) => Ok(reason),
                other => Err(format!("{other:?}")),
            }
        };
        wait::until(&format!("a reason with {part}"), DEADLINE, reason).await.unwrap()
    }

    pub async fn ready(&self) {
        let ready = async || {
            let part = self.health.parts().get("ingest").cloned();
            if part.as_ref().is_some_and(|part| part.ready) { Ok(()) } else { Err(format!("{part:?}")) }
        };
        wait::until("readiness", DEADLINE, ready).await.unwrap();
    }
}

/// What lies on the log, by partition.
#[derive(Default)]
pub struct OnLog {
    pub changes: Vec<Change>,
    completeness: BTreeMap<u16, Completeness>,
    pub marks: usize,
}

impl OnLog {
    fn take(&mut self, record: &LogRecord) {
        match codec::decode(&record.value).unwrap() {
            Entry::Change(change) => self.changes.push(*change),
            Entry::Mark(mark) => {
                self.marks += 1;
                self.completeness.entry(record.at.partition).or_default().observe(&mark);
            }
        }
    }

    /// What a sink would conclude for the table.
    pub fn complete_until(&self) -> Option<Timestamp> {
        self.completeness.values().map(Completeness::until).min().flatten()
    }

    /// `(key, x)` of each change, in order; x is the text of the attribute `x`, `-` for a removal.
    pub fn seen(&self) -> Vec<(String, String)> {
        let x = |change: &Change| match &change.after {
            Some(item) => item.get("x").and_then(|x| x.as_str()).unwrap_or("?").to_owned(),
            None => "-".to_owned(),
        };
        self.changes.iter().map(|change| (change.key.partition.1.readable(), x(change))).collect()
    }

    pub fn versions(&self) -> Vec<u64> {
        self.changes.iter().map(|change| change.version.get()).collect()
    }

    /// Each record once, and each item's versions rising.
    pub fn assert_sound(&self) {
        let mut last = BTreeMap::new();
        let mut events = std::collections::BTreeSet::new();
        for change in &self.changes {
            assert!(events.insert(change.source.event_id.clone()), "{} came twice", change.source.event_id);
            let before = last.insert(change.key.canonical(), change.version);
            assert!(before.is_none_or(|before| before < change.version), "{:?} went back", change.key);
        }
    }
}

pub struct Stage {
    pub server: ScriptedStreams,
    pub log: EmbeddedLog,
    _folder: TempDir,
}

impl Stage {
    /// One partition, so that the log has one order.
    pub async fn new() -> Stage {
        let server = ScriptedStreams::start().await.unwrap();
        server.create_table(TABLE, "id", None);
        let (log, folder) = log();
        Stage { server, log, _folder: folder }
    }

    pub fn start(&self) -> Worker {
        self.start_with(settings())
    }

    pub fn start_with(&self, settings: Settings) -> Worker {
        start(&self.server.endpoint(), TABLE, self.log.clone(), settings)
    }

    /// Waits until the log holds `count` changes; more than that fails the test.
    pub async fn changes(&self, count: usize) -> OnLog {
        self.until(&format!("{count} changes"), async |on_log| on_log.changes.len() >= count)
            .await
            .tap(|on_log| assert_eq!(on_log.changes.len(), count, "{:?}", on_log.seen()))
    }

    pub async fn complete_beyond(&self, moment: Timestamp) -> OnLog {
        let what = format!("completeness beyond {moment}");
        self.until(&what, async |on_log| on_log.complete_until() > Some(moment)).await
    }

    pub async fn until(&self, what: &str, wanted: impl AsyncFn(&OnLog) -> bool) -> OnLog {
        let look = async || {
            let on_log = read(&self.log, TABLE).await;
            match wanted(&on_log).await {
                true => Ok(on_log),
                false => {
                    let (seen, complete) = (on_log.seen(), on_log.complete_until());
                    let last = &seen[seen.len().saturating_sub(20)..];
                    Err(format!("{} changes, {last:?} the last of them, complete until {complete:?}", seen.len()))
                }
            }
        };
        wait::until(what, DEADLINE, look).await.unwrap()
    }

    pub async fn ledger_until(&self, what: &str, wanted: impl Fn(&Ledger) -> bool) -> Ledger {
        let look = async || {
            let ledger = ledger(&self.log).await;
            if wanted(&ledger) { Ok(ledger) } else { Err(format!("{ledger:?}")) }
        };
        wait::until(what, DEADLINE, look).await.unwrap()
    }

    pub async fn finished(&self, shard: &str) -> ShardEntry {
        let is = |ledger: &Ledger| find(ledger, shard).is_some_and(|entry| entry.status == ShardStatus::Finished);
        let ledger = self.ledger_until(&format!("the end of {shard}"), is).await;
        find(&ledger, shard).unwrap().clone()
    }
}

pub fn find<'a>(ledger: &'a Ledger, shard: &str) -> Option<&'a ShardEntry> {
    ledger.shards.values().find(|entry| entry.shard.as_str() == shard)
}

trait Tap: Sized {
    fn tap(self, look: impl FnOnce(&Self)) -> Self {
        look(&self);
        self
    }
}

impl<T> Tap for T {}

pub fn now() -> Timestamp {
    SystemClock.now()
}

pub fn log() -> (EmbeddedLog, TempDir) {
    let folder = TempDir::new().unwrap();
    let log = EmbeddedLog::open(folder.path(), Layout { slots: 4, partitions: 1 }).unwrap();
    (log, folder)
}

pub fn start(endpoint: &str, table: &str, log: EmbeddedLog, settings: Settings) -> Worker {
    start_by(endpoint, table, Arc::new(log), settings, Arc::new(SystemClock))
}

/// On any log and by any clock.
pub fn start_by(
    endpoint: &str,
    table: &str,
    log: Arc<dyn ChangeLog>,
    settings: Settings,
    clock: Arc<dyn Clock>,
) -> Worker {
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let ingest = Ingest {
        streams: streams_client(endpoint),
        tables_client: headwater_tests::client::at(endpoint),
        tables: vec![TableName::new(table)],
        log,
        settings,
        clock,
        health: health.clone(),
    };
    let task = tokio::spawn(ingest.run(shutdown.clone()));
    Worker { health, shutdown, task }
}

pub fn streams_client(endpoint: &str) -> aws_sdk_dynamodbstreams::Client {
    let config = aws_sdk_dynamodbstreams::Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(aws_sdk_dynamodbstreams::config::Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys("test", "test", None));
    aws_sdk_dynamodbstreams::Client::from_conf(config.build())
}

/// Everything that the table's log holds.
pub async fn read(log: &EmbeddedLog, table: &str) -> OnLog {
    let table = TableName::new(table);
    log.open_table(&table).await.unwrap();
    let extents = log.extents(&table).await.unwrap();
    let mut left: BTreeMap<u16, u64> = BTreeMap::new();
    let mut subscription = log.subscribe("test", std::slice::from_ref(&table)).await.unwrap();
    let mut on_log = OnLog::default();
    for (partition, extent) in extents.iter().enumerate() {
        let partition = partition as u16;
        on_log.completeness.insert(partition, Completeness::default());
        if extent.start < extent.end {
            left.insert(partition, extent.end.0);
        }
    }
    while !left.is_empty() {
        match subscription.next().await.unwrap() {
            Delivery::Assigned(partitions) => {
                for at in partitions {
                    let start = extents[usize::from(at.partition)].start;
                    subscription.start(&at, start).await.unwrap();
                }
            }
            Delivery::Records(records) => {
                for record in records {
                    on_log.take(&record);
                    if left.get(&record.at.partition).is_some_and(|end| record.offset.0 + 1 >= *end) {
                        left.remove(&record.at.partition);
                    }
                }
            }
            Delivery::Revoked { .. } => panic!("the embedded log revokes nothing"),
        }
    }
    on_log
}

/// Reads from the beginning until the log claims completeness beyond `moment`: what is there then is all there is.
pub async fn read_beyond(log: &dyn ChangeLog, table: &str, moment: Timestamp) -> OnLog {
    let table = TableName::new(table);
    log.open_table(&table).await.unwrap();
    let extents = log.extents(&table).await.unwrap();
    let mut on_log = OnLog::default();
    for partition in 0..extents.len() {
        on_log.completeness.insert(partition as u16, Completeness::default());
    }
    let group = format!("test-{:016x}", rand::random::<u64>());
    let mut subscription = log.subscribe(&group, std::slice::from_ref(&table)).await.unwrap();
    let end = tokio::time::Instant::now() + DEADLINE;
    while on_log.complete_until() <= Some(moment) {
        let Ok(delivery) = tokio::time::timeout_at(end, subscription.next()).await else {
            panic!("{} changes, complete until {:?}, not {moment}", on_log.changes.len(), on_log.complete_until());
        };
        match delivery.unwrap() {
            Delivery::Assigned(partitions) => {
                for at in partitions {
                    subscription.start(&at, extents[usize::from(at.partition)].start).await.unwrap();
                }
            }
            Delivery::Records(records) => records.iter().for_each(|record| on_log.take(record)),
            Delivery::Revoked { .. } => panic!("nobody else is in this group"),
        }
    }
    on_log
}

/// The ledger as it is now.
pub async fn ledger(log: &dyn ChangeLog) -> Ledger {
    let mut reader = log.ledger().await.unwrap();
    let mut ledger = Ledger::default();
    loop {
        for update in reader.next().await.unwrap() {
            match update {
                LedgerUpdate::Entry(entry) => ledger.apply(*entry),
                LedgerUpdate::Forgotten(key) => ledger.forget(&key),
                LedgerUpdate::CaughtUp => return ledger,
            }
        }
    }
}

/// `{"x":{"S":"…"}}`
pub fn x(text: impl std::fmt::Display) -> String {
    format!(r#"{{"x":{{"S":"{text}"}}}}"#)
}
