//! A log to write to, a sink that follows it, and the table as others read it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::Int64Type;
use async_trait::async_trait;
use headwater_common::change::{Change, Op, ShardId, Source, StreamArn, TableName};
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::codec;
use headwater_common::completeness::Mark;
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::ledger::Slot;
use headwater_common::log::*;
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::progress::{SinkProgress, TableProgress};
use headwater_common::value::Item;
use headwater_sink_offline::lake::{Lake, TableLocation};
use headwater_sink_offline::{Error, Settings, SinkOffline};
use headwater_tests::over::{LogOver, Over, SubscriptionOver};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::place::Place;
use crate::stores::WatchedStore;

pub const PARTITIONS: u16 = 2;
pub const SLOTS: u16 = 2;

pub fn entity(yaml_features: serde_json::Value) -> Entity {
    serde_json::from_value(serde_json::json!({
        "entity": "aircraft",
        "key": { "partition": { "name": "tail", "type": "string" } },
        "event_time": "seen_at",
        "write_time": "written_at",
        "features": yaml_features,
    }))
    .unwrap()
}

pub fn simple() -> Entity {
    entity(serde_json::json!([{ "name": "delay", "type": "long" }]))
}

pub fn table() -> TableName {
    TableName::new("aircraft")
}

/// Change number `n`, of one of a few items.
pub fn change(n: u64) -> Change {
    let tail = format!("N{}", n % 7);
    with_image(n, &format!(r#"{{"delay":{{"N":"{n}"}},"tail":{{"S":"{tail}"}}}}"#))
}

/// Change number `n` with this new image, whose key is its `tail`.
pub fn with_image(n: u64, image: &str) -> Change {
    let item = Item::from_json(image).unwrap();
    let key = ItemKey::of(&item, "tail", None).unwrap();
    Change {
        table: table(),
        key,
        op: Op::Modify,
        version: Version::new((1_700_000_000 << 30) + n).unwrap(),
        created: Timestamp::from_millis(1_700_000_000_000 + n as i64 * 1000),
        after: Some(item),
        before: None,
        changed: None,
        source: Source {
            stream: StreamArn::new("arn"),
            generation: 1,
            shard: ShardId::new("shardId-1"),
            sequence: SequenceNumber::parse(&format!("{}", 100_000_000_000_000_000_000_u128 + u128::from(n))).unwrap(),
            event_id: format!("e{n}"),
            identity: None,
        },
    }
}

pub fn deletion(n: u64, tail: &str) -> Change {
    let key = ItemKey { partition: ("tail".into(), KeyValue::S(tail.into())), sort: None };
    Change { key, op: Op::Delete, after: None, ..change(n) }
}

/// A log in a folder of its own.
pub struct TestLog {
    pub log: EmbeddedLog,
    pub partitions: u16,
    _folder: tempfile::TempDir,
}

impl TestLog {
    pub fn new() -> TestLog {
        TestLog::of(PARTITIONS)
    }

    pub fn of(partitions: u16) -> TestLog {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), Layout { slots: SLOTS, partitions }).unwrap();
        TestLog { log, partitions, _folder: folder }
    }

    pub fn shared(&self) -> Arc<dyn ChangeLog> {
        Arc::new(self.log.clone())
    }

    pub async fn write(&self, changes: impl IntoIterator<Item = Change>) {
        let event = |change: Change| LogEvent {
            table: change.table.clone(),
            key: change.key.canonical(),
            value: codec::encode(&change),
        };
        self.append(changes.into_iter().map(event).collect()).await;
    }

    /// A record that is no envelope.
    pub async fn write_bytes(&self, bytes: &'static [u8]) {
        let key = change(0).key.canonical();
        self.append(vec![LogEvent { table: table(), key, value: bytes.into() }]).await;
    }

    async fn append(&self, events: Vec<LogEvent>) {
        let mut member = self.log.join().await.unwrap();
        let Ownership::Acquired(mut writer) = member.changed().await.unwrap() else { panic!("no slot") };
        let batch = CommitBatch { events, ..CommitBatch::default() };
        let _ = writer.commit(batch).await.unwrap();
        member.leave().await.unwrap();
    }

    pub async fn mark(&self, until: i64) {
        let slots = (0..SLOTS).map(|slot| (Slot(slot), Timestamp::from_millis(until))).collect();
        self.log.mark(&table(), &Mark { of: SLOTS, slots }).await.unwrap();
    }

    /// Changes `range`, and a mark that they are all there.
    pub async fn write_and_mark(&self, range: std::ops::Range<u64>) {
        let until = range.end as i64;
        self.write(range.map(change)).await;
        self.mark(until).await;
    }
}

pub fn quick() -> Settings {
    Settings {
        flush_ms: 1,
        idle_complete_ms: 1,
        retry_base_ms: 1,
        retry_cap_ms: 5,
        halt_retry_ms: 5,
        ..Settings::default()
    }
}

/// A lake in memory, every request of which is watched.
pub fn memory_lake() -> (Lake, WatchedStore) {
    let store = WatchedStore::new(Arc::new(InMemory::new()));
    (Lake::new(Arc::new(store.clone()), "memory:///lake/".parse().unwrap()), store)
}

