//! The newest event time wins.

use headwater_sdk::{Changes, Delete, Error, Item, ItemBuilder, Put};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};

use crate::support::{Bench, at};

fn aircraft(delay: f64) -> ItemBuilder {
    ItemBuilder::new().set("tail", "N1").set("delay", delay)
}

/// The stored item as JSON, or `null`.
async fn stored(bench: &Bench) -> String {
    bench.entity("aircraft").get("N1").await.unwrap().map_or("null".to_owned(), |item| item.to_json())
}

#[tokio::test]
async fn a_put_replaces_an_older_item_whole_and_stamps_both_times() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    assert_eq!(store.put(aircraft(1.0).set("flights", 7), at(10)).await.unwrap(), Put::Applied);
    bench.clock.advance(std::time::Duration::from_millis(5));
    assert_eq!(store.put(aircraft(2.5), at(11)).await.unwrap(), Put::Applied);
    assert_eq!(
        stored(&bench).await,
        r#"{"at":{"N":"11"},"delay":{"N":"2.5"},"tail":{"S":"N1"},"written":{"N":"1000005"}}"#
    );
    bench.stop().await;
}

#[tokio::test]
async fn an_older_write_says_so_and_changes_nothing() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    store.put(aircraft(1.0), at(10)).await.unwrap();
    let before = stored(&bench).await;
    bench.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(store.put(aircraft(2.0), at(9)).await.unwrap(), Put::Older);
    assert_eq!(store.update("N1", Changes::new().set("flights", 3), at(9)).await.unwrap(), Put::Older);
    assert_eq!(store.delete_if_older("N1", at(9)).await.unwrap(), Delete::Newer);
    assert_eq!(stored(&bench).await, before);
    // A comparison of text would take 9 for newer than 10.
    assert_eq!(store.put(aircraft(3.0), at(100)).await.unwrap(), Put::Applied);
    bench.stop().await;
}

#[tokio::test]
async fn of_two_writes_with_one_event_time_the_first_stays_and_its_repetition_is_applied() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    store.put(aircraft(1.0), at(10)).await.unwrap();
    let before = stored(&bench).await;
    bench.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(store.put(aircraft(1.0), at(10)).await.unwrap(), Put::Applied);
    assert_eq!(store.put(aircraft(2.0), at(10)).await.unwrap(), Put::Older);
    assert_eq!(store.put(aircraft(1.0).set("flights", 1), at(10)).await.unwrap(), Put::Older);
    assert_eq!(stored(&bench).await, before);
    let changes = Changes::new().set("delay", 4).remove("flights");
    assert_eq!(store.update("N1", changes.clone(), at(11)).await.unwrap(), Put::Applied);
    assert_eq!(store.update("N1", changes, at(11)).await.unwrap(), Put::Applied);
    assert_eq!(store.update("N1", Changes::new().set("flights", 2), at(11)).await.unwrap(), Put::Older);
    bench.stop().await;
}

#[tokio::test]
async fn an_update_sets_and_removes_what_it_names_and_leaves_the_rest() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    store.put(aircraft(1.0).set("flights", 7).set("name", "Ann"), at(10)).await.unwrap();
    let changes = Changes::new().set("flights", 8).set("active", true).remove("name").remove("remark");
    assert_eq!(store.update("N1", changes, at(11)).await.unwrap(), Put::Applied);
    assert_eq!(
        stored(&bench).await,
        concat!(
            r#"{"active":{"BOOL":true},"at":{"N":"11"},"delay":{"N":"1"},"flights":{"N":"8"},"#,
            r#""tail":{"S":"N1"},"written":{"N":"1000000"}}"#
        )
    );
    bench.stop().await;
}

