//! What [`headwater_sink_search::index`] promises, as tests on any [`SearchIndex`] that is new, empty and made for
//! [`crate::generate::entity`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::Timestamp;
use headwater_common::key::KeyBytes;
use headwater_common::log::{LogId, Offset};
use headwater_common::order::Version;
use headwater_common::value::{Item, Value};
use headwater_sink_search::SearchIndex;
use headwater_sink_search::index::*;
use headwater_sink_search::query::*;
use proptest::prelude::*;

use crate::generate::{delete, item, key, n, number, put, s};

/// Hands the names of all promises, each a function here, to the macro that makes tests of them for one implementation.
macro_rules! promises {
    ($conforms:ident) => {
        $conforms!(
            only_a_larger_version_is_taken,
            a_batch_brings_the_newest_of_a_key_in_whatever_order,
            a_delete_sticks,
            progress_comes_with_the_data_and_never_goes_back,
            a_flush_that_is_repeated_changes_nothing,
            a_scan_gives_every_document_once_in_key_order,
            pages_have_no_gaps_and_no_doubles,
            missing_values_are_last_in_either_direction,
            an_item_comes_back_as_it_was_written,
            keys_that_dynamodb_tells_apart_are_apart,
            only_tombstones_past_their_time_are_purged,
            what_a_type_cannot_answer_is_refused,
        );
    };
}
pub(crate) use promises;

pub fn progress(next: u64, complete: i64) -> Progress {
    let reached = PartitionProgress { next: Offset(next), complete_until: Some(Timestamp::from_millis(complete)) };
    Progress { log: Some(LogId("log".into())), of: 1, partitions: [(0, reached)].into() }
}

pub async fn apply(index: &dyn SearchIndex, operations: Vec<Operation>) -> Vec<Outcome> {
    index.apply(Arc::new(Flush { operations, progress: Progress::default() })).await.unwrap().outcomes
}

pub async fn all(index: &dyn SearchIndex) -> Answer {
    index.search(&Search { limit: MAX_LIMIT, ..Search::default() }).await.unwrap()
}

pub async fn scan_all(index: &dyn SearchIndex, page: usize) -> Vec<Scanned> {
    let mut scanned: Vec<Scanned> = Vec::new();
    loop {
        let more = index.scan(scanned.last().map(|entry| entry.key.as_str()), page).await.unwrap();
        if more.is_empty() {
            return scanned;
        }
        scanned.extend(more);
    }
}

async fn found(index: &dyn SearchIndex, field: &str, value: Literal) -> u64 {
    let query = Query::Term { field: field.into(), value };
    index.search(&Search { query, ..Search::default() }).await.unwrap().total
}

pub async fn only_a_larger_version_is_taken(index: &dyn SearchIndex) {
    let at = |version: u64| put(item("a", "1", &[("count", n(&version.to_string()))]), version);
    assert_eq!(apply(index, vec![at(5)]).await, [Outcome::Applied]);
    assert_eq!(apply(index, vec![at(4)]).await, [Outcome::Superseded]);
    assert_eq!(apply(index, vec![at(5)]).await, [Outcome::Duplicate]);
    assert_eq!(apply(index, vec![at(6)]).await, [Outcome::Applied]);
    let answer = all(index).await;
    assert_eq!((answer.total, answer.hits[0].version), (1, Version::new(6).unwrap()));
    assert_eq!(found(index, "count", Literal::Number(number("5"))).await, 0, "the replaced document is not found");
    assert_eq!(found(index, "count", Literal::Number(number("6"))).await, 1);
}

pub async fn a_batch_brings_the_newest_of_a_key_in_whatever_order(index: &dyn SearchIndex) {
    let at = |version: u64| put(item("a", "1", &[("count", n(&version.to_string()))]), version);
    let outcomes = apply(index, vec![at(2), at(9), at(3), at(9)]).await;
    assert_eq!(outcomes, [Outcome::Superseded, Outcome::Applied, Outcome::Superseded, Outcome::Duplicate]);
    assert_eq!(all(index).await.hits[0].version, Version::new(9).unwrap());
}

