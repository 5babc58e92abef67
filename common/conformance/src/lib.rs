//! What [`headwater_common::log`] promises, as tests that run on any [`ChangeLog`] that is new and empty.
//!
//! A log's own tests say once how to make one, and get them all:
//! `headwater_conformance::conforms!(on)`, where `on` takes a test and gives it a log.

// Everything here is a test; clippy's own allowance covers only functions that are marked so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commits;
mod ledgers;
mod ownership;
mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub use commits::*;
use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::codec::{self, Entry};
use headwater_common::completeness::Mark;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::ledger::{Ledger, LedgerEntry, ShardEntry, ShardStatus, Slot};
use headwater_common::log::*;
use headwater_common::order::Version;
pub use ledgers::*;
pub use ownership::*;
pub use reading::*;

/// Makes one test of each promise. `$on` is `async fn on(test: impl AsyncFnOnce(&dyn ChangeLog))`.
#[macro_export]
macro_rules! conforms {
    ($on:path) => {
        $crate::conforms! { $on:
            a_commit_is_visible_whole_and_in_order,
            commits_of_one_slot_are_read_in_their_order,
            a_batch_that_is_refused_leaves_no_trace,
            a_commit_whose_future_is_dropped_happens_whole_or_not_at_all,
            the_largest_items_pass,
            a_mark_follows_what_it_speaks_of,
            a_fenced_writer_changes_nothing,
            a_member_that_left_can_write_no_more,
            a_member_loses_nothing_when_its_wait_is_dropped,
            a_reader_goes_on_from_the_offset_that_it_names,
            a_pause_loses_nothing,
            a_partition_that_is_started_again_is_read_again,
            every_group_reads_everything,
            a_reader_loses_nothing_when_its_wait_is_dropped,
            extents_hold_every_record,
            a_table_has_one_identity_of_its_own,
            the_ledger_holds_the_last_entry_of_a_key_until_it_is_forgotten,
            a_ledger_reader_has_caught_up_when_it_has_everything_committed_before,
        }
    };
    ($on:path: $($name:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $on(async |log: &dyn headwater_common::log::ChangeLog| $crate::$name(log).await).await;
        }
    )*};
}

pub fn table() -> TableName {
    TableName::new("aircraft")
}

pub fn event(key: &str, value: &str) -> LogEvent {
    let key = ItemKey { partition: ("tail".into(), KeyValue::S(key.into())), sort: None }.canonical();
    LogEvent { table: table(), key, value: value.to_owned().into_bytes().into() }
}

pub fn events(events: Vec<LogEvent>) -> CommitBatch {
    CommitBatch { events, ..CommitBatch::default() }
}

pub fn shard(name: &str, version: u64) -> LedgerEntry {
    LedgerEntry::Shard(ShardEntry {
        table: table(),
        stream: StreamArn::new("arn"),
        generation: 1,
        shard: ShardId::new(name),
        parents: vec![],
        status: ShardStatus::Open,
        position: None,
        last_version: Version::new(version).unwrap(),
        complete_until: Timestamp::EPOCH,
        since: Timestamp::EPOCH,
    })
}

/// The name of a shard that belongs to `slot`.
pub fn shard_in(slot: Slot, slots: u16) -> String {
    (0..).map(|n| format!("s{n}")).find(|name| Slot::of(&ShardId::new(name.as_str()), slots) == slot).unwrap()
}

pub fn mark() -> Mark {
    Mark { of: 1, slots: [(Slot(0), Timestamp::from_millis(5))].into() }
}

pub type Writers = BTreeMap<Slot, Box<dyn SlotWriter>>;

/// Opens the table, and becomes the only owner of every slot.
pub async fn writers(log: &dyn ChangeLog) -> (Box<dyn Membership>, Writers) {
    log.open_table(&table()).await.unwrap();
    let mut member = log.join().await.unwrap();
    let mut writers = BTreeMap::new();
    while writers.len() < usize::from(log.slots()) {
        match within(member.changed()).await.unwrap() {
            Ownership::Acquired(writer) => {
                writers.insert(writer.slot(), writer);
            }
            Ownership::Released { slot, .. } => panic!("slot {slot} was taken from the only member"),
        }
    }
    (member, writers)
}

