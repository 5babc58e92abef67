//! Many items at once.

use headwater_sdk::{ItemBuilder, Key, Number};

use crate::support::{Bench, at};

#[tokio::test]
async fn two_hundred_and_fifty_keys_come_back_in_order_with_gaps_where_there_is_no_item() {
    let bench = Bench::start().await;
    let store = bench.entity("route");
    for day in (0..250).filter(|day| day % 3 != 0) {
        store.put(ItemBuilder::new().set("from", "JFK").set("day", day).set("delay", day), at(1)).await.unwrap();
    }
    let days: Vec<i64> = (0..250).map(|at| (at * 101) % 250).collect();
    let items = store.batch_get(days.iter().map(|day| ("JFK", *day))).await.unwrap();
    assert_eq!(items.len(), 250);
    for (day, item) in days.iter().zip(&items) {
        let read = item.as_ref().map(|item| item.get("day").unwrap().as_number().unwrap().to_i64().unwrap());
        assert_eq!(read, (day % 3 != 0).then_some(*day), "day {day}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_key_that_occurs_twice_is_answered_twice() {
    let bench = Bench::start().await;
    let store = bench.entity("route");
    store.put(ItemBuilder::new().set("from", "JFK").set("day", 1), at(1)).await.unwrap();
    let one: Key = ("JFK", 1).into();
    let same: Key = ("JFK", Number::parse("1.0").unwrap()).into();
    let absent: Key = ("LGA", 1).into();
    let items = store.batch_get([one.clone(), absent.clone(), same, absent, one]).await.unwrap();
    let there: Vec<bool> = items.iter().map(Option::is_some).collect();
    assert_eq!(there, [true, false, true, false, true]);
    assert_eq!(store.batch_get(Vec::<Key>::new()).await.unwrap(), []);
    bench.stop().await;
}

/// The server answers at most 16 MB at once and leaves the other keys unprocessed, as DynamoDB does.
#[tokio::test]
async fn keys_that_the_server_leaves_unprocessed_are_asked_for_again() {
    let bench = Bench::start().await;
    let store = bench.entity("route");
    for day in 0..60 {
        let item = ItemBuilder::new().set("from", "JFK").set("day", day).set("payload", "x".repeat(390 * 1024));
        store.put(item, at(1)).await.unwrap();
    }
    let keys: Vec<Key> = (0..60).map(|day| ("JFK", day).into()).collect();
    let first = bench.store.client().batch_get_item();
    let wire = |key: &Key| {
        let day = key.sort.clone().unwrap().to_value();
        std::collections::HashMap::from([
            ("from".to_owned(), headwater_sdk::to_attribute(&key.partition.to_value())),
            ("day".to_owned(), headwater_sdk::to_attribute(&day)),
        ])
    };
    let request = aws_sdk_dynamodb::types::KeysAndAttributes::builder().set_keys(Some(keys.iter().map(wire).collect()));
    let answer = first.request_items("routes", request.build().unwrap()).send().await.unwrap();
    assert!(!answer.unprocessed_keys.unwrap().is_empty(), "the server left nothing unprocessed, so nothing is tested");
    let items = store.batch_get(keys).await.unwrap();
    assert!(items.iter().all(Option::is_some));
    bench.stop().await;
}

#[tokio::test]
async fn a_malformed_key_among_many_is_refused_by_name() {
    let bench = Bench::start().await;
    let keys: [Key; 2] = [("JFK", 1).into(), "JFK".into()];
    let error = bench.entity("route").batch_get(keys).await.unwrap_err().to_string();
    assert_eq!(error, "route: `day` is missing: it is the sort attribute");
    bench.stop().await;
}
