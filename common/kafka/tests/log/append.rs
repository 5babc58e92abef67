//! A worker that numbers: for each slot that it owns it commits events 1, 2, 3, … together with the number that it has
//! reached, as ingest does with its positions. Prints `SLOT NUMBER` once a number is durable, until it is killed:
//! `kafka-append BOOTSTRAP PREFIX SLOTS PARTITIONS SESSION_MS TRANSACTION_MS`.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::failure::Directive;
use headwater_common::health::Health;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::ledger::{Ledger, LedgerEntry, ShardEntry, ShardStatus, Slot};
use headwater_common::log::{ChangeLog, CommitBatch, LedgerUpdate, LogError, LogEvent, Ownership, SlotWriter};
use headwater_common::order::Version;
use headwater_kafka::{KafkaLog, Settings};
use tokio::task::JoinHandle;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, prefix, slots, partitions, session, transaction] = args.as_slice() else {
        return Err("usage: kafka-append BOOTSTRAP PREFIX SLOTS PARTITIONS SESSION_MS TRANSACTION_MS".into());
    };
    let session: u32 = session.parse()?;
    let settings = Settings {
        bootstrap: bootstrap.clone(),
        prefix: prefix.clone(),
        slots: slots.parse()?,
        partitions: partitions.parse()?,
        replication: 1,
        min_insync: 1,
        session_timeout_ms: session,
        heartbeat_ms: session / 6,
        transaction_timeout_ms: transaction.parse()?,
        request_timeout_ms: 1_000,
        revoke_timeout_ms: 5_000,
        ..Settings::default()
    };
    let health = Health::default();
    let log = KafkaLog::connect(&settings, health.clone(), Arc::new(SystemClock)).await?;
    let log: Arc<dyn ChangeLog> = Arc::new(log);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(2)).await;
            for part in health.parts().values().filter(|part| !part.ready) {
                writeln!(std::io::stderr(), "not ready: {}", part.reason).ok();
            }
        }
    });
    log.open_table(&table()).await?;
    let mut member = log.join().await?;
    let mut work: BTreeMap<Slot, JoinHandle<()>> = BTreeMap::new();
    loop {
        let change = member.changed().await?;
        writeln!(std::io::stderr(), "{change:?}")?;
        match change {
            Ownership::Acquired(writer) => {
                // The slot's transactions have begun: whatever the owner before committed is in the ledger.
                let reached = reached(&*log, writer.slot()).await?;
                work.insert(writer.slot(), tokio::spawn(number(writer, reached, log.slots())));
            }
            Ownership::Released { slot, acknowledge } => {
                if let Some(work) = work.remove(&slot) {
                    work.abort();
                    work.await.ok();
                }
                drop(acknowledge);
            }
        }
    }
}

fn table() -> TableName {
    TableName::new("numbers")
}

/// The one shard of a slot.
fn shard(slot: Slot, slots: u16) -> ShardId {
    let name = |n: u32| ShardId::new(format!("s{n}"));
    (0..).map(name).find(|name| Slot::of(name, slots) == slot).unwrap_or_else(|| name(0))
}

async fn reached(log: &dyn ChangeLog, slot: Slot) -> Result<u64, LogError> {
    let (mut reader, mut ledger, mut caught_up) = (log.ledger().await?, Ledger::default(), false);
    while !caught_up {
        for update in reader.next().await? {
            match update {
                LedgerUpdate::Entry(entry) => ledger.apply(*entry),
                LedgerUpdate::Forgotten(key) => ledger.forget(&key),
                LedgerUpdate::CaughtUp => caught_up = true,
            }
        }
    }
    let shard = shard(slot, log.slots());
    Ok(ledger.shards.values().find(|entry| entry.shard == shard).map_or(0, |entry| entry.last_version.get()))
}

async fn number(mut writer: Box<dyn SlotWriter>, mut reached: u64, slots: u16) {
    let slot = writer.slot();
    loop {
        let next = reached + 1 + reached % 7;
        let batch = batch(slot, slots, reached, next);
        loop {
            match writer.commit(batch.clone()).await {
                Ok(_) => break,
                Err(error) if error.directive() == Directive::Abandon => return,
                Err(error) => {
                    writeln!(std::io::stderr(), "slot {slot}: {error}").ok();
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        reached = next;
        // Where nobody reads any more, the kill is near.
        writeln!(std::io::stdout(), "{slot} {reached}").ok();
    }
}

fn batch(slot: Slot, slots: u16, reached: u64, next: u64) -> CommitBatch {
    let event = |n: u64| {
        let key = ItemKey { partition: ("n".into(), KeyValue::S(format!("{slot}/{n}"))), sort: None }.canonical();
        LogEvent { table: table(), key, value: format!("{slot}/{n}").into_bytes().into() }
    };
    let entry = LedgerEntry::Shard(ShardEntry {
        table: table(),
        stream: StreamArn::new("arn"),
        generation: 1,
        shard: shard(slot, slots),
        parents: vec![],
        status: ShardStatus::Open,
        position: None,
        last_version: Version::new(next).unwrap_or(Version::ZERO),
        complete_until: Timestamp::EPOCH,
        since: Timestamp::EPOCH,
    });
    CommitBatch { events: (reached + 1..=next).map(event).collect(), entries: vec![entry], forgotten: vec![] }
}
