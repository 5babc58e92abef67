//! Workers that share the slots: joining, leaving, being fenced.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_common::ledger::Slot;
use headwater_common::log::{ChangeLog, LedgerUpdate, LogError, Membership, Ownership, SlotWriter};
use headwater_conformance::{Takeover, event, events, everything, ledger, shard, shard_in, takeover, within, writers};
use headwater_tests::{servers, wait};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::pipeline::Pipeline;

type Owned = BTreeMap<Slot, Box<dyn SlotWriter>>;

/// Follows both members until their slots are as wanted; what is released is acknowledged at once.
async fn share(
    (first, ours): (&mut Box<dyn Membership>, &mut Owned),
    (second, theirs): (&mut Box<dyn Membership>, &mut Owned),
    wanted: impl Fn(&Owned, &Owned) -> bool,
) {
    while !wanted(ours, theirs) {
        let (change, owned) = tokio::select! {
            change = within(first.changed()) => (change.unwrap(), &mut *ours),
            change = within(second.changed()) => (change.unwrap(), &mut *theirs),
        };
        match change {
            Ownership::Acquired(writer) => drop(owned.insert(writer.slot(), writer)),
            Ownership::Released { slot, acknowledge } => {
                owned.remove(&slot);
                drop(acknowledge);
            }
        }
    }
}

/// GIVEN a worker with every slot WHEN a second one joins THEN each has half, none has a slot that the other has, and
/// both can write; WHEN the second leaves THEN the first has all of them again.
#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_slots_and_take_them_back() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let (log, other) = (pipeline.connect().await, pipeline.connect().await);
    let (mut first, mut ours) = writers(&log).await;
    let (mut second, mut theirs) = (other.join().await.unwrap(), Owned::new());
    share((&mut first, &mut ours), (&mut second, &mut theirs), |ours, theirs| ours.len() == 2 && theirs.len() == 2)
        .await;
    assert!(ours.keys().collect::<BTreeSet<_>>().is_disjoint(&theirs.keys().collect()));
    for (slot, writer) in ours.iter_mut().chain(&mut theirs) {
        let _ = writer.commit(events(vec![event(&format!("{slot}"), "shared")])).await.unwrap();
    }

    within(second.leave()).await.unwrap();
    for writer in theirs.values_mut() {
        assert!(matches!(writer.commit(events(vec![event("k", "left")])).await, Err(LogError::Fenced { .. })));
    }
    while ours.len() < 4 {
        if let Ownership::Acquired(writer) = within(first.changed()).await.unwrap() {
            ours.insert(writer.slot(), writer);
        }
    }
    for (slot, writer) in &mut ours {
        let _ = writer.commit(events(vec![event(&format!("{slot}"), "all")])).await.unwrap();
    }
    assert_eq!(everything(&log, "g").await.len(), 8);
    drop((ours, theirs));
    within(first.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN another process that writes a slot without this worker having heard of it WHEN this worker commits THEN the
/// brokers fence it in that slot and in no other, nothing of it is seen, and it takes the slot anew because the group says
/// that it is its.
#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_the_brokers_fence_loses_its_slot_alone_and_takes_it_anew() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (mut member, mut owned) = writers(&log).await;
    let usurper: BaseProducer =
        pipeline.client().set("transactional.id", format!("{}-slot-2", pipeline.settings.prefix)).create().unwrap();
    usurper.init_transactions(Duration::from_secs(30)).unwrap();

    let name = shard_in(Slot(2), log.slots());
    let mut batch = events(vec![event("k", "zombie")]);
    batch.entries.push(shard(&name, 9));
    let refused = owned.get_mut(&Slot(2)).unwrap().commit(batch).await;
    assert!(matches!(refused, Err(LogError::Fenced { slot: Slot(2) })), "{refused:?}");
    let refused = owned.get_mut(&Slot(2)).unwrap().commit(events(vec![event("k", "again")])).await;
    assert!(matches!(refused, Err(LogError::Fenced { .. })), "{refused:?}");
    let _ = owned.get_mut(&Slot(1)).unwrap().commit(events(vec![event("k", "neighbour")])).await.unwrap();

    let Ownership::Acquired(mut anew) = within(member.changed()).await.unwrap() else { panic!("released") };
    assert_eq!(anew.slot(), Slot(2));
    let _ = anew.commit(events(vec![event("k", "anew")])).await.unwrap();
    let read: BTreeSet<Vec<u8>> = everything(&log, "g").await.iter().map(|record| record.value.to_vec()).collect();
    assert_eq!(read, [b"anew".to_vec(), b"neighbour".to_vec()].into());
    assert!(ledger(&log).await.shards.is_empty(), "a fenced commit left its entry");
    drop((owned, anew));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN a slot whose owner does not say that its work has ended WHEN the time for that is over THEN the next owner has
/// it, and has seen in the ledger everything that the old one committed.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_owner_of_a_slot_sees_all_that_was_committed_before() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let mut versions = BTreeMap::new();
    for (slot, writer) in &mut owned {
        let name = shard_in(*slot, log.slots());
        for version in 1..=3 + u64::from(slot.0) {
            let mut batch = events(vec![event(&name, "v")]);
            batch.entries.push(shard(&name, version));
            let _ = writer.commit(batch).await.unwrap();
            versions.insert(name.clone(), version);
        }
    }
    drop(owned);
    within(member.leave()).await.unwrap();
    let Takeover { slot, mut owner, members, unanswered, .. } = takeover(&log).await;
    let read = ledger(&log).await;
    let held: BTreeMap<String, u64> =
        read.shards.values().map(|entry| (entry.shard.as_str().to_owned(), entry.last_version.get())).collect();
    assert_eq!(held, versions);
    let _ = owner.commit(events(vec![event(&slot.to_string(), "next")])).await.unwrap();
    drop(unanswered);
    drop(owner);
    for member in members {
        within(member.leave()).await.unwrap();
    }
    pipeline.remove().await;
}

