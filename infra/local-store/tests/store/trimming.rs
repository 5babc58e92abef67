use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::{Clock, ManualClock, SystemClock, Timestamp};
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::ledger::{LedgerEntry, ShardEntry, ShardStatus};
use headwater_common::log::{ChangeLog, CommitBatch, Ownership};
use headwater_common::order::{SequenceNumber, Version};
use headwater_local_store::{Environment, LedgerReaders, Needs, Readers, Settings};
use tokio_util::sync::CancellationToken;

use crate::world::{World, create_table, put, until};

const HOUR: Duration = Duration::from_secs(60 * 60);

#[derive(Default)]
struct Positions(Mutex<HashMap<String, Needs>>);

impl Positions {
    fn set(&self, table: &str, needs: Needs) {
        self.0.lock().unwrap().insert(table.to_owned(), needs);
    }
}

impl Readers for Positions {
    fn needs(&self, table: &TableName) -> Needs {
        self.0.lock().unwrap().get(table.as_str()).cloned().unwrap_or(Needs::Nothing)
    }
}

/// A world that trims without pause, by a clock that the test moves.
fn world() -> (World, Arc<ManualClock>, Arc<Positions>) {
    let (clock, positions) = (Arc::new(ManualClock::at(SystemClock.now())), Arc::new(Positions::default()));
    let environment = Environment { clock: clock.clone(), readers: positions.clone(), ..Environment::default() };
    let settings = Settings { trim_interval_ms: 1, ..Settings::default() };
    (World::start_in(settings, environment), clock, positions)
}

async fn until_numbers(world: &World, table: &str, wanted: &[String]) {
    let what = format!("trimming {table} to {} records", wanted.len());
    until(&what, async || (world.numbers(table).await == wanted).then_some(())).await;
}

#[tokio::test]
async fn records_older_than_the_retention_go_and_the_newest_of_each_table_stays() {
    let (world, clock, _) = world();
    let client = world.client();
    for table in ["busy", "idle"] {
        create_table(&client, table).await;
    }
    for number in 0..600 {
        put(&client, "busy", "a", &number.to_string()).await;
    }
    put(&client, "idle", "a", "1").await;
    let (busy, idle) = (world.numbers("busy").await, world.numbers("idle").await);
    clock.advance(23 * HOUR);
    put(&client, "busy", "a", "later").await;
    assert_eq!(world.numbers("busy").await.len(), 601, "younger than the retention");
    clock.advance(2 * HOUR);
    let newest = world.numbers("busy").await.pop().unwrap();
    until_numbers(&world, "busy", std::slice::from_ref(&newest)).await;
    assert!(!busy.contains(&newest));
    assert_eq!(world.numbers("idle").await, idle);
}

#[tokio::test]
async fn records_that_a_reader_has_not_read_stay_however_old_they_are() {
    let (world, clock, positions) = world();
    let client = world.client();
    for table in ["unread", "read"] {
        create_table(&client, table).await;
        for number in 0..5 {
            put(&client, table, "a", &number.to_string()).await;
        }
    }
    let (unread, read) = (world.numbers("unread").await, world.numbers("read").await);
    positions.set("unread", Needs::Everything);
    positions.set("read", Needs::After(SequenceNumber::parse(&read[1]).unwrap()));
    clock.advance(25 * HOUR);
    until_numbers(&world, "read", &read[2..]).await;
    assert_eq!(world.numbers("unread").await, unread);
    positions.set("unread", Needs::After(SequenceNumber::parse(&unread[4]).unwrap()));
    until_numbers(&world, "unread", &unread[4..]).await;
}

#[tokio::test]
async fn sequence_numbers_rise_across_trimming_and_restarts() {
    let (mut world, clock, _) = world();
    create_table(&world.client(), "rising").await;
    let mut last = String::new();
    for _ in 0..3 {
        for number in 0..3 {
            put(&world.client(), "rising", "a", &number.to_string()).await;
        }
        let written = world.numbers("rising").await;
        assert!(written.is_sorted() && written.last().is_some_and(|newest| *newest > last), "{written:?} after {last}");
        last = written.last().unwrap().clone();
        clock.advance(25 * HOUR);
        until_numbers(&world, "rising", std::slice::from_ref(&last)).await;
        world.restart().await;
    }
}

#[tokio::test]
async fn the_records_of_a_deleted_table_are_deleted() {
    let (mut world, _, _) = world();
    let client = world.client();
    create_table(&client, "gone").await;
    for number in 0..600 {
        put(&client, "gone", "a", &number.to_string()).await;
    }
    client.delete_table().table_name("gone").send().await.unwrap();
    let file = world.folder.path().join("headwater-local-store.sqlite");
    let count = || {
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.query_row("SELECT COUNT(*) FROM _stream_records", [], |row| row.get::<_, u64>(0)).unwrap()
    };
    until("the deletion", async || (count() == 0).then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn what_the_change_log_has_not_taken_in_stays_until_its_ledger_says_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), Layout { slots: 1, partitions: 1 }).unwrap();
    let readers = Arc::new(LedgerReaders::of([TableName::new("followed")]));
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let environment = Environment { clock: clock.clone(), readers: readers.clone(), ..Environment::default() };
    let world = World::start_in(Settings { trim_interval_ms: 1, ..Settings::default() }, environment);
    let client = world.client();
    for table in ["followed", "other"] {
        create_table(&client, table).await;
        for number in 0..5 {
            put(&client, table, "a", &number.to_string()).await;
        }
    }
    let (followed, other) = (world.numbers("followed").await, world.numbers("other").await);
    let stop = CancellationToken::new();
    let follow = tokio::spawn({
        let (log, stop) = (log.clone(), stop.clone());
        async move { readers.follow(&log, &stop).await }
    });
    clock.advance(25 * HOUR);
    until_numbers(&world, "other", &other[4..]).await;
    assert_eq!(world.numbers("followed").await, followed);

    let entry = LedgerEntry::Shard(ShardEntry {
        table: TableName::new("followed"),
        stream: StreamArn::new("arn"),
        generation: 1,
        shard: ShardId::new("shard"),
        parents: Vec::new(),
        status: ShardStatus::Open,
        position: SequenceNumber::parse(&followed[2]).ok(),
        last_version: Version::ZERO,
        complete_until: Timestamp::EPOCH,
        since: Timestamp::EPOCH,
    });
    let mut membership = log.join().await.unwrap();
    let Ownership::Acquired(mut writer) = membership.changed().await.unwrap() else {
        panic!("a new member is given slots")
    };
    let committed = writer.commit(CommitBatch { entries: vec![entry], ..CommitBatch::default() }).await.unwrap();
    assert_eq!(committed.events, 0);
    until_numbers(&world, "followed", &followed[3..]).await;
    stop.cancel();
    follow.await.unwrap();
}
