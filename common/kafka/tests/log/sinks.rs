//! Readers on real topics: sharing, positions that are not there, transactions that are open.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use headwater_common::codec;
use headwater_common::ledger::Slot;
use headwater_common::log::{ChangeLog, Delivery, LogError, LogRecord, Offset, Subscription, TablePartition};
use headwater_conformance::{event, events, everything, mark, reader, records, table, within, writers};
use headwater_tests::servers;
use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::pipeline::Pipeline;

/// GIVEN a sink's reader with every partition WHEN a second of the group joins THEN the first is told what it loses
/// before the second gets it, and gets nothing of that any more; WHEN the second goes THEN it is assigned again.
#[tokio::test(flavor = "multi_thread")]
async fn readers_of_one_group_share_the_partitions() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let mut first = reader(&log, "g").await;
    let mut second = log.subscribe("g", &[table()]).await.unwrap();
    let (mut revoked, mut moved) = (BTreeSet::new(), BTreeSet::new());
    while moved.is_empty() || moved != revoked {
        tokio::select! {
            delivery = within(first.next()) => {
                let Delivery::Revoked { partitions, acknowledge } = delivery.unwrap() else { panic!("not revoked") };
                assert!(moved.is_empty(), "the second had it before the first was told");
                revoked.extend(partitions);
                drop(acknowledge);
            }
            delivery = within(second.next()) => {
                let Delivery::Assigned(partitions) = delivery.unwrap() else { panic!("not assigned") };
                moved.extend(partitions);
            }
        }
    }
    for at in &moved {
        second.start(at, Offset(0)).await.unwrap();
    }
    let many: Vec<_> = (0..60).map(|n| event(&format!("k{n}"), &n.to_string())).collect();
    let theirs = many.iter().filter(|event| moved.iter().any(|at| at.partition == event.key.partition(3))).count();
    let _ = owned.get_mut(&Slot(0)).unwrap().commit(events(many)).await.unwrap();
    let ours = records(&mut first, 60 - theirs).await;
    assert!(ours.iter().all(|record| !moved.contains(&record.at)), "a revoked partition gave a record");
    let mut read = 0;
    while read < theirs {
        let Delivery::Records(records) = within(second.next()).await.unwrap() else { panic!("no records") };
        assert!(records.iter().all(|record| moved.contains(&record.at)));
        read += records.len();
    }
    drop(second);
    let Delivery::Assigned(back) = within(first.next()).await.unwrap() else { panic!("not assigned") };
    assert_eq!(back.into_iter().collect::<BTreeSet<_>>(), moved);
    drop((first, owned));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN a sink that has reported its progress WHEN its group is looked at THEN the offsets are there, for whoever
