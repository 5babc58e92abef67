//! What is lost unread is said, and said again after a restart.

use headwater_common::ledger::{GapCause, Ledger, ShardStatus};
use headwater_common::order::SequenceNumber;
use headwater_tests::streams::Write;

use crate::stage::{Stage, TABLE, find, now, x};

fn one_gap(ledger: &Ledger, cause: GapCause) -> bool {
    ledger.open_gaps().count() == 1 && ledger.open_gaps().all(|gap| gap.cause == cause)
}

#[tokio::test(flavor = "multi_thread")]
async fn records_trimmed_before_they_were_read_are_a_gap_that_outlives_a_restart() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    let read = stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    worker.ready().await;
    worker.stop().await;

    stage.server.write(TABLE, &shard, Write::put("a", &x(2)));
    let lost = stage.server.write(TABLE, &shard, Write::put("a", &x(3)));
    let kept = stage.server.write(TABLE, &shard, Write::put("a", &x(4)));
    stage.server.trim(TABLE, &shard, &lost);
    let worker = stage.start();
    let on_log = stage.changes(2).await;
    assert_eq!(on_log.seen(), [("a".to_owned(), "1".to_owned()), ("a".to_owned(), "4".to_owned())]);
    on_log.assert_sound();
    let ledger = stage.ledger_until("the gap", |ledger| one_gap(ledger, GapCause::Trimmed)).await;
    let gap = ledger.open_gaps().next().unwrap();
    assert_eq!(
        (gap.from.clone(), gap.to.clone()),
        (SequenceNumber::parse(&read).ok(), SequenceNumber::parse(&kept).ok())
    );
    let reason = worker.not_ready_for("lost unread").await;
    assert!(reason.contains(&shard), "{reason}");
    worker.stop().await;

    let worker = stage.start();
    stage.server.write(TABLE, &shard, Write::put("a", &x(5)));
    stage.changes(3).await.assert_sound();
    worker.not_ready_for("lost unread").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_is_trimmed_to_nothing_under_its_reader_is_a_gap_too() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    stage.server.hold(TABLE, &shard);
    let lost = stage.server.write(TABLE, &shard, Write::put("a", &x(2)));
    stage.server.trim(TABLE, &shard, &lost);
    stage.server.release(TABLE, &shard);
    stage.ledger_until("the gap", |ledger| one_gap(ledger, GapCause::Trimmed)).await;
    // A crash between the gap and the first record after it.
    worker.kill().await;
    let kept = stage.server.write(TABLE, &shard, Write::put("a", &x(3)));
    let worker = stage.start();
    stage.changes(2).await.assert_sound();
    let closed = SequenceNumber::parse(&kept).ok();
    stage.ledger_until("the gap's end", |ledger| ledger.open_gaps().all(|gap| gap.to == closed)).await;
    worker.not_ready_for("lost unread").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_the_service_has_forgotten_is_lost_with_a_gap_and_its_child_goes_on() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &parent, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    worker.stop().await;
    stage.server.write(TABLE, &parent, Write::put("a", &x(2)));
    let child = stage.server.open_shard(TABLE, Some(&parent));
    stage.server.write(TABLE, &child, Write::put("a", &x(3)));
    stage.server.drop_shard(TABLE, &parent);
    let worker = stage.start();
    stage.changes(2).await.assert_sound();
    let ledger = stage.ledger_until("the gap", |ledger| one_gap(ledger, GapCause::ShardVanished)).await;
    assert_eq!(find(&ledger, &parent).unwrap().status, ShardStatus::Lost);
    worker.not_ready_for("lost unread").await;
    stage.complete_beyond(now()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_stream_is_a_new_generation_after_the_old_one_and_a_gap() {
    let stage = Stage::new().await;
    let old = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &old, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    stage.server.hold(TABLE, &old);
    stage.server.write(TABLE, &old, Write::put("a", &x(2)));
    let arn = stage.server.replace_stream(TABLE);
    let new = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &new, Write::put("a", &x(3)));
    let unread = now();
    stage.ledger_until("the new stream's shard", |ledger| find(ledger, &new).is_some()).await;
    stage.server.release(TABLE, &old);
    let on_log = stage.changes(3).await;
    on_log.assert_sound();
    let values: Vec<String> = on_log.seen().into_iter().map(|(_, x)| x).collect();
    assert_eq!(values, ["1", "2", "3"], "the old stream is drained first");
    assert_eq!((on_log.changes[2].source.generation, on_log.changes[2].source.stream.as_str()), (2, arn.as_str()));
    stage.ledger_until("the gap", |ledger| one_gap(ledger, GapCause::StreamReplaced)).await;
    worker.not_ready_for("lost unread").await;
    stage.complete_beyond(unread).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_stream_that_is_gone_at_once_is_lost_and_the_new_one_is_followed() {
    let stage = Stage::new().await;
    let old = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &old, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    stage.server.replace_stream(TABLE);
    stage.server.drop_old_streams(TABLE);
    let new = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &new, Write::put("a", &x(2)));
    stage.changes(2).await.assert_sound();
    let ledger = stage.ledger_until("both gaps", |ledger| ledger.open_gaps().count() == 2).await;
    assert_eq!(find(&ledger, &old).unwrap().status, ShardStatus::Lost);
    stage.complete_beyond(now()).await;
    worker.stop().await;
}
