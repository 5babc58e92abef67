//! Workers and brokers that are killed and frozen under load: every number is in the log once, and none is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::change::TableName;
use headwater_common::log::{ChangeLog, Delivery, Offset};
use headwater_conformance::{ledger, mark, within};
use headwater_tests::servers;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;

use crate::broker::Broker;
use crate::pipeline::Pipeline;

/// What was acknowledged by all workers: the highest number of each slot.
type Known = Arc<Mutex<BTreeMap<u16, u64>>>;

/// A process that numbers each slot's events. What it prints is read all the time, or it would wait for its reader.
struct Worker {
    child: Child,
    own: watch::Receiver<BTreeMap<u16, u64>>,
}

impl Worker {
    fn start(pipeline: &Pipeline, known: &Known) -> Worker {
        let settings = &pipeline.settings;
        let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-append"));
        command.args([&settings.bootstrap, &settings.prefix]);
        command.args([settings.slots, settings.partitions].map(|n| n.to_string()));
        command.args([settings.session_timeout_ms, settings.transaction_timeout_ms].map(|n| n.to_string()));
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, own) = watch::channel(BTreeMap::new());
        let known = known.clone();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                let (slot, number) = line.split_once(' ').unwrap();
                let (slot, number): (u16, u64) = (slot.parse().unwrap(), number.parse().unwrap());
                let mut known = known.lock();
                let most = known.entry(slot).or_insert(0);
                *most = number.max(*most);
                sender.send_modify(|own| {
                    own.insert(slot, number);
                });
            }
        });
        Worker { child, own }
    }

    /// Waits until this worker has acknowledged something new in `slots` slots.
    async fn goes_on(&mut self, slots: usize) {
        let before = self.own.borrow_and_update().clone();
        let newer =
            |own: &BTreeMap<u16, u64>| own.iter().filter(|(slot, number)| before.get(slot) < Some(number)).count();
        within(self.own.wait_for(|own| newer(own) >= slots)).await.expect("the worker ended by itself");
    }

    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

/// The ledger and the log against each other and against what was acknowledged.
async fn check(pipeline: &Pipeline, acknowledged: &BTreeMap<u16, u64>) {
    let log = pipeline.connect().await;
    let table = TableName::new("numbers");
    // Whoever joins last ends what killed workers left open.
    let (member, writers) = headwater_conformance::writers(&log).await;
    let reached: BTreeMap<u16, u64> = ledger(&log)
        .await
        .shards
        .values()
        .map(|entry| (headwater_common::ledger::Slot::of(&entry.shard, log.slots()).0, entry.last_version.get()))
        .collect();
    for (slot, number) in acknowledged {
        assert!(
            reached.get(slot) >= Some(number),
            "slot {slot}: {number} was acknowledged, the ledger has {reached:?}"
        );
    }
    log.mark(&table, &mark()).await.unwrap();
    let mut subscription = log.subscribe("check", &[table]).await.unwrap();
    let (mut marked, mut numbers): (BTreeSet<u16>, BTreeMap<u16, Vec<u64>>) = Default::default();
    let mut last: BTreeMap<(u16, u16), u64> = BTreeMap::new();
    while marked.len() < usize::from(pipeline.settings.partitions) {
        match within(subscription.next()).await.unwrap() {
            Delivery::Assigned(partitions) => {
                for at in &partitions {
                    subscription.start(at, Offset(0)).await.unwrap();
                }
            }
            Delivery::Records(records) => {
                for record in records {
                    if record.key.is_none() {
                        marked.insert(record.at.partition);
                        continue;
                    }
                    let text = std::str::from_utf8(&record.value).unwrap();
                    let (slot, number) = text.split_once('/').unwrap();
                    let (slot, number): (u16, u64) = (slot.parse().unwrap(), number.parse().unwrap());
                    let before = last.insert((record.at.partition, slot), number).unwrap_or(0);
                    assert!(number > before, "{}: {number} of slot {slot} came after {before}", record.at);
                    numbers.entry(slot).or_default().push(number);
                }
            }
            Delivery::Revoked { .. } => panic!("nobody else reads"),
        }
    }
    for (slot, reached) in &reached {
        let mut held = numbers.remove(slot).unwrap_or_default();
        held.sort_unstable();
        assert!(held.iter().copied().eq(1..=*reached), "slot {slot} holds {} of 1 to {reached}", held.len());
    }
    assert!(numbers.is_empty(), "events of slots without a position: {:?}", numbers.keys());
    drop((subscription, writers));
    within(member.leave()).await.unwrap();
}

/// GIVEN workers that share the slots under load WHEN one after the other is killed THEN the others take its slots over
/// and go on where it was: nothing that was acknowledged is lost, nothing is there twice.
#[tokio::test(flavor = "multi_thread")]
async fn slots_of_killed_workers_go_on_elsewhere_and_nothing_is_lost_or_doubled() {
    let Some(bootstrap) = servers::kafka() else { return };
    let (pipeline, known) = (Pipeline::new(bootstrap), Known::default());
    let mut survivor = Worker::start(&pipeline, &known);
    survivor.goes_on(4).await;
    for round in 0..2 {
        let mut other = Worker::start(&pipeline, &known);
        other.goes_on(2).await;
        let killed = Instant::now();
        if round == 0 {
            other.kill().await;
        } else {
            std::mem::replace(&mut survivor, other).kill().await;
        }
        survivor.goes_on(4).await;
        println!("slots flow again {} ms after the kill", killed.elapsed().as_millis());
    }
    survivor.kill().await;
    let acknowledged = known.lock().clone();
    check(&pipeline, &acknowledged).await;
    pipeline.remove().await;
}

/// GIVEN a worker under load WHEN its broker is frozen for longer than a transaction may stay open, then killed and started
/// again THEN the worker goes on, and commits whose answer was lost are neither lost nor done twice.
#[tokio::test(flavor = "multi_thread")]
async fn commits_go_on_when_the_broker_was_frozen_killed_and_started_again() {
    let Some(mut broker) = Broker::start("", &[]) else { return };
    let (mut pipeline, known) = (Pipeline::new(broker.bootstrap()), Known::default());
    pipeline.settings.transaction_timeout_ms = 3_000;
    let mut worker = Worker::start(&pipeline, &known);
    worker.goes_on(4).await;
    for freeze in [1_500, 4_500] {
        broker.signal("STOP");
        tokio::time::sleep(Duration::from_millis(freeze)).await;
        broker.signal("CONT");
        for _ in 0..5 {
            worker.goes_on(4).await;
        }
    }
    for _ in 0..2 {
        broker.kill();
        println!("killed, started again");
        broker.restart();
        for _ in 0..5 {
            worker.goes_on(4).await;
        }
    }
    worker.kill().await;
    let acknowledged = known.lock().clone();
    check(&pipeline, &acknowledged).await;
    println!("{} numbers acknowledged", acknowledged.values().sum::<u64>());
}