pub async fn a_delete_sticks(index: &dyn SearchIndex) {
    let body = item("a", "1", &[("carrier", s("UA"))]);
    apply(index, vec![put(body.clone(), 5), put(item("b", "1", &[]), 1)]).await;
    assert_eq!(apply(index, vec![delete("a", "1", 6)]).await, [Outcome::Applied]);
    assert_eq!(apply(index, vec![put(body.clone(), 5)]).await, [Outcome::Superseded]);
    assert_eq!(all(index).await.total, 1);
    assert_eq!(found(index, "carrier", Literal::Text("UA".into())).await, 0);
    assert_eq!(apply(index, vec![delete("never seen", "1", 3), put(item("never seen", "1", &[]), 2)]).await.len(), 2);
    assert_eq!(all(index).await.total, 1, "a delete fences a put that comes after it");
    let everything_else =
        Query::Not(Box::new(Query::Term { field: "carrier".into(), value: Literal::Text("x".into()) }));
    assert_eq!(index.search(&Search { query: everything_else, ..Search::default() }).await.unwrap().total, 1);
    let dead = scan_all(index, 2).await.into_iter().filter(|entry| entry.item.is_none()).count();
    assert_eq!(dead, 2, "tombstones are seen by a scan alone");
    assert_eq!(apply(index, vec![put(body, 7)]).await, [Outcome::Applied]);
    assert_eq!(all(index).await.total, 2, "a newer put brings the item back");
}

pub async fn progress_comes_with_the_data_and_never_goes_back(index: &dyn SearchIndex) {
    assert_eq!(index.progress().await.unwrap(), Progress::default());
    assert_eq!(all(index).await.as_of, None);
    index.apply(Arc::new(Flush { operations: vec![], progress: progress(9, 900) })).await.unwrap();
    assert_eq!(index.progress().await.unwrap(), progress(9, 900), "the first flush may hold progress alone");
    let flush = Flush { operations: vec![put(item("a", "1", &[]), 1)], progress: progress(10, 1000) };
    index.apply(Arc::new(flush)).await.unwrap();
    assert_eq!(index.progress().await.unwrap(), progress(10, 1000));
    let answer = all(index).await;
    assert_eq!((answer.as_of, answer.total), (Some(Timestamp::from_millis(1000)), 1));
    // An idle table's flush holds progress alone.
    index.apply(Arc::new(Flush { operations: vec![], progress: progress(12, 2000) })).await.unwrap();
    index.apply(Arc::new(Flush { operations: vec![], progress: progress(11, 1500) })).await.unwrap();
    assert_eq!(index.progress().await.unwrap(), progress(12, 2000));
    assert_eq!(all(index).await.as_of, Some(Timestamp::from_millis(2000)));
}

pub async fn a_flush_that_is_repeated_changes_nothing(index: &dyn SearchIndex) {
    let operations = vec![put(item("a", "1", &[]), 1), delete("b", "1", 2)];
    let flush = Arc::new(Flush { operations, progress: progress(10, 1000) });
    index.apply(flush.clone()).await.unwrap();
    let before = scan_all(index, 10).await;
    assert_eq!(index.apply(flush).await.unwrap().outcomes, [Outcome::Duplicate, Outcome::Duplicate]);
    assert_eq!(scan_all(index, 10).await, before);
}

pub async fn a_scan_gives_every_document_once_in_key_order(index: &dyn SearchIndex) {
    let mut wanted = BTreeMap::new();
    // Several flushes, so that the documents lie in several segments, and every third is replaced or deleted.
    for round in 0..4_u64 {
        let ids = (0..40).filter(|id| round == 0 || id % 3 == round % 3);
        let mut batch = Vec::new();
        for id in ids {
            let operation = match id % 5 {
                4 => delete(&format!("k{id}"), "1", round + 1),
                _ => put(item(&format!("k{id}"), "1", &[("count", n(&round.to_string()))]), round + 1),
            };
            wanted.insert(operation.key.to_text(), (operation.version, operation.body.as_ref().map(Item::to_json)));
            batch.push(operation);
        }
        apply(index, batch).await;
    }
    for page in [1, 7, 1000] {
        let scanned = scan_all(index, page).await;
        let read: Vec<_> = scanned.into_iter().map(|entry| (entry.key, (entry.version, entry.item))).collect();
        assert_eq!(read, wanted.clone().into_iter().collect::<Vec<_>>(), "pages of {page}");
    }
}

