//! Two ways to commit with Kafka's transactions, side by side:
//!
//! - `slot`: one transactional producer for each slot, fenced by its transactional id. It is the product's own code.
//! - `worker`: one transactional producer for a worker, one transaction over all its slots, fenced by the group's generation
//!   through the offsets that it sends into the transaction. The next owner waits for stable offsets before it begins.
//!
//! `bench_transactions --brokers HOST:PORT[,…] [--replication N] [--runs N] [--seconds N] [--slots N] [--every MS]
//! [--pids PID,…]` prints the medians of `runs` runs, the two ways in turn: CPU of the client and of the brokers (`--pids`)
//! in all and for each batch of a slot, batches and transactions a second, the time from a batch's arrival to its
//! durability, and how long it takes after a SIGKILL until every slot commits again. Both ways get the same batches at the
//! same times; where one falls behind, its batches a second say so.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use headwater_common::change::TableName;
use headwater_common::clock::SystemClock;
use headwater_common::health::Health;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::log::{ChangeLog, CommitBatch, LogEvent, Membership, Ownership, SlotWriter};
use headwater_kafka::{KafkaLog, Settings};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tokio::sync::mpsc;

type Any = Box<dyn Error + Send + Sync>;

/// What a slot commits at a time under load. With 16 slots and a batch of each every 400 ms that is 4,000 events of 1 KB
/// a second.
const EVENTS: usize = 100;
const BYTES: usize = 1024;

#[derive(Clone)]
struct Plan {
    settings: Settings,
    runs: usize,
    seconds: u64,
    /// Between two batches of a slot.
    every: Duration,
    pids: Vec<u32>,
}

fn plan() -> Result<(Plan, Option<String>), Any> {
    let mut settings =
        Settings { replication: 1, min_insync: 1, transaction_timeout_ms: 10_000, ..Settings::default() };
    let (mut runs, mut seconds, mut pids, mut child) = (5, 10, Vec::new(), None);
    let mut every = Duration::from_millis(400);
    let mut args = std::env::args().skip(1);
    while let Some(name) = args.next() {
        let value = args.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--brokers" => settings.bootstrap = value,
            "--prefix" => settings.prefix = value,
            "--replication" => {
                settings.replication = value.parse()?;
                settings.min_insync = settings.replication.div_ceil(2);
            }
            "--slots" => settings.slots = value.parse()?,
            "--runs" => runs = value.parse()?,
            "--every" => every = Duration::from_millis(value.parse()?),
            "--seconds" => seconds = value.parse()?,
            "--pids" => pids = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--child" => child = Some(value),
            _ => return Err(format!("unknown argument {name}").into()),
        }
    }
    Ok((Plan { settings, runs, seconds, every, pids }, child))
}

fn main() -> Result<(), Any> {
    let (plan, child) = plan()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    if let Some(way) = child {
        return runtime.block_on(work(&plan, &way));
    }
    println!(
        "{} slots, a batch of each every {} ms, replication {}, medians of {} runs of {} s",
        plan.settings.slots,
        plan.every.as_millis(),
        plan.settings.replication,
        plan.runs,
        plan.seconds
    );
    let mut all: BTreeMap<(&str, &str), Vec<Run>> = BTreeMap::new();
    for _ in 0..plan.runs {
        for way in ["slot", "worker"] {
            for load in ["idle", "load"] {
                all.entry((load, way)).or_default().push(run(&plan, way, load)?);
            }
        }
    }
    report(&all);
    Ok(())
}

