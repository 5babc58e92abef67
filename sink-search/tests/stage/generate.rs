//! Entities, items and queries for the tests: every type, and what goes wrong with each.

use std::ops::Bound;

use headwater_common::definition::{Entity, Feature, FeatureType, KeyAttribute, KeyDefinition, KeyType};
use headwater_common::key::{ItemKey, KeyBytes};
use headwater_common::number::Number;
use headwater_common::order::Version;
use headwater_common::value::{Item, Value};
use headwater_sink_search::geo::GeoPoint;
use headwater_sink_search::index::Operation;
use headwater_sink_search::query::{Literal, Query, Sort, SortBy};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;

const FEATURES: [(&str, FeatureType); 15] = [
    ("carrier", FeatureType::Keyword),
    ("name", FeatureType::Text),
    ("count", FeatureType::Long),
    ("delay", FeatureType::Double),
    ("price", FeatureType::Decimal { precision: 38, scale: 2 }),
    ("flag", FeatureType::Bool),
    ("at", FeatureType::Timestamp),
    ("day", FeatureType::Date),
    ("place", FeatureType::GeoPoint),
    ("tags", FeatureType::KeywordSet),
    ("sizes", FeatureType::NumberSet),
    ("blob", FeatureType::Binary),
    ("shape", FeatureType::Json),
    ("profile", FeatureType::Vector { dims: 2 }),
    ("odd name.x", FeatureType::Keyword),
];

/// Every type of feature, on a key of a string and a number.
pub fn entity() -> Entity {
    let feature = |(name, feature_type): &(&str, FeatureType)| Feature {
        name: (*name).to_owned(),
        feature_type: *feature_type,
        version: 1,
        description: String::new(),
        owner: String::new(),
        alert: String::new(),
    };
    Entity {
        entity: "thing".into(),
        table: None,
        description: String::new(),
        owner: String::new(),
        alert: String::new(),
        key: KeyDefinition {
            partition: KeyAttribute { name: "id".into(), key_type: KeyType::String },
            sort: Some(KeyAttribute { name: "seq".into(), key_type: KeyType::Number }),
        },
        event_time: None,
        write_time: Some("written".into()),
        ttl: None,
        features: FEATURES.iter().map(feature).collect(),
    }
}

pub fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

pub fn n(text: &str) -> Value {
    Value::N(number(text))
}

pub fn s(text: &str) -> Value {
    Value::S(text.into())
}

pub fn item(id: &str, seq: &str, attributes: &[(&str, Value)]) -> Item {
    let key = [("id".to_owned(), s(id)), ("seq".to_owned(), n(seq))];
    key.into_iter().chain(attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()))).collect()
}

pub fn key(item: &Item) -> KeyBytes {
    ItemKey::of(item, "id", Some("seq")).unwrap().canonical()
}

pub fn put(item: Item, version: u64) -> Operation {
    Operation { key: key(&item), version: Version::new(version).unwrap(), body: Some(item) }
}

pub fn delete(id: &str, seq: &str, version: u64) -> Operation {
    Operation { key: key(&item(id, seq, &[])), version: Version::new(version).unwrap(), body: None }
}

const CARRIERS: [&str; 7] = ["UA", "AA", "AAL", "", "é", "zz\u{10FFFF}", "ua"];
const WORDS: [&str; 6] = ["red", "Green", "BLUE", "green-red", "", "— étage 12"];
const LONGS: [&str; 7] =
    ["0", "-1", "7", "9223372036854775807", "9223372036854775806", "-9223372036854775808", "9007199254740993"];
const DOUBLES: [&str; 6] = ["0", "-0.0", "1.5", "-2.25", "1e125", "0.1"];
const DECIMALS: [&str; 7] = [
    "0",
    "1.25",
    "1.2",
    "-1.25",
    "123456789012345678901234567890123456.78",
    "123456789012345678901234567890123456.79",
    "-123456789012345678901234567890123456.78",
];
const MOMENTS: [&str; 3] = ["2013-01-01T10:00:00Z", "2013-01-01T10:00:00.001Z", "1969-12-31T23:59:59Z"];
const DAYS: [&str; 3] = ["2013-01-01", "2013-01-02", "1969-12-31"];
const SEQS: [&str; 4] = ["1", "2", "12345678901234567890123456789012345678", "12345678901234567890123456789012345677"];

/// An item whose attributes are mostly there and mostly of their types.
pub fn random_item(rng: &mut StdRng) -> Item {
    let mut made = item(&format!("k{}", rng.random_range(0..80)), pick(rng, &SEQS), &[]);
    for (name, feature_type) in FEATURES {
        let value = match rng.random_range(0..10) {
            0 => continue,
            1 => Value::Null,
            2 => s("of another type"),
            3 => n("0.5"),
            _ => random_value(rng, feature_type),
        };
        made.0.insert(name.to_owned(), value);
    }
    made.0.insert("undeclared".to_owned(), s("stored only"));
    made
}

