//! Every request fails once, before and after it took effect; every step is a place to crash at.

use crate::fixture::*;
use crate::on_each_store;
use crate::place::Place;
use crate::stores::{Fault, When};

/// Two runs with a restart in between, four batches of changes with marks. Answers how many requests failed.
async fn scenario(place: &Place, fault: Option<Fault>) -> usize {
    let (log, (lake, store)) = (TestLog::new(), lake_in(place));
    store.reset(fault);
    log.write_and_mark(0..10).await;
    for run in 0..2_u64 {
        let sink = Sink::start(&log, &lake, simple(), quick());
        for batch in 0..2_u64 {
            let end = (run * 2 + batch + 1) * 10;
            sink.complete(end as i64).await;
            if end < 40 {
                log.write_and_mark(end..end + 10).await;
            }
        }
        sink.stop().await.unwrap();
    }
    let failed = store.counts().failed;
    store.reset(None);
    assert_exactly_once(&lake, 0..40, &format!("{fault:?}")).await;
    failed
}

async fn each_change_is_there_once_though_any_request_fails_before_or_after_it_took_effect(place: Place) {
    for when in [When::Before, When::After] {
        let mut number = 0;
        while scenario(&place, Some(Fault::Once(number, when))).await > 0 {
            number += 1;
        }
        assert!(number >= 15, "only {number} requests were there to fail");
    }
}

/// The process dies at a request: everything after it fails, and what was in hand is gone.
async fn crash(place: &Place, number: usize, when: When) -> bool {
    let (log, (lake, store)) = (TestLog::new(), lake_in(place));
    log.write_and_mark(0..10).await;
    store.reset(Some(Fault::Onwards(number, when)));
    let sink = Sink::start(&log, &lake, simple(), quick());
    let done = |until: i64| {
        let until = Some(headwater_common::clock::Timestamp::from_millis(until));
        sink.progress("aircraft").is_some_and(|table| table.complete_until >= until)
    };
    until_true("done or dead", || done(10) || store.counts().failed > 0).await;
    log.write_and_mark(10..20).await;
    until_true("done or dead", || done(20) || store.counts().failed > 0).await;
    let died = store.counts().failed > 0;
    sink.kill().await;
    store.reset(None);
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(20).await;
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..20, &format!("crash at {number} {when:?}")).await;
    died
}

async fn each_change_is_there_once_though_the_process_dies_at_any_request(place: Place) {
    for when in [When::Before, When::After] {
        let mut number = 0;
        while crash(&place, number, when).await {
            number += 1;
        }
        assert!(number >= 6, "only {number} steps were there to die at");
    }
}

async fn a_commit_costs_two_requests_and_no_look_at_the_log(place: Place) {
    let (log, (lake, store)) = (TestLog::new(), lake_in(&place));
    let sink = Sink::start(&log, &lake, simple(), quick());
    until_true("ready", || sink.health.is_ready() && sink.progress("aircraft").is_some()).await;
    for round in 0..10_u64 {
        let before = store.counts();
        log.write(std::iter::once(change(round))).await;
        until_true("applied", || sink.progress("aircraft").is_some_and(|table| table.applied == round + 1)).await;
        let after = store.counts();
        assert_eq!((after.puts - before.puts, after.gets - before.gets, after.lists - before.lists), (2, 0, 0));
    }
    sink.stop().await.unwrap();
}

on_each_store!(
    each_change_is_there_once_though_any_request_fails_before_or_after_it_took_effect,
    each_change_is_there_once_though_the_process_dies_at_any_request,
    a_commit_costs_two_requests_and_no_look_at_the_log,
);
