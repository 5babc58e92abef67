//! Shards that split, end and turn up late.

use headwater_common::change::Op;
use headwater_common::ledger::ShardStatus;
use headwater_tests::streams::{Call, Fault, ScriptedStreams, Write};

use crate::stage::{Stage, TABLE, find, settings, x};

fn fill(server: &ScriptedStreams, shard: &str, keys: &[&str], values: std::ops::Range<u32>) {
    for value in values {
        for key in keys {
            server.write(TABLE, shard, Write::put(key, &x(value)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_arrives_as_what_it_is() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    for write in [
        Write::put("a", &x(1)).created(1_700_000_000),
        Write::put("a", r#"{"x":{"S":"2"},"n":{"N":"1.50"}}"#).created(1_700_000_000),
        Write::delete("a").created(1_700_000_003),
        Write::put("b", &x(1)).created(1_700_000_003),
        Write::expire("b").created(1_700_000_004),
    ] {
        stage.server.write(TABLE, &shard, write);
    }
    let worker = stage.start();
    let on_log = stage.changes(5).await;
    let ops: Vec<Op> = on_log.changes.iter().map(|change| change.op).collect();
    assert_eq!(ops, [Op::Insert, Op::Modify, Op::Delete, Op::Insert, Op::Expire]);
    let second = 1_700_000_000_u64 << 30;
    let third = 1_700_000_003_u64 << 30;
    assert_eq!(on_log.versions(), [second, second + 1, third, third + 1, 1_700_000_004 << 30]);
    let modified = &on_log.changes[1];
    assert_eq!(modified.changed.as_deref(), Some(&["n".to_owned(), "x".to_owned()][..]));
    assert_eq!(modified.before, None, "by default the old image stays behind");
    assert_eq!(modified.after.as_ref().unwrap().to_json(), r#"{"id":{"S":"a"},"n":{"N":"1.50"},"x":{"S":"2"}}"#);
    assert_eq!(on_log.changes[4].source.identity.as_deref(), Some("Service"));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parent_is_committed_before_its_children() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    stage.server.hold(TABLE, &parent);
    fill(&stage.server, &parent, &["a", "b"], 0..20);
    let (left, right) = stage.server.split(TABLE, &parent);
    fill(&stage.server, &left, &["a"], 20..40);
    fill(&stage.server, &right, &["b"], 20..40);
    let worker = stage.start();
    stage.ledger_until("both children in the ledger", |ledger| ledger.shards.len() == 3).await;
    stage.server.release(TABLE, &parent);
    let on_log = stage.changes(80).await;
    on_log.assert_sound();
    let shards: Vec<&str> = on_log.changes.iter().map(|change| change.source.shard.as_str()).collect();
    assert!(shards[..40].iter().all(|shard| **shard == parent), "the parent's records come first");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_page_comes_although_it_has_no_next_iterator() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    fill(&stage.server, &shard, &["a"], 0..7);
    stage.server.close_shard(TABLE, &shard);
    stage.server.page_records(3);
    let worker = stage.start();
    stage.changes(7).await.assert_sound();
    let entry = stage.finished(&shard).await;
    assert!(entry.position.is_some());
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_visible_late_is_read_once() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    fill(&stage.server, &parent, &["a"], 0..5);
    stage.server.close_shard(TABLE, &parent);
    let child = stage.server.open_late_shard(TABLE, Some(&parent), 14);
    fill(&stage.server, &child, &["a"], 5..10);
    let worker = stage.start();
    stage.finished(&parent).await;
    // The next owner of the slots knows as little of the child.
    worker.stop().await;
    let worker = stage.start();
    stage.changes(10).await.assert_sound();
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_shard_that_is_still_listed_is_not_read_again() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    fill(&stage.server, &parent, &["a"], 0..5);
    let (left, _) = stage.server.split(TABLE, &parent);
    for round in 0..3 {
        let worker = stage.start();
        stage.finished(&parent).await;
        fill(&stage.server, &left, &["a"], 10 + round..11 + round);
        stage.changes(6 + round as usize).await.assert_sound();
        worker.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_listing_gets_to_its_end_although_calls_fail() {
    let stage = Stage::new().await;
    stage.server.page_shards(3);
    let shards: Vec<String> = (0..10).map(|_| stage.server.open_shard(TABLE, None)).collect();
    for (index, shard) in shards.iter().enumerate() {
        stage.server.write(TABLE, shard, Write::put(&format!("k{index}"), &x(index)));
    }
    stage.server.fail_next(Call::DescribeStream, 2, Fault::status(500, "InternalServerError"));
    stage.server.throttle_share(0.3);
    let worker = stage.start();
    stage.changes(10).await.assert_sound();
    stage.server.throttle_share(0.0);
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_answers_are_not_the_end() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    fill(&stage.server, &shard, &["a"], 0..3);
    stage.server.answer_empty(TABLE, &shard, 20);
    let worker = stage.start();
    stage.changes(3).await;
    let ledger = stage.ledger_until("the shard", |ledger| !ledger.shards.is_empty()).await;
    assert_eq!(find(&ledger, &shard).unwrap().status, ShardStatus::Open);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_image_is_carried_when_it_is_wanted() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    fill(&stage.server, &shard, &["a"], 0..2);
    let worker = stage.start_with(headwater_ingest::Settings { before_image: true, ..settings() });
    let on_log = stage.changes(2).await;
    let before = on_log.changes[1].before.as_ref().map(|item| item.to_json());
    assert_eq!(before.as_deref(), Some(r#"{"id":{"S":"a"},"x":{"S":"0"}}"#));
    worker.stop().await;
}
