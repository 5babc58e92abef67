//! SIGKILL at random moments: what was acknowledged is there, and events and position never part.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use headwater_common::change::TableName;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::log::{ChangeLog, Delivery, Offset};

use headwater_conformance::{ledger, within};

/// Kills in the short form; `HEADWATER_KILLS=1000` for the long one.
const KILLS: usize = 20;

#[tokio::test]
async fn a_killed_writer_loses_and_doubles_nothing() {
    let kills = std::env::var("HEADWATER_KILLS").ok().map_or(KILLS, |text| text.parse().expect("HEADWATER_KILLS"));
    let folder = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for kill in 0..kills {
        acknowledged = write_until_killed(folder.path()).max(acknowledged);
        let (position, numbers) = contents(folder.path()).await;
        if let Err(fault) = check(acknowledged, position, &numbers) {
            panic!("after kill {kill}: {fault}");
        }
    }
    println!("{kills} kills, {acknowledged} events acknowledged");
    assert!(acknowledged >= kills as u64, "too little was written to mean anything");
}

#[test]
fn the_checker_bites() {
    let log = |numbers: &[u64]| BTreeMap::from([(0, numbers.to_vec())]);
    assert!(check(3, 3, &log(&[1, 2, 3])).is_ok());
    for (name, acknowledged, position, numbers) in [
        ("loss", 3, 2, log(&[1, 2])),
        ("hole", 3, 3, log(&[1, 3])),
        ("duplicate", 3, 3, log(&[1, 2, 2, 3])),
        ("events without their position", 3, 3, log(&[1, 2, 3, 4])),
        ("order", 3, 3, log(&[2, 1, 3])),
    ] {
        assert!(check(acknowledged, position, &numbers).is_err(), "{name} went unseen");
    }
}

/// Numbers by partition, in the log's order, against what was acknowledged and what the ledger holds.
fn check(acknowledged: u64, position: u64, numbers: &BTreeMap<u16, Vec<u64>>) -> Result<(), String> {
    if position < acknowledged {
        return Err(format!("{acknowledged} was acknowledged, the ledger stands at {position}"));
    }
    if let Some(partition) = numbers.iter().find(|(_, held)| !held.is_sorted_by(|a, b| a < b)) {
        return Err(format!("partition {} is out of order or doubles a number", partition.0));
    }
    let mut all: Vec<u64> = numbers.values().flatten().copied().collect();
    all.sort_unstable();
    let wanted: Vec<u64> = (1..=position).collect();
    if all == wanted {
        return Ok(());
    }
    Err(format!("the ledger stands at {position}, the log holds {} events up to {:?}", all.len(), all.last()))
}

/// Runs the writer, kills it at a random moment after a random number of acknowledgements, and gives the last one.
///
/// A kill straight after an acknowledgement would always meet the same step of the next commit, so it waits for up to
/// two commits more.
fn write_until_killed(folder: &Path) -> u64 {
    let mut child = Command::new(env!("CARGO_BIN_EXE_append")).arg(folder).stdout(Stdio::piped()).spawn().unwrap();
    // Held until the kill: a writer whose pipe is closed would end by itself.
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let random = uuid::Uuid::new_v4();
    let wanted = usize::from(random.as_bytes()[0]) % 60 + 2;
    let (mut acknowledged, mut last, mut commit) = (0, Instant::now(), Duration::ZERO);
    for line in lines.by_ref().take(wanted) {
        acknowledged = line.unwrap().parse().unwrap();
        commit = last.elapsed();
        last = Instant::now();
    }
    let moment = commit.mul_f64(f64::from(random.as_bytes()[1]) / 128.0);
    while last.elapsed() < moment {
        std::hint::spin_loop();
    }
    assert!(child.try_wait().unwrap().is_none(), "the writer ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
    acknowledged
}

async fn contents(folder: &Path) -> (u64, BTreeMap<u16, Vec<u64>>) {
    let log = EmbeddedLog::open(folder, Layout::default()).unwrap();
    let table = TableName::new("numbers");
    let position = ledger(&log).await.shards.values().map(|entry| entry.last_version.get()).max().unwrap_or(0);
    let wanted: u64 = log.extents(&table).await.unwrap().iter().map(|extent| extent.end.0 - extent.start.0).sum();
    let mut reader = log.subscribe("check", &[table]).await.unwrap();
    let mut numbers: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    let mut read = 0;
    while read < wanted {
        match within(reader.next()).await.unwrap() {
            Delivery::Assigned(partitions) => {
                for at in &partitions {
                    reader.start(at, Offset(0)).await.unwrap();
                }
            }
            Delivery::Records(records) => {
                read += records.len() as u64;
                for record in records {
                    let number = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                    numbers.entry(record.at.partition).or_default().push(number);
                }
            }
            Delivery::Revoked { .. } => panic!("nobody else reads"),
        }
    }
    (position, numbers)
}
