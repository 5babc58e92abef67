//! The cost of a commit as the table grows: `cargo run -p headwater-sink-offline --example bench_commits [commits]`.
//!
//! Counts the requests of every commit, and compares the time of the last hundred with that of the first.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../tests/stage/stores.rs"]
#[allow(dead_code)]
mod stores;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::definition::Entity;
use headwater_common::log::{LogId, Offset};
use headwater_sink_offline::Lake;
use headwater_sink_offline::commit::Committer;
use headwater_sink_offline::delta::Add;
use headwater_sink_offline::plan::Plan;
use headwater_sink_offline::position::{Moves, Step};

const PARTITIONS: u16 = 4;

fn median(times: &[Duration]) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times[times.len() / 2]
}

#[tokio::main]
async fn main() {
    let commits: u64 = std::env::args().nth(1).map_or(5_000, |argument| argument.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let local = Lake::local(folder.path()).unwrap();
    let store = stores::WatchedStore::new(local.store());
    let lake = Lake::new(Arc::new(store.clone()), local.root().clone());
    let entity: Entity = serde_json::from_value(serde_json::json!({
        "entity": "flights", "key": { "partition": { "name": "carrier", "type": "string" } },
    }))
    .unwrap();
    let plan = Arc::new(Plan::of(&entity).unwrap());
    let location = lake.history(&entity.table());
    let log = LogId("bench".into());
    let mut committer = Committer::open(location, plan, log, &SystemClock).await.unwrap();
    let (mut times, mut requests) = (Vec::new(), BTreeSet::new());
    for n in 0..commits {
        let step = Step { before: n.checked_sub(1).map(Offset), last: Offset(n) };
        let until = Timestamp::from_millis(n as i64);
        let moves = Moves {
            steps: (0..PARTITIONS).map(|partition| (partition, step)).collect(),
            complete: (0..PARTITIONS).map(|partition| (partition, until)).collect(),
        };
        let add = Add {
            path: format!("_date=2024-01-01/part-{n}.parquet"),
            partition_values: [("_date".to_owned(), Some("2024-01-01".to_owned()))].into(),
            size: 1,
            modification_time: 1,
            data_change: true,
            stats: Some(r#"{"numRecords":1}"#.into()),
            deletion_vector: None,
        };
        store.reset(None);
        let start = Instant::now();
        committer.commit(&moves, Some(&add), &SystemClock).await.unwrap();
        times.push(start.elapsed());
        let counts = store.counts();
        requests.insert((counts.puts, counts.gets, counts.lists));
    }
    let around = |at: usize| &times[at.saturating_sub(100).min(times.len() - 100)..(at + 100).min(times.len())];
    let (early, late) = (median(around(100)), median(around(times.len())));
    println!("requests of each commit (puts, gets, lists): {requests:?}");
    println!(
        "commit 100: {early:?}, commit {commits}: {late:?}, ratio {:.2}",
        late.as_secs_f64() / early.as_secs_f64()
    );
}
