//! Feature definitions: what an entity's items hold, and how each store should type it. One YAML file per entity.
//!
//! Promises that what [`load`] returns can be stored by every sink: names that are legal and distinct everywhere
//! (Delta and Spark take names that differ by case for one), types that agree with the key. Refuses anything else with
//! file, line, column, the field's path and, for an unknown name, the nearest known one; all faults at once.

mod check;
mod feature_type;
mod load;

use serde::{Deserialize, Serialize};

pub use self::feature_type::FeatureType;
pub use self::load::{DefinitionError, load, parse};
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

impl KeyType {
    pub fn name(self) -> &'static str {
        match self {
            KeyType::String => "string",
            KeyType::Number => "number",
            KeyType::Binary => "binary",
        }
    }
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
