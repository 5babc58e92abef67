//! Who may write.

use std::time::Duration;

use headwater_common::ledger::Slot;
use headwater_common::log::*;
use tokio::sync::oneshot;

use crate::*;

/// A slot that has gone to another member, while its old writer is still held.
pub struct Takeover {
    pub slot: Slot,
    pub zombie: Box<dyn SlotWriter>,
    pub owner: Box<dyn SlotWriter>,
    pub members: [Box<dyn Membership>; 2],
    /// Not dropped: the old member has not said that its work has ended.
    pub unanswered: Vec<oneshot::Sender<()>>,
}

/// Lets a second member join until it has one of the slots of the first, which does not acknowledge.
pub async fn takeover(log: &dyn ChangeLog) -> Takeover {
    let (mut old, mut zombies) = writers(log).await;
    let mut new = log.join().await.unwrap();
    let mut unanswered = Vec::new();
    let owner = loop {
        let change = tokio::select! {
            change = within(old.changed()) => change.unwrap(),
            change = within(new.changed()) => change.unwrap(),
        };
        match change {
            Ownership::Acquired(writer) => break writer,
            Ownership::Released { acknowledge, .. } => unanswered.push(acknowledge),
        }
    };
    let slot = owner.slot();
    if unanswered.is_empty() {
        let Ok(Ownership::Released { acknowledge, .. }) = within(old.changed()).await else { panic!("no release") };
        unanswered.push(acknowledge);
    }
    Takeover { slot, zombie: zombies.remove(&slot).unwrap(), owner, members: [old, new], unanswered }
}

/// GIVEN a worker whose slot was taken over WHEN it commits THEN it is fenced, and nothing of it is ever seen.
pub async fn a_fenced_writer_changes_nothing(log: &dyn ChangeLog) {
    let Takeover { slot, mut zombie, mut owner, members: _members, unanswered: _unanswered } = takeover(log).await;
    let name = shard_in(slot, log.slots());
    let batch = |text: &str, version| CommitBatch {
        events: vec![event("k", text)],
        entries: vec![shard(&name, version)],
        forgotten: vec![],
    };
    let refused = zombie.commit(batch("zombie", 9)).await;
    assert!(matches!(refused, Err(LogError::Fenced { slot: of }) if of == slot), "{refused:?}");
    let _ = owner.commit(batch("owner", 2)).await.unwrap();
    let refused = zombie.commit(batch("zombie", 10)).await;
    assert!(matches!(refused, Err(LogError::Fenced { .. })), "{refused:?}");

    assert_eq!(texts(&everything(log, "g").await), ["owner".to_owned()].into());
    let versions: Vec<u64> = ledger(log).await.shards.values().map(|entry| entry.last_version.get()).collect();
    assert_eq!(versions, [2]);
}

/// GIVEN a member that left WHEN its writers commit THEN they are fenced, and the next member gets every slot.
pub async fn a_member_that_left_can_write_no_more(log: &dyn ChangeLog) {
    let (member, mut left) = writers(log).await;
    member.leave().await.unwrap();
    let one = |text: &str| events(vec![event("k", text)]);
    for writer in left.values_mut() {
        assert!(matches!(writer.commit(one("left")).await, Err(LogError::Fenced { .. })));
    }
    let (_next, mut owners) = writers(log).await;
    let _ = owners.get_mut(&Slot(0)).unwrap().commit(one("next")).await.unwrap();
    assert_eq!(texts(&everything(log, "g").await), ["next".to_owned()].into());
}

/// GIVEN a member whose wait for changes is dropped again and again WHEN slots are given to it THEN it gets every one.
pub async fn a_member_loses_nothing_when_its_wait_is_dropped(log: &dyn ChangeLog) {
    log.open_table(&table()).await.unwrap();
    let mut member = log.join().await.unwrap();
    let mut owned = BTreeSet::new();
    within(async {
        while owned.len() < usize::from(log.slots()) {
            let Ok(change) = tokio::time::timeout(Duration::from_micros(200), member.changed()).await else { continue };
            if let Ownership::Acquired(writer) = change.unwrap() {
                assert!(owned.insert(writer.slot()), "slot {} was given twice", writer.slot());
            }
        }
    })
    .await;
}
