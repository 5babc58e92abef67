//! A lake in a bucket: what goes wrong between the client and the server, and what a person must mend.

use std::sync::Arc;

use headwater_common::clock::SystemClock;
use headwater_common::failure::Directive;
use headwater_common::log::{LogId, Offset};
use headwater_common::secret::Secret;
use headwater_sink_offline::commit::Committer;
use headwater_sink_offline::plan::Plan;
use headwater_sink_offline::position::{Moves, Step};
use headwater_sink_offline::state::load;
use headwater_sink_offline::{Lake, S3};
use headwater_tests::http_faults::{Fate, HttpFaults};

use crate::fixture::*;
use crate::place::{Place, bucket};

/// The same lake, directly and through the proxy.
async fn through(place: &Place, proxy: &HttpFaults, retries: usize) -> (Lake, Lake, crate::place::Guard) {
    let (direct, guard) = place.open();
    let Place::Bucket { s3, .. } = place else { panic!("no bucket") };
    let s3 = S3 {
        endpoint: Some(format!("http://{}", proxy.address)),
        timeout_ms: 500,
        retry_cap_ms: 5,
        max_retries: retries,
        ..s3.clone()
    };
    let proxied = Lake::open(direct.root().as_str(), &s3).unwrap();
    (direct, proxied, guard)
}

async fn proxy_before(place: &Place) -> HttpFaults {
    let Place::Bucket { s3, .. } = place else { panic!("no bucket") };
    let url: url::Url = s3.endpoint.as_ref().unwrap().parse().unwrap();
    let upstream = url.socket_addrs(|| None).unwrap()[0];
    HttpFaults::start(upstream).await.unwrap()
}

/// Makes a table, commits twice, stops, and goes on. Answers how many requests went wrong.
async fn scenario(place: &Place, proxy: &HttpFaults, retries: usize, fault: (usize, Fate)) -> usize {
    let log = TestLog::new();
    let (direct, proxied, _guard) = through(place, proxy, retries).await;
    proxy.strike(Some(fault));
    for run in 0..2_u64 {
        let sink = Sink::start(&log, &proxied, simple(), quick());
        log.write_and_mark(run * 5..run * 5 + 5).await;
        sink.complete(run as i64 * 5 + 5).await;
        sink.stop().await.unwrap();
    }
    let struck = proxy.struck();
    assert_exactly_once(&direct, 0..10, &format!("{fault:?} with {retries} retries")).await;
    struck
}

/// GIVEN a real server and a real client WHEN any request of theirs is refused, reset, cut or left without an answer, before
/// or after the server carried it out, with and without the client's own retries THEN each change is there once.
#[tokio::test(flavor = "multi_thread")]
async fn each_change_is_there_once_whatever_happens_to_a_request_on_its_way() {
    let Some(place) = bucket() else { return };
    let mut runs = tokio::task::JoinSet::new();
    for fate in Fate::ALL {
        for retries in [0, 2] {
            let place = place.clone();
            runs.spawn(async move {
                let proxy = proxy_before(&place).await;
                let mut number = 0;
                while scenario(&place, &proxy, retries, (number, fate)).await > 0 {
                    number += 1;
                }
                assert!(number >= 12, "only {number} requests were there to fail");
            });
        }
    }
    runs.join_all().await;
}

async fn committer(lake: &Lake) -> Committer {
    let plan = Arc::new(Plan::of(&simple()).unwrap());
    Committer::open(lake.history(&table()), plan, LogId("log".into()), &SystemClock).await.unwrap()
}

fn step(before: Option<u64>, last: u64) -> Moves {
    let step = Step { before: before.map(Offset), last: Offset(last) };
    Moves { steps: [(0, step)].into(), complete: Default::default() }
}

/// GIVEN a commit that the server made and whose answer was lost WHEN the client tries again by itself and is told that
/// the version is there already THEN it is known as this side's own.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_clients_own_retry_finds_made_is_this_sides_own() {
    let Some(place) = bucket() else { return };
    let proxy = proxy_before(&place).await;
    let (direct, proxied, _guard) = through(&place, &proxy, 2).await;
    let mut committer = committer(&proxied).await;
    let version = committer.version();
    proxy.strike(Some((0, Fate::DoneAndRefused)));
    let committed = committer.commit(&step(None, 4), None, &SystemClock).await.unwrap();
    let seen: Vec<_> = proxy.seen().into_iter().map(|seen| (seen.method, seen.status)).collect();
    let of = |method: &str, status| (method.to_owned(), Some(status));
    assert_eq!(seen[..3], [of("PUT", 200), of("PUT", 412), of("GET", 200)], "made, made already, and found");
    assert_eq!(committed.version, version + 1);
    assert_eq!(load(&direct.history(&table())).await.unwrap().unwrap().version, version + 1, "and made once");
    // One that somebody else made in the meantime is not.
    let mut other = self::committer(&direct).await;
    other.commit(&step(Some(4), 9), None, &SystemClock).await.unwrap();
    let refused = committer.commit(&step(Some(4), 12), None, &SystemClock).await.unwrap_err();
    assert_eq!(refused.directive(), Directive::Abandon, "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_a_person_can_mend_says_so_and_is_waited_for() {
    let Some(place) = bucket() else { return };
    let Place::Bucket { s3, name } = &place else { panic!("no bucket") };
    let nowhere = format!("no-such-bucket-{}", uuid::Uuid::new_v4());
    let stranger = S3 { secret_key: Some(Secret::new("not the key")), ..s3.clone() };
    for (lake, said) in [
        (Lake::open(&format!("s3://{nowhere}/lake"), s3).unwrap(), format!("there is no bucket {nowhere}")),
        (Lake::open(&format!("s3://{name}/lake"), &stranger).unwrap(), "403".to_owned()),
    ] {
        let plan = Arc::new(Plan::of(&simple()).unwrap());
        let opened = Committer::open(lake.history(&table()), plan, LogId("log".into()), &SystemClock).await;
        let error = opened.err().unwrap();
        assert_eq!((error.directive(), error.is_final()), (Directive::Halt, false), "{error}");
        let log = TestLog::new();
        let sink = Sink::start(&log, &lake, simple(), quick());
        until_true("in trouble", || sink.reason().contains(&said)).await;
        assert!(!sink.reason().contains("not the key"), "{}", sink.reason());
        sink.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_out() {
    let Some(place) = bucket() else { return };
    // Nobody listens there.
    let port = headwater_tests::process::free_port().unwrap();
    let away = place.with(|s3| s3.endpoint = Some(format!("http://127.0.0.1:{port}")));
    let (direct, guard) = place.open();
    let Place::Bucket { s3, .. } = &away else { panic!("no bucket") };
    let lake = Lake::open(direct.root().as_str(), s3).unwrap();
    let log = TestLog::new();
    log.write_and_mark(0..5).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    until_true("in trouble", || !sink.reason().is_empty() && !sink.reason().ends_with("opening")).await;
    let opened = load(&lake.history(&table())).await;
    assert_eq!(opened.unwrap_err().directive(), Directive::Retry);
    sink.stop().await.unwrap();
    drop(guard);
}
