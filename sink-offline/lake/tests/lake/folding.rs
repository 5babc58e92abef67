//! `<table>_current` and `<table>` against a naive replay.

use headwater_common::change::{Change, Op};
use headwater_lake::current::{self, source_version};
use headwater_lake::table::log::TableLog;
use headwater_lake::table::state::Keep;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, delete, entity, entity_with, live, naive, put, small, table};
use crate::on_each_store;
use crate::place::Place;
use crate::store::{Fault, Faulty};

async fn current_holds_the_newest_of_each_key_and_no_deleted_one(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1), put("b", 2), put("c", 3)]).await;
    fixture.flush_with(&[put("a", 4), delete("b", 5)], 2).await;
    let folded = fixture.fold().await;
    assert_eq!((folded.until, folded.files, folded.keys), (2, 2, 3));
    assert_eq!(fixture.current().await, naive(&fixture.written));
    fixture.flush(&[put("b", 6), delete("a", 7)]).await;
    assert_eq!(fixture.current().await.len(), 2, "not folded yet");
    assert_eq!(fixture.live().await, naive(&fixture.written), "but seen");
    fixture.fold().await;
    assert_eq!(fixture.current().await, naive(&fixture.written));
    assert_eq!(fixture.fold().await.files, 0, "nothing is left to fold");
}

async fn a_row_that_comes_after_a_newer_deletion_does_not_bring_the_item_back(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 10), put("b", 11)]).await;
    fixture.flush(&[delete("a", 20)]).await;
    fixture.fold().await;
    // As a bootstrap's rows come: read before, written after.
    let mut late = put("a", 15);
    late.op = Op::Snapshot;
    fixture.flush(&[late, put("b", 9), put("c", 12)]).await;
    let expected = naive(&fixture.written);
    assert_eq!(expected.len(), 2);
    assert_eq!(fixture.live().await, expected, "before it is folded");
    fixture.fold().await;
    assert_eq!(fixture.current().await, expected, "and after");
}

async fn only_the_buckets_that_changed_are_written(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    let many: Vec<Change> = (0..60).map(|at| put(&format!("k{at}"), 1 + at)).collect();
    fixture.flush(&many).await;
    assert_eq!(fixture.fold().await.written, 3);
    let before = files(&fixture).await;
    fixture.flush(&[put("k7", 100)]).await;
    assert_eq!(fixture.fold().await.written, 1);
    let after = files(&fixture).await;
    assert_eq!(before.iter().filter(|file| after.contains(file)).count(), 2);
    assert_eq!(fixture.current().await, naive(&fixture.written));
}

async fn files(fixture: &Fixture) -> Vec<String> {
    let mut log = TableLog::new(fixture.lake.current(&table()), Keep::Bounds);
    let state = log.refresh().await.unwrap().unwrap();
    state.files.keys().cloned().collect()
}

async fn a_new_feature_becomes_a_column_of_both_tables(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1)]).await;
    fixture.fold().await;
    let mut features = serde_json::to_value(entity().features).unwrap();
    features.as_array_mut().unwrap().push(serde_json::json!({"name": "gate", "type": "keyword"}));
    fixture.redefine(entity_with(features)).await;
    let gated = crate::fixture::change("b", 2, Some(r#""gate":{"S":"A1"}"#));
    fixture.flush(&[gated]).await;
    let ask = "SELECT gate FROM aircraft ORDER BY _version";
    let before = crate::fixture::rows(&fixture.reader().sql(ask).await.unwrap());
    fixture.fold().await;
    let after =
        crate::fixture::rows(&fixture.reader().sql(&ask.replace("aircraft", "aircraft_current")).await.unwrap());
    let expected = serde_json::json!([{"gate": null}, {"gate": "A1"}]);
    assert_eq!((serde_json::json!(before), serde_json::json!(after)), (expected.clone(), expected));
}

async fn two_that_fold_at_once_do_it_once(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1), put("b", 2)]).await;
    let (mut one, mut other) = (fixture.fold_with(small()), fixture.fold_with(small()));
    let (now, stop) = (headwater_common::clock::Clock::now(&*fixture.clock), CancellationToken::new());
    let (one, other) = tokio::join!(one.catch_up(now, &stop), other.catch_up(now, &stop));
    for lost in [&one, &other].into_iter().filter_map(|done| done.as_ref().err()) {
        assert!(matches!(lost, headwater_lake::Error::Conflict { .. }), "{lost}");
    }
    assert!(one.is_ok() || other.is_ok());
    assert_eq!(fixture.current().await, naive(&fixture.written));
}