#[tokio::test]
async fn an_update_makes_an_item_that_was_not_there() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    assert_eq!(store.update("N1", Changes::new().set("flights", 1), at(5)).await.unwrap(), Put::Applied);
    assert_eq!(
        stored(&bench).await,
        r#"{"at":{"N":"5"},"flights":{"N":"1"},"tail":{"S":"N1"},"written":{"N":"1000000"}}"#
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_delete_says_what_it_met() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    assert_eq!(store.delete("N1").await.unwrap(), Delete::Absent);
    assert_eq!(store.delete_if_older("N1", at(1)).await.unwrap(), Delete::Absent);
    store.put(aircraft(1.0), at(10)).await.unwrap();
    assert_eq!(store.delete_if_older("N1", at(9)).await.unwrap(), Delete::Newer);
    assert_eq!(store.delete_if_older("N1", at(10)).await.unwrap(), Delete::Removed);
    store.put(aircraft(1.0), at(3)).await.unwrap();
    assert_eq!(store.delete("N1").await.unwrap(), Delete::Removed);
    assert_eq!(stored(&bench).await, "null");
    bench.stop().await;
}

#[tokio::test]
async fn an_event_time_that_another_client_wrote_as_text_is_an_error_and_not_older() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    let foreign = Item::from_json(r#"{"tail":{"S":"N1"},"at":{"S":"2013-01-01T00:00:00Z"}}"#).unwrap();
    let put = bench.store.client().put_item().table_name("aircraft");
    put.set_item(Some(headwater_sdk::to_attributes(&foreign))).send().await.unwrap();
    for error in [
        store.put(aircraft(1.0), at(10)).await.unwrap_err(),
        store.update("N1", Changes::new().set("flights", 1), at(10)).await.unwrap_err(),
        store.delete_if_older("N1", at(10)).await.unwrap_err(),
    ] {
        assert!(matches!(&error, Error::Incomparable { attribute, found: "S", .. } if attribute == "at"), "{error}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn entities_without_event_times_are_overwritten_and_never_put() {
    let bench = Bench::start().await;
    let store = bench.entity("blob");
    let item = |size: i64| ItemBuilder::new().set("id", vec![0_u8, 255]).set("size", size);
    assert!(matches!(store.put(item(1), at(1)).await.unwrap_err(), Error::NoEventTime { entity } if entity == "blob"));
    store.overwrite(item(1)).await.unwrap();
    store.overwrite(item(2)).await.unwrap();
    let stored = store.get(vec![0_u8, 255]).await.unwrap().unwrap();
    assert_eq!(stored.to_json(), r#"{"id":{"B":"AP8="},"size":{"N":"2"}}"#);
    bench.stop().await;
}

/// Every writer writes its own share of the event times, in any order, puts and updates mixed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_concurrent_writers_in_any_order_the_newest_event_time_stays() {
    const WRITERS: i64 = 6;
    const TIMES: i64 = 30;
    let bench = Bench::start().await;
    for seed in 0..4 {
        let tail = format!("N{seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let mut shares: Vec<Vec<i64>> = vec![Vec::new(); WRITERS as usize];
        for time in 1..=TIMES {
            shares[rng.random_range(0..WRITERS as usize)].push(time);
        }
        let mut writers = Vec::new();
        for (writer, mut share) in shares.into_iter().enumerate() {
            share.shuffle(&mut rng);
            let store = bench.entity("aircraft");
            let tail = tail.clone();
            writers.push(tokio::spawn(async move {
                let mut applied = Vec::new();
                for time in share {
                    let result = if time % 3 == 0 {
                        let changes = Changes::new().set("flights", time).set("writer", writer as i64);
                        store.update(tail.as_str(), changes, at(time)).await
                    } else {
                        let item = ItemBuilder::new().set("tail", tail.as_str());
                        store.put(item.set("flights", time).set("writer", writer as i64), at(time)).await
                    };
                    if result.unwrap() == Put::Applied {
                        applied.push(time);
                    }
                }
                applied
            }));
        }
        let mut applied = Vec::new();
        for writer in writers {
            applied.extend(writer.await.unwrap());
        }
        let item = bench.entity("aircraft").get(tail.as_str()).await.unwrap().unwrap();
        assert_eq!(item.get("at").unwrap().as_number().unwrap().to_i64(), Some(TIMES), "seed {seed}");
        assert_eq!(item.get("flights").unwrap().as_number().unwrap().to_i64(), Some(TIMES), "seed {seed}");
        assert!(applied.contains(&TIMES), "seed {seed}: the newest write was told Older");
    }
    bench.stop().await;
}
