//! Several sinks on one table, each with its partitions, which move.

use std::sync::Arc;

use headwater_common::log::{ChangeLog as _, LogId, Offset};
use headwater_sink_offline::position::{complete_until, stored_offset};
use headwater_sink_offline::state::load;
use headwater_sink_offline::{Lake, Settings};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::oneshot;

use crate::fixture::*;
use crate::members::Member;
use crate::on_each_store;
use crate::place::Place;
use crate::stores::WatchedStore;

/// A sink with a store of its own to watch, on the lake of all.
struct Worker {
    member: Member,
    sink: Sink,
    store: WatchedStore,
}

impl Worker {
    fn start(log: &TestLog, lake: &Lake, shared: &WatchedStore, settings: Settings) -> Worker {
        let (member, log) = Member::of(log);
        let store = shared.beside();
        let own = Lake::new(Arc::new(store.clone()), lake.root().clone());
        let sink = Sink::over(log, &own, vec![simple()], settings);
        Worker { member, sink, store }
    }
}

async fn log_id(log: &TestLog) -> LogId {
    log.log.open_table(&table()).await.unwrap()
}

/// The last offset of each partition that the table contains.
async fn stored(lake: &Lake, log: &TestLog) -> Vec<Option<Offset>> {
    let id = log_id(log).await;
    let Some(state) = load(&lake.history(&table())).await.unwrap() else { return Vec::new() };
    (0..log.partitions).map(|partition| stored_offset(&state.txns, &id, partition)).collect()
}

