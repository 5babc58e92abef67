//! Restarts, crashes and take-overs: every record once, with one version.

use headwater_common::ledger::ShardStatus;
use headwater_tests::streams::Write;

use crate::stage::{Stage, TABLE, log, read, settings, start, x};

#[tokio::test(flavor = "multi_thread")]
async fn after_any_number_of_crashes_every_record_is_there_once_with_the_version_of_a_quiet_run() {
    let stage = Stage::new().await;
    stage.server.page_records(7);
    let parent = stage.server.open_shard(TABLE, None);
    let mut written = 0;
    for crash in 0..6 {
        for value in 0..40 {
            stage.server.write(TABLE, &parent, Write::put(&format!("k{}", value % 3), &x(value)));
        }
        written += 40;
        let worker = stage.start();
        let least = written - 40 + crash * 5;
        stage.until("some of it", async |on_log| on_log.changes.len() > least).await;
        worker.kill().await;
    }
    let (left, _) = stage.server.split(TABLE, &parent);
    stage.server.write(TABLE, &left, Write::put("k0", &x("last")));
    let worker = stage.start();
    let crashed = stage.changes(written + 1).await;
    crashed.assert_sound();
    worker.stop().await;

    let (quiet_log, _folder) = log();
    let worker = start(&stage.server.endpoint(), TABLE, quiet_log.clone(), settings());
    let quiet = headwater_tests::wait::until("the quiet run", std::time::Duration::from_secs(30), async || {
        let on_log = read(&quiet_log, TABLE).await;
        if on_log.changes.len() == written + 1 { Ok(on_log) } else { Err(format!("{}", on_log.changes.len())) }
    });
    assert_eq!(quiet.await.unwrap().versions(), crashed.versions());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_worker_takes_over_and_the_first_publishes_nothing_more() {
    let stage = Stage::new().await;
    stage.server.page_records(5);
    let shards: Vec<String> = (0..4).map(|_| stage.server.open_shard(TABLE, None)).collect();
    let fill = |from: usize| {
        for value in from..from + 100 {
            stage.server.write(TABLE, &shards[value % 4], Write::put(&format!("k{}", value % 4), &x(value)));
        }
    };
    fill(0);
    let first = stage.start();
    stage.until("a beginning", async |on_log| on_log.changes.len() > 20).await;
    let second = stage.start();
    fill(100);
    stage.changes(200).await.assert_sound();
    assert!(first.is_running(), "it stands by");
    second.ready().await;
    // The second alone goes on.
    first.stop().await;
    fill(200);
    stage.changes(300).await.assert_sound();
    let ledger = stage.ledger_until("all shards", |ledger| ledger.shards.len() == 4).await;
    assert!(ledger.shards.values().all(|entry| entry.status == ShardStatus::Open));
    second.stop().await;
}