/// What happens to the table, step by step.
#[derive(Clone, Debug)]
enum Step {
    Flush(Vec<(u8, bool, i8)>),
    Fold,
    /// A fold that dies at its nth request.
    Killed(i64, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let change = (0_u8..12, prop::bool::weighted(0.7), -3_i8..4);
    let step = prop_oneof![
        4 => prop::collection::vec(change, 1..8).prop_map(Step::Flush),
        2 => Just(Step::Fold),
        3 => (0_i64..60, any::<bool>()).prop_map(|(nth, after)| Step::Killed(nth, after)),
    ];
    prop::collection::vec(step, 1..14)
}

/// Versions rise with the log but for some, which come late as a bootstrap's do.
fn changes(flush: &[(u8, bool, i8)], next: &mut u64, used: &mut std::collections::BTreeSet<u64>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, lives, shift) in flush {
        *next += 10;
        let version = next.checked_add_signed(i64::from(*shift) * 11).unwrap().max(1);
        // A version is one change's, as in life.
        if used.insert(version) {
            let key = format!("k{key}");
            changes.push(if *lives { put(&key, version) } else { delete(&key, version) });
        }
    }
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_current_and_the_view_are_the_naive_replay(
        steps in steps(),
        step_rows in prop_oneof![Just(1_u64), Just(1 << 30)],
        step_bytes in prop_oneof![Just(1_u64), Just(1 << 30)],
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(replay(steps, current::Settings { step_rows, step_bytes, ..small() }));
    }
}

async fn replay(steps: Vec<Step>, settings: current::Settings) {
    let store = Faulty::new();
    let mut fixture = Fixture::on(store.lake(), entity()).await;
    let reader = fixture.reader();
    let (mut next, mut used) = (100, std::collections::BTreeSet::new());
    for step in steps.into_iter().chain([Step::Fold]) {
        match &step {
            Step::Flush(flush) => {
                let changes = changes(flush, &mut next, &mut used);
                if !changes.is_empty() {
                    fixture.flush(&changes).await;
                }
            }
            Step::Fold => {
                let now = headwater_common::clock::Clock::now(&*fixture.clock);
                fixture.fold_with(settings.clone()).catch_up(now, &CancellationToken::new()).await.unwrap();
                assert_eq!(fixture.current().await, naive(&fixture.written), "after a fold");
            }
            Step::Killed(nth, after) => {
                store.kill_at(*nth, if *after { Fault::After } else { Fault::Before });
                let now = headwater_common::clock::Clock::now(&*fixture.clock);
                let done = fixture.fold_with(settings.clone()).catch_up(now, &CancellationToken::new()).await;
                let killed = store.heal();
                assert!(killed || done.is_ok(), "{done:?}");
            }
        }
        if !fixture.written.is_empty() {
            assert_eq!(live(&reader).await, naive(&fixture.written), "after {step:?}");
        }
    }
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_counts_as_done() {
    let store = Faulty::new();
    let mut fixture = Fixture::on(store.lake(), entity()).await;
    fixture.flush(&[put("a", 1), put("b", 2)]).await;
    let (now, mut fold) = (headwater_common::clock::Clock::now(&*fixture.clock), fixture.fold_with(small()));
    fold.catch_up(now, &CancellationToken::new()).await.unwrap();
    let mut lost_answers_of_the_commit = 0;
    for nth in 0.. {
        fixture.flush(&[put("a", 10 + nth)]).await;
        let before = current_version(&fixture).await;
        store.fail_at(nth as i64, Fault::After);
        let done = fold.catch_up(now, &CancellationToken::new()).await;
        let happened = store.heal();
        let after = current_version(&fixture).await;
        // It did happen exactly when it says so, and nothing is folded twice by trying again.
        assert_eq!(done.is_ok(), after == before + 1, "{done:?}");
        fold.catch_up(now, &CancellationToken::new()).await.unwrap();
        assert_eq!(current_version(&fixture).await, before + 1);
        assert_eq!(fixture.current().await, naive(&fixture.written));
        if !happened {
            assert_eq!(lost_answers_of_the_commit, 1, "one request of a fold is its commit");
            return;
        }
        lost_answers_of_the_commit += u64::from(done.is_ok());
    }
}

#[tokio::test]
async fn a_fold_that_dies_anywhere_is_done_once_by_the_next() {
    let store = Faulty::new();
    let mut fixture = Fixture::on(store.lake(), entity()).await;
    fixture.flush(&[put("a", 1), put("b", 2)]).await;
    fixture.fold().await;
    fixture.flush(&[put("a", 3)]).await;
    let now = headwater_common::clock::Clock::now(&*fixture.clock);
    let before = current_version(&fixture).await;
    // At every request of the fold the process dies, before or after it worked; the next one finds what is there.
    for nth in 0..200 {
        for fault in [Fault::Before, Fault::After] {
            store.kill_at(nth, fault);
            fixture.fold_with(small()).catch_up(now, &CancellationToken::new()).await.ok();
            let happened = store.heal();
            assert!(current_version(&fixture).await <= before + 1, "folded once at most");
            if !happened {
                assert_eq!(fixture.current().await, naive(&fixture.written));
                return;
            }
        }
    }
    panic!("the fold never got through");
}

async fn current_version(fixture: &Fixture) -> i64 {
    let mut log = TableLog::new(fixture.lake.current(&table()), Keep::Bounds);
    let state = log.refresh().await.unwrap();
    assert!(source_version(state.as_deref()) >= 1);
    state.unwrap().version
}

on_each_store!(
    current_holds_the_newest_of_each_key_and_no_deleted_one,
    a_row_that_comes_after_a_newer_deletion_does_not_bring_the_item_back,
    only_the_buckets_that_changed_are_written,
    a_new_feature_becomes_a_column_of_both_tables,
    two_that_fold_at_once_do_it_once,
);