/// Waits until the table says that it is complete up to there.
async fn complete(lake: &Lake, log: &TestLog, until: i64) {
    let id = log_id(log).await;
    let wait = async {
        loop {
            let state = load(&lake.history(&table())).await.unwrap();
            let found = state.and_then(|state| complete_until(&state.txns, &id, log.partitions));
            if found.is_some_and(|found| found.as_millis() >= until) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    within(wait).await;
}

fn is_acknowledged(acknowledged: &mut oneshot::Receiver<()>) -> bool {
    acknowledged.try_recv() == Err(oneshot::error::TryRecvError::Closed)
}

async fn workers_share_a_table(place: Place) {
    let (log, (lake, store)) = (TestLog::of(4), lake_in(&place));
    let workers = [0_u16, 1, 2, 3].map(|partition| {
        let worker = Worker::start(&log, &lake, &store, quick());
        worker.member.assign(&[partition]);
        worker
    });
    for round in 0..10_u64 {
        log.write_and_mark(round * 40..(round + 1) * 40).await;
    }
    complete(&lake, &log, 400).await;
    assert_exactly_once(&lake, 0..400, "four workers").await;
    for worker in workers {
        worker.sink.stop().await.unwrap();
    }
}

/// GIVEN a worker whose commit is on its way WHEN its partition is taken away THEN it acknowledges only once the commit is
/// settled, and its successor goes on after it.
async fn a_partition_is_given_back_only_once_nothing_of_it_can_be_published(place: Place) {
    let (log, (lake, store)) = (TestLog::of(1), lake_in(&place));
    let old = Worker::start(&log, &lake, &store, quick());
    old.member.assign(&[0]);
    log.write_and_mark(0..10).await;
    complete(&lake, &log, 10).await;
    old.store.set_gate(Some("_delta_log"));
    log.write_and_mark(10..20).await;
    until_true("at the gate", || old.store.waiting() > 0).await;
    let mut acknowledged = old.member.revoke(&[0]);
    // What it does in answer to the revocation would be done by then.
    until_true("published again", || old.sink.health.status().contains_key("sink-offline")).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
        assert!(!is_acknowledged(&mut acknowledged), "acknowledged with a commit on its way");
    }
    old.store.set_gate(None);
    within(&mut acknowledged).await.unwrap_err();
    let contained = stored(&lake, &log).await;
    let new = Worker::start(&log, &lake, &store, quick());
    new.member.assign(&[0]);
    log.write_and_mark(20..30).await;
    complete(&lake, &log, 30).await;
    assert!(stored(&lake, &log).await > contained);
    assert_exactly_once(&lake, 0..30, "moved with a commit on its way").await;
    for worker in [old, new] {
        worker.sink.stop().await.unwrap();
    }
}

/// A revocation that finds a worker in trouble with its store does not wait for the store.
async fn a_partition_is_given_back_though_the_store_is_away(place: Place) {
    let (log, (lake, store)) = (TestLog::of(1), lake_in(&place));
    let settings = Settings { retry_base_ms: 3_600_000, retry_cap_ms: 3_600_000, ..quick() };
    let old = Worker::start(&log, &lake, &store, settings);
    old.member.assign(&[0]);
    log.write_and_mark(0..10).await;
    complete(&lake, &log, 10).await;
    old.store.set_broken(Some("_history"));
    log.write_and_mark(10..20).await;
    until_true("in trouble", || !old.sink.health.is_ready()).await;
    within(old.member.revoke(&[0])).await.unwrap_err();
    let new = Worker::start(&log, &lake, &store, quick());
    new.member.assign(&[0]);
    complete(&lake, &log, 20).await;
    assert_exactly_once(&lake, 0..20, "moved away from a worker in trouble").await;
    for worker in [old, new] {
        worker.sink.stop().await.unwrap();
    }
}

/// GIVEN a worker that stands still between the write of its file and its commit WHEN its partition goes to another and it
/// goes on, before or after the other has committed, THEN exactly one of them commits each row.
async fn a_zombie_between_write_and_commit_doubles_nothing(place: Place) {
    for zombie_first in [false, true] {
        let (log, (lake, store)) = (TestLog::of(1), lake_in(&place));
        let zombie = Worker::start(&log, &lake, &store, quick());
        zombie.member.assign(&[0]);
        log.write_and_mark(0..10).await;
        complete(&lake, &log, 10).await;
        zombie.store.set_gate(Some("_delta_log"));
        log.write_and_mark(10..20).await;
        until_true("the zombie holds a flush", || zombie.store.waiting() > 0).await;
        // The zombie hears nothing of it.
        let owner = Worker::start(&log, &lake, &store, quick());
        if zombie_first {
            owner.store.set_gate(Some("_delta_log"));
        }
        owner.member.assign(&[0]);
        if zombie_first {
            until_true("the owner holds the same", || owner.store.waiting() > 0).await;
        } else {
            complete(&lake, &log, 20).await;
        }
        zombie.store.set_gate(None);
        complete(&lake, &log, 20).await;
        owner.store.set_gate(None);
        log.write_and_mark(20..30).await;
        complete(&lake, &log, 30).await;
        within(zombie.member.revoke(&[0])).await.unwrap_err();
        log.write_and_mark(30..40).await;
        complete(&lake, &log, 40).await;
        assert_exactly_once(&lake, 0..40, &format!("zombie first: {zombie_first}")).await;
        for worker in [zombie, owner] {
            worker.sink.stop().await.unwrap();
        }
    }
}

/// GIVEN a table that is full WHEN another writer overtakes it or its partitions change THEN reading goes on.
async fn a_table_that_was_paused_is_read_on_after_it_was_opened_anew(place: Place) {
    let (log, (lake, store)) = (TestLog::of(1), lake_in(&place));
    let settings = Settings { memory_bytes: 1 << 17, flush_bytes: 1 << 16, ..quick() };
    let worker = Worker::start(&log, &lake, &store, settings.clone());
    worker.member.assign(&[0]);
    log.write_and_mark(0..10).await;
    complete(&lake, &log, 10).await;
    worker.store.set_gate(Some("part-"));
    for round in 0..10_u64 {
        log.write_and_mark(10 + round * 100..110 + round * 100).await;
    }
    until_true("full", || !worker.member.paused().is_empty()).await;
    let other = Worker::start(&log, &lake, &store, quick());
    other.member.assign(&[0]);
    complete(&lake, &log, 1010).await;
    within(other.member.revoke(&[0])).await.unwrap_err();
    worker.store.set_gate(None);
    log.write_and_mark(1010..1020).await;
    complete(&lake, &log, 1020).await;
    assert!(worker.member.paused().is_empty());
    assert_exactly_once(&lake, 0..1020, "after a pause").await;
    for worker in [worker, other] {
        worker.sink.stop().await.unwrap();
    }
}

async fn a_log_that_ends_before_what_the_table_contains_is_refused(place: Place) {
    let (log, (lake, store)) = (TestLog::of(1), lake_in(&place));
    let worker = Worker::start(&log, &lake, &store, quick());
    worker.member.assign(&[0]);
    log.write_and_mark(0..10).await;
    complete(&lake, &log, 10).await;
    worker.sink.stop().await.unwrap();
    let again = Worker::start(&log, &lake, &store, quick());
    again.member.end_at(3);
    again.member.assign(&[0]);
    let refused = again.sink.ended().await.unwrap_err().to_string();
    assert!(refused.contains("up to offset 10, the log ends at 3") && refused.contains("rebuild"), "{refused}");
    // Nothing is asked of partitions that are another worker's.
    let idle = Worker::start(&log, &lake, &store, quick());
    idle.member.end_at(3);
    until_true("ready", || idle.sink.health.status().contains_key("sink-offline")).await;
    idle.sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..10, "nothing was written").await;
}

