//! The same stage against a server that is not ours: shards roll, iterators expire and data is trimmed when a test says
//! so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, TimeToLiveSpecification};
use aws_sdk_dynamodbstreams::types::ShardIteratorType;
use headwater_common::change::Op;
use headwater_common::clock::{Clock, SystemClock, Timestamp};
use headwater_common::ledger::ShardStatus;
use headwater_common::log::ChangeLog;
use headwater_tests::servers::{self, DynamoDb};
use headwater_tests::{client, wait};
use tempfile::TempDir;
use tokio::sync::MutexGuard;

use crate::stage::{OnLog, Worker, ledger, log, read_beyond, settings, start_by, streams_client};

const PATIENCE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// The server's time is one for all tables, so that one test at a time may move it.
pub static TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The machine's clock, so much ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().plus(self.0)
    }
}

/// A table of its own on the server.
pub struct Table {
    server: DynamoDb,
    pub name: String,
    client: aws_sdk_dynamodb::Client,
    streams: aws_sdk_dynamodbstreams::Client,
    arn: String,
}

impl Table {
    pub async fn create(server: DynamoDb) -> Table {
        let name = format!("ingest-{:016x}", rand::random::<u64>());
        let client = client::at(&server.endpoint);
        client::ensure_table(&client, &client::keyed(&name, "id")).await.unwrap();
        let described = client.describe_table().table_name(&name).send().await.unwrap();
        let arn = described.table.unwrap().latest_stream_arn.unwrap();
        let streams = streams_client(&server.endpoint);
        Table { server, name, client, streams, arn }
    }

    pub fn worker(&self, log: &Arc<dyn ChangeLog>, clock: Arc<dyn Clock>) -> Worker {
        start_by(&self.server.endpoint, &self.name, log.clone(), settings(), clock)
    }

    async fn put(&self, id: &str, x: usize) {
        let item = self.client.put_item().table_name(&self.name).item("id", AttributeValue::S(id.to_owned()));
        item.item("x", AttributeValue::S(x.to_string())).send().await.unwrap();
    }

    async fn shards(&self) -> Vec<String> {
        let answer = self.streams.describe_stream().stream_arn(&self.arn).send().await.unwrap();
        let shards = answer.stream_description.unwrap().shards.unwrap();
        shards.into_iter().map(|shard| shard.shard_id.unwrap()).collect()
    }

    /// Lets time pass, and waits until the server has rolled its shards by itself, as it does every four hours.
    async fn age(&self, span: Duration) {
        let before = self.shards().await.len();
        self.server.age(span).await.unwrap();
        let rolled = async || {
            let now = self.shards().await.len();
            if now > before { Ok(()) } else { Err(format!("{now} shards")) }
        };
        wait::until("the roll of a shard", PATIENCE, rolled).await.unwrap();
    }

    async fn iterator(&self, shard: &str) -> String {
        let request = self.streams.get_shard_iterator().stream_arn(&self.arn).shard_id(shard);
        let answer = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap();
        answer.shard_iterator.unwrap()
    }

    /// The code of the error that a read by this iterator gives, if it gives one.
    async fn error_of(&self, iterator: &str) -> Option<String> {
        use aws_sdk_dynamodbstreams::error::ProvideErrorMetadata as _;
        let answer = self.streams.get_records().shard_iterator(iterator).send().await;
        answer.err().and_then(|error| error.code().map(str::to_owned))
    }

    pub async fn drop(self) {
        self.client.delete_table().table_name(&self.name).send().await.unwrap();
    }
}

/// A table, an embedded log, and the server's time, which no other test moves meanwhile.
struct Scene {
    table: Table,
    log: Arc<dyn ChangeLog>,
    _folder: TempDir,
    _time: MutexGuard<'static, ()>,
}

impl Scene {
    /// None where there is no server.
    async fn set() -> Option<Scene> {
        let server = servers::dynamodb()?;
        let time = TIME.lock().await;
        let (log, folder) = log();
        Some(Scene { table: Table::create(server).await, log: Arc::new(log), _folder: folder, _time: time })
    }

