//! Commits and marks.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_common::ledger::Slot;
use headwater_common::log::*;

use crate::*;

/// GIVEN events and a ledger entry in one batch WHEN it is committed THEN readers see all of it, in order by key.
pub async fn a_commit_is_visible_whole_and_in_order(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let entry = shard("s", 7);
    let slot = entry.slot(log.slots());
    let numbered = (0..100).map(|n| event(&format!("k{}", n % 5), &n.to_string())).collect();
    let batch = CommitBatch { events: numbered, entries: vec![entry.clone()], forgotten: vec![] };
    let durable = writers.get_mut(&slot).unwrap().commit(batch).await.unwrap();
    assert_eq!(durable.events, 100);
    assert_eq!(ledger(log).await.shards.len(), 1);

    let read = everything(log, "g").await;
    in_order(&read);
    assert_eq!((read.len(), texts(&read).len()), (100, 100));
    let partitions = log.extents(&table()).await.unwrap().len() as u16;
    for record in &read {
        let wanted = (0..5)
            .map(|k| event(&format!("k{k}"), "").key)
            .find(|key| key.as_bytes() == record.key.as_deref().unwrap());
        assert_eq!(wanted.unwrap().partition(partitions), record.at.partition, "a key has another partition");
    }
}

/// GIVEN a slot WHEN it commits again and again THEN its events are read in that order, with rising offsets.
pub async fn commits_of_one_slot_are_read_in_their_order(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let writer = writers.get_mut(&Slot(0)).unwrap();
    for commit in 0..20 {
        let numbered = (0..5).map(|n| event(&format!("k{n}"), &(commit * 5 + n).to_string())).collect();
        let _ = writer.commit(events(numbered)).await.unwrap();
        if commit % 7 == 0 {
            assert_eq!(writer.commit(CommitBatch::default()).await.unwrap().events, 0);
        }
    }
    let read = everything(log, "g").await;
    in_order(&read);
    assert_eq!((read.len(), texts(&read).len()), (100, 100));
}

fn in_order(read: &[LogRecord]) {
    let (mut keys, mut offsets) = (BTreeMap::new(), BTreeMap::new());
    for record in read {
        let n: u32 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
        if let Some(before) = keys.insert(record.key.clone().unwrap(), n) {
            assert!(n > before, "{n} came after {before}");
        }
        if let Some(before) = offsets.insert(record.at.clone(), record.offset) {
            assert!(record.offset > before, "offset {} came after {before}", record.offset);
        }
    }
}

/// GIVEN a batch with an entry of another slot WHEN it is committed THEN it is refused whole.
pub async fn a_batch_that_is_refused_leaves_no_trace(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let entry = shard("s", 1);
    let slot = entry.slot(log.slots());
    let other = Slot((slot.0 + 1) % log.slots());
    let batch = CommitBatch { events: vec![event("k", "lost")], entries: vec![entry], forgotten: vec![] };
    assert!(writers.get_mut(&other).unwrap().commit(batch).await.is_err());

    let _ = writers.get_mut(&slot).unwrap().commit(events(vec![event("k", "good")])).await.unwrap();
    assert_eq!(texts(&everything(log, "g").await), ["good".to_owned()].into());
    assert!(ledger(log).await.shards.is_empty());
}

/// GIVEN a commit whose future is dropped at some moment WHEN the slot is taken anew THEN the ledger says whether it
/// happened, and all of it did or nothing.
pub async fn a_commit_whose_future_is_dropped_happens_whole_or_not_at_all(log: &dyn ChangeLog) {
    let mut wanted = 0;
    for round in 1..=4_u64 {
        let (member, mut writers) = writers(log).await;
        let slot = shard("s", round).slot(log.slots());
        let numbered = (0..30).map(|n| event(&format!("k{n}"), &format!("{round}/{n}"))).collect();
        let batch = CommitBatch { events: numbered, entries: vec![shard("s", round)], forgotten: vec![] };
        let commit = writers.get_mut(&slot).unwrap().commit(batch);
        // Dropped before, while or after it happens.
        let moment = Duration::from_micros([0, 500, 3_000, 20_000][round as usize - 1]);
        drop(tokio::time::timeout(moment, commit).await);
        drop(writers);
        member.leave().await.unwrap();

        let (member, mut next) = crate::writers(log).await;
        let held = ledger(log).await.shards.values().any(|entry| entry.last_version.get() == round);
        wanted += if held { 30 } else { 0 };
        let read = everything(log, &format!("g{round}")).await;
        assert_eq!(read.len(), wanted, "after round {round}, which {} committed", if held { "was" } else { "was not" });
        assert_eq!(texts(&read).len(), wanted, "a record is there twice");
        let _ = next.get_mut(&slot).unwrap().commit(CommitBatch::default()).await.unwrap();
        drop(next);
        member.leave().await.unwrap();
    }
}

/// GIVEN events of DynamoDB's largest items, both images, as they may be written out WHEN they are committed together
/// THEN they are read as they were.
pub async fn the_largest_items_pass(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    // Two images of 400 KB as base64, and two of control characters, which JSON writes as six bytes each.
    let sizes = [2 * 400 * 1024 * 4 / 3 + 4096, 2 * 400 * 1024 * 6 + 4096];
    let large: Vec<String> = (1_u64..).zip(sizes).map(|(seed, size)| noise(seed, size)).collect();
    let batch = events(large.iter().enumerate().map(|(n, text)| event(&format!("k{n}"), text)).collect());
    let _ = writers.get_mut(&Slot(0)).unwrap().commit(batch).await.unwrap();
    let read = everything(log, "g").await;
    assert_eq!(texts(&read), large.into_iter().collect());
}

/// Text that does not compress to nothing.
fn noise(seed: u64, size: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'A' + (state % 58) as u8)
    };
    std::iter::repeat_with(next).take(size).collect()
}

/// GIVEN a commit and then a mark WHEN a partition is read THEN the mark comes after every event of the commit.
pub async fn a_mark_follows_what_it_speaks_of(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let many = (0..50).map(|n| event(&format!("k{n}"), "event")).collect();
    let _ = writers.get_mut(&Slot(0)).unwrap().commit(events(many)).await.unwrap();
    log.mark(&table(), &mark()).await.unwrap();

    let partitions = log.extents(&table()).await.unwrap().len();
    let read = records(&mut reader(log, "g").await, 50 + partitions).await;
    let mut marked = BTreeSet::new();
    for record in &read {
        match record.key {
            None => {
                assert!(is_mark(record), "not the mark");
                marked.insert(record.at.partition);
            }
            Some(_) => assert!(!marked.contains(&record.at.partition), "an event after the mark"),
        }
    }
    assert_eq!(marked.len(), partitions, "every partition is marked");
}
