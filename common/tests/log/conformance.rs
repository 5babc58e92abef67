//! What [`headwater_common::log`] promises, as tests on any [`ChangeLog`] that is new and empty.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::codec::{self, Entry};
use headwater_common::completeness::Mark;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::ledger::{Ledger, LedgerEntry, ShardEntry, ShardStatus, Slot};
use headwater_common::log::*;
use headwater_common::order::Version;

pub fn table() -> TableName {
    TableName::new("aircraft")
}

pub fn event(key: &str, value: &str) -> LogEvent {
    let key = ItemKey { partition: ("tail".into(), KeyValue::S(key.into())), sort: None }.canonical();
    LogEvent { table: table(), key, value: value.to_owned().into_bytes().into() }
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

pub async fn writers(log: &dyn ChangeLog) -> (Box<dyn Membership>, BTreeMap<Slot, Box<dyn SlotWriter>>) {
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

pub async fn reader(log: &dyn ChangeLog, group: &str) -> Box<dyn Subscription> {
    let mut reader = log.subscribe(group, &[table()]).await.unwrap();
    let Delivery::Assigned(partitions) = within(reader.next()).await.unwrap() else { panic!("no assignment first") };
    for at in &partitions {
        reader.start(at, Offset(0)).await.unwrap();
    }
    reader
}

/// A wait that hangs fails here instead of holding up the run; nothing asserts how long it takes.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing came")
}

pub async fn records(reader: &mut dyn Subscription, wanted: usize) -> Vec<LogRecord> {
    let mut all = Vec::new();
    while all.len() < wanted {
        if let Delivery::Records(records) = within(reader.next()).await.unwrap() {
            all.extend(records);
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

fn texts(records: &[LogRecord]) -> BTreeSet<String> {
    records.iter().map(|record| String::from_utf8(record.value.to_vec()).unwrap()).collect()
}

/// GIVEN events and a ledger entry in one batch WHEN it is committed THEN readers see all of it, in order by key.
pub async fn a_commit_is_visible_whole_and_in_order(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let entry = shard("s", 7);
    let slot = entry.slot(log.slots());
    let events = (0..100).map(|n| event(&format!("k{}", n % 5), &n.to_string())).collect();
    let batch = CommitBatch { events, entries: vec![entry.clone()], forgotten: vec![] };
    let durable = writers.get_mut(&slot).unwrap().commit(batch).await.unwrap();
    assert_eq!(durable.events, 100);

    let read = records(&mut *reader(log, "g").await, 100).await;
    let mut last: BTreeMap<_, (Offset, u32)> = BTreeMap::new();
    for record in &read {
        let n: u32 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
        let key = record.key.clone().unwrap();
        if let Some((offset, before)) = last.insert(key, (record.offset, n)) {
            assert!(record.offset > offset && n > before, "{n} came after {before}");
        }
    }
    assert_eq!(texts(&read).len(), 100);
    assert_eq!(ledger(log).await.shards.len(), 1);
}

/// GIVEN a worker whose slots were taken over WHEN it commits THEN it is fenced, and nothing of it is ever seen.
pub async fn a_fenced_writer_changes_nothing(log: &dyn ChangeLog) {
    let (mut old, mut zombies) = writers(log).await;
    let (_new, mut owners) = writers(log).await;
    let entry = shard("s", 1);
    let slot = entry.slot(log.slots());
    let batch = |text: &str, version| CommitBatch {
        events: vec![event("k", text)],
        entries: vec![shard("s", version)],
        forgotten: vec![],
    };
    let refused = zombies.get_mut(&slot).unwrap().commit(batch("zombie", 9)).await;
    assert!(matches!(refused, Err(LogError::Fenced { slot: of }) if of == slot), "{refused:?}");
    let _ = owners.get_mut(&slot).unwrap().commit(batch("owner", 2)).await.unwrap();

    let read = records(&mut *reader(log, "g").await, 1).await;
    assert_eq!(texts(&read), BTreeSet::from(["owner".to_owned()]));
    let versions: Vec<u64> = ledger(log).await.shards.values().map(|entry| entry.last_version.get()).collect();
    assert_eq!(versions, [2]);
    assert!(matches!(within(old.changed()).await, Ok(Ownership::Released { .. })), "the old owner is told");
}

/// GIVEN a batch with an entry of another slot WHEN it is committed THEN it is refused whole.
pub async fn a_batch_that_is_refused_leaves_no_trace(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let entry = shard("s", 1);
    let slot = entry.slot(log.slots());
    let other = Slot((slot.0 + 1) % log.slots());
    let batch = CommitBatch { events: vec![event("k", "lost")], entries: vec![entry], forgotten: vec![] };
    assert!(writers.get_mut(&other).unwrap().commit(batch).await.is_err());

    let good = CommitBatch { events: vec![event("k", "good")], ..CommitBatch::default() };
    let _ = writers.get_mut(&slot).unwrap().commit(good).await.unwrap();
    let read = records(&mut *reader(log, "g").await, 1).await;
    assert_eq!(texts(&read), BTreeSet::from(["good".to_owned()]));
    assert!(ledger(log).await.shards.is_empty());
}

/// GIVEN a commit and then a mark WHEN a partition is read THEN the mark comes after every event of the commit.
pub async fn a_mark_follows_what_it_speaks_of(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let events = (0..50).map(|n| event(&format!("k{n}"), "event")).collect();
    let batch = CommitBatch { events, ..CommitBatch::default() };
    let _ = writers.get_mut(&Slot(0)).unwrap().commit(batch).await.unwrap();
    let mark = Mark { of: 1, slots: [(Slot(0), Timestamp::from_millis(5))].into() };
    log.mark(&table(), &mark).await.unwrap();

    let partitions = log.extents(&table()).await.unwrap().len();
    let read = records(&mut *reader(log, "g").await, 50 + partitions).await;
    let mut marked = BTreeSet::new();
    for record in &read {
        match record.key {
            None => {
                assert_eq!(codec::decode(&record.value).unwrap(), Entry::Mark(mark.clone()));
                marked.insert(record.at.partition);
            }
            Some(_) => assert!(!marked.contains(&record.at.partition), "an event after the mark"),
        }
    }
    assert_eq!(marked.len(), partitions, "every partition is marked");
}

/// GIVEN a sink that stored an offset WHEN it starts there again THEN it gets what follows, and nothing twice.
pub async fn a_reader_goes_on_from_the_offset_that_it_names(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let writer = writers.get_mut(&Slot(0)).unwrap();
    let one = |text: &str| CommitBatch { events: vec![event("k", text)], ..CommitBatch::default() };
    let _ = writer.commit(one("first")).await.unwrap();
    let first = records(&mut *reader(log, "g").await, 1).await.remove(0);
    let _ = writer.commit(one("second")).await.unwrap();

    let mut again = log.subscribe("g", &[table()]).await.unwrap();
    assert!(matches!(within(again.next()).await.unwrap(), Delivery::Assigned(_)));
    again.start(&first.at, first.offset.next()).await.unwrap();
    assert_eq!(texts(&records(&mut *again, 1).await), BTreeSet::from(["second".to_owned()]));
    assert!(again.start(&first.at, Offset(1_000_000)).await.is_err(), "an offset past the end is refused");
}

/// GIVEN a paused partition WHEN it is resumed THEN everything of it still comes.
pub async fn a_pause_loses_nothing(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let mut reader = reader(log, "g").await;
    let writer = writers.get_mut(&Slot(0)).unwrap();
    let one = |key: &str| CommitBatch { events: vec![event(key, key)], ..CommitBatch::default() };
    let _ = writer.commit(one("a")).await.unwrap();
    let at = records(&mut *reader, 1).await.remove(0).at;
    reader.pause(std::slice::from_ref(&at));
    let mut sent = BTreeSet::new();
    for n in 0..20 {
        let key = format!("k{n}");
        let _ = writer.commit(one(&key)).await.unwrap();
        sent.insert(key);
    }
    let held = |record: &LogRecord| record.at == at;
    let partitions = log.extents(&table()).await.unwrap().len() as u16;
    let others = sent.iter().filter(|key| event(key, "").key.partition(partitions) != at.partition);
    let mut read = records(&mut *reader, others.count()).await;
    assert!(!read.iter().any(held), "a paused partition gave a record");
    reader.resume(&[at]);
    read.extend(records(&mut *reader, sent.len() - read.len()).await);
    assert_eq!(texts(&read), sent);
}

/// GIVEN a member that left WHEN its writers commit THEN they are fenced, and the next member gets every slot.
pub async fn a_member_that_left_can_write_no_more(log: &dyn ChangeLog) {
    let (member, mut left) = writers(log).await;
    member.leave().await.unwrap();
    let one = |text: &str| CommitBatch { events: vec![event("k", text)], ..CommitBatch::default() };
    for writer in left.values_mut() {
        assert!(matches!(writer.commit(one("left")).await, Err(LogError::Fenced { .. })));
    }
    let (_next, mut owners) = writers(log).await;
    let _ = owners.get_mut(&Slot(0)).unwrap().commit(one("next")).await.unwrap();
    assert_eq!(texts(&records(&mut *reader(log, "g").await, 1).await), BTreeSet::from(["next".to_owned()]));
}

/// GIVEN a reader that has followed the ledger WHEN an entry is replaced and another forgotten THEN it is told both,
/// and a reader that begins later finds only what is left.
pub async fn the_ledger_holds_the_last_entry_of_a_key_until_it_is_forgotten(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let (kept, dropped) = (shard("kept", 1), shard("dropped", 1));
    for entry in [&kept, &dropped] {
        let batch = CommitBatch { entries: vec![entry.clone()], ..CommitBatch::default() };
        let _ = writers.get_mut(&entry.slot(log.slots())).unwrap().commit(batch).await.unwrap();
    }
    let mut follower = log.ledger().await.unwrap();
    let mut followed = Ledger::default();
    while followed.shards.len() < 2 {
        apply(&mut followed, within(follower.next()).await.unwrap());
    }
    let later = CommitBatch { entries: vec![shard("kept", 2)], ..CommitBatch::default() };
    let _ = writers.get_mut(&kept.slot(log.slots())).unwrap().commit(later).await.unwrap();
    let forget = CommitBatch { forgotten: vec![dropped.key()], ..CommitBatch::default() };
    let _ = writers.get_mut(&dropped.slot(log.slots())).unwrap().commit(forget).await.unwrap();
    while followed.shards.len() > 1 || followed.shards.values().any(|entry| entry.last_version.get() < 2) {
        apply(&mut followed, within(follower.next()).await.unwrap());
    }
    assert_eq!(ledger(log).await, followed);
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
