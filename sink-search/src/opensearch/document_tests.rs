use headwater_common::definition::parse;
use headwater_common::key::ItemKey;
use headwater_common::order::Version;
use serde_json::{Value, json};

use super::*;

fn lines(json: &str) -> (Value, Value, u64) {
    let yaml = "
entity: thing
key: {partition: {name: id, type: number}}
features:
  - {name: count, type: long}
  - {name: at, type: timestamp}
  - {name: day, type: date}
  - {name: price, type: \"decimal(20,2)\"}
  - {name: taste, type: vector(2)}
  - {name: text, type: text}
  - {name: place, type: geo_point}
";
    let entity = parse(&[("thing.yaml", yaml)]).unwrap().pop().unwrap();
    let mapping = Mapping::of(&entity);
    let item = Item::from_json(json).unwrap();
    let key = ItemKey::of(&item, "id", None).unwrap().canonical();
    let operation = Operation { key, version: Version::new(7).unwrap(), body: Some(item) };
    let mut out = Vec::new();
    let left_out = append(&mut out, &Layout::of(&mapping, true), &mapping, &operation);
    let text = String::from_utf8(out).unwrap();
    let mut lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
    (lines.next().unwrap(), lines.next().unwrap(), left_out)
}

#[test]
fn a_document_holds_the_whole_item_and_a_field_for_each_feature() {
    let (action, document, left_out) = lines(
        r#"{"id":{"N":"1.0"},"count":{"N":"9223372036854775807"},"day":{"S":"2013-01-02"},"price":{"N":"1.50"},"text":{"S":"Green-red"},"place":{"M":{"lat":{"N":"1"},"lon":{"N":"2"}}},"other":{"S":"x"}}"#,
    );
    assert_eq!(action["index"]["version"], 7);
    assert_eq!(action["index"]["version_type"], "external");
    assert_eq!(left_out, 0);
    assert_eq!(document["_hw"]["item"]["other"], json!({ "S": "x" }), "undeclared attributes are in the item alone");
    assert_eq!(document["_hw"]["item"]["price"], json!({ "N": "1.50" }), "as it was written");
    assert!(document.get("other").is_none());
    assert_eq!(document["count"], json!({ "long": i64::MAX, "edge": true }));
    assert_eq!(document["day"], json!({ "long": 15_707, "date": "2013-01-02T00:00:00.000Z" }));
    assert_eq!(document["price"]["double"], 1.5);
    assert_eq!(document["text"], json!({ "text": "green red" }));
    assert_eq!(document["place"], json!({ "lat": 1.0, "lon": 2.0, "geo_point": { "lat": 1.0, "lon": 2.0 } }));
    assert_eq!(document["_hw"]["has"], json!(["text"]));
}

#[test]
fn a_vector_that_the_server_would_refuse_is_left_out_and_counted() {
    let taste = |vector: &str| {
        let (_, document, left_out) = lines(&format!(r#"{{"id":{{"N":"1"}},"taste":{{"L":[{vector}]}}}}"#));
        (document.get("taste").cloned(), left_out, document["_hw"]["item"]["taste"]["L"].as_array().unwrap().len())
    };
    assert_eq!(taste(r#"{"N":"1"},{"N":"0.5"}"#), (Some(json!({ "vector": [1.0, 0.5] })), 0, 2));
    assert_eq!(taste(r#"{"N":"0"},{"N":"0"}"#), (None, 1, 2), "it has no direction");
    assert_eq!(taste(r#"{"N":"1"}"#), (None, 1, 1), "too short");
    assert_eq!(taste(r#"{"N":"1e-60"},{"N":"0"}"#), (None, 1, 2), "a float can't hold it");
}

#[test]
fn a_moment_that_no_date_holds_is_still_a_number() {
    let (_, document, left_out) = lines(r#"{"id":{"N":"1"},"at":{"N":"9000000000000000000"}}"#);
    assert_eq!((document["at"].clone(), left_out), (json!({ "long": 9_000_000_000_000_000_000_i64 }), 0));
}
