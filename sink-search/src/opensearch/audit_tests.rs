use serde_json::json;

use super::*;

/// As OpenSearch 2.19.1 describes an index that was made for a keyword, a date and a vector.
fn sound() -> Value {
    json!({
        "aliases": { "hw-t": { "filter": { "term": { "_hw.live": true } } }, "hw-t-w": {} },
        "mappings": { "dynamic": "strict", "date_detection": false, "properties": {
            "_hw": { "properties": {
                "key": { "type": "keyword" }, "item": { "type": "object", "enabled": false },
            }},
            "day": { "properties": { "date": { "type": "date", "format": "strict_date_optional_time" } } },
            "profile": { "properties": { "vector": { "type": "knn_vector", "dimension": 2, "method": {
                "engine": "lucene", "space_type": "cosinesimil", "name": "hnsw", "parameters": {},
            }}}},
        }},
        "settings": {
            "index.number_of_shards": "1", "index.number_of_replicas": "1", "index.translog.durability": "request",
            "index.replication.type": "DOCUMENT",
        },
    })
}

fn wanted() -> Value {
    let mut wanted = sound()["mappings"].clone();
    wanted["properties"]["profile"]["properties"]["vector"]["method"].as_object_mut().unwrap().remove("parameters");
    wanted
}

/// The answer for an index that has `value` at `path`.
fn with(path: &str, value: Value) -> Result<(), Fault> {
    let mut found = sound();
    let (parent, name) = path.rsplit_once('/').unwrap();
    found.pointer_mut(parent).unwrap()[name] = value;
    audit(&serde_json::from_value(found).unwrap(), &wanted(), Some("hw-t"), "hw-t-w")
}

#[test]
fn an_index_as_it_is_made_is_sound_and_so_is_one_with_more_fields_or_another_way_to_write_its_filter() {
    assert_eq!(with("/settings/index.refresh_interval", json!("5s")), Ok(()));
    assert_eq!(with("/settings/index.default_pipeline", json!("_none")), Ok(()));
    assert_eq!(with("/mappings/properties/retired", json!({ "properties": { "long": { "type": "long" } } })), Ok(()));
    assert_eq!(
        with("/aliases/hw-t/filter", json!({ "term": { "_hw.live": { "value": true, "boost": 1.0 } } })),
        Ok(())
    );
    assert_eq!(with("/aliases/dashboards", json!({})), Ok(()));
}

#[test]
fn what_would_break_a_promise_is_refused_by_its_name_with_the_remedy() {
    let again = "`headwater rebuild`";
    let day = "/mappings/properties/day/properties/date";
    let refused = [
        ("/settings/index.translog.durability", json!("async"), "index.translog.durability is async", "to request"),
        ("/settings/index.translog.durability", json!("ASYNC"), "index.translog.durability is async", "to request"),
        ("/settings/index.replication.type", json!("SEGMENT"), "index.replication.type is SEGMENT", again),
        (
            "/settings/index.final_pipeline",
            json!("mask"),
            "index.final_pipeline is mask",
            "index.final_pipeline to null",
        ),
        ("/settings/index.default_pipeline", json!("x"), "index.default_pipeline is x", "to null"),
        ("/settings/index.mapping.ignore_malformed", json!("true"), "ignore_malformed is true", again),
        ("/settings/index.max_result_window", json!("500"), "index.max_result_window is 500", "to null"),
        ("/mappings/dynamic", json!("true"), "dynamic true and not strict", "dynamic to strict"),
        ("/mappings/dynamic", json!(null), "dynamic (none) and not strict", "dynamic to strict"),
        ("/mappings/_source", json!({ "enabled": false }), "_source does not keep whole items", again),
        ("/mappings/_source", json!({ "excludes": ["_hw.item"] }), "_source does not keep whole items", again),
        ("/mappings/_routing", json!({ "required": true }), "_routing is required", again),
        ("/mappings/properties/day", json!(null), "lacks field day", again),
        ("/mappings/properties/day/properties", json!({}), "lacks field day.date", again),
        ("/mappings/properties/day/dynamic", json!("false"), "field day is no object of declared fields alone", again),
        ("/mappings/properties/day/type", json!("nested"), "field day is no object of declared fields alone", again),
        (day, json!({ "type": "long" }), "field day.date has type long and not date", again),
        (day, json!({ "type": "date", "format": "epoch_millis" }), "day.date has format epoch_millis and not", again),
        ("/mappings/properties/_hw/properties/key", json!({ "type": "keyword", "index": false }), "index false", again),
        (
            "/mappings/properties/_hw/properties/key",
            json!({ "type": "keyword", "ignore_above": 9 }),
            "_hw.key has",
            again,
        ),
        ("/mappings/properties/_hw/properties/item/enabled", json!(true), "_hw.item has enabled true and not", again),
        ("/mappings/properties/profile/properties/vector/dimension", json!(3), "dimension 3 and not 2", again),
        ("/mappings/properties/profile/properties/vector/method/engine", json!("faiss"), "method.engine faiss", again),
        ("/aliases/hw-t", json!({}), "not filtered by _hw.live", "with the filter"),
        (
            "/aliases/hw-t/filter",
            json!({ "term": { "_hw.live": false } }),
            "not filtered by _hw.live",
            "with the filter",
        ),
        ("/aliases/hw-t/search_routing", json!("1"), "alias hw-t has a routing", "without a routing"),
        ("/aliases/hw-t-w", json!({ "index_routing": "1" }), "alias hw-t-w has a routing", "without a routing"),
        ("/aliases/hw-t-w", json!({ "filter": { "term": { "_hw.live": true } } }), "must see everything", again),
    ];
    for (path, value, reason, remedy) in refused {
        let fault = with(path, value.clone()).expect_err(&format!("{path} {value}"));
        assert!(fault.reason.contains(reason) && fault.remedy.contains(remedy), "{path} {value}: {fault:?}");
    }
}
