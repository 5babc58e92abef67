//! What is written is what is read.

use std::collections::BTreeMap;

use headwater_sdk::{
    GeoPoint, Item, ItemBuilder, MAX_ITEM_BYTES, Number, Put, Settings, Timestamp, Value, item_bytes, keyword_set,
    number_set,
};
use proptest::prelude::*;

use crate::support::{Bench, at};

#[tokio::test]
async fn every_feature_type_comes_back_as_it_was_written() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    let digits = "-12345678901234567890123456789012345678";
    let numbers = ["1", "2.5", "-3"].map(|text| Number::parse(text).unwrap());
    let nested = BTreeMap::from([("list".to_owned(), Value::L(vec![Value::Null, Value::S(String::new())]))]);
    let item = ItemBuilder::new()
        .set("tail", "N1")
        .set("delay", 0.1)
        .set("flights", i64::MAX)
        .set("fare", Number::parse(digits).unwrap())
        .set("name", "")
        .set("remark", "größer als 1 €")
        .set("active", false)
        .set("seen", Timestamp::from_millis(1_357_034_400_123))
        .set("built", "1998-02-28")
        .set("photo", vec![0_u8, 1, 255])
        .set("place", GeoPoint { lat: 40.639, lon: -73.778 })
        .set("profile", vec![0.25_f32, -1.0, 3.5])
        .set("tags", keyword_set(["b", "a"]))
        .set("levels", number_set(numbers))
        .set("extra", nested)
        .set("writer", None::<i64>)
        .set("expires", 1_999_999_999);
    store.put(item, at(10)).await.unwrap();
    let read = store.get("N1").await.unwrap().unwrap();
    let expected = concat!(
        r#"{"active":{"BOOL":false},"at":{"N":"10"},"built":{"S":"1998-02-28"},"delay":{"N":"0.1"},"#,
        r#""expires":{"N":"1999999999"},"extra":{"M":{"list":{"L":[{"NULL":true},{"S":""}]}}},"#,
        r#""fare":{"N":"-12345678901234567890123456789012345678"},"flights":{"N":"9223372036854775807"},"#,
        r#""levels":{"NS":["-3","1","2.5"]},"name":{"S":""},"photo":{"B":"AAH/"},"#,
        r#""place":{"M":{"lat":{"N":"40.639"},"lon":{"N":"-73.778"}}},"#,
        r#""profile":{"L":[{"N":"0.25"},{"N":"-1"},{"N":"3.5"}]},"remark":{"S":"größer als 1 €"},"#,
        r#""seen":{"N":"1357034400123"},"tags":{"SS":["a","b"]},"tail":{"S":"N1"},"writer":{"NULL":true},"#,
        r#""written":{"N":"1000000"}}"#
    );
    assert_eq!(read.normalised(), Item::from_json(expected).unwrap().normalised());
    bench.stop().await;
}

#[tokio::test]
async fn a_number_key_is_found_by_its_value_and_not_its_text() {
    let bench = Bench::start().await;
    let store = bench.entity("route");
    store.put(ItemBuilder::new().set("from", "JFK").set("day", 7), at(1)).await.unwrap();
    let found = store.get(("JFK", Number::parse("7.0").unwrap())).await.unwrap();
    assert!(found.is_some());
    assert_eq!(store.get(("JFK", 8)).await.unwrap(), None);
    bench.stop().await;
}

/// The server counts sizes by itself, so a rule of ours that counted too little would fail here.
#[tokio::test]
async fn an_item_of_exactly_the_limit_is_written_and_one_byte_more_is_refused_here() {
    let bench = Bench::start().await;
    let store = bench.entity("aircraft");
    let base = ItemBuilder::new().set("tail", "N1").set("fare", Number::parse("-12300").unwrap()).set("active", true);
    store.put(base.clone(), at(10)).await.unwrap();
    let used = item_bytes(&store.get("N1").await.unwrap().unwrap());
    let room = MAX_ITEM_BYTES - used - "remark".len();
    assert_eq!(store.put(base.clone().set("remark", "x".repeat(room)), at(11)).await.unwrap(), Put::Applied);
    let error = store.put(base.set("remark", "x".repeat(room + 1)), at(12)).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "aircraft: `remark` is the largest attribute of an item of 409601 bytes; DynamoDB's limit is 409600"
    );
    assert_eq!(item_bytes(&store.get("N1").await.unwrap().unwrap()), MAX_ITEM_BYTES);
    bench.stop().await;
}

fn numbers() -> impl Strategy<Value = Number> {
    ("-?[1-9][0-9]{0,37}", -80..80_i32)
        .prop_map(|(digits, exponent)| Number::parse(format!("{digits}E{exponent}")).unwrap())
}

fn values() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        ".{0,12}".prop_map(Value::S),
        numbers().prop_map(Value::N),
        proptest::collection::vec(any::<u8>(), 0..12).prop_map(Value::B),
        any::<bool>().prop_map(Value::Bool),
        Just(Value::Null),
        proptest::collection::btree_set(".{0,6}", 1..4).prop_map(keyword_set),
        proptest::collection::vec(numbers(), 1..4).prop_map(number_set),
        proptest::collection::btree_set(proptest::collection::vec(any::<u8>(), 0..6), 1..4)
            .prop_map(|set| Value::Bs(set.into_iter().collect())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::L),
            proptest::collection::btree_map(".{1,6}", inner, 0..4).prop_map(Value::M),
        ]
    })
}

#[tokio::test]
async fn any_value_comes_back_equal_and_no_larger_than_the_server_allows() {
    let bench = Bench::start().await;
    let settings = Settings { unknown_attributes: true, ..Settings::default() };
    let store = bench.store.clone().with_settings(settings).entity("aircraft").unwrap().consistent();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    for round in 0..60 {
        let tree = proptest::collection::btree_map("[a-z]{12}", values(), 1..5).new_tree(&mut runner).unwrap();
        let mut item = Item(proptest::strategy::ValueTree::current(&tree));
        item.0.insert("tail".into(), Value::S(format!("N{round}")));
        assert_eq!(store.put(item.clone(), at(1)).await.unwrap(), Put::Applied, "{}", item.to_json());
        let mut read = store.get(format!("N{round}")).await.unwrap().unwrap();
        read.0.remove("at");
        read.0.remove("written");
        assert_eq!(read.normalised(), item.normalised());
        assert_eq!(store.put(item.clone(), at(1)).await.unwrap(), Put::Applied, "repeated: {}", item.to_json());
    }
    bench.stop().await;
}