/// GIVEN a transaction that is open for longer than the brokers should let it WHEN the ledger is read THEN the log is not
/// ready and says where it is held up, until the transaction ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_held_up_by_a_transaction_says_where() {
    let Some(bootstrap) = servers::kafka() else { return };
    let mut pipeline = Pipeline::new(bootstrap);
    pipeline.settings.transaction_timeout_ms = 1_000;
    let log = pipeline.connect().await;
    let (member, owned) = writers(&log).await;
    let topic = format!("{}.ledger", pipeline.settings.prefix);
    let stranger: BaseProducer = pipeline.client().set("transactional.id", &topic).create().unwrap();
    stranger.init_transactions(Duration::from_secs(30)).unwrap();
    stranger.begin_transaction().unwrap();
    stranger.send(BaseRecord::<str, str>::to(&topic).partition(2).key("shard/x").payload("{}")).unwrap();
    stranger.flush(Duration::from_secs(30)).unwrap();

    let mut reader = log.ledger().await.unwrap();
    let reading = async {
        loop {
            if reader.next().await.unwrap().iter().any(|update| matches!(update, LedgerUpdate::CaughtUp)) {
                return;
            }
        }
    };
    let striking = async {
        wait::until("the log says what holds it up", Duration::from_secs(60), async || {
            let parts = pipeline.health.parts();
            let said = &parts["kafka"].reason;
            let where_it_is = format!("{topic}, partition 2, offset 0");
            if said.contains(&where_it_is) { Ok(()) } else { Err(format!("it says {said:?}")) }
        })
        .await
        .unwrap();
        stranger.abort_transaction(Duration::from_secs(30)).unwrap();
    };
    within(async { tokio::join!(reading, striking) }).await;
    assert!(pipeline.health.parts()["kafka"].ready, "{:?}", pipeline.health.parts());
    drop(owned);
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}
