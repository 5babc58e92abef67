//! Other writers of the same table.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::checkpoints::create_checkpoint;
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::log::{ChangeLog as _, LogId};
use headwater_sink_offline::commit::Committer;
use headwater_sink_offline::delta::{Metadata, body, commit_path};
use headwater_sink_offline::origin::Origin;
use headwater_sink_offline::plan::Plan;
use headwater_sink_offline::position::{Moves, Step, complete_by_table};
use headwater_sink_offline::state::{TableState, load};

use object_store::ObjectStoreExt as _;

use crate::fixture::*;
use crate::on_each_store;
use crate::place::Place;
use crate::stores::{Fault, When};

async fn set_property(lake: &headwater_sink_offline::Lake, name: &str, value: &str) {
    let mut delta = lake.history(&table()).delta().unwrap();
    delta.load().await.unwrap();
    let properties = HashMap::from([(name.to_owned(), value.to_owned())]);
    delta.set_tbl_properties().with_properties(properties).await.unwrap();
}

async fn a_commit_of_somebody_else_in_between_is_given_way_to(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    let sink = Sink::start(&log, &lake, simple(), quick());
    log.write_and_mark(0..5).await;
    sink.complete(5).await;
    until_true("nothing behind", || sink.progress("aircraft").is_some_and(|table| table.behind == 0)).await;
    set_property(&lake, "delta.appendOnly", "false").await;
    log.write_and_mark(5..10).await;
    sink.complete(10).await;
    sink.stop().await.unwrap();
    assert_eq!(store.counts().failed, 0);
    assert_exactly_once(&lake, 0..10, "after a foreign commit").await;
    let state = load(&lake.history(&table())).await.unwrap().unwrap();
    assert_eq!(state.metadata.property("delta.appendOnly"), Some("false"), "what the other set is kept");
    assert!(state.metadata.configuration.contains_key("delta.logRetentionDuration"));
}

async fn the_state_is_the_same_from_commits_and_from_a_checkpoint_of_delta_rs(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    let location = lake.history(&table());
    for round in 0..3_u64 {
        log.write_and_mark(round * 5..(round + 1) * 5).await;
        let sink = Sink::start(&log, &lake, simple(), quick());
        sink.complete((round as i64 + 1) * 5).await;
        sink.stop().await.unwrap();
        let from_commits = load(&location).await.unwrap().unwrap();
        let mut delta = location.delta().unwrap();
        delta.load().await.unwrap();
        create_checkpoint(&delta, None).await.unwrap();
        for app in from_commits.txns.keys() {
            let version = delta.snapshot().unwrap().transaction_version(delta.log_store().as_ref(), app).await.unwrap();
            assert_eq!(version, from_commits.txns.get(app).copied(), "{app}");
        }
        // Only the checkpoint is left to read.
        for version in 0..=from_commits.version {
            // Those before the last checkpoint are gone already.
            location.store.delete(&commit_path(version)).await.ok();
        }
        let before = store.counts();
        let from_checkpoint = load(&location).await.unwrap().unwrap();
        let after = store.counts();
        assert_eq!(from_checkpoint.txns, from_commits.txns);
        assert_eq!(from_checkpoint.metadata, from_commits.metadata);
        assert_eq!((from_checkpoint.version, from_checkpoint.protocol), (from_commits.version, from_commits.protocol));
        assert!(after.all() - before.all() <= 6, "{:?}", after.all() - before.all());
    }
    assert_exactly_once(&lake, 0..15, "across checkpoints").await;
}

async fn committer(lake: &headwater_sink_offline::Lake, log: &LogId) -> Committer {
    let plan = Arc::new(Plan::of(&simple()).unwrap());
    Committer::open(lake.history(&table()), plan, log.clone(), &SystemClock).await.unwrap()
}

fn step(before: Option<u64>, last: u64) -> Moves {
    use headwater_common::log::Offset;
    let step = Step { before: before.map(Offset), last: Offset(last) };
    Moves { steps: [(0, step)].into(), complete: Default::default() }
}

