//! Several workers that share a log on Kafka, against DynamoDB Local.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::{Clock, SystemClock};
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_kafka::{KafkaLog, Settings};
use headwater_tests::{servers, wait};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;

use crate::dynamodb_local::{TIME, Table, assert_whole, write_and_roll};
use crate::stage::{Worker, ledger, read_beyond};

const SLOTS: u16 = 4;
const PATIENCE: Duration = Duration::from_secs(60);

fn settings(bootstrap: String) -> Settings {
    Settings {
        bootstrap,
        prefix: format!("ingest-{:016x}", rand::random::<u64>()),
        slots: SLOTS,
        partitions: 2,
        replication: 1,
        min_insync: 1,
        session_timeout_ms: 3_000,
        heartbeat_ms: 500,
        ..Settings::default()
    }
}

/// A process of its own, as far as Kafka can tell.
async fn connect(settings: &Settings) -> Arc<dyn ChangeLog> {
    Arc::new(KafkaLog::connect(settings, Health::default(), Arc::new(SystemClock)).await.unwrap())
}

async fn shared(workers: &[&Worker], each: std::ops::RangeInclusive<u64>) {
    let all = async || {
        let slots: Vec<u64> = workers.iter().map(|worker| worker.slots()).collect();
        let whole = slots.iter().sum::<u64>() == u64::from(SLOTS) && slots.iter().all(|slots| each.contains(slots));
        if whole { Ok(()) } else { Err(format!("{slots:?}")) }
    };
    wait::until("the slots' owners", PATIENCE, all).await.unwrap();
}

async fn remove(settings: &Settings, table: &str) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &settings.bootstrap).create().unwrap();
    let topics = [format!("{}.ledger", settings.prefix), format!("{}.{table}.changes", settings.prefix)];
    let removed = admin.delete_topics(&topics.each_ref().map(String::as_str), &AdminOptions::new()).await.unwrap();
    removed.into_iter().for_each(|topic| drop(topic.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_share_shards_that_roll_under_load_and_one_takes_over_when_the_other_is_gone() {
    let (Some(server), Some(bootstrap)) = (servers::dynamodb(), servers::kafka()) else { return };
    let _time = TIME.lock().await;
    let table = Table::create(server).await;
    let settings = settings(bootstrap);
    let reader = connect(&settings).await;
    let first = table.worker(&connect(&settings).await, Arc::new(SystemClock));
    let second = table.worker(&connect(&settings).await, Arc::new(SystemClock));
    shared(&[&first, &second], 1..=3).await;

    let load = write_and_roll(&table, 4, 60, 8);
    let death = async {
        let halfway = async || match ledger(&*reader).await.shards.len() {
            shards if shards >= 5 => Ok(()),
            shards => Err(format!("{shards} shards")),
        };
        wait::until("the fourth roll", PATIENCE, halfway).await.unwrap();
        second.kill().await;
    };
    futures::join!(load, death);
    shared(&[&first], u64::from(SLOTS)..=u64::from(SLOTS)).await;
    let on_log = read_beyond(&*reader, &table.name, SystemClock.now()).await;
    assert_whole(&on_log, 4, 60);
    let ledger = ledger(&*reader).await;
    assert_eq!((ledger.shards.len(), ledger.open_gaps().count()), (9, 0), "each roll happened under load");
    first.ready().await;
    first.stop().await;
    remove(&settings, &table.name).await;
    table.drop().await;
}
