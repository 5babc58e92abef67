//! The producer against the real embedded server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_common::clock::SystemClock;
use headwater_example_flights::{Flights, Progress, Replay, definitions, replay};
use headwater_local_store::{LocalStore, Settings};
use headwater_sdk::{FeatureStore, Timestamp};
use tokio_util::sync::CancellationToken;

struct Server {
    store: LocalStore,
    features: FeatureStore,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            address: "127.0.0.1:0".parse().unwrap(),
            folder: folder.path().to_owned(),
            ..Settings::default()
        };
        let store = LocalStore::start(settings).unwrap();
        let features = FeatureStore::connect(Some(&store.endpoint()), definitions().unwrap()).await.unwrap();
        features.ensure_tables().await.unwrap();
        Server { store, features, _folder: folder }
    }

    async fn replay(&self, flights: Flights) -> Progress {
        self.replay_until(Replay { flights, ..Replay::default() }, &|_| {}, CancellationToken::new()).await
    }

    async fn replay_until(
        &self,
        flights: Replay,
        observer: &(dyn Fn(Progress) + Sync),
        stop: CancellationToken,
    ) -> Progress {
        replay(&self.features, &flights, Arc::new(SystemClock), observer, stop).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_write_of_a_replay_is_the_newest_of_its_key_and_what_is_read_back_is_its_last() {
    let server = Server::start().await;
    let summary = server.replay(Flights::First(1_000)).await;
    let expected: Vec<_> = crate::features::writes(1_000).collect();
    assert_eq!((summary.flights, summary.older), (1_000, 0));
    assert_eq!((summary.writes, summary.applied), (expected.len() as u64, expected.len() as u64));
    for (entity, key) in [("aircraft", "N228JB"), ("aircraft", "N14228"), ("airport", "JFK"), ("airport", "SJU")] {
        let last = expected.iter().rev().find(|write| write.entity == entity && write.key == key).unwrap();
        let stored = server.features.entity(entity).unwrap().consistent().get(key).await.unwrap().unwrap();
        for (name, value) in &last.item.clone().build().unwrap().0 {
            assert_eq!(stored.get(name).map(|value| value.normalised()), Some(value.normalised()), "{key} {name}");
        }
        assert_eq!(stored.get("event_time").unwrap().as_number().unwrap().to_i64(), Some(last.event_time.as_millis()));
    }
    server.store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_comes_again_changes_nothing() {
    let server = Server::start().await;
    let first = server.replay(Flights::First(200)).await;
    let jfk = async || server.features.entity("airport").unwrap().consistent().get("JFK").await.unwrap();
    let before = jfk().await;
    let again = server.replay(Flights::First(200)).await;
    assert_eq!(again.writes, first.writes);
    assert!(again.older > 0);
    assert_eq!(jfk().await, before);
    server.store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_replay_with_all_that_was_queued_written() {
    let server = Server::start().await;
    let stop = CancellationToken::new();
    let told = AtomicU64::new(0);
    let observer = |progress: Progress| {
        told.store(progress.writes, Ordering::Relaxed);
        if progress.writes > 100 {
            stop.cancel();
        }
    };
    let whole_year = Replay { rate: Some(2_000.0), ..Replay::default() };
    let summary = server.replay_until(whole_year, &observer, stop.clone()).await;
    assert!(summary.flights < 336_776);
    assert_eq!(summary.writes, summary.applied);
    assert_eq!(told.load(Ordering::Relaxed), summary.writes);
    assert!(summary.event_time > Timestamp::parse_rfc3339("2013-01-01T10:17:00Z").unwrap());
    server.store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_for_a_time_ends_by_itself() {
    let server = Server::start().await;
    let summary = server.replay(Flights::For(Duration::from_millis(300))).await;
    assert!(summary.writes > 0 && summary.flights < 336_776);
    assert!(summary.elapsed >= Duration::from_millis(300));
    server.store.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_missing_ends_the_replay_with_the_place_and_the_remedy() {
    let server = Server::start().await;
    server.features.client().delete_table().table_name("airport").send().await.unwrap();
    let of = Replay { flights: Flights::First(100), ..Replay::default() };
    let error =
        replay(&server.features, &of, Arc::new(SystemClock), &|_| {}, CancellationToken::new()).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("writing airport ") && text.contains("ensure_table"), "{text}");
    server.store.shutdown().await.unwrap();
}
