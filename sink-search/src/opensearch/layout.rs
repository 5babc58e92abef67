//! How a mapping lies in OpenSearch: `<feature>.<type>` for each feature, and `_hw` for what is ours. Pure.
//!
//! One field for each (feature, type), so that no type is ever decided by what comes first. What a query compares is
//! exact: decimals and number keys lie as keywords that rise with the number, with a double beside them for people's
//! aggregations; moments and days as whole numbers, with a date beside them.

use headwater_common::definition::FeatureType;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::names;
use super::settings::Settings;
use crate::mapping::{Form, Mapping, Outline};

pub(super) const KEY: &str = "_hw.key";
pub(super) const VERSION: &str = "_hw.version";
pub(super) const LIVE: &str = "_hw.live";
/// Names of the fields that are there and have nothing that could be asked whether it is.
pub(super) const HAS: &str = "_hw.has";

/// Raised when documents of the same definitions are laid out otherwise.
const FORMAT: u32 = 1;
/// The longest vector of the Lucene engine.
const MAX_DIMS: u16 = 16_000;

/// Where a field of the mapping lies; the names are paths.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Place {
    Keyword(String),
    /// The text's words, with one blank between them.
    Words(String),
    Bool(String),
    /// `edge` is there only where the value is the least or the largest of 64 bits, which OpenSearch's order can't tell
    /// from a missing one.
    Whole {
        column: String,
        edge: Option<String>,
        date: Option<String>,
    },
    Double(String),
    Exact {
        column: String,
        double: String,
    },
    Point {
        lat: String,
        lon: String,
        point: String,
    },
    Opaque {
        vector: Option<String>,
    },
}

/// The places of the mapping's fields, in its order.
pub(super) struct Layout {
    pub fields: Vec<Laid>,
}

pub(super) struct Laid {
    /// The feature's escaped name.
    pub name: String,
    pub place: Place,
}

/// What an index was made for; kept in its mapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Meta {
    pub format: u32,
    /// Tables whose names differ only beyond what an index's name holds are told apart here.
    pub table: String,
    /// Whether vectors are mapped.
    pub knn: bool,
    /// Of the log that it is built from; 0 where it is not known yet.
    #[serde(default)]
    pub partitions: u16,
    pub outline: Outline,
}

impl Meta {
    pub fn of(table: &str, knn: bool, partitions: u16, mapping: &Mapping) -> Meta {
        Meta { format: FORMAT, table: table.to_owned(), knn, partitions, outline: mapping.outline() }
    }
}

impl Layout {
    pub fn of(mapping: &Mapping, knn: bool) -> Layout {
        let laid = |field: &crate::mapping::Field| {
            let name = names::field(&field.name);
            Laid { place: place(&name, field.form(), field.feature_type(), knn), name }
        };
        Layout { fields: mapping.fields().iter().map(laid).collect() }
    }

    pub fn has_vectors(&self) -> bool {
        self.fields.iter().any(|field| matches!(field.place, Place::Opaque { vector: Some(_) }))
    }

    /// The whole mapping, for a new index and for one that gets more fields.
    pub fn mapping_json(&self, mapping: &Mapping, meta: &Meta) -> Value {
        let disabled = json!({ "type": "object", "enabled": false });
        let mut properties = Map::new();
        properties.insert(
            "_hw".to_owned(),
            json!({ "properties": {
                "key": { "type": "keyword" },
                "version": { "type": "long" },
                "live": { "type": "boolean" },
                "has": { "type": "keyword" },
                "item": disabled,
                "progress": disabled,
            }}),
        );
        for (field, laid) in mapping.fields().iter().zip(&self.fields) {
            let dims = match field.feature_type() {
                Some(FeatureType::Vector { dims }) => dims,
                _ => 0,
            };
            if let Some(inner) = inner(&laid.place, dims) {
                properties.insert(laid.name.clone(), json!({ "properties": inner }));
            }
        }
        json!({ "dynamic": "strict", "date_detection": false, "_meta": { "headwater": meta }, "properties": properties })
    }

    pub fn settings_json(&self, settings: &Settings) -> Value {
        let refresh = match settings.refresh_interval_ms {
            0 => "-1".to_owned(),
            millis => format!("{millis}ms"),
        };
        let mut index = json!({
            "number_of_shards": settings.shards,
            "number_of_replicas": settings.replicas,
            "refresh_interval": refresh,
            // Progress counts what was acknowledged as safe.
            "translog.durability": "request",
            // A cluster's default may be segments, whose replicas see a refresh later than it is answered.
            "replication.type": "DOCUMENT",
            "mapping.total_fields.limit": 1000 + 6 * self.fields.len(),
        });
        if self.has_vectors() {
            index["knn"] = true.into();
        }
        json!({ "index": index })
    }
}

fn place(name: &str, form: Form, feature_type: Option<FeatureType>, knn: bool) -> Place {
    let path = |kind: &str| format!("{name}.{kind}");
    match form {
        Form::Keyword => Place::Keyword(path("keyword")),
        Form::Text => Place::Words(path("text")),
        Form::Whole => match feature_type {
            Some(FeatureType::Bool) => Place::Bool(path("boolean")),
            Some(FeatureType::Date) => Place::Whole { column: path("long"), edge: None, date: Some(path("date")) },
            Some(FeatureType::Timestamp) => {
                Place::Whole { column: path("long"), edge: Some(path("edge")), date: Some(path("date")) }
            }
            _ => Place::Whole { column: path("long"), edge: Some(path("edge")), date: None },
        },
        Form::Double => Place::Double(path("double")),
        Form::Exact => Place::Exact { column: path("exact"), double: path("double") },
        Form::Point => Place::Point { lat: path("lat"), lon: path("lon"), point: path("geo_point") },
        Form::Opaque => {
            let mapped = matches!(feature_type, Some(FeatureType::Vector { dims }) if dims <= MAX_DIMS && knn);
            Place::Opaque { vector: mapped.then(|| path("vector")) }
        }
    }
}

/// The types of a feature's fields; `None` where it has none.
fn inner(place: &Place, dims: u16) -> Option<Value> {
    let date = || json!({ "type": "date", "format": "strict_date_optional_time" });
    Some(match place {
        Place::Keyword(_) => json!({ "keyword": { "type": "keyword" } }),
        // The words are ours, so that both indexes find the same; those that people ask with are only lower-cased.
        Place::Words(_) => {
            json!({ "text": { "type": "text", "analyzer": "whitespace", "search_analyzer": "standard" } })
        }
        Place::Bool(_) => json!({ "boolean": { "type": "boolean" } }),
        Place::Whole { edge, date: dated, .. } => {
            let mut fields = json!({ "long": { "type": "long" } });
            if edge.is_some() {
                fields["edge"] = json!({ "type": "boolean" });
            }
            if dated.is_some() {
                fields["date"] = date();
            }
            fields
        }
        Place::Double(_) => json!({ "double": { "type": "double" } }),
        Place::Exact { .. } => json!({ "exact": { "type": "keyword" }, "double": { "type": "double" } }),
        Place::Point { .. } => json!({
            "lat": { "type": "double" }, "lon": { "type": "double" }, "geo_point": { "type": "geo_point" },
        }),
        Place::Opaque { vector: None } => return None,
        // The engine is named: the server's default needs native code that not every one has.
        Place::Opaque { vector: Some(_) } => json!({ "vector": {
            "type": "knn_vector", "dimension": dims,
            "method": { "name": "hnsw", "engine": "lucene", "space_type": "cosinesimil" },
        }}),
    })
}

/// Bytes that rise with the numbers, as text that does.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}