/// measures lag.
#[tokio::test(flavor = "multi_thread")]
async fn reported_progress_is_the_groups_offsets() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let _ = owned.get_mut(&Slot(0)).unwrap().commit(events(vec![event("k", "v")])).await.unwrap();
    let mut reading = reader(&log, "lake").await;
    let record = records(&mut reading, 1).await.remove(0);
    reading.report(&[(record.at.clone(), record.offset.next())].into()).await.unwrap();
    let group = format!("{}.lake", pipeline.settings.prefix);
    let looks: BaseConsumer = pipeline.client().set("group.id", group).create().unwrap();
    let wanted = rdkafka::Offset::Offset(record.offset.next().0 as i64);
    within(async {
        loop {
            let mut list = TopicPartitionList::new();
            list.add_partition(&pipeline.topic("aircraft"), record.at.partition.into());
            let found = looks.committed_offsets(list, Duration::from_secs(20)).unwrap();
            if found.elements()[0].offset() == wanted {
                break;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop((reading, owned, looks));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN a partition whose beginning is gone WHEN a sink wants to read from there THEN it is refused by name, whether it
/// starts there or its place goes while it reads; nothing is skipped in silence.
#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_gone_is_an_error_that_names_the_partition() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let writer = owned.get_mut(&Slot(0)).unwrap();
    let mut reading = reader(&log, "g").await;
    let _ = writer.commit(events(vec![event("k", "0")])).await.unwrap();
    let at = records(&mut reading, 1).await.remove(0).at;
    reading.pause(std::slice::from_ref(&at));
    for n in 1..20 {
        let _ = writer.commit(events(vec![event("k", &n.to_string())])).await.unwrap();
    }
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&pipeline.topic("aircraft"), at.partition.into(), rdkafka::Offset::Offset(30)).unwrap();
    pipeline.admin().delete_records(&until, &AdminOptions::new()).await.unwrap();
    // What the client has read in advance is not gone; a new start is.
    let refused = within(reading.start(&at, Offset(2))).await.unwrap_err();
    assert!(matches!(refused, LogError::Misconfigured(_)), "{refused}");
    assert!(refused.to_string().contains(&format!("needs {at} from offset 2 on, the log begins at 30")), "{refused}");
    assert_eq!(log.extents(&table()).await.unwrap()[usize::from(at.partition)].start, Offset(30));
    reading.start(&at, Offset(30)).await.unwrap();
    reading.resume(std::slice::from_ref(&at));
    assert!(within(reading.next()).await.is_ok());

    // A place that goes while it is read: what follows it is not given.
    let edge = log.extents(&table()).await.unwrap()[usize::from(at.partition)].end;
    let mut behind = headwater_conformance::reader_from(&log, "slow", &[(at.clone(), Offset(30))].into()).await;
    behind.pause(std::slice::from_ref(&at));
    let _ = writer.commit(events(vec![event("k", "after")])).await.unwrap();
    let mut until = TopicPartitionList::new();
    let all = rdkafka::Offset::Offset(edge.0 as i64);
    until.add_partition_offset(&pipeline.topic("aircraft"), at.partition.into(), all).unwrap();
    pipeline.admin().delete_records(&until, &AdminOptions::new()).await.unwrap();
    behind.resume(std::slice::from_ref(&at));
    let mut given: Vec<LogRecord> = Vec::new();
    let refused = within(async {
        loop {
            match behind.next().await {
                Ok(Delivery::Records(records)) => given.extend(records),
                Ok(other) => panic!("{other:?}"),
                Err(error) => break Some(error),
            }
            if given.iter().any(|record| &record.value[..] == b"after") {
                break None;
            }
        }
    })
    .await;
    match refused {
        Some(error) => assert!(error.to_string().contains(&at.to_string()), "{error}"),
        // The client held all of it already: then nothing is missing.
        None => assert!(given.iter().any(|record| record.offset == Offset(30)), "records were skipped in silence"),
    }
    drop((reading, behind, owned));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN a transaction that is open WHEN others commit and marks are written behind it THEN readers wait in its partition,
/// until it ends; an aborted one is never seen.
#[tokio::test(flavor = "multi_thread")]
async fn readers_and_marks_wait_behind_an_open_transaction() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let topic = pipeline.topic("aircraft");
    let blocker: BaseProducer = pipeline.client().set("transactional.id", &topic).create().unwrap();
    blocker.init_transactions(Duration::from_secs(30)).unwrap();
    blocker.begin_transaction().unwrap();
    for partition in 0..3 {
        blocker.send(BaseRecord::to(&topic).partition(partition).key("k").payload("open")).unwrap();
    }
    blocker.flush(Duration::from_secs(30)).unwrap();

    let many = (0..30).map(|n| event(&format!("k{n}"), "committed")).collect();
    let _ = owned.get_mut(&Slot(0)).unwrap().commit(events(many)).await.unwrap();
    log.mark(&table(), &mark()).await.unwrap();
    let mut waiting = reader(&log, "g").await;
    // Everything lies in the log, and nothing of it may be seen: a reader that saw it would have by the time that
    // another one, which does not care for commits, has it all.
    let careless: BaseConsumer = pipeline
        .client()
        .set("group.id", format!("{topic}.careless"))
        .set("isolation.level", "read_uncommitted")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    careless.subscribe(&[&topic]).unwrap();
    let mut seen = 0;
    while seen < 36 {
        seen += usize::from(careless.poll(Duration::from_millis(100)).is_some_and(|message| message.is_ok()));
        let early = tokio::time::timeout(Duration::from_millis(1), waiting.next()).await;
        assert!(early.is_err(), "a reader did not wait: {early:?}");
    }
    blocker.abort_transaction(Duration::from_secs(30)).unwrap();
    let read = records(&mut waiting, 33).await;
    let marks = read.iter().filter(|record| codec::decode(&record.value).is_ok()).count();
    assert_eq!((read.len(), marks), (33, 3));
    assert!(read.iter().all(|record| &record.value[..] != b"open"), "an aborted record was seen");
    drop((waiting, owned, careless));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN a table's topic WHEN it is deleted and made anew THEN it is another log, and a reader of the old one is told
/// so instead of being given the new one's records at the old offsets.
#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_was_made_anew_is_another_log() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let old = log.open_table(&table()).await.unwrap();
    let _ = owned.get_mut(&Slot(0)).unwrap().commit(events(vec![event("k", "old")])).await.unwrap();
    let mut reading = reader(&log, "g").await;
    records(&mut reading, 1).await;
    pipeline.delete(&pipeline.topic("aircraft")).await;
    let other = pipeline.connect().await;
    let new = within(async {
        loop {
            match other.open_table(&table()).await {
                Ok(id) if id != old => break id,
                _ => tokio::task::yield_now().await,
            }
        }
    })
    .await;
    assert_eq!(other.open_table(&table()).await.unwrap(), new);
    let refused = within(async {
        loop {
            match reading.next().await {
                Ok(Delivery::Records(records)) => panic!("{records:?}"),
                Ok(_) => {}
                Err(error) => break error,
            }
        }
    })
    .await;
    assert!(matches!(refused, LogError::Misconfigured(_)), "{refused}");
    assert!(refused.to_string().contains("made anew"), "{refused}");
    assert!(reading.next().await.is_err(), "the reader went on");
    drop((reading, owned));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}

/// GIVEN two tables WHEN they are subscribed to together THEN each record comes under its own table.
#[tokio::test(flavor = "multi_thread")]
async fn many_tables_are_read_through_one_subscription() {
    let Some(bootstrap) = servers::kafka() else { return };
    let pipeline = Pipeline::new(bootstrap);
    let log = pipeline.connect().await;
    let (member, mut owned) = writers(&log).await;
    let other = headwater_common::change::TableName::new("airports");
    log.open_table(&other).await.unwrap();
    let mut both = vec![event("k", "aircraft"), event("k", "airports")];
    both[1].table = other.clone();
    let _ = owned.get_mut(&Slot(0)).unwrap().commit(events(both)).await.unwrap();
    let mut subscription: Box<dyn Subscription> = log.subscribe("g", &[table(), other]).await.unwrap();
    let mut read: BTreeMap<TablePartition, Vec<u8>> = BTreeMap::new();
    while read.len() < 2 {
        match within(subscription.next()).await.unwrap() {
            Delivery::Assigned(partitions) => {
                for at in &partitions {
                    subscription.start(at, Offset(0)).await.unwrap();
                }
            }
            Delivery::Records(records) => read.extend(records.into_iter().map(|r| (r.at, r.value.to_vec()))),
            Delivery::Revoked { .. } => panic!("nobody else reads"),
        }
    }
    assert!(read.iter().all(|(at, value)| at.table.as_str().as_bytes() == value));
    assert_eq!(everything(&log, "h").await.len(), 1);
    drop((subscription, owned));
    within(member.leave()).await.unwrap();
    pipeline.remove().await;
}
