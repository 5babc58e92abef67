//! The ledger's readers.

use headwater_common::ledger::Ledger;
use headwater_common::log::*;

use crate::*;

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

/// GIVEN commits of several slots WHEN a reader is made straight after each THEN it has that commit when it has caught
/// up.
pub async fn a_ledger_reader_has_caught_up_when_it_has_everything_committed_before(log: &dyn ChangeLog) {
    let mut empty = log.ledger().await.unwrap();
    assert_eq!(within(empty.next()).await.unwrap(), [LedgerUpdate::CaughtUp], "an empty ledger is read at once");
    let (_member, mut writers) = writers(log).await;
    for version in 1..=8 {
        let name = format!("shard-{}", version % 3);
        let entry = shard(&name, version);
        let slot = entry.slot(log.slots());
        let batch = CommitBatch { events: vec![event("k", "v")], entries: vec![entry], forgotten: vec![] };
        let _ = writers.get_mut(&slot).unwrap().commit(batch).await.unwrap();
        let read = ledger(log).await;
        let held =
            read.shards.values().find(|entry| entry.shard.as_str() == name).map(|entry| entry.last_version.get());
        assert_eq!(held, Some(version));
    }
}
