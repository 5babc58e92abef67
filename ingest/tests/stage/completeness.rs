//! Marks never claim what is unread.

use headwater_common::clock::Timestamp;
use headwater_tests::streams::Write;

use crate::stage::{Stage, TABLE, now, x};

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_table_is_complete_up_to_about_now() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    let written = now();
    let worker = stage.start();
    let on_log = stage.complete_beyond(written).await;
    assert_eq!(on_log.changes.len(), 1, "what is claimed is there");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unread_child_keeps_completeness_at_its_parents_end() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &parent, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.complete_beyond(now()).await;
    let (left, right) = stage.server.split(TABLE, &parent);
    stage.server.hold(TABLE, &right);
    let unread = now();
    stage.server.write(TABLE, &right, Write::put("b", &x(1)));
    stage.server.write(TABLE, &left, Write::put("a", &x(2)));
    stage.changes(2).await;
    stage.finished(&parent).await;
    let marks = stage.until("a mark", async |on_log| on_log.marks > 0).await.marks;
    // Long enough for every other reason to hold to pass: a second's worth of marks, and the siblings' margin.
    let on_log = stage.until("more marks", async |on_log| on_log.marks > marks + 30).await;
    assert!(on_log.complete_until().unwrap() <= unread, "{:?} is beyond {unread}", on_log.complete_until());
    stage.server.release(TABLE, &right);
    assert_eq!(stage.complete_beyond(now()).await.changes.len(), 3);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_nobody_has_seen_yet_keeps_completeness_too() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    let worker = stage.start();
    stage.complete_beyond(now()).await;
    stage.server.close_shard(TABLE, &parent);
    let unread = now();
    let late = stage.server.open_late_shard(TABLE, Some(&parent), 25);
    stage.server.write(TABLE, &late, Write::put("b", &x(1)));
    // At every look: a claim beyond the write without the write would be a lie.
    let honest = |seen: Option<Timestamp>, changes: usize| changes == 1 || seen <= Some(unread);
    let on_log = stage
        .until("the late child's record", async |on_log| {
            assert!(honest(on_log.complete_until(), on_log.changes.len()), "{:?}", on_log.complete_until());
            on_log.changes.len() == 1
        })
        .await;
    on_log.assert_sound();
    stage.complete_beyond(now()).await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_is_claimed_only_as_far_as_it_is_read() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    let first = now().as_millis() / 1000 - 600;
    for second in 0..300 {
        stage.server.write(TABLE, &shard, Write::put("a", &x(second)).created(first + second));
    }
    stage.server.page_records(5);
    let worker = stage.start();
    stage
        .until("the end of the backlog", async |on_log| {
            let read = on_log.changes.last().map(|change| change.created);
            let claimed = on_log.complete_until();
            assert!(on_log.changes.len() == 300 || claimed <= read.max(Some(Timestamp::EPOCH)), "{claimed:?} {read:?}");
            claimed.is_some_and(|claimed| claimed.as_millis() > (first + 299) * 1000)
        })
        .await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_claimed_while_the_stream_is_off() {
    let stage = Stage::new().await;
    stage.server.open_shard(TABLE, None);
    let worker = stage.start();
    stage.complete_beyond(now()).await;
    stage.server.disable_stream(TABLE);
    worker.not_ready_for("no stream").await;
    // Marks of before may still be under way.
    let off = now();
    worker.not_ready_for("no stream").await;
    let on_log = crate::stage::read(&stage.log, TABLE).await;
    assert!(on_log.complete_until() <= Some(off));
    worker.stop().await;
}