pub async fn pages_have_no_gaps_and_no_doubles(index: &dyn SearchIndex) {
    for round in 0..3 {
        // Everything ties but for the key.
        let batch = (0..50).map(|id| put(item(&format!("k{id}-{round}"), "1", &[("delay", n("1.5"))]), 1)).collect();
        apply(index, batch).await;
    }
    let sort = vec![Sort { by: SortBy::Field("delay".into()), descending: true }];
    let whole = Search { sort: sort.clone(), limit: MAX_LIMIT, ..Search::default() };
    let whole = index.search(&whole).await.unwrap();
    assert_eq!((whole.total, whole.hits.len()), (150, 150));
    for limit in [1, 7, 64] {
        let mut paged = Vec::new();
        while paged.len() < 150 {
            let page = Search { sort: sort.clone(), offset: paged.len(), limit, ..Search::default() };
            let page = index.search(&page).await.unwrap();
            assert!(!page.hits.is_empty() && page.total == 150);
            paged.extend(page.hits);
        }
        assert_eq!(paged, whole.hits, "pages of {limit}");
    }
    let beyond = Search { offset: 150, ..Search::default() };
    assert!(index.search(&beyond).await.unwrap().hits.is_empty());
    let count = Search { limit: 0, ..Search::default() };
    assert_eq!(index.search(&count).await.unwrap().total, 150);
}

pub async fn missing_values_are_last_in_either_direction(index: &dyn SearchIndex) {
    let batch = vec![
        put(item("a", "1", &[("delay", n("1"))]), 1),
        put(item("b", "1", &[("delay", n("2"))]), 1),
        put(item("c", "1", &[]), 1),
        put(item("d", "1", &[("delay", s("of another type"))]), 1),
    ];
    apply(index, batch).await;
    for (descending, wanted) in [(false, ["a", "b", "c", "d"]), (true, ["b", "a", "c", "d"])] {
        let sort = vec![Sort { by: SortBy::Field("delay".into()), descending }];
        let answer = index.search(&Search { sort, ..Search::default() }).await.unwrap();
        let ids: Vec<_> = answer.hits.iter().map(|hit| hit.key.get("id").unwrap().as_str().unwrap()).collect();
        assert_eq!(ids, wanted);
    }
}

pub async fn an_item_comes_back_as_it_was_written(index: &dyn SearchIndex) {
    let odd = [
        ("empty", s("")),
        ("number", n("12345678901234567890123456789012345678")),
        ("trailing", n("1.0")),
        ("nothing", Value::Null),
        ("bytes", Value::B(vec![0, 255, 10])),
        ("sets", Value::Ss(vec!["b".into(), "a".into()])),
        ("numbers", Value::Ns(vec![number("2"), number("1e3")])),
        ("nested", Value::M([("ü.x".to_owned(), Value::L(vec![Value::Bool(false), Value::Null]))].into())),
        ("count", s("a type flip")),
        ("big", s(&"x".repeat(390_000))),
        ("carrier", s(&"k".repeat(40_000))),
    ];
    let body = item("a", "1.0", &odd);
    let flush = Flush { operations: vec![put(body.clone(), 1)], progress: Progress::default() };
    let applied = index.apply(Arc::new(flush)).await.unwrap();
    assert_eq!(applied.mismatches, 2, "a flipped type, and a keyword that is too long to be one");
    let answer = all(index).await;
    assert_eq!(answer.hits[0].item, body);
    assert_eq!(answer.hits[0].key, item("a", "1.0", &[]));
    assert_eq!(scan_all(index, 1).await[0].item, Some(body.to_json()));
}

pub async fn keys_that_dynamodb_tells_apart_are_apart(index: &dyn SearchIndex) {
    let long = "l".repeat(2000);
    let ids = [("a", "1"), ("a", "1.5"), ("a", "10"), ("", "1"), ("a|b", "1"), (long.as_str(), "1"), ("é", "-1e-130")];
    apply(index, ids.iter().map(|(id, seq)| put(item(id, seq, &[]), 1)).collect()).await;
    assert_eq!(all(index).await.total, ids.len() as u64);
    let same = apply(index, vec![put(item("a", "1.0", &[]), 1)]).await;
    assert_eq!(same, [Outcome::Duplicate], "1.0 is 1");
    assert_eq!(found(index, "seq", Literal::Number(number("1e0"))).await, 4);
    assert_eq!(found(index, "id", Literal::Text(long)).await, 1);
}

