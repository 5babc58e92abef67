//! How sinks read.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::ledger::Slot;
use headwater_common::log::*;

use crate::*;

fn one(key: &str, text: &str) -> CommitBatch {
    events(vec![event(key, text)])
}

/// GIVEN a sink that stored an offset WHEN it starts there again THEN it gets what follows, and nothing twice.
pub async fn a_reader_goes_on_from_the_offset_that_it_names(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let writer = writers.get_mut(&Slot(0)).unwrap();
    let _ = writer.commit(one("k", "first")).await.unwrap();
    let mut reading = reader(log, "g").await;
    let first = records(&mut reading, 1).await.remove(0);
    let next = BTreeMap::from([(first.at.clone(), first.offset.next())]);
    reading.report(&next).await.unwrap();
    drop(reading);
    let _ = writer.commit(one("k", "second")).await.unwrap();

    let mut again = reader_from(log, "g", &next).await;
    assert_eq!(texts(&records(&mut again, 1).await), ["second".to_owned()].into());
    assert!(again.start(&first.at, Offset(1_000_000)).await.is_err(), "an offset past the end is refused");
    let stranger = TablePartition { table: TableName::new("stranger"), partition: 0 };
    assert!(again.start(&stranger, Offset(0)).await.is_err(), "a table that was not subscribed to is refused");
}

/// GIVEN a paused partition WHEN it is resumed THEN everything of it still comes, once and in order.
pub async fn a_pause_loses_nothing(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let mut reader = reader(log, "g").await;
    let writer = writers.get_mut(&Slot(0)).unwrap();
    let _ = writer.commit(one("a", "a")).await.unwrap();
    let at = records(&mut reader, 1).await.remove(0).at;
    let partitions = log.extents(&table()).await.unwrap().len() as u16;
    let (mut sent, mut read) = (Vec::new(), Vec::new());
    for round in 0..3 {
        // Half of them lie on the client's side already when it is told.
        for half in 0..2 {
            for n in 0..10 {
                let key = format!("{round}/{half}/{n}");
                let _ = writer.commit(one(&key, &key)).await.unwrap();
                sent.push(key);
            }
            reader.pause(std::slice::from_ref(&at));
        }
        let others = |key: &&String| event(key, "").key.partition(partitions) != at.partition;
        let wanted = sent.iter().filter(others).count();
        let elsewhere = |read: &[LogRecord]| read.iter().filter(|record| record.at != at).count();
        let before = read.iter().filter(|record: &&LogRecord| record.at == at).count();
        while elsewhere(&read) < wanted {
            read.extend(records(&mut reader, 1).await);
        }
        let now = read.iter().filter(|record| record.at == at).count();
        assert_eq!(now, before, "a paused partition gave a record");
        reader.resume(std::slice::from_ref(&at));
        while read.len() < sent.len() {
            read.extend(records(&mut reader, 1).await);
        }
    }
    assert_eq!(read.len(), sent.len());
    assert_eq!(texts(&read), sent.into_iter().collect());
    let offsets: Vec<Offset> = read.iter().filter(|record| record.at == at).map(|record| record.offset).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "out of order after a pause");
}

/// GIVEN a partition that is being read WHEN it is started at an earlier offset THEN it comes again from there.
pub async fn a_partition_that_is_started_again_is_read_again(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let many = (0..50).map(|n| event("k", &n.to_string())).collect();
    let _ = writers.get_mut(&Slot(0)).unwrap().commit(events(many)).await.unwrap();
    let mut reader = reader(log, "g").await;
    let first = records(&mut reader, 50).await;
    for from in [0, 20, 49] {
        reader.start(&first[from].at, first[from].offset).await.unwrap();
        let again = records(&mut reader, 50 - from).await;
        assert_eq!(again, first[from..], "started at {from}");
    }
}

/// GIVEN two groups WHEN events are committed THEN each of them reads all.
pub async fn every_group_reads_everything(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let many = (0..20).map(|n| event(&format!("k{n}"), &n.to_string())).collect();
    let _ = writers.get_mut(&Slot(0)).unwrap().commit(events(many)).await.unwrap();
    let (mut lake, mut index) = (reader(log, "lake").await, reader(log, "index").await);
    assert_eq!(texts(&records(&mut lake, 20).await).len(), 20);
    assert_eq!(texts(&records(&mut index, 20).await).len(), 20);
}

/// GIVEN a reader whose wait is dropped again and again WHEN events are committed THEN it gets each once.
pub async fn a_reader_loses_nothing_when_its_wait_is_dropped(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let mut reader = reader(log, "g").await;
    let writer = writers.get_mut(&Slot(0)).unwrap();
    let writing = async {
        for commit in 0..20 {
            let some = (0..10).map(|n| event(&format!("k{n}"), &format!("{commit}/{n}"))).collect();
            let _ = writer.commit(events(some)).await.unwrap();
        }
    };
    let reading = within(async {
        let mut read = std::mem::take(&mut reader.early);
        while read.len() < 200 {
            let delivery = tokio::time::timeout(Duration::from_micros(300), reader.next()).await;
            if let Ok(Delivery::Records(records)) = delivery.unwrap_or(Ok(Delivery::Records(vec![]))) {
                read.extend(records);
            }
        }
        read
    });
    let ((), read) = tokio::join!(writing, reading);
    assert_eq!((read.len(), texts(&read).len()), (200, 200));
}

/// GIVEN records WHEN the extents are asked for THEN every record lies within, and nothing is before the start.
pub async fn extents_hold_every_record(log: &dyn ChangeLog) {
    let (_member, mut writers) = writers(log).await;
    let before = log.extents(&table()).await.unwrap();
    assert!(before.iter().all(|extent| extent.start == extent.end), "a new log is empty: {before:?}");
    let many = (0..40).map(|n| event(&format!("k{n}"), "v")).collect();
    let _ = writers.get_mut(&Slot(0)).unwrap().commit(events(many)).await.unwrap();
    let read = everything(log, "g").await;
    let extents = log.extents(&table()).await.unwrap();
    for record in &read {
        let extent = extents[usize::from(record.at.partition)];
        assert!(extent.start <= record.offset && record.offset < extent.end, "{} is not in {extent:?}", record.offset);
    }
    let held: u64 = extents.iter().map(|extent| extent.end.0 - extent.start.0).sum();
    assert!(held >= 40, "{held} places for 40 events");
}

/// GIVEN two tables WHEN they are opened again and again THEN each keeps its identity, and they differ.
pub async fn a_table_has_one_identity_of_its_own(log: &dyn ChangeLog) {
    let other = TableName::new("airports");
    let first = [log.open_table(&table()).await.unwrap(), log.open_table(&other).await.unwrap()];
    let again = [log.open_table(&table()).await.unwrap(), log.open_table(&other).await.unwrap()];
    assert_eq!(first, again);
    assert_ne!(first[0], first[1]);
}