fn random_value(rng: &mut StdRng, feature_type: FeatureType) -> Value {
    match feature_type {
        FeatureType::Keyword => s(pick(rng, &CARRIERS)),
        FeatureType::Text => s(&format!("{} {}", pick(rng, &WORDS), pick(rng, &WORDS))),
        FeatureType::Long => n(pick(rng, &LONGS)),
        FeatureType::Double => n(pick(rng, &DOUBLES)),
        FeatureType::Decimal { .. } => n(pick(rng, &DECIMALS)),
        FeatureType::Bool => Value::Bool(rng.random()),
        FeatureType::Timestamp => s(pick(rng, &MOMENTS)),
        FeatureType::Date => s(pick(rng, &DAYS)),
        FeatureType::Binary => Value::B(vec![0, 255]),
        FeatureType::GeoPoint => {
            let point = random_point(rng);
            let degrees = |value: f64| n(&value.to_string());
            Value::M([("lat".to_owned(), degrees(point.lat)), ("lon".to_owned(), degrees(point.lon))].into())
        }
        FeatureType::Vector { .. } => Value::L(vec![n("1"), n("0.5")]),
        FeatureType::KeywordSet => Value::Ss(vec![pick(rng, &CARRIERS).into(), "AAB".into()]),
        FeatureType::NumberSet => Value::Ns(vec![number(pick(rng, &DOUBLES)), number("3")]),
        FeatureType::Json => Value::M([("x".to_owned(), Value::L(vec![Value::Null]))].into()),
    }
}

/// Around the poles and the date line too.
pub fn random_point(rng: &mut StdRng) -> GeoPoint {
    let lat = *[40.64, 40.7, 89.9, -89.9, 0.0].choose(rng).unwrap() + rng.random_range(-0.1..0.1);
    let lon = *[-73.78, 179.95, -179.95, 0.0].choose(rng).unwrap() + rng.random_range(-0.05..0.05);
    GeoPoint::new(lat, lon).unwrap_or(GeoPoint { lat: 90.0, lon: 180.0 })
}

pub fn pick<'a>(rng: &mut StdRng, of: &[&'a str]) -> &'a str {
    of.choose(rng).unwrap()
}

/// A query that the types allow.
pub fn random_query(rng: &mut StdRng, depth: u32) -> Query {
    if depth > 0 && rng.random_bool(0.5) {
        let count = rng.random_range(1..4);
        let parts: Vec<Query> = (0..count).map(|_| random_query(rng, depth - 1)).collect();
        return match rng.random_range(0..3) {
            0 => Query::And(parts),
            1 => Query::Or(parts),
            _ => Query::Not(Box::new(random_query(rng, depth - 1))),
        };
    }
    let field = |name: &str| name.to_owned();
    match rng.random_range(0..9) {
        0 => Query::Exists { field: field(FEATURES.choose(rng).unwrap().0) },
        1 => Query::Prefix {
            field: field(pick(rng, &["carrier", "tags", "id"])),
            prefix: pick(rng, &["", "A", "AA", "z", "zz\u{10FFFF}", "k1"]).into(),
        },
        2 => Query::Match {
            field: field("name"),
            text: pick(rng, &["red", "green", "blue green", "12 étage", "—"]).into(),
        },
        3 => Query::Geo {
            field: field("place"),
            centre: random_point(rng),
            metres: *[0.0, 5_000.0, 30_000.0, 3e6, 3e7].choose(rng).unwrap(),
            inclusive: rng.random(),
        },
        4 => Query::All,
        5 => {
            let (field, value) = random_operand(rng, true);
            Query::Term { field, value }
        }
        _ => {
            let (name, lower) = random_operand(rng, false);
            let upper = literal_for(rng, &name);
            let bound = |rng: &mut StdRng, value| match rng.random_range(0..3) {
                0 => Bound::Included(value),
                1 => Bound::Excluded(value),
                _ => Bound::Unbounded,
            };
            Query::Range { field: name, lower: bound(rng, lower), upper: bound(rng, upper) }
        }
    }
}

fn random_operand(rng: &mut StdRng, equal: bool) -> (String, Literal) {
    let mut fields =
        vec!["carrier", "count", "delay", "price", "at", "day", "tags", "sizes", "id", "seq", "odd name.x"];
    if equal {
        fields.push("flag");
    }
    let name = pick(rng, &fields).to_owned();
    let literal = literal_for(rng, &name);
    (name, literal)
}

fn literal_for(rng: &mut StdRng, name: &str) -> Literal {
    let text = |text: &str| Literal::Text(text.to_owned());
    let decimal = |text: &str| Literal::Number(number(text));
    match name {
        "carrier" | "tags" | "odd name.x" => text(pick(rng, &CARRIERS)),
        "id" => text(pick(rng, &["k1", "k2", "k70", ""])),
        "count" => decimal(pick(rng, &[&LONGS[..], &["0.5", "1e30", "-1e30", "6.999"]].concat())),
        "delay" | "sizes" => decimal(pick(rng, &DOUBLES)),
        "price" => decimal(pick(rng, &[&DECIMALS[..], &["1.205", "0.001"]].concat())),
        "seq" => decimal(pick(rng, &SEQS)),
        "flag" => Literal::Bool(rng.random()),
        "at" => text(pick(rng, &MOMENTS)),
        "day" => text(pick(rng, &DAYS)),
        other => panic!("{other}"),
    }
}

pub fn random_sort(rng: &mut StdRng) -> Vec<Sort> {
    let count = rng.random_range(0..3);
    let one = |rng: &mut StdRng| {
        let by = match rng.random_range(0..5) {
            0 => SortBy::Distance { field: "place".into(), from: random_point(rng) },
            _ => {
                let fields = ["carrier", "count", "delay", "price", "flag", "at", "day", "id", "seq", "odd name.x"];
                SortBy::Field(pick(rng, &fields).to_owned())
            }
        };
        Sort { by, descending: rng.random() }
    };
    (0..count).map(|_| one(rng)).collect()
}