pub async fn only_tombstones_past_their_time_are_purged(index: &dyn SearchIndex) {
    let second = |second: i64| Version::floor(Timestamp::from_millis(second * 1000)).get();
    let batch = vec![delete("old", "1", second(100)), delete("new", "1", second(200)), put(item("live", "1", &[]), 1)];
    let flush = Flush { operations: batch, progress: progress(3, 1) };
    index.apply(Arc::new(flush)).await.unwrap();
    assert_eq!(index.purge(Timestamp::from_millis(150_000)).await.unwrap(), 1);
    assert_eq!(index.purge(Timestamp::from_millis(150_000)).await.unwrap(), 0);
    let left: Vec<_> = scan_all(index, 10).await.into_iter().map(|entry| entry.version.get()).collect();
    assert_eq!(left.len(), 2);
    assert!(left.contains(&1) && left.contains(&second(200)));
    assert_eq!(index.progress().await.unwrap(), progress(3, 1), "progress stays");
}

pub async fn what_a_type_cannot_answer_is_refused(index: &dyn SearchIndex) {
    let refused = [
        Query::Exists { field: "carier".into() },
        Query::Term { field: "name".into(), value: Literal::Text("x".into()) },
        Query::Term { field: "count".into(), value: Literal::Text("1".into()) },
        Query::Prefix { field: "count".into(), prefix: "1".into() },
        Query::Match { field: "carrier".into(), text: "x".into() },
        Query::Range {
            field: "flag".into(),
            lower: std::ops::Bound::Included(Literal::Bool(true)),
            upper: std::ops::Bound::Unbounded,
        },
    ];
    for query in refused {
        let answer = index.search(&Search { query: query.clone(), ..Search::default() }).await;
        assert!(matches!(answer, Err(SearchError::Query(_))), "{query:?}");
    }
    let refused = [
        Search { limit: MAX_LIMIT + 1, ..Search::default() },
        Search { offset: MAX_DEPTH, limit: 1, ..Search::default() },
        Search { sort: vec![Sort { by: SortBy::Field("tags".into()), descending: false }], ..Search::default() },
    ];
    for search in refused {
        assert!(matches!(index.search(&search).await, Err(SearchError::Query(_))), "{search:?}");
    }
}

/// Any order of any repetition of changes ends in the newest of each key, in batches however they fall.
pub fn any_order_converges_to_the_newest(new_index: impl Fn() -> Arc<dyn SearchIndex>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let change = (0..6_u8, 1..8_u64);
    let batches = proptest::collection::vec(proptest::collection::vec(change, 0..6), 1..6);
    let config = ProptestConfig { cases: 40, ..ProptestConfig::default() };
    proptest!(config, |(batches in batches)| {
        let index = new_index();
        let mut newest: BTreeMap<KeyBytes, (u64, bool)> = BTreeMap::new();
        runtime.block_on(async {
            for batch in &batches {
                // A version is one change, so what it says follows from it: the even ones are puts.
                let operation = |(id, version): &(u8, u64)| {
                    let body = item(&id.to_string(), "1", &[("count", n(&version.to_string()))]);
                    let known = newest.entry(key(&body)).or_default();
                    *known = (*known).max((*version, version % 2 == 0));
                    if version % 2 == 0 { put(body, *version) } else { delete(&id.to_string(), "1", *version) }
                };
                apply(&*index, batch.iter().map(operation).collect()).await;
            }
            let read: BTreeMap<_, _> =
                scan_all(&*index, 100).await.into_iter().map(|entry| (entry.key, (entry.version.get(), entry.item.is_some()))).collect();
            let wanted: BTreeMap<_, _> = newest.iter().map(|(key, state)| (key.to_text(), *state)).collect();
            assert_eq!(read, wanted);
            assert_eq!(all(&*index).await.total, newest.values().filter(|(_, live)| *live).count() as u64);
        });
    });
}

/// A wait that hangs fails here instead of holding up the run; nothing asserts how long it takes.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work).await.expect("nothing came")
}