/// GIVEN two sinks with one view of the table WHEN both commit the same offsets THEN one of them does.
async fn a_sink_that_was_overtaken_changes_nothing(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    let log = log.log.open_table(&table()).await.unwrap();
    let (mut zombie, mut owner) = (committer(&lake, &log).await, committer(&lake, &log).await);
    owner.commit(&step(None, 4), None, &SystemClock).await.unwrap();
    let version = owner.version();
    let refused = zombie.commit(&step(None, 9), None, &SystemClock).await.unwrap_err();
    assert!(refused.to_string().contains("up to offset 4"), "{refused}");
    // The same offsets are there already: nothing is left to do.
    let same = zombie.commit(&step(None, 4), None, &SystemClock).await.unwrap();
    assert_eq!(same.version, version);
    assert_eq!(load(&lake.history(&table())).await.unwrap().unwrap().version, version);
}

async fn a_commit_whose_answer_was_lost_is_done_and_not_made_again(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    let log = log.log.open_table(&table()).await.unwrap();
    let mut committer = committer(&lake, &log).await;
    let version = committer.version();
    store.reset(Some(Fault::Once(0, When::After)));
    let committed = committer.commit(&step(None, 4), None, &SystemClock).await.unwrap();
    assert_eq!((committed.version, store.counts().failed), (version + 1, 1));
    // Neither the answer nor a look at the table: the next try finds out.
    store.reset(Some(Fault::Onwards(0, When::After)));
    committer.commit(&step(Some(4), 9), None, &SystemClock).await.unwrap_err();
    store.reset(None);
    let committed = committer.commit(&step(Some(4), 9), None, &SystemClock).await.unwrap();
    assert_eq!(committed.version, version + 2);
    assert_eq!(load(&lake.history(&table())).await.unwrap().unwrap().version, version + 2);
}

async fn a_table_that_was_upgraded_beyond_plain_features_is_refused_with_the_remedy(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    log.write_and_mark(0..5).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(5).await;
    sink.stop().await.unwrap();
    let location = lake.history(&table());
    let state = load(&location).await.unwrap().unwrap();
    let upgrade = br#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"],"writerFeatures":["deletionVectors"]}}"#;
    location.store.put(&commit_path(state.version + 1), upgrade.to_vec().into()).await.unwrap();
    let refused = Sink::start(&log, &lake, simple(), quick()).ended().await.unwrap_err().to_string();
    assert!(refused.contains("reader version 3") && refused.contains("rebuild"), "{refused}");
}

/// What partition 0 of two says with a step: complete up to `until`.
fn saying(before: Option<u64>, last: u64, until: i64) -> Moves {
    Moves { complete: [(0, Timestamp::from_millis(until))].into(), ..step(before, last) }
}

async fn opened(lake: &headwater_sink_offline::Lake, log: &LogId) -> Result<Committer, headwater_sink_offline::Error> {
    let plan = Arc::new(Plan::of(&simple()).unwrap());
    Committer::open_of(lake.history(&table()), plan, log.clone(), Some(1), &SystemClock).await
}

async fn table_state(lake: &headwater_sink_offline::Lake) -> TableState {
    load(&lake.history(&table())).await.unwrap().unwrap()
}

/// Another tool's commit that changes the table's metadata.
async fn change_metadata(lake: &headwater_sink_offline::Lake, change: impl FnOnce(&mut Metadata)) {
    let mut state = table_state(lake).await;
    change(&mut state.metadata);
    let commit = body(&[state.metadata.into()]).unwrap();
    lake.history(&table()).store.put(&commit_path(state.version + 1), commit.into()).await.unwrap();
}

/// As a reader sees it, who has nothing but the table.
async fn complete(lake: &headwater_sink_offline::Lake) -> Option<i64> {
    let state = table_state(lake).await;
    complete_by_table(&state.txns, &Origin::of(&state.metadata)).map(Timestamp::as_millis)
}

