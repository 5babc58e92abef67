//! From the change log through the real sink into the lake, and asked.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::SystemClock;
use headwater_common::codec::encode;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, CommitBatch, LogEvent, Ownership};
use headwater_lake::{LakeReader, Maintenance};
use headwater_sink_offline::{Lake, SinkOffline};
use tokio_util::sync::CancellationToken;

use crate::fixture::{delete, entity, live, naive, put, small, table};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_the_log_is_in_the_lake() {
    let folder = tempfile::tempdir().unwrap();
    let log: Arc<dyn ChangeLog> =
        Arc::new(EmbeddedLog::open(&folder.path().join("log"), Layout { slots: 1, partitions: 3 }).unwrap());
    log.open_table(&table()).await.unwrap();
    let lake = Lake::local(&folder.path().join("lake")).unwrap();
    let (shutdown, health) = (CancellationToken::new(), Health::default());
    let settings = headwater_sink_offline::Settings { flush_ms: 50, ..Default::default() };
    let sink = SinkOffline {
        log: Arc::clone(&log),
        lake: lake.clone(),
        entities: vec![entity()],
        settings,
        clock: Arc::new(SystemClock),
        health: health.clone(),
    };
    let sink = tokio::spawn(sink.run(shutdown.clone()));
    let settings = headwater_lake::maintain::Settings { current: small(), fold_ms: 100, ..Default::default() };
    let kept =
        Maintenance { lake: lake.clone(), entities: vec![entity()], settings, clock: Arc::new(SystemClock), health };
    let kept = tokio::spawn(kept.run(shutdown.clone()));

    let mut membership = log.join().await.unwrap();
    let Ok(Ownership::Acquired(mut writer)) = membership.changed().await else { panic!("no slot") };
    let mut written = Vec::new();
    for round in 0..20_u64 {
        let base = round * 100;
        let changes: Vec<_> = (1..=40)
            .map(|at| (format!("k{}", (base + at * 7) % 53), base + at))
            .map(|(key, version)| if version % 5 == 0 { delete(&key, version) } else { put(&key, version) })
            .collect();
        let event = |change: &headwater_common::change::Change| LogEvent {
            table: table(),
            key: change.key.canonical(),
            value: encode(change),
        };
        let batch = CommitBatch { events: changes.iter().map(event).collect(), ..CommitBatch::default() };
        let _durable = writer.commit(batch).await.unwrap();
        written.extend(changes);
    }
    let reader = LakeReader::open(lake, &[entity()]);
    let expected = naive(&written);
    let arrived = tokio::time::timeout(Duration::from_secs(120), async {
        while reader.complete_until(&table()).await.is_err() || count(&reader).await < written.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    arrived.await.expect("the log is in the lake");
    assert_eq!(live(&reader).await, expected);
    assert_eq!(reader.row_count(&table()).await.unwrap(), expected.len() as u64);
    shutdown.cancel();
    sink.await.unwrap().unwrap();
    kept.await.unwrap().unwrap();
    assert_eq!(live(&reader).await, expected, "and without the stack");
}

async fn count(reader: &LakeReader) -> usize {
    let Ok(answer) = reader.sql("SELECT count(*) AS n FROM aircraft_history").await else { return 0 };
    crate::fixture::rows(&answer)[0]["n"].as_u64().unwrap() as usize
}
