//! Definitions that change while their table lives.

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Float64Type;
use headwater_sink_offline::schema::{HistorySchema, SchemaError};

use crate::fixture::*;
use crate::on_each_store;
use crate::place::Place;

async fn a_feature_that_is_added_becomes_a_column_and_old_rows_read_as_null(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    log.write_and_mark(0..3).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(3).await;
    sink.stop().await.unwrap();

    let wider = entity(serde_json::json!([{ "name": "delay", "type": "long" }, { "name": "fuel", "type": "double" }]));
    log.write([with_image(3, r#"{"fuel":{"N":"0.5"},"tail":{"S":"N1"}}"#)]).await;
    log.mark(4).await;
    let sink = Sink::start(&log, &lake, wider, quick());
    sink.complete(4).await;
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..4, "after the change").await;

    let batches = history(&lake).await;
    let with_fuel: Vec<_> = batches.iter().filter(|batch| batch.column_by_name("fuel").is_some()).collect();
    assert_eq!((batches.len(), with_fuel.len()), (2, 1), "old files are as they were");
    assert_eq!(with_fuel[0].column_by_name("fuel").unwrap().as_primitive::<Float64Type>().value(0), 0.5);
    assert!(with_fuel[0].column_by_name("delay").unwrap().is_null(0));
    let mut delta = lake.history(&table()).delta().unwrap();
    delta.load().await.unwrap();
    let schema = delta.snapshot().unwrap().schema();
    assert!(schema.field("fuel").is_some_and(|field| field.is_nullable()));

    // A definition without it leaves the column where it is.
    log.write_and_mark(4..6).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(6).await;
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..6, "after the change back").await;
}

async fn a_column_of_another_type_is_refused_with_the_remedy_and_the_table_stays_as_it_is(place: Place) {
    let (log, (lake, _)) = (TestLog::new(), lake_in(&place));
    log.write_and_mark(0..3).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(3).await;
    sink.stop().await.unwrap();
    let retyped = entity(serde_json::json!([{ "name": "delay", "type": "double" }]));
    let refused = Sink::start(&log, &lake, retyped, quick()).ended().await.unwrap_err().to_string();
    assert!(
        refused.contains("column delay of aircraft_history is \"long\", the definition says \"double\""),
        "{refused}"
    );
    assert!(refused.contains("new name"), "{refused}");
    assert_exactly_once(&lake, 0..3, "after the refusal").await;
}

#[test]
fn features_that_the_lake_can_not_hold_are_refused_before_anything_runs() {
    let of = |features: serde_json::Value| HistorySchema::of(&entity(features)).unwrap_err();
    let long = |name: &str| serde_json::json!([{ "name": name, "type": "long" }]);
    for name in ["_key", "_Version", "item", "ITEM", "_date", "_error"] {
        assert!(matches!(of(long(name)), SchemaError::Reserved { .. }), "{name}");
    }
    for name in ["", "two words", "a,b", "a=b"] {
        assert!(matches!(of(long(name)), SchemaError::BadName { .. }), "{name}");
    }
    let both = serde_json::json!([{ "name": "Delay", "type": "long" }, { "name": "delay", "type": "long" }]);
    assert!(matches!(of(both), SchemaError::SameName { .. }));
    let wide = serde_json::json!([{ "name": "d", "type": { "decimal": { "precision": 39, "scale": 0 } } }]);
    assert!(matches!(of(wide), SchemaError::BadDecimal { .. }));
}

on_each_store!(
    a_feature_that_is_added_becomes_a_column_and_old_rows_read_as_null,
    a_column_of_another_type_is_refused_with_the_remedy_and_the_table_stays_as_it_is,
);
