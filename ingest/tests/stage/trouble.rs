//! What passes is waited out; what does not is named.

use headwater_ingest::Settings;
use headwater_tests::streams::{Call, Fault, Write};

use crate::stage::{Stage, TABLE, settings, x};

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_iterator_is_replaced_at_the_same_place() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    for value in 2..6 {
        stage.server.expire_iterators();
        stage.server.write(TABLE, &shard, Write::put("a", &x(value)));
        stage.changes(value).await.assert_sound();
    }
    assert!(worker.health.parts()["ingest"].ready, "nobody need act");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn throttles_failures_and_silence_are_waited_out() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    for value in 0..50 {
        stage.server.write(TABLE, &shard, Write::put("a", &x(value)));
    }
    stage.server.page_records(5);
    stage.server.throttle_share(0.5);
    stage.server.fail_next(Call::GetRecords, 2, Fault::code("LimitExceededException"));
    stage.server.fail_next(Call::GetRecords, 2, Fault::status(500, "InternalServerError"));
    stage.server.fail_next(Call::GetRecords, 1, Fault::Silence);
    stage.server.fail_next(Call::GetShardIterator, 2, Fault::throttled());
    let worker = stage.start_with(Settings { request_timeout_ms: 300, ..settings() });
    stage.changes(50).await.assert_sound();
    stage.server.throttle_share(0.0);
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_trouble_turns_readiness_off_and_on_again() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    let worker = stage.start();
    worker.ready().await;
    stage.server.hold(TABLE, &shard);
    let reason = worker.not_ready_for("ThrottlingException").await;
    assert!(reason.contains(&shard) && reason.contains(TABLE), "{reason}");
    stage.server.release(TABLE, &shard);
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_access_is_said_at_once_and_mended_without_a_restart() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    // Once: the failures after it may pass, and are said only when there were several.
    stage.server.fail_next(Call::GetRecords, 1, Fault::code("AccessDeniedException"));
    stage.server.hold(TABLE, &shard);
    let worker = stage.start();
    worker.not_ready_for("AccessDeniedException").await;
    stage.server.release(TABLE, &shard);
    stage.changes(1).await;
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_without_new_images_is_refused_with_the_remedy() {
    let stage = Stage::new().await;
    stage.server.view_type(TABLE, "KEYS_ONLY");
    let shard = stage.server.open_shard(TABLE, None);
    let worker = stage.start();
    let reason = worker.not_ready_for("KEYS_ONLY").await;
    assert!(reason.contains("NEW_AND_OLD_IMAGES"), "{reason}");
    assert_eq!(stage.server.calls(Call::GetRecords), 0);
    stage.server.view_type(TABLE, "NEW_IMAGE");
    stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    stage.server.write(TABLE, &shard, Write::put("a", &x(2)));
    let on_log = stage.changes(2).await;
    assert!(on_log.changes.iter().all(|change| change.changed.is_none()), "one image names no differences");
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_switched_off_is_read_to_its_end_all_the_same() {
    let stage = Stage::new().await;
    let parent = stage.server.open_shard(TABLE, None);
    stage.server.write(TABLE, &parent, Write::put("a", &x(1)));
    let worker = stage.start();
    stage.changes(1).await;
    stage.server.hold(TABLE, &parent);
    stage.server.disable_stream(TABLE);
    worker.not_ready_for("has no stream").await;
    // Only the stream that the table has no longer can name it.
    let child = stage.server.open_shard(TABLE, Some(&parent));
    stage.server.write(TABLE, &child, Write::put("a", &x(2)));
    stage.server.close_shard(TABLE, &child);
    stage.server.release(TABLE, &parent);
    stage.changes(2).await.assert_sound();
    worker.not_ready_for("has no stream").await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_later_is_followed_then() {
    let stage = Stage::new().await;
    let worker = crate::stage::start(&stage.server.endpoint(), "later", stage.log.clone(), settings());
    worker.not_ready_for("does not exist").await;
    stage.server.create_table("later", "id", None);
    let shard = stage.server.open_shard("later", None);
    stage.server.write("later", &shard, Write::put("a", &x(1)));
    worker.ready().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_not_be_converted_halts_its_shard_and_no_other() {
    let stage = Stage::new().await;
    let bad = stage.server.open_shard(TABLE, None);
    let good = stage.server.open_shard(TABLE, None);
    let place = stage.server.write(TABLE, &bad, Write::put("a", r#"{"x":{"N":"many"}}"#));
    stage.server.write(TABLE, &good, Write::put("b", &x(1)));
    let worker = stage.start();
    let reason = worker.not_ready_for(&place).await;
    assert!(reason.contains(&bad) && !reason.contains("many"), "the place and not the value: {reason}");
    assert_eq!(stage.changes(1).await.seen(), [("b".to_owned(), "1".to_owned())]);
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_are_refused_at_start() {
    let stage = Stage::new().await;
    let worker = stage.start_with(Settings { page_records: 0, ..settings() });
    let error = tokio::time::timeout(std::time::Duration::from_secs(10), worker.ended()).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("page_records"), "{error}");
}
