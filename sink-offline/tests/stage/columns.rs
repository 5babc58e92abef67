//! What a row holds.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::*;
use headwater_common::value::Item;
use headwater_sink_offline::lake::Lake;

use crate::fixture::*;

fn every_type() -> headwater_common::definition::Entity {
    entity(serde_json::json!([
        { "name": "model", "type": "keyword", "description": "as the maker calls it" },
        { "name": "remark", "type": "text" },
        { "name": "delay", "type": "long" },
        { "name": "fuel", "type": "double" },
        { "name": "price", "type": { "decimal": { "precision": 38, "scale": 2 } } },
        { "name": "airborne", "type": "bool" },
        { "name": "landed", "type": "timestamp" },
        { "name": "built", "type": "date" },
        { "name": "photo", "type": "binary" },
        { "name": "place", "type": "geo_point" },
        { "name": "embedding", "type": { "vector": { "dims": 3 } } },
        { "name": "tags", "type": "keyword_set" },
        { "name": "readings", "type": "number_set" },
        { "name": "details", "type": "json" },
    ]))
}

const FULL: &str = concat!(
    r#"{"airborne":{"BOOL":true},"big":{"N":"12345678901234567890123456789012345678"},"built":{"S":"2001-02-03"},"#,
    r#""delay":{"N":"9007199254740993"},"details":{"M":{"a":{"L":[{"NULL":true},{"N":"1.0"}]}}},"#,
    r#""embedding":{"L":[{"N":"1"},{"N":"0.5"},{"N":"-2"}]},"empty":{"S":""},"fuel":{"N":"0.1"},"#,
    r#""landed":{"S":"2013-01-01T10:00:00.123Z"},"model":{"S":"A320"},"nothing":{"NULL":true},"photo":{"B":"AP8="},"#,
    r#""place":{"M":{"lat":{"N":"40.6"},"lon":{"N":"-73.8"}}},"price":{"N":"123456789012345678901234567890123456.78"},"#,
    r#""readings":{"NS":["1","2.5"]},"remark":{"S":"päivää\n"},"seen_at":{"N":"1357034400123"},"#,
    r#""sets":{"BS":["","AA=="]},"tags":{"SS":["a","b"]},"tail":{"S":"N1"},"written_at":{"N":"1700000000000"}}"#
);

async fn followed(log: &TestLog, lake: &Lake, entity: headwater_common::definition::Entity) -> RecordBatch {
    log.mark(1).await;
    let sink = Sink::start(log, lake, entity, quick());
    sink.complete(1).await;
    sink.stop().await.unwrap();
    one_batch(lake).await
}