    fn worker(&self) -> Worker {
        self.table.worker(&self.log, Arc::new(SystemClock))
    }

    /// Everything up to now, by this clock.
    async fn on_log(&self, clock: &dyn Clock) -> OnLog {
        let on_log = read_beyond(&*self.log, &self.table.name, clock.now()).await;
        on_log.assert_sound();
        on_log
    }

    async fn end(self, worker: Worker) {
        worker.stop().await;
        self.table.drop().await;
    }
}

/// The values of `x` of each item, as they lie on the log.
fn by_item(on_log: &OnLog) -> BTreeMap<String, Vec<String>> {
    let mut items: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (id, x) in on_log.seen() {
        items.entry(id).or_default().push(x);
    }
    items
}

/// `writers` write their own items while the shards roll `rolls` times; every item's values are 0 up to `each`.
pub async fn write_and_roll(table: &Table, writers: usize, each: usize, rolls: usize) {
    let written = AtomicUsize::new(0);
    let write = async |writer: usize| {
        for x in 0..each {
            for item in 0..3 {
                table.put(&format!("w{writer}-{item}"), x).await;
                written.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let roll = async {
        for roll in 1..=rolls {
            let share = writers * each * 3 * roll / (rolls + 1);
            let so_far = async || {
                let written = written.load(Ordering::Relaxed);
                if written >= share { Ok(()) } else { Err(format!("{written} writes")) }
            };
            wait::until("the next roll's time", PATIENCE, so_far).await.unwrap();
            table.server.roll().await.unwrap();
        }
    };
    futures::join!(futures::future::join_all((0..writers).map(write)), roll);
}

pub fn assert_whole(on_log: &OnLog, writers: usize, each: usize) {
    on_log.assert_sound();
    let items = by_item(on_log);
    assert_eq!(items.len(), writers * 3);
    let wanted: Vec<String> = (0..each).map(|x| x.to_string()).collect();
    items.iter().for_each(|(id, values)| assert_eq!(*values, wanted, "{id}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_that_roll_under_load_lose_nothing_and_keep_the_order_of_each_item() {
    let Some(scene) = Scene::set().await else { return };
    let (table, worker) = (&scene.table, scene.worker());
    write_and_roll(table, 4, 40, 5).await;
    let on_log = scene.on_log(&SystemClock).await;
    assert_whole(&on_log, 4, 40);
    let shards: std::collections::BTreeSet<_> = on_log.changes.iter().map(|change| &change.source.shard).collect();
    assert_eq!((shards.len(), table.shards().await.len()), (6, 6), "each roll happened under load");
    let place = |shard: &headwater_common::change::ShardId| {
        let places = on_log.changes.iter().enumerate().filter(|(_, change)| change.source.shard == *shard);
        let places: Vec<usize> = places.map(|(place, _)| place).collect();
        (places[0], places[places.len() - 1])
    };
    let ledger = ledger(&*scene.log).await;
    for entry in ledger.shards.values() {
        for parent in &entry.parents {
            assert!(place(parent).1 < place(&entry.shard).0, "{parent} is read before {}", entry.shard);
        }
    }
    worker.ready().await;
    scene.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_iterator_that_expired_is_taken_anew_where_reading_had_come_to() {
    let Some(scene) = Scene::set().await else { return };
    let (table, worker) = (&scene.table, scene.worker());
    table.put("a", 0).await;
    scene.on_log(&SystemClock).await;
    let witness = table.iterator(&table.shards().await[0]).await;
    table.server.age(Duration::from_secs(16 * 60)).await.unwrap();
    assert_eq!(table.error_of(&witness).await.as_deref(), Some("ExpiredIteratorException"));
    table.put("a", 1).await;
    let on_log = scene.on_log(&SystemClock).await;
    assert_eq!(by_item(&on_log)["a"], ["0", "1"]);
    worker.ready().await;
    scene.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn data_trimmed_while_ingest_was_down_is_a_gap_and_what_the_stream_still_holds_is_read() {
    let Some(scene) = Scene::set().await else { return };
    let (table, worker) = (&scene.table, scene.worker());
    table.put("a", 0).await;
    scene.on_log(&SystemClock).await;
    worker.ready().await;
    worker.stop().await;

    // Three shards end meanwhile: the first two are trimmed, and the server has forgotten the very first.
    table.put("a", 1).await;
    table.age(20 * HOUR).await;
    table.put("a", 2).await;
    table.age(5 * HOUR).await;
    table.put("a", 3).await;
    table.age(20 * HOUR).await;
    table.put("a", 4).await;
    let shards = table.shards().await;
    assert_eq!(shards.len(), 4, "the server still lists all of them");
    let codes = [
        table.error_of(&table.iterator(&shards[0]).await).await,
        table.error_of(&table.iterator(&shards[1]).await).await,
    ];
    assert_eq!(
        codes.each_ref().map(|code| code.as_deref().unwrap_or_default()),
        ["ResourceNotFoundException", "TrimmedDataAccessException"]
    );

    let clock = Arc::new(Ahead(45 * HOUR));
    let worker = table.worker(&scene.log, clock.clone());
    let on_log = scene.on_log(&*clock).await;
    assert_eq!(by_item(&on_log)["a"], ["0", "3", "4"]);
    let ledger = ledger(&*scene.log).await;
    let gaps: Vec<&str> = ledger.open_gaps().map(|gap| gap.shard.as_str()).collect();
    assert_eq!(gaps, [shards[0].as_str(), shards[1].as_str()], "{ledger:?}");
    let first = ledger.open_gaps().next().unwrap();
    assert_eq!(first.from, Some(on_log.changes[0].source.sequence.clone()));
    let lost = ledger.shards.values().filter(|entry| entry.status == ShardStatus::Lost).count();
    assert_eq!(lost, 2);
    worker.not_ready_for("lost unread").await;
    scene.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_that_begins_beside_trimmed_shards_has_lost_nothing() {
    let Some(scene) = Scene::set().await else { return };
    let table = &scene.table;
    table.put("a", 0).await;
    table.age(20 * HOUR).await;
    table.put("a", 1).await;
    table.age(26 * HOUR).await;
    table.put("a", 2).await;
    let clock = Arc::new(Ahead(46 * HOUR));
    let worker = table.worker(&scene.log, clock.clone());
    let on_log = scene.on_log(&*clock).await;
    assert_eq!(by_item(&on_log)["a"], ["2"]);
    assert_eq!(ledger(&*scene.log).await.open_gaps().count(), 0);
    worker.ready().await;
    scene.end(worker).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_by_the_time_to_live_is_told_from_a_delete() {
    let Some(scene) = Scene::set().await else { return };
    let table = &scene.table;
    let ttl = TimeToLiveSpecification::builder().attribute_name("gone").enabled(true).build().unwrap();
    table.client.update_time_to_live().table_name(&table.name).time_to_live_specification(ttl).send().await.unwrap();
    let worker = scene.worker();
    let past = (SystemClock.now().as_millis() / 1000 - 3600).to_string();
    let put = table.client.put_item().table_name(&table.name).item("id", AttributeValue::S("expires".into()));
    put.item("gone", AttributeValue::N(past)).send().await.unwrap();
    table.put("deleted", 0).await;
    let delete = table.client.delete_item().table_name(&table.name);
    delete.key("id", AttributeValue::S("deleted".into())).send().await.unwrap();
    let removed = async || {
        let get = table.client.get_item().table_name(&table.name).key("id", AttributeValue::S("expires".into()));
        let item = get.consistent_read(true).send().await.unwrap().item;
        item.map_or(Ok(()), |_| Err("the item".to_owned()))
    };
    wait::until("the expiry", PATIENCE, removed).await.unwrap();
    let on_log = scene.on_log(&SystemClock).await;
    let ops = |id: &str| -> Vec<Op> {
        let of = on_log.changes.iter().filter(|change| change.key.partition.1.readable() == id);
        of.map(|change| change.op).collect()
    };
    assert_eq!(ops("expires"), [Op::Insert, Op::Expire]);
    assert_eq!(ops("deleted"), [Op::Insert, Op::Delete]);
    scene.end(worker).await;
}