const PARTITION_COUNT: u16 = 4;

/// Partitions move at random, with notice or without, workers die and come again, while the log is written.
async fn whatever_moves_each_change_is_there_once(place: Place) {
    let seed =
        std::env::var("HEADWATER_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("HEADWATER_TEST_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (log, (lake, store)) = (TestLog::of(PARTITION_COUNT), lake_in(&place));
    let start = || Worker::start(&log, &lake, &store, quick());
    let mut workers: Vec<Worker> = (0..3).map(|_| start()).collect();
    let mut owner = [0_usize; PARTITION_COUNT as usize];
    let mut zombies: Vec<(usize, u16)> = Vec::new();
    workers[0].member.assign(&[0, 1, 2, 3]);
    for round in 0..60_u64 {
        log.write_and_mark(round * 10..(round + 1) * 10).await;
        let (partition, to) = (rng.random_range(0..PARTITION_COUNT), rng.random_range(0..workers.len()));
        // Who owns a partition again is none of its zombies.
        zombies.retain(|(who, of)| owner[usize::from(*of)] != *who);
        let from = owner[usize::from(partition)];
        match rng.random_range(0..4) {
            // With notice.
            0 | 1 if from != to => {
                within(workers[from].member.revoke(&[partition])).await.unwrap_err();
                workers[to].member.assign(&[partition]);
                owner[usize::from(partition)] = to;
            }
            // Without, and the old one hears of it some time later.
            2 if from != to && !zombies.contains(&(to, partition)) => {
                workers[to].member.assign(&[partition]);
                owner[usize::from(partition)] = to;
                zombies.push((from, partition));
            }
            // A death, and another in its place.
            3 => {
                let dead = std::mem::replace(&mut workers[to], start());
                dead.sink.kill().await;
                zombies.retain(|(who, _)| *who != to);
                let mut theirs: Vec<u16> = (0..PARTITION_COUNT).collect();
                theirs.retain(|partition| owner[usize::from(*partition)] == to);
                workers[to].member.assign(&theirs);
            }
            _ => {
                for (who, partition) in zombies.drain(..) {
                    let _noticed = workers[who].member.revoke(&[partition]);
                }
            }
        }
    }
    complete(&lake, &log, 600).await;
    assert_exactly_once(&lake, 0..600, &format!("seed {seed}")).await;
    for worker in workers {
        worker.sink.stop().await.unwrap();
    }
}

on_each_store!(
    workers_share_a_table,
    a_partition_is_given_back_only_once_nothing_of_it_can_be_published,
    a_partition_is_given_back_though_the_store_is_away,
    a_zombie_between_write_and_commit_doubles_nothing,
    a_table_that_was_paused_is_read_on_after_it_was_opened_anew,
    a_log_that_ends_before_what_the_table_contains_is_refused,
    whatever_moves_each_change_is_there_once,
);
