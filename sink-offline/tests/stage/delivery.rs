//! Exactly once, completeness, and tables that don't hold each other up.

use headwater_common::change::{Change, TableName};
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_sink_offline::Settings;

use crate::fixture::*;
use crate::on_each_store;
use crate::place::Place;

async fn changes_are_there_once_whatever_the_restarts(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    for round in 0..4_u64 {
        log.write_and_mark(round * 30..(round + 1) * 30).await;
        let sink = Sink::start(&log, &lake, simple(), quick());
        sink.complete((round as i64 + 1) * 30).await;
        sink.stop().await.unwrap();
    }
    assert_exactly_once(&lake, 0..120, "after four runs").await;
}

async fn a_stop_commits_what_is_held(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    let settings = Settings { flush_ms: 3_600_000, ..quick() };
    let sink = Sink::start(&log, &lake, simple(), settings);
    until_true("ready", || sink.health.is_ready() && sink.progress("aircraft").is_some()).await;
    log.write((0..10).map(change)).await;
    until_true("behind", || sink.progress("aircraft").is_some_and(|table| table.behind == 10)).await;
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..10, "after the stop").await;
}

async fn a_table_without_changes_says_how_far_it_is_complete_and_holds_it_over_a_restart(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    let sink = Sink::start(&log, &lake, simple(), quick());
    log.mark(1_000).await;
    sink.complete(1_000).await;
    log.mark(2_000).await;
    sink.complete(2_000).await;
    sink.stop().await.unwrap();
    let again = Sink::start(&log, &lake, simple(), quick());
    again.complete(2_000).await;
    assert_eq!(again.progress("aircraft").unwrap().applied, 0);
    again.stop().await.unwrap();
    assert!(history(&lake).await.is_empty(), "no file for marks alone");
}

async fn completeness_is_not_said_before_its_changes_are_committed(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    let sink = Sink::start(&log, &lake, simple(), quick());
    until_true("ready", || sink.health.is_ready() && sink.progress("aircraft").is_some()).await;
    store.set_broken(Some("part-"));
    log.write_and_mark(0..5).await;
    until_true("in trouble", || !sink.health.is_ready()).await;
    assert_eq!(sink.progress("aircraft").unwrap().complete_until, None);
    store.set_broken(None);
    sink.complete(5).await;
    assert!(sink.health.is_ready());
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..5, "after the outage").await;
}

async fn a_full_disk_is_waited_out_with_nothing_lost_or_doubled(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    let sink = Sink::start(&log, &lake, simple(), quick());
    log.write_and_mark(0..20).await;
    sink.complete(20).await;
    store.set_full(true);
    log.write_and_mark(20..40).await;
    until_true("held", || !sink.health.is_ready()).await;
    log.write_and_mark(40..60).await;
    store.set_full(false);
    sink.complete(60).await;
    assert!(sink.health.is_ready(), "{}", sink.reason());
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..60, "after there was room again").await;
}

fn named(name: &str) -> Entity {
    Entity { entity: name.into(), ..simple() }
}

async fn one_tables_trouble_holds_up_no_other_and_its_memory_is_bounded(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    store.set_broken(Some("airports_history/_date"));
    let settings = Settings { memory_bytes: 1 << 17, flush_bytes: 1 << 16, ..quick() };
    let counting = CountingLog::over(&log);
    let given = counting.given();
    let entities = vec![named("aircraft"), named("airports")];
    let sink = Sink::over(std::sync::Arc::new(counting), &lake, entities, settings);
    let of = |name: &str, n: u64| Change { table: TableName::new(name), ..change(n) };
    for round in 0..20 {
        log.write((round * 1000..(round + 1) * 1000).map(|n| of("airports", n))).await;
    }
    log.write((0..500).map(|n| of("aircraft", n))).await;
    log.mark(500).await;
    sink.complete(500).await;
    assert!(sink.reason().contains("airports"), "{}", sink.reason());
    assert_exactly_once(&lake, 0..500, "aircraft").await;
    let held = given.lock()[&TableName::new("airports")];
    assert!(held < 10_000, "{held} of 20000 records were read though none can be committed");
    store.set_broken(None);
    until_true("caught up", || sink.progress("airports").is_some_and(|table| table.applied == 20_000)).await;
    assert!(sink.health.is_ready());
    sink.stop().await.unwrap();
    let rows: usize = read_table(&lake.table("airports_history")).await.iter().map(|batch| batch.num_rows()).sum();
    assert_eq!(rows, 20_000);
}