#[tokio::test]
async fn every_type_has_its_column_and_the_item_comes_back_as_it_was_written() {
    let (log, (lake, _)) = (TestLog::new(), memory_lake());
    log.write([with_image(1, FULL)]).await;
    let batch = followed(&log, &lake, every_type()).await;
    assert_eq!(texts(&batch, "item"), [Some(FULL.to_owned())]);
    assert_eq!(Item::from_json(&texts(&batch, "item")[0].clone().unwrap()).unwrap(), Item::from_json(FULL).unwrap());
    let column = |name: &str| batch.column_by_name(name).unwrap().clone();
    assert_eq!(texts(&batch, "model"), [Some("A320".into())]);
    assert_eq!(texts(&batch, "remark"), [Some("päivää\n".into())]);
    assert_eq!(longs(&batch, "delay"), [Some(9_007_199_254_740_993)]);
    assert_eq!(column("fuel").as_primitive::<Float64Type>().value(0), 0.1);
    let price = column("price");
    assert_eq!(price.data_type(), &DataType::Decimal128(38, 2));
    assert_eq!(price.as_primitive::<Decimal128Type>().value(0), 12_345_678_901_234_567_890_123_456_789_012_345_678);
    assert!(column("airborne").as_boolean().value(0));
    let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    for (name, micros) in [
        ("landed", 1_357_034_400_123_000),
        ("_event_time", 1_357_034_400_123_000),
        ("_event_ts", 1_700_000_001_000_000),
    ] {
        assert_eq!(column(name).data_type(), &utc, "{name}");
        assert_eq!(column(name).as_primitive::<TimestampMicrosecondType>().value(0), micros, "{name}");
    }
    assert_eq!(column("built").as_primitive::<Date32Type>().value(0), 11_356);
    assert_eq!(column("photo").as_binary::<i32>().value(0), [0, 0xff]);
    let degree =
        |name: &str| column("place").as_struct().column_by_name(name).unwrap().as_primitive::<Float64Type>().value(0);
    assert_eq!((degree("lat"), degree("lon")), (40.6, -73.8));
    let list = |name: &str| column(name).as_list::<i32>().value(0);
    assert_eq!(list("embedding").as_primitive::<Float32Type>().values().to_vec(), [1.0, 0.5, -2.0]);
    assert_eq!(list("readings").as_primitive::<Float64Type>().values().to_vec(), [1.0, 2.5]);
    assert_eq!(list("tags").as_string::<i32>().iter().flatten().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(texts(&batch, "details"), [Some(r#"{"M":{"a":{"L":[{"NULL":true},{"N":"1.0"}]}}}"#.into())]);
    for name in ["_rescued", "_error", "_sk"] {
        assert_eq!(texts(&batch, name), [None], "{name}");
    }
}

#[tokio::test]
async fn the_fixed_columns_say_what_where_and_when() {
    let (log, (lake, _)) = (TestLog::new(), memory_lake());
    let mut changed = change(3);
    changed.changed = Some(vec!["delay".into()]);
    log.write([changed.clone(), deletion(10, "N3")]).await;
    let batch = followed(&log, &lake, simple()).await;
    assert_eq!(texts(&batch, "_op"), [Some("u".into()), Some("d".into())]);
    assert_eq!(texts(&batch, "_key"), vec![Some(changed.key.canonical().to_text()); 2]);
    assert_eq!(texts(&batch, "_pk"), vec![Some("N3".to_owned()); 2]);
    assert_eq!(longs(&batch, "_version")[0], Some(changed.version.as_i64()));
    assert_eq!(texts(&batch, "_seq")[0], Some(changed.source.sequence.padded().to_owned()));
    assert_eq!(texts(&batch, "_shard")[0], Some("shardId-1".into()));
    assert_eq!(longs(&batch, "_log_offset"), [Some(0), Some(1)]);
    let names = batch.column_by_name("_changed").unwrap().as_list::<i32>().clone();
    assert_eq!(names.value(0).as_string::<i32>().value(0), "delay");
    assert!(names.is_null(1));
    assert_eq!(texts(&batch, "item")[1], None, "a deletion has no item");
    assert_eq!(longs(&batch, "delay"), [Some(3), None]);
    let known = batch.column_by_name("_commit_ts").unwrap().as_primitive::<TimestampMicrosecondType>().clone();
    assert_eq!(known.value(0), known.value(1), "one moment for one commit");

    let mut delta = lake.history(&table()).delta().unwrap();
    delta.load().await.unwrap();
    let snapshot = delta.snapshot().unwrap();
    assert_eq!(snapshot.metadata().partition_columns(), &["_date".to_owned()]);
    assert_eq!((snapshot.protocol().min_reader_version(), snapshot.protocol().min_writer_version()), (1, 2));
    let file = snapshot.log_data().iter().next().unwrap();
    let day = headwater_common::clock::Timestamp::from_millis(known.value(0) / 1000).to_rfc3339();
    assert!(file.path().contains(&format!("_date={}", &day[..10])), "{}", file.path());
}

#[tokio::test]
async fn an_attribute_of_another_type_is_rescued_and_stops_nothing() {
    let (log, (lake, _)) = (TestLog::new(), memory_lake());
    log.write([
        with_image(1, r#"{"delay":{"S":"late"},"seen_at":{"S":"soon"},"tail":{"S":"N1"}}"#),
        with_image(2, r#"{"delay":{"NULL":true},"tail":{"S":"N1"}}"#),
        with_image(
            3,
            r#"{"delay":{"N":"9223372036854775808"},"seen_at":{"N":"9223372036854775807"},"tail":{"S":"N1"}}"#,
        ),
        with_image(4, r#"{"delay":{"N":"4"},"tail":{"S":"N1"}}"#),
    ])
    .await;
    let batch = followed(&log, &lake, simple()).await;
    assert_eq!(longs(&batch, "delay"), [None, None, None, Some(4)]);
    assert_eq!(
        texts(&batch, "_rescued"),
        [
            Some(r#"{"delay":{"S":"late"},"seen_at":{"S":"soon"}}"#.to_owned()),
            None,
            Some(r#"{"delay":{"N":"9223372036854775808"},"seen_at":{"N":"9223372036854775807"}}"#.to_owned()),
            None
        ]
    );
}

#[tokio::test]
async fn a_record_that_can_not_be_decoded_is_a_row_of_the_same_commit_and_is_not_read_again() {
    let (log, (lake, _)) = (TestLog::new(), memory_lake());
    log.write([change(0)]).await;
    log.write_bytes(b"\xff not an envelope").await;
    let mut other = change(7);
    other.table = headwater_common::change::TableName::new("airports");
    let event = headwater_common::codec::encode(&other);
    log.write_bytes(Box::leak(event.to_vec().into_boxed_slice())).await;
    log.write([change(14)]).await;
    log.mark(1).await;
    for _ in 0..2 {
        let sink = Sink::start(&log, &lake, simple(), quick());
        sink.complete(1).await;
        sink.stop().await.unwrap();
    }
    let batches = history(&lake).await;
    assert_eq!(batches.len(), 1, "all in one file");
    let batch = &batches[0];
    assert_eq!(texts(batch, "_event_id"), [Some("e0".into()), None, None, Some("e14".into())]);
    assert_eq!(longs(batch, "_log_offset"), [Some(0), Some(1), Some(2), Some(3)]);
    let errors = texts(batch, "_error");
    assert!(errors[1].as_ref().unwrap().starts_with("not an envelope"), "{errors:?}");
    assert_eq!(errors[2].as_deref(), Some("a change of table airports"));
    assert_eq!(texts(batch, "_rescued")[1].as_deref(), Some(r#"{"_record":{"B":"/yBub3QgYW4gZW52ZWxvcGU="}}"#));
    for name in ["_key", "_op", "item"] {
        assert_eq!(texts(batch, name)[1], None, "{name}");
    }
}

#[tokio::test]
async fn statistics_are_exact_and_are_what_delta_rs_reads() {
    let (log, (lake, _)) = (TestLog::new(), memory_lake());
    log.write([with_image(1, FULL)]).await;
    followed(&log, &lake, every_type()).await;
    let mut delta = lake.history(&table()).delta().unwrap();
    delta.load().await.unwrap();
    let snapshot = delta.snapshot().unwrap();
    let file = snapshot.log_data().iter().next().unwrap();
    assert_eq!(file.num_records(), Some(1));
    let stats = file.stats().unwrap().to_string();
    for exact in [
        r#""delay":9007199254740993"#,
        r#""price":123456789012345678901234567890123456.78"#,
        r#""_event_time":"2013-01-01T10:00:00.123Z""#,
        r#""built":"2001-02-03""#,
    ] {
        assert_eq!(stats.matches(exact).count(), 2, "{exact} in {stats}");
    }
    assert!(!stats.contains("A320\\n") && !stats.contains("embedding"), "{stats}");
    file.min_values().unwrap();
    file.max_values().unwrap();
}