fn report(all: &BTreeMap<(&str, &str), Vec<Run>>) {
    println!(
        "{:<6}{:<8}{:>12}{:>13}{:>11}{:>9}{:>16}{:>17}{:>9}{:>9}{:>13}",
        "load",
        "way",
        "client CPU",
        "brokers CPU",
        "batches/s",
        "txns/s",
        "client ms/batch",
        "brokers ms/batch",
        "p50 ms",
        "p99 ms",
        "recovery ms"
    );
    for ((load, way), runs) in all {
        let median = |of: fn(&Run) -> f64| median(runs.iter().map(of).collect());
        println!(
            "{load:<6}{way:<8}{:>11.1}%{:>12.1}%{:>11.1}{:>9.1}{:>16.2}{:>17.2}{:>9.1}{:>9.1}{:>13.0}",
            median(|run| run.cpu),
            median(|run| run.brokers),
            median(|run| run.batches),
            median(|run| run.commits),
            median(|run| run.cpu * 10.0 / run.batches),
            median(|run| run.brokers * 10.0 / run.batches),
            median(|run| run.p50),
            median(|run| run.p99),
            median(|run| run.recovery),
        );
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

struct Run {
    cpu: f64,
    brokers: f64,
    commits: f64,
    batches: f64,
    p50: f64,
    p99: f64,
    recovery: f64,
}

/// A child process, and the lines that it prints.
struct Worker {
    child: Child,
    lines: Receiver<String>,
}

impl Worker {
    fn start(settings: &Settings, every: Duration, way: &str) -> Result<Worker, Any> {
        let exe = std::env::current_exe()?;
        let mut command = Command::new(exe);
        command.args(["--brokers", &settings.bootstrap, "--prefix", &settings.prefix, "--child", way]);
        command.args(["--every", &every.as_millis().to_string()]);
        command.args(["--replication", &settings.replication.to_string(), "--slots", &settings.slots.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().ok_or("no output")?;
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Worker { child, lines })
    }

    fn say(&mut self, word: &str) -> Result<(), Any> {
        writeln!(self.child.stdin.as_mut().ok_or("no input")?, "{word}")?;
        Ok(())
    }

    /// Until every slot has said `word`.
    fn all(&self, word: &str, slots: u16) -> Result<(), Any> {
        let mut heard = BTreeSet::new();
        while heard.len() < usize::from(slots) {
            let line = self.lines.recv_timeout(Duration::from_secs(120))?;
            if let Some(slot) = line.strip_prefix(word) {
                heard.insert(slot.trim().to_owned());
            }
        }
        Ok(())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Seconds of CPU that a process has used.
fn cpu(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 = after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    ticks / 100.0
}

fn run(plan: &Plan, way: &str, load: &str) -> Result<Run, Any> {
    let settings = Settings { prefix: format!("bench-{}", uuid::Uuid::new_v4()), ..plan.settings.clone() };
    let slots = settings.slots;
    let mut worker = Worker::start(&settings, plan.every, way)?;
    worker.all("owned", slots)?;
    worker.say(load)?;
    let span = Duration::from_secs(plan.seconds);
    // The first seconds warm up.
    wait(Duration::from_secs(3));
    let used = |worker: &Worker| (cpu(worker.child.id()), plan.pids.iter().map(|pid| cpu(*pid)).sum::<f64>());
    let (mine, brokers) = used(&worker);
    while worker.lines.try_recv().is_ok() {}
    let began = Instant::now();
    wait(span);
    let (mine_after, brokers_after) = used(&worker);
    let took = began.elapsed().as_secs_f64();
    let lines: Vec<String> = worker.lines.try_iter().collect();
    let mut latencies: Vec<f64> = lines.iter().filter_map(|line| line.strip_prefix("latency ")?.parse().ok()).collect();
    let rate = |word| lines.iter().filter(|line| line.starts_with(word)).count() as f64 / took;
    latencies.sort_by(f64::total_cmp);
    let at = |share: f64| latencies.get((latencies.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let recovery = if load == "load" { recovery(&settings, plan.every, way, worker)? } else { f64::NAN };
    let share = |from: f64, to: f64| (to - from) / took * 100.0;
    Ok(Run {
        cpu: share(mine, mine_after),
        brokers: share(brokers, brokers_after),
        commits: rate("commit"),
        batches: rate("latency"),
        p50: at(0.5),
        p99: at(0.99),
        recovery,
    })
}

/// Kills the worker in the middle of its transactions; the standby has been waiting in the group.
fn recovery(settings: &Settings, every: Duration, way: &str, victim: Worker) -> Result<f64, Any> {
    let mut standby = Worker::start(settings, every, way)?;
    standby.all("owned", settings.slots / 2)?;
    standby.say("load")?;
    wait(Duration::from_secs(3));
    while standby.lines.try_recv().is_ok() {}
    let killed = Instant::now();
    drop(victim);
    let mut first: BTreeMap<String, Instant> = BTreeMap::new();
    let mut owned = BTreeSet::new();
    while owned.len() < usize::from(settings.slots / 2) || first.len() < usize::from(settings.slots) {
        let line = standby.lines.recv_timeout(Duration::from_secs(120))?;
        if let Some(slot) = line.strip_prefix("owned") {
            owned.insert(slot.trim().to_owned());
        } else if let Some(slot) = line.strip_prefix("slot") {
            first.entry(slot.trim().to_owned()).or_insert_with(Instant::now);
        }
    }
    let last = first.values().max().copied().unwrap_or(killed);
    Ok(last.duration_since(killed).as_secs_f64() * 1000.0)
}

fn wait(span: Duration) {
    let (_held, never) = channel::<()>();
    never.recv_timeout(span).ok();
}

fn table() -> TableName {
    TableName::new("bench")
}

fn batch(slot: u16, round: u64) -> CommitBatch {
    let event = |n: usize| {
        let key = ItemKey {
            partition: ("k".into(), KeyValue::S(format!("{slot}/{}", (round as usize + n) % 997))),
            sort: None,
        };
        let value: Vec<u8> = (0..BYTES).map(|at| b'a' + ((at * 7 + n * 13 + round as usize) % 23) as u8).collect();
        LogEvent { table: table(), key: key.canonical(), value: value.into() }
    };
    CommitBatch { events: (0..EVENTS).map(event).collect(), ..CommitBatch::default() }
}

/// A batch of a slot, and when it arrived.
type Due = (u16, Instant, CommitBatch);

async fn work(plan: &Plan, way: &str) -> Result<(), Any> {
    let settings = &plan.settings;
    let log = KafkaLog::connect(settings, Health::default(), Arc::new(SystemClock)).await?;
    log.open_table(&table()).await?;
    // Makes the ledger.
    drop(log.ledger().await?);
    let (go, started) = tokio::sync::watch::channel(false);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            go.send_replace(line == "load");
        }
    });
    match way {
        "slot" => by_slot(log.join().await?, plan.every, started).await,
        _ => by_worker(plan, started).await,
    }
}

fn say(text: &str) {
    writeln!(std::io::stdout(), "{text}").ok();
}

async fn by_slot(
    mut member: Box<dyn Membership>,
    every: Duration,
    started: tokio::sync::watch::Receiver<bool>,
) -> Result<(), Any> {
    let mut work = BTreeMap::new();
    loop {
        match member.changed().await? {
            Ownership::Acquired(writer) => {
                say(&format!("owned {}", writer.slot()));
                work.insert(writer.slot(), tokio::spawn(commit_slot(writer, every, started.clone())));
            }
            Ownership::Released { slot, .. } => {
                if let Some(work) = work.remove(&slot) {
                    work.abort();
                }
            }
        }
    }
}

async fn commit_slot(
    mut writer: Box<dyn SlotWriter>,
    every: Duration,
    mut started: tokio::sync::watch::Receiver<bool>,
) {
    if started.wait_for(|go| *go).await.is_err() {
        return;
    }
    let slot = writer.slot().0;
    let mut arrivals = tokio::time::interval(every);
    for round in 0.. {
        let arrived = arrivals.tick().await.into_std();
        if let Err(error) = writer.commit(batch(slot, round)).await {
            say(&format!("failed {error}"));
            return;
        }
        say(&format!("commit\nlatency {:.3}\nslot {slot}", arrived.elapsed().as_secs_f64() * 1000.0));
    }
}

async fn by_worker(plan: &Plan, started: tokio::sync::watch::Receiver<bool>) -> Result<(), Any> {
    let settings = &plan.settings;
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.bootstrap)
        .set("group.id", format!("{}.bench", settings.prefix))
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "latest")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", settings.session_timeout_ms.to_string())
        .set("heartbeat.interval.ms", settings.heartbeat_ms.to_string());
    let consumer: Arc<StreamConsumer> = Arc::new(config.create()?);
    let ledger = format!("{}.ledger", settings.prefix);
    consumer.subscribe(&[&ledger])?;
    let polled = consumer.clone();
    tokio::spawn(async move {
        loop {
            polled.recv().await.ok();
        }
    });
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.bootstrap)
        .set("transactional.id", format!("{}-worker-{}", settings.prefix, std::process::id()))
        .set("transaction.timeout.ms", settings.transaction_timeout_ms.to_string())
        .set("socket.timeout.ms", "10000")
        .set("message.timeout.ms", settings.transaction_timeout_ms.to_string())
        .set("linger.ms", "2")
        .set("queue.buffering.max.messages", "0")
        .set("compression.type", "lz4");
    let producer: FutureProducer = config.create()?;
    let init = producer.clone();
    tokio::task::spawn_blocking(move || init.init_transactions(Duration::from_secs(30))).await??;
    let (sender, due) = mpsc::unbounded_channel();
    let owner = Owner {
        consumer,
        producer,
        ledger,
        every: plan.every,
        settings: settings.clone(),
        owned: BTreeMap::new(),
        sender,
        started,
    };
    owner.run(due).await
}

struct Owner {
    consumer: Arc<StreamConsumer>,
    producer: FutureProducer,
    ledger: String,
    settings: Settings,
    every: Duration,
    owned: BTreeMap<u16, tokio::task::JoinHandle<()>>,
    sender: mpsc::UnboundedSender<Due>,
    started: tokio::sync::watch::Receiver<bool>,
}

impl Owner {
    /// One transaction after the other, each over everything that has arrived in all slots.
    async fn run(mut self, mut due: mpsc::UnboundedReceiver<Due>) -> Result<(), Any> {
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let mut offset = 0;
        loop {
            let first = tokio::select! {
                biased;
                _ = look.tick() => {
                    self.assigned().await?;
                    continue;
                }
                first = due.recv() => first,
            };
            let mut batches: Vec<Due> = first.into_iter().collect();
            while let Ok(more) = due.try_recv() {
                batches.push(more);
            }
            batches.retain(|(slot, ..)| self.owned.contains_key(slot));
            if batches.is_empty() {
                continue;
            }
            offset += 1;
            if let Err(error) = self.commit(&batches, offset).await {
                say(&format!("failed {error}"));
                let producer = self.producer.clone();
                tokio::task::spawn_blocking(move || producer.abort_transaction(Duration::from_secs(10))).await??;
                continue;
            }
            say("commit");
            for (slot, arrived, _) in &batches {
                say(&format!("latency {:.3}\nslot {slot}", arrived.elapsed().as_secs_f64() * 1000.0));
            }
        }
    }

    async fn assigned(&mut self) -> Result<(), Any> {
        let list = self.consumer.assignment()?;
        let held: BTreeSet<u16> = list.elements().iter().map(|place| place.partition() as u16).collect();
        self.owned.retain(|slot, work| {
            let stays = held.contains(slot);
            if !stays {
                work.abort();
            }
            stays
        });
        let new: Vec<u16> = held.into_iter().filter(|slot| !self.owned.contains_key(slot)).collect();
        if new.is_empty() {
            return Ok(());
        }
        // What the owner before left open must have ended: its offsets are stable then.
        let (consumer, ledger, slots) = (self.consumer.clone(), self.ledger.clone(), new.clone());
        tokio::task::spawn_blocking(move || -> Result<(), Any> {
            let mut list = TopicPartitionList::new();
            for slot in &slots {
                list.add_partition(&ledger, (*slot).into());
            }
            consumer.committed_offsets(list, Duration::from_secs(60))?;
            Ok(())
        })
        .await??;
        for slot in new {
            say(&format!("owned {slot}"));
            let (sender, mut started, every) = (self.sender.clone(), self.started.clone(), self.every);
            let arrive = async move {
                if started.wait_for(|go| *go).await.is_err() {
                    return;
                }
                let mut arrivals = tokio::time::interval(every);
                for round in 0.. {
                    let arrived = arrivals.tick().await.into_std();
                    if sender.send((slot, arrived, batch(slot, round))).is_err() {
                        return;
                    }
                }
            };
            self.owned.insert(slot, tokio::spawn(arrive));
        }
        Ok(())
    }

    async fn commit(&self, batches: &[Due], offset: i64) -> Result<(), Any> {
        self.producer.begin_transaction()?;
        let topic = format!("{}.bench.changes", self.settings.prefix);
        let mut offsets = TopicPartitionList::new();
        let mut sent = Vec::new();
        for (slot, _, batch) in batches {
            offsets.add_partition_offset(&self.ledger, (*slot).into(), Offset::Offset(offset))?;
            for event in &batch.events {
                let partition = event.key.partition(self.settings.partitions).into();
                let record =
                    FutureRecord::to(&topic).partition(partition).key(event.key.as_bytes()).payload(&event.value[..]);
                sent.push(self.producer.send_result(record).map_err(|(error, _)| error)?);
            }
        }
        for one in sent {
            one.await?.map_err(|(error, _)| error)?;
        }
        let (producer, consumer) = (self.producer.clone(), self.consumer.clone());
        tokio::task::spawn_blocking(move || -> Result<(), Any> {
            let place = consumer.group_metadata().ok_or("no place in the group")?;
            producer.send_offsets_to_transaction(&offsets, &place, Duration::from_secs(10))?;
            producer.commit_transaction(Duration::from_secs(10))?;
            Ok(())
        })
        .await?
    }
}
