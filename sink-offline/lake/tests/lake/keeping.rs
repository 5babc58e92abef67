//! Checkpoints, clean-up, vacuum.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::{Clock, SystemClock};
use headwater_common::health::Health;
use headwater_lake::Maintenance;
use headwater_lake::maintain::Settings;
use headwater_lake::table::log::TableLog;
use headwater_lake::table::state::Keep;
use headwater_sink_offline::Lake;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, delete, naive, put, small, table};
use crate::on_each_store;
use crate::place::Place;

fn maintenance(fixture: &Fixture, clock: Arc<dyn Clock>, settings: Settings) -> Maintenance {
    let entities = vec![fixture.entity.clone()];
    Maintenance { lake: fixture.lake.clone(), entities, settings, clock, health: Health::default() }
}

fn settings() -> Settings {
    Settings { current: small(), checkpoint_commits: 10, fold_ms: 100, ..Settings::default() }
}

/// A clock ahead of the machine's by `span`, since files have the machine's time.
fn later(span: Duration) -> Arc<dyn Clock> {
    Arc::new(headwater_common::clock::ManualClock::at(SystemClock.now().plus(span)))
}

const DAY: Duration = Duration::from_secs(86_400);

async fn a_table_reads_the_same_after_checkpoint_clean_up_and_restart(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    for at in 1..=25 {
        fixture.flush(&[put(&format!("k{}", at % 7), 2 * at), delete(&format!("k{}", at % 5), 2 * at + 1)]).await;
        fixture.fold().await;
    }
    let report = maintenance(&fixture, later(DAY * 30), settings()).run_once(&table()).await.unwrap();
    assert_eq!(report.checkpoints, [25, 25]);
    assert!(report.log_files_deleted >= 48, "{report:?}");
    assert!(report.files_deleted > 20, "{report:?}");
    assert_eq!(fixture.current().await, naive(&fixture.written));
    assert_eq!(fixture.live().await, naive(&fixture.written));
    fixture.flush(&[put("new", 1000)]).await;
    assert_eq!(fixture.live().await, naive(&fixture.written));
    fixture.fold().await;
    assert_eq!(fixture.current().await, naive(&fixture.written));
    // delta-rs agrees on the files.
    for location in [fixture.lake.history(&table()), fixture.lake.current(&table())] {
        let mut theirs = location.delta().unwrap();
        theirs.load().await.unwrap();
        let ours = TableLog::new(location, Keep::Bounds).refresh().await.unwrap().unwrap();
        let mut paths: Vec<String> = theirs.get_file_uris().unwrap().collect();
        paths.sort();
        let mut own: Vec<String> = ours.files.keys().map(|path| format!("{}{path}", theirs.table_url())).collect();
        own.sort();
        let tail = |paths: &[String]| {
            paths
                .iter()
                .map(|path| path.rsplit('/').next().unwrap().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!(tail(&paths), tail(&own));
        assert_eq!(theirs.version(), Some(ours.version as u64));
    }
}

async fn vacuum_never_takes_a_file_that_a_reader_may_need(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    for at in 1..=6 {
        fixture.flush(&[put(&format!("k{}", at % 3), at)]).await;
        fixture.fold().await;
    }
    let orphan = object_store::path::Path::from("_date=2026-01-01/orphan.parquet");
    let store = fixture.lake.history(&table()).store;
    object_store::ObjectStoreExt::put(&*store, &orphan, "left by a flush that failed".into()).await.unwrap();
    // A query that began before.
    let reader = fixture.reader();
    let open = reader.live_rows(&table()).await.unwrap();
    // Within the retention nothing goes, neither replaced files nor the orphan.
    let now: Arc<dyn Clock> = Arc::new(SystemClock);
    let report = maintenance(&fixture, now, settings()).run_once(&table()).await.unwrap();
    assert_eq!((report.files_deleted, report.log_files_deleted), (0, 0));
    assert_eq!(futures::TryStreamExt::try_collect::<Vec<_>>(open).await.unwrap().len(), naive(&fixture.written).len());
    // After it only what is not referenced.
    let report = maintenance(&fixture, later(DAY * 8), settings()).run_once(&table()).await.unwrap();
    assert!(report.files_deleted >= 2, "{report:?}");
    assert!(object_store::ObjectStoreExt::head(&*store, &orphan).await.is_err());
    assert_eq!(fixture.current().await, naive(&fixture.written));
    assert_eq!(fixture.reader().sql("SELECT * FROM aircraft_history").await.unwrap().rows(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn current_is_rebuilt_where_it_or_the_log_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::local(folder.path()).unwrap();
    let mut fixture = Fixture::on(lake, crate::fixture::entity()).await;
    for at in 1..=30 {
        let keep = if at % 4 == 0 { delete(&format!("k{}", at % 6), at) } else { put(&format!("k{}", at % 9), at) };
        fixture.flush(&[keep]).await;
    }
    fixture.fold().await;
    maintenance(&fixture, later(DAY * 30), settings()).run_once(&table()).await.unwrap();
    // The commits are cleaned up; who has lost current can only go over the files.
    std::fs::remove_dir_all(folder.path().join("aircraft_current")).unwrap();
    assert_eq!(fixture.live().await, naive(&fixture.written), "without current");
    assert!(fixture.fold().await.rebuilt);
    assert_eq!(fixture.current().await, naive(&fixture.written));
    // A history made anew is another history.
    std::fs::remove_dir_all(folder.path().join("aircraft_history")).unwrap();
    let mut anew = Fixture::on(fixture.lake.clone(), crate::fixture::entity()).await;
    anew.flush(&[put("other", 1)]).await;
    assert_eq!(anew.live().await, naive(&anew.written), "current of another history is not looked at");
    assert!(anew.fold().await.rebuilt);
    assert_eq!(anew.current().await, naive(&anew.written));
}

async fn maintenance_keeps_up_beside_the_stream_and_stops_when_told(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let mut kept = maintenance(&fixture, Arc::new(SystemClock), settings());
    kept.health = health.clone();
    let running = tokio::spawn(kept.run(shutdown.clone()));
    for at in 1..=20 {
        fixture.flush(&[put(&format!("k{}", at % 5), at)]).await;
    }
    let expected = naive(&fixture.written);
    let done = tokio::time::timeout(Duration::from_secs(60), async {
        while fixture.current().await != expected {
            tokio::task::yield_now().await;
        }
    });
    done.await.expect("current catches up");
    assert!(health.is_ready());
    shutdown.cancel();
    running.await.unwrap().unwrap();
    assert!(health.status().contains_key(headwater_lake::maintain::PART));
}

on_each_store!(
    a_table_reads_the_same_after_checkpoint_clean_up_and_restart,
    vacuum_never_takes_a_file_that_a_reader_may_need,
    maintenance_keeps_up_beside_the_stream_and_stops_when_told,
);
