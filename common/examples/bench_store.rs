//! The stores that an embedded change log could be on, side by side: fjall, which it is on, and redb.
//!
//! `bench_store [COMMITS] [RUNS]` commits 64 records of about 1 KB over 8 partitions and one ledger entry at a time, each
//! commit atomic and synced; reads all of it back in order; and deletes the older half, as retention does. Prints medians
//! of `RUNS` runs, the stores in turn, and the ratios.

// A benchmark ends where something fails.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::Instant;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use redb::{ReadableDatabase as _, ReadableTable as _, TableDefinition};

const PARTITIONS: usize = 8;
const RECORDS: usize = 64;

trait Store {
    /// Records by partition, with their offsets, and the ledger's new value.
    fn commit(&mut self, records: &[(usize, u64, Vec<u8>)], ledger: &[u8]);
    /// How many records and bytes there are.
    fn read(&self) -> (u64, u64);
    fn trim(&mut self, partition: usize, before: u64);
}

struct Fjall {
    db: Database,
    partitions: Vec<Keyspace>,
    ledger: Keyspace,
}

impl Fjall {
    fn open(folder: &Path) -> Fjall {
        let db = Database::builder(folder)
            .cache_size(16 << 20)
            .max_journaling_size(64 << 20)
            .worker_threads(1)
            .open()
            .unwrap();
        let options = || KeyspaceCreateOptions::default().max_memtable_size(4 << 20);
        let partitions = (0..PARTITIONS).map(|at| db.keyspace(&format!("p{at}"), options).unwrap()).collect();
        let ledger = db.keyspace("ledger", options).unwrap();
        Fjall { db, partitions, ledger }
    }
}

impl Store for Fjall {
    fn commit(&mut self, records: &[(usize, u64, Vec<u8>)], ledger: &[u8]) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for (partition, offset, value) in records {
            batch.insert(&self.partitions[*partition], offset.to_be_bytes(), value.as_slice());
        }
        batch.insert(&self.ledger, "slot", ledger);
        batch.commit().unwrap();
    }

    fn read(&self) -> (u64, u64) {
        let (mut records, mut bytes) = (0, 0);
        for partition in &self.partitions {
            for pair in partition.iter() {
                let (_, value) = pair.into_inner().unwrap();
                records += 1;
                bytes += value.len() as u64;
            }
        }
        (records, bytes)
    }

    fn trim(&mut self, partition: usize, before: u64) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for offset in 0..before {
            batch.remove(&self.partitions[partition], offset.to_be_bytes());
        }
        batch.commit().unwrap();
    }
}

struct Redb(redb::Database);

const NAMES: [&str; PARTITIONS] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];
const LEDGER: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("ledger");

fn table(partition: usize) -> TableDefinition<'static, u64, &'static [u8]> {
    TableDefinition::new(NAMES[partition])
}

impl Redb {
    fn open(folder: &Path) -> Redb {
        let db = redb::Database::builder().set_cache_size(48 << 20).create(folder.join("log.redb")).unwrap();
        let begin = db.begin_write().unwrap();
        for partition in 0..PARTITIONS {
            begin.open_table(table(partition)).unwrap();
        }
        begin.open_table(LEDGER).unwrap();
        begin.commit().unwrap();
        Redb(db)
    }
}

impl Store for Redb {
    fn commit(&mut self, records: &[(usize, u64, Vec<u8>)], ledger: &[u8]) {
        let write = self.0.begin_write().unwrap();
        for at in 0..PARTITIONS {
            let mut partition = write.open_table(table(at)).unwrap();
            for (_, offset, value) in records.iter().filter(|(partition, ..)| *partition == at) {
                partition.insert(offset, value.as_slice()).unwrap();
            }
        }
        write.open_table(LEDGER).unwrap().insert("slot", ledger).unwrap();
        write.commit().unwrap();
    }

    fn read(&self) -> (u64, u64) {
        let read = self.0.begin_read().unwrap();
        let (mut records, mut bytes) = (0, 0);
        for partition in 0..PARTITIONS {
            for pair in read.open_table(table(partition)).unwrap().iter().unwrap() {
                records += 1;
                bytes += pair.unwrap().1.value().len() as u64;
            }
        }
        (records, bytes)
    }

    fn trim(&mut self, partition: usize, before: u64) {
        let write = self.0.begin_write().unwrap();
        write.open_table(table(partition)).unwrap().retain_in(..before, |_, _| false).unwrap();
        write.commit().unwrap();
    }
}

/// A record that compresses as an item's JSON does.
fn record(n: u64) -> Vec<u8> {
    let mut state = n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut text = format!("{{\"key\":\"aircraft/{n}\",\"item\":{{");
    for field in 0..24 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("\"feature_{field:02}\":{{\"N\":\"{:.6}\"}},", (state >> 20) as f64 / 1e9));
    }
    text.push_str("\"end\":{\"BOOL\":true}}}");
    text.into_bytes()
}

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after = stat.rsplit(')').next().unwrap();
    after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn size(folder: &Path) -> u64 {
    let inner = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    inner.map(|entry| if entry.path().is_dir() { size(&entry.path()) } else { entry.metadata().unwrap().len() }).sum()
}

/// Commits a second, CPU ms of a commit, records read a second, bytes on disk for each byte, the same after the trim.
fn run(commits: u64, open: impl Fn(&Path) -> Box<dyn Store>) -> [f64; 5] {
    let folder = tempfile::tempdir_in(".").unwrap();
    let mut store = open(folder.path());
    let mut ends = [0_u64; PARTITIONS];
    let batches: Vec<Vec<(usize, u64, Vec<u8>)>> = (0..commits)
        .map(|commit| {
            let one = |n: u64| {
                let partition = (n * 5 + commit) as usize % PARTITIONS;
                ends[partition] += 1;
                (partition, ends[partition] - 1, record(commit * 64 + n))
            };
            (0..RECORDS as u64).map(one).collect()
        })
        .collect();
    let (began, used) = (Instant::now(), cpu());
    for (commit, batch) in batches.iter().enumerate() {
        store.commit(batch, format!("{{\"position\":{commit}}}").as_bytes());
    }
    let (took, used) = (began.elapsed().as_secs_f64(), cpu() - used);
    let began = Instant::now();
    let (records, bytes) = store.read();
    let read = began.elapsed().as_secs_f64();
    assert_eq!(records, commits * RECORDS as u64, "a store lost records");
    let before = size(folder.path()) as f64 / bytes as f64;
    for (partition, end) in ends.iter().enumerate() {
        store.trim(partition, end / 2);
    }
    let after = size(folder.path()) as f64 / bytes as f64;
    [commits as f64 / took, used * 1000.0 / commits as f64, records as f64 / read, before, after]
}

fn main() {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>().unwrap());
    let (commits, runs) = (args.next().unwrap_or(1_000), args.next().unwrap_or(5));
    let (mut fjall, mut redb) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        fjall.push(run(commits, |folder| Box::new(Fjall::open(folder))));
        redb.push(run(commits, |folder| Box::new(Redb::open(folder))));
    }
    let names = ["commits/s", "CPU ms/commit", "records read/s", "disk/byte", "disk/byte trimmed"];
    println!("{:<20}{:>14}{:>14}{:>14}", "", "fjall", "redb", "fjall/redb");
    for (at, name) in names.iter().enumerate() {
        let median = |runs: &[[f64; 5]]| {
            let mut values: Vec<f64> = runs.iter().map(|run| run[at]).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let (ours, other) = (median(&fjall), median(&redb));
        println!("{name:<20}{ours:>14.2}{other:>14.2}{:>14.2}", ours / other);
    }
}
