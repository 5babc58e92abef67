//! Other writers of the same table.

use std::collections::HashMap;
use std::sync::Arc;

use deltalake::checkpoints::create_checkpoint;
use headwater_common::clock::SystemClock;
use headwater_common::log::{ChangeLog as _, LogId};
use headwater_sink_offline::commit::Committer;
use headwater_sink_offline::plan::Plan;
use headwater_sink_offline::position::{Moves, Step};
use headwater_sink_offline::state::load;

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
    assert_eq!(state.metadata.configuration["delta.appendOnly"], "false", "what the other set is kept");
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
            let path = headwater_sink_offline::delta::commit_path(version);
            // Those before the last checkpoint are gone already.
            object_store::ObjectStoreExt::delete(&*location.store, &path).await.ok();
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
    let path = headwater_sink_offline::delta::commit_path(state.version + 1);
    object_store::ObjectStoreExt::put(&*location.store, &path, upgrade.to_vec().into()).await.unwrap();
    let refused = Sink::start(&log, &lake, simple(), quick()).ended().await.unwrap_err().to_string();
    assert!(refused.contains("reader version 3") && refused.contains("rebuild"), "{refused}");
}

on_each_store!(
    a_commit_of_somebody_else_in_between_is_given_way_to,
    the_state_is_the_same_from_commits_and_from_a_checkpoint_of_delta_rs,
    a_sink_that_was_overtaken_changes_nothing,
    a_commit_whose_answer_was_lost_is_done_and_not_made_again,
    a_table_that_was_upgraded_beyond_plain_features_is_refused_with_the_remedy,
);
