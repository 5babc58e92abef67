use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::log::*;

use headwater_conformance::{event, reader, records, table, within, writers};

fn new_log() -> (tempfile::TempDir, EmbeddedLog) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), Layout::default()).unwrap();
    (folder, log)
}

async fn on(test: impl AsyncFnOnce(&dyn ChangeLog)) {
    let (_folder, log) = new_log();
    test(&log).await;
}

headwater_conformance::conforms!(on);

#[tokio::test]
async fn offsets_and_identity_survive_being_closed() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for round in 0..3_usize {
        let log = EmbeddedLog::open(folder.path(), Layout::default()).unwrap();
        ids.push(log.open_table(&table()).await.unwrap());
        let (_member, mut writers) = writers(&log).await;
        let writer = writers.values_mut().next().unwrap();
        let batch = CommitBatch { events: vec![event("k", &round.to_string())], ..CommitBatch::default() };
        let _ = writer.commit(batch).await.unwrap();
        let read = records(&mut reader(&log, "g").await, round + 1).await;
        let texts: Vec<_> = read.iter().map(|record| (record.offset.0 as usize, record.value.to_vec())).collect();
        let wanted: Vec<_> = (0..=round).map(|n| (n, n.to_string().into_bytes())).collect();
        assert_eq!(texts, wanted);
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_folder_in_use_or_of_another_layout_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), Layout::default()).unwrap();
    let second = EmbeddedLog::open(folder.path(), Layout::default()).err().unwrap().to_string();
    assert!(second.contains("in use by another process"), "{second}");
    drop(log);
    let other = EmbeddedLog::open(folder.path(), Layout { partitions: 8, ..Layout::default() }).err().unwrap();
    assert!(other.to_string().contains("was made with partitions 4, the settings say 8"), "{other}");
}

#[test]
fn a_log_without_slots_or_partitions_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    for layout in [Layout { slots: 0, ..Layout::default() }, Layout { partitions: 0, ..Layout::default() }] {
        let refused = EmbeddedLog::open(folder.path(), layout).err().unwrap().to_string();
        assert!(refused.contains("is 0"), "{refused}");
    }
    assert!(EmbeddedLog::open(folder.path(), Layout::default()).is_ok());
}

#[tokio::test]
async fn a_reader_that_waits_is_woken_by_the_next_commit() {
    let (_folder, log) = new_log();
    let (_member, mut writers) = writers(&log).await;
    let mut reading = reader(&log, "g").await;
    let waiting = tokio::spawn(async move { within(reading.next()).await });
    let writer = writers.values_mut().next().unwrap();
    let batch = CommitBatch { events: vec![event("k", "v")], ..CommitBatch::default() };
    let _ = writer.commit(batch).await.unwrap();
    assert!(matches!(waiting.await.unwrap().unwrap(), Delivery::Records(records) if records.len() == 1));
}

#[tokio::test]
async fn a_record_is_trimmed_when_it_is_old_and_every_group_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout { slots: 1, partitions: 1 };
    let log = EmbeddedLog::open(folder.path(), layout).unwrap();
    let (_member, mut writers) = writers(&log).await;
    let writer = writers.values_mut().next().unwrap();
    let mut readers = [reader(&log, "lake").await, reader(&log, "index").await];
    for value in ["0", "1", "2"] {
        let _ = writer.commit(CommitBatch { events: vec![event("k", value)], ..CommitBatch::default() }).await.unwrap();
    }
    let hour = std::time::Duration::from_secs(3600);
    let start = headwater_common::clock::Timestamp::from_millis(1_700_000_000_000);
    assert_eq!(log.trim(start, hour).await.unwrap(), 0, "nothing is known to be old");
    let _ = writer.commit(CommitBatch { events: vec![event("k", "3")], ..CommitBatch::default() }).await.unwrap();
    let at = TablePartition { table: table(), partition: 0 };
    readers[0].report(&[(at.clone(), Offset(4))].into()).await.unwrap();
    assert_eq!(log.trim(start.plus(hour), hour).await.unwrap(), 0, "one group has reported nothing");
    readers[1].report(&[(at.clone(), Offset(2))].into()).await.unwrap();
    assert_eq!(log.trim(start.plus(hour), hour).await.unwrap(), 2, "both have two");
    readers[1].report(&[(at.clone(), Offset(4))].into()).await.unwrap();
    assert_eq!(log.trim(start.plus(hour), hour).await.unwrap(), 1, "the fourth is not an hour old");
    let extent = log.extents(&table()).await.unwrap()[0];
    assert_eq!(extent, Extent { start: Offset(3), end: Offset(4) });
    let refused = readers[0].start(&at, Offset(1)).await.unwrap_err().to_string();
    assert!(refused.contains("the log begins at 3"), "{refused}");
    assert_eq!(log.trim(start.plus(hour * 9), hour).await.unwrap(), 0, "the last one stays");
    drop((readers, writers, _member, log));
    let again = EmbeddedLog::open(folder.path(), layout).unwrap();
    assert_eq!(again.extents(&table()).await.unwrap()[0], extent, "offsets go on after a restart");
}