async fn lag_is_measured_from_the_producers_write_to_visibility(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    log.write([with_image(1, r#"{"tail":{"S":"N1"},"written_at":{"N":"1700000000000"}}"#), change(2)]).await;
    log.mark(1).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(1).await;
    until_true("nothing behind", || sink.progress("aircraft").is_some_and(|table| table.behind == 0)).await;
    let progress = sink.progress("aircraft").unwrap();
    assert_eq!((progress.applied, progress.lag.count), (2, 1), "one of them says when it was written");
    sink.stop().await.unwrap();
}

async fn a_log_that_is_not_the_tables_is_refused_with_the_remedy(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    log.write_and_mark(0..5).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(5).await;
    sink.stop().await.unwrap();

    let made_anew = TestLog::new();
    let refused = Sink::start(&made_anew, &lake, simple(), quick()).ended().await.unwrap_err().to_string();
    assert!(refused.contains("was written from log") && refused.contains("rebuild"), "{refused}");
    assert_exactly_once(&lake, 0..5, "nothing was written").await;
}

async fn settings_that_can_not_work_end_the_run_before_anything_is_made(place: Place) {
    let folder = tempfile::tempdir().unwrap();
    let log = EmbeddedLog::open(folder.path(), Layout::default()).unwrap();
    let (lake, store) = lake_in(&place);
    let bad = Settings { flush_ms: 0, ..quick() };
    let ended = Sink::over(std::sync::Arc::new(log), &lake, vec![simple()], bad).ended().await;
    assert!(ended.unwrap_err().to_string().contains("flush_ms"));
    assert_eq!(store.counts().all(), 0);
}

/// GIVEN records that another encoder wrote, with white space and escapes WHEN they are read THEN their rows are the same.
async fn a_change_in_other_json_is_the_same_row(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    let canonical = String::from_utf8(headwater_common::codec::encode(&change(7)).to_vec()).unwrap();
    let other = canonical.replace(":{", ": {").replace("\"N0\"", "\"\\u004e0\"").replace(",\"op\"", " , \"op\"");
    assert_ne!(other, canonical);
    log.write([change(7)]).await;
    log.write_bytes(Box::leak(other.into_bytes().into_boxed_slice())).await;
    log.mark(1).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(1).await;
    sink.stop().await.unwrap();
    let batch = one_batch(&lake).await;
    for name in ["_key", "_pk", "_op", "_seq", "_shard", "_event_id", "item"] {
        let texts = texts(&batch, name);
        assert!(texts[0].is_some() && texts[0] == texts[1], "{name}: {texts:?}");
    }
    for name in ["_version", "delay"] {
        let longs = longs(&batch, name);
        assert!(longs[0].is_some() && longs[0] == longs[1], "{name}: {longs:?}");
    }
}

on_each_store!(
    changes_are_there_once_whatever_the_restarts,
    a_stop_commits_what_is_held,
    a_table_without_changes_says_how_far_it_is_complete_and_holds_it_over_a_restart,
    completeness_is_not_said_before_its_changes_are_committed,
    a_full_disk_is_waited_out_with_nothing_lost_or_doubled,
    one_tables_trouble_holds_up_no_other_and_its_memory_is_bounded,
    lag_is_measured_from_the_producers_write_to_visibility,
    a_log_that_is_not_the_tables_is_refused_with_the_remedy,
    settings_that_can_not_work_end_the_run_before_anything_is_made,
    a_change_in_other_json_is_the_same_row,
);