/// GIVEN two sinks with different logs that opened one empty table WHEN both commit THEN the first writes it from then on,
/// and the second is refused whatever it does.
async fn of_two_sinks_with_different_logs_one_writes_and_the_other_is_refused(place: Place) {
    for first in [0, 1] {
        let ((lake, _), logs) = (lake_in(&place), [LogId("one".into()), LogId("two".into())]);
        let mut sinks = [opened(&lake, &logs[0]).await.unwrap(), opened(&lake, &logs[1]).await.unwrap()];
        sinks[first].commit(&saying(None, 4, 100), None, &SystemClock).await.unwrap();
        let refused = sinks[1 - first].commit(&saying(None, 4, 900), None, &SystemClock).await.unwrap_err().to_string();
        assert!(refused.contains(&format!("was written from log {}", logs[first].0)), "{refused}");
        let refused = opened(&lake, &logs[1 - first]).await.err().unwrap().to_string();
        assert!(refused.contains("rebuild"), "{refused}");
        sinks[first].commit(&saying(Some(4), 5, 200), None, &SystemClock).await.unwrap();
        assert_eq!(Origin::of(&table_state(&lake).await.metadata).log.as_ref(), Some(&logs[first]));
        assert_eq!(complete(&lake).await, Some(200));
    }
}

/// GIVEN a table of an earlier release, which names no log WHEN the sink opens it THEN it names the sink's, and is
/// complete up to what that said.
async fn a_table_that_names_no_log_is_given_its_name(place: Place) {
    let ((lake, _), log) = (lake_in(&place), LogId("one".into()));
    opened(&lake, &log).await.unwrap().commit(&saying(None, 4, 100), None, &SystemClock).await.unwrap();
    change_metadata(&lake, |metadata| Origin::default().write(metadata)).await;
    assert_eq!(Origin::of(&table_state(&lake).await.metadata), Origin::default());
    assert_eq!(complete(&lake).await, Some(100));
    let other = opened(&lake, &LogId("two".into())).await.err().unwrap().to_string();
    assert!(other.contains("was written from log one"), "{other}");
    opened(&lake, &log).await.unwrap();
    let origin = Origin::of(&table_state(&lake).await.metadata);
    assert_eq!(origin, Origin { log: Some(log), partitions: Some(1) });
    assert_eq!(complete(&lake).await, Some(100));
}

/// GIVEN a table whose log was given up WHEN another log is named by hand THEN the old log's sink is refused, the new
/// one's goes on, and what the old log said counts neither as complete nor against it.
async fn a_log_that_was_given_up_has_no_say_in_what_is_complete(place: Place) {
    let ((lake, _), [old, new]) = (lake_in(&place), [LogId("old".into()), LogId("new".into())]);
    let mut zombie = opened(&lake, &old).await.unwrap();
    zombie.commit(&saying(None, 4, 500), None, &SystemClock).await.unwrap();
    change_metadata(&lake, |metadata| Origin { log: Some(new.clone()), partitions: Some(1) }.write(metadata)).await;
    assert_eq!(complete(&lake).await, None, "not before the new log has spoken");
    let refused = zombie.commit(&saying(Some(4), 5, 501), None, &SystemClock).await.unwrap_err().to_string();
    assert!(refused.contains("was written from log new"), "{refused}");
    let mut sink = opened(&lake, &new).await.unwrap();
    sink.commit(&saying(None, 0, 400), None, &SystemClock).await.unwrap();
    assert_eq!(complete(&lake).await, Some(400));
    sink.commit(&saying(Some(0), 1, 900), None, &SystemClock).await.unwrap();
    assert_eq!(complete(&lake).await, Some(900), "the old log is at 500 for ever");
}

on_each_store!(
    a_commit_of_somebody_else_in_between_is_given_way_to,
    the_state_is_the_same_from_commits_and_from_a_checkpoint_of_delta_rs,
    a_sink_that_was_overtaken_changes_nothing,
    a_commit_whose_answer_was_lost_is_done_and_not_made_again,
    a_table_that_was_upgraded_beyond_plain_features_is_refused_with_the_remedy,
    of_two_sinks_with_different_logs_one_writes_and_the_other_is_refused,
    a_table_that_names_no_log_is_given_its_name,
    a_log_that_was_given_up_has_no_say_in_what_is_complete,
);