/// A subscription of which every partition is started.
pub struct Reading {
    subscription: Box<dyn Subscription>,
    /// What came while the last partitions were waited for.
    early: Vec<LogRecord>,
}

impl Deref for Reading {
    type Target = dyn Subscription;

    fn deref(&self) -> &Self::Target {
        &*self.subscription
    }
}

impl DerefMut for Reading {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.subscription
    }
}

pub async fn reader(log: &dyn ChangeLog, group: &str) -> Reading {
    reader_from(log, group, &BTreeMap::new()).await
}

/// Reads everything from its start, but where `from` says otherwise.
pub async fn reader_from(log: &dyn ChangeLog, group: &str, from: &BTreeMap<TablePartition, Offset>) -> Reading {
    let mut subscription = log.subscribe(group, &[table()]).await.unwrap();
    let (mut assigned, mut early) = (BTreeSet::new(), Vec::new());
    let all = log.extents(&table()).await.unwrap().len();
    while assigned.len() < all {
        match within(subscription.next()).await.unwrap() {
            Delivery::Assigned(partitions) => {
                for at in partitions {
                    let offset = from.get(&at).copied().unwrap_or_default();
                    subscription.start(&at, offset).await.unwrap();
                    assert!(assigned.insert(at.clone()), "{at} was assigned twice");
                }
            }
            Delivery::Records(records) => early.extend(records),
            Delivery::Revoked { .. } => panic!("nobody else reads"),
        }
    }
    assert!(early.iter().all(|record| assigned.contains(&record.at)), "a record came before its partition was started");
    Reading { subscription, early }
}

/// A wait that hangs fails here instead of holding up the run; nothing asserts how long it takes.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(90), work).await.expect("nothing came")
}

/// At least `wanted` records.
pub async fn records(reader: &mut Reading, wanted: usize) -> Vec<LogRecord> {
    let mut all = std::mem::take(&mut reader.early);
    while all.len() < wanted {
        if let Delivery::Records(records) = within(reader.next()).await.unwrap() {
            all.extend(records);
        }
    }
    all
}

/// Marks every partition, and gives the records before those marks: all that there are.
pub async fn everything(log: &dyn ChangeLog, group: &str) -> Vec<LogRecord> {
    log.mark(&table(), &mark()).await.unwrap();
    let (mut reader, partitions) = (reader(log, group).await, log.extents(&table()).await.unwrap().len());
    let (mut all, mut marked) = (Vec::new(), BTreeSet::new());
    while marked.len() < partitions {
        for record in records(&mut reader, 1).await {
            match record.key {
                None => {
                    marked.insert(record.at.partition);
                }
                Some(_) => all.push(record),
            }
        }
    }
    all
}

pub async fn ledger(log: &dyn ChangeLog) -> Ledger {
    let mut reader = log.ledger().await.unwrap();
    let mut ledger = Ledger::default();
    while !apply(&mut ledger, within(reader.next()).await.unwrap()) {}
    ledger
}

/// Whether the reader has now given everything that was there when it began.
fn apply(ledger: &mut Ledger, updates: Vec<LedgerUpdate>) -> bool {
    let mut caught_up = false;
    for update in updates {
        match update {
            LedgerUpdate::Entry(entry) => ledger.apply(*entry),
            LedgerUpdate::Forgotten(key) => ledger.forget(&key),
            LedgerUpdate::CaughtUp => caught_up = true,
        }
    }
    caught_up
}

fn texts(records: &[LogRecord]) -> BTreeSet<String> {
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
}

fn is_mark(record: &LogRecord) -> bool {
    record.key.is_none() && matches!(codec::decode(&record.value), Ok(Entry::Mark(_)))
}
