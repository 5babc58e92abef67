//! A disk that fills up: what was acknowledged stays, what was refused can be tried again, and nothing is there twice.

use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::log::*;

use headwater_conformance::{event, reader, records, shard, writers};

use crate::small_disk::SmallDisk;

fn batch(round: u64) -> CommitBatch {
    let value = format!("{round}:{}", "x".repeat(100_000));
    // The ledger's entry is what tells a commit that happened from one that did not.
    CommitBatch { events: vec![event(&round.to_string(), &value)], entries: vec![shard("s", round)], forgotten: vec![] }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_commits_and_the_log_goes_on_when_there_is_room() {
    let Some(disk) = SmallDisk::mount(40) else {
        eprintln!("skipped: mounting a small file system needs root");
        return;
    };
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 20 << 20]).unwrap();
    let folder = disk.path().join("log");
    let log = EmbeddedLog::open(&folder, Layout { slots: 1, partitions: 1 }).unwrap();
    let (_member, mut all) = writers(&log).await;
    let writer = all.values_mut().next().unwrap();
    let (mut round, mut refusals) = (0, 0);
    // Opening the folder again may free a little, so that a commit or two go through between the refusals.
    while refusals < 8 {
        match writer.commit(batch(round)).await {
            Ok(_) => round += 1,
            Err(error) => {
                assert!(matches!(error, LogError::Full { .. }), "{error}");
                refusals += 1;
            }
        }
        assert!(round < 2_000, "the disk never filled up");
    }
    assert!(round > 0, "not even one commit fitted");
    std::fs::remove_file(&ballast).unwrap();
    for again in round..round + 20 {
        let durable = writer.commit(batch(again)).await.unwrap();
        assert_eq!(durable.events, 1);
    }
    let wanted = usize::try_from(round + 20).unwrap();
    let read = records(&mut reader(&log, "g").await, wanted).await;
    let rounds: Vec<u64> = read
        .iter()
        .map(|record| String::from_utf8_lossy(&record.value).split(':').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(rounds, (0..round + 20).collect::<Vec<_>>());
}