/// A lake in this place, every request of which is watched.
pub fn lake_in(place: &Place) -> (Lake, WatchedStore) {
    let (lake, guard) = place.open();
    let store = WatchedStore::guarding(lake.store(), guard);
    (Lake::new(Arc::new(store.clone()), lake.root().clone()), store)
}

pub struct Sink {
    pub health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

impl Sink {
    pub fn start(log: &TestLog, lake: &Lake, entity: Entity, settings: Settings) -> Sink {
        Sink::over(log.shared(), lake, vec![entity], settings)
    }

    pub fn over(log: Arc<dyn ChangeLog>, lake: &Lake, entities: Vec<Entity>, settings: Settings) -> Sink {
        let health = Health::default();
        let (clock, lake) = (Arc::new(SystemClock), lake.clone());
        let sink = SinkOffline { log, lake, entities, settings, clock, health: health.clone() };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(sink.run(shutdown.clone()));
        Sink { health, shutdown, task }
    }

    pub async fn stop(self) -> Result<(), Error> {
        self.shutdown.cancel();
        within(self.task).await.unwrap()
    }

    /// Ends it in the middle of whatever it does.
    pub async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    /// How it ended by itself.
    pub async fn ended(self) -> Result<(), Error> {
        within(self.task).await.unwrap()
    }

    pub fn progress(&self, table: &str) -> Option<TableProgress> {
        let status = self.health.status().remove("sink-offline")?;
        let mut progress: SinkProgress = serde_json::from_value(status).unwrap();
        progress.tables.remove(&TableName::new(table))
    }

    pub fn reason(&self) -> String {
        self.health.parts().remove("sink-offline").map(|part| part.reason).unwrap_or_default()
    }

    pub async fn complete(&self, until: i64) {
        let wanted = Some(Timestamp::from_millis(until));
        until_true("complete", || self.progress("aircraft").is_some_and(|table| table.complete_until >= wanted)).await;
    }
}

/// A wait that hangs fails here instead of holding up the run; nothing asserts how long it takes.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing came")
}

pub async fn until_true(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("never {what}"));
}

/// The history table as delta-rs sees it, every file read with Parquet.
pub async fn history(lake: &Lake) -> Vec<RecordBatch> {
    read_table(&lake.history(&table())).await
}

pub async fn read_table(location: &TableLocation) -> Vec<RecordBatch> {
    let mut delta = location.delta().unwrap();
    delta.load().await.unwrap();
    let files = delta.get_files_by_partitions(&[]).await.unwrap();
    let mut batches = Vec::new();
    for file in files {
        let bytes = location.store.get(&file).await.unwrap().bytes().await.unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).unwrap().build().unwrap();
        batches.extend(reader.map(Result::unwrap));
    }
    batches
}

pub async fn one_batch(lake: &Lake) -> RecordBatch {
    let batches = history(lake).await;
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

/// How often each change is in the table.
pub async fn occurrences(lake: &Lake) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for batch in history(lake).await {
        let ids = batch.column_by_name("_event_id").unwrap().as_string::<i32>();
        for id in ids.iter().flatten() {
            *counts.entry(id.to_owned()).or_default() += 1;
        }
    }
    counts
}

/// Every change of `range` exactly once, and nothing else.
pub async fn assert_exactly_once(lake: &Lake, range: std::ops::Range<u64>, what: &str) {
    let wanted: BTreeMap<String, usize> = range.map(|n| (format!("e{n}"), 1)).collect();
    assert_eq!(occurrences(lake).await, wanted, "{what}");
}

pub fn longs(batch: &RecordBatch, name: &str) -> Vec<Option<i64>> {
    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().iter().collect()
}

pub fn texts(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
    let column = batch.column_by_name(name).unwrap().as_string::<i32>().clone();
    column.iter().map(|text| text.map(str::to_owned)).collect()
}

/// A log that counts what it gives of each table.
pub struct CountingLog {
    inner: EmbeddedLog,
    given: Arc<Mutex<BTreeMap<TableName, usize>>>,
}

impl CountingLog {
    pub fn over(log: &TestLog) -> Over<CountingLog> {
        Over(CountingLog { inner: log.log.clone(), given: Arc::default() })
    }

    pub fn given(&self) -> Arc<Mutex<BTreeMap<TableName, usize>>> {
        self.given.clone()
    }
}

impl LogOver for CountingLog {
    fn beneath(&self) -> &dyn ChangeLog {
        &self.inner
    }

    fn subscribed(&self, beneath: Box<dyn Subscription>) -> Box<dyn Subscription> {
        Box::new(Over(CountingSubscription { beneath, given: self.given.clone() }))
    }
}

struct CountingSubscription {
    beneath: Box<dyn Subscription>,
    given: Arc<Mutex<BTreeMap<TableName, usize>>>,
}

#[async_trait]
impl SubscriptionOver for CountingSubscription {
    fn beneath(&mut self) -> &mut dyn Subscription {
        &mut *self.beneath
    }

    async fn next(&mut self) -> Result<Delivery, LogError> {
        let delivery = self.beneath.next().await?;
        if let Delivery::Records(records) = &delivery {
            let mut given = self.given.lock();
            for record in records {
                *given.entry(record.at.table.clone()).or_default() += 1;
            }
        }
        Ok(delivery)
    }
}
