//! Feature definitions: what an entity's items hold, and how each store should type it.

use serde::{Deserialize, Serialize};

use crate::change::TableName;

/// One entity: one table, one lake pair, one index.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entity {
    pub entity: String,
    /// The DynamoDB table; the entity's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    /// The team that is called when this entity is late or wrong.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alert: String,
    pub key: KeyDefinition,
    /// The attribute that holds the producer's event time: epoch milliseconds (N) or RFC 3339 (S).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_time: Option<String>,
    /// The attribute that the SDK stamps with the time of the write, in epoch milliseconds; lag is measured from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_time: Option<String>,
    /// The attribute that holds DynamoDB's time to live, in epoch seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    #[serde(default)]
    pub features: Vec<Feature>,
}

impl Entity {
    pub fn table(&self) -> TableName {
        TableName::new(self.table.as_deref().unwrap_or(&self.entity))
    }

    pub fn feature(&self, name: &str) -> Option<&Feature> {
        self.features.iter().find(|feature| feature.name == name)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyDefinition {
    pub partition: KeyAttribute,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sort: Option<KeyAttribute>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyAttribute {
    pub name: String,
    #[serde(rename = "type")]
    pub key_type: KeyType,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyType {
    String,
    Number,
    Binary,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// The attribute's name in the item, and the column's and field's.
    pub name: String,
    #[serde(rename = "type")]
    pub feature_type: FeatureType,
    #[serde(default = "first_version")]
    pub version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub owner: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub alert: String,
}

fn first_version() -> u32 {
    1
}

/// A feature's type, and DynamoDB's type for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureType {
    /// S; found by exact value and by prefix.
    Keyword,
    /// S; found by its words.
    Text,
    /// N, a whole number of 64 bits.
    Long,
    /// N, as the nearest double.
    Double,
    /// N, exact: up to 38 digits, of which `scale` are decimals.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    /// N in epoch milliseconds, or S in RFC 3339.
    Timestamp,
    /// S as `YYYY-MM-DD`.
    Date,
    /// B.
    Binary,
    /// M with `lat` and `lon`, both N, in degrees.
    GeoPoint,
    /// L of `dims` N.
    Vector {
        dims: u16,
    },
    /// SS.
    KeywordSet,
    /// NS, as doubles.
    NumberSet,
    /// M or L of any shape, kept as JSON.
    Json,
}
