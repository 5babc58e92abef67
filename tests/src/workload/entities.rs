//! The entities that the workload writes to: a table with a string key and every feature type, and one with a binary
//! partition and a number sort key.

use headwater_common::definition::{Entity, Feature, FeatureType, KeyAttribute, KeyDefinition, KeyType};

use crate::history::{EXPIRES, WRITE_ID, WRITTEN_AT};

pub const EVENT_TIME: &str = "event_time";

/// Both entities, the one with the string key first.
pub fn all() -> Vec<Entity> {
    vec![profiles(), readings()]
}

/// One definition file's text. JSON is YAML, and this way the file and the value can't differ.
pub fn yaml(entity: &Entity) -> String {
    // Strings, numbers and maps with string keys can't fail to serialise into memory.
    serde_json::to_string_pretty(entity).unwrap_or_default()
}

fn profiles() -> Entity {
    entity(
        "profiles",
        KeyDefinition { partition: attribute("profile", KeyType::String), sort: None },
        &[
            (WRITE_ID, FeatureType::Keyword),
            ("nickname", FeatureType::Keyword),
            ("bio", FeatureType::Text),
            ("visits", FeatureType::Long),
            ("score", FeatureType::Double),
            ("balance", FeatureType::Decimal { precision: 38, scale: 10 }),
            ("active", FeatureType::Bool),
            ("seen", FeatureType::Timestamp),
            ("born", FeatureType::Date),
            ("avatar", FeatureType::Binary),
            ("home", FeatureType::GeoPoint),
            ("taste", FeatureType::Vector { dims: 4 }),
            ("tags", FeatureType::KeywordSet),
            ("marks", FeatureType::NumberSet),
            ("extra", FeatureType::Json),
        ],
    )
}

fn readings() -> Entity {
    entity(
        "readings",
        KeyDefinition { partition: attribute("sensor", KeyType::Binary), sort: Some(attribute("at", KeyType::Number)) },
        &[
            (WRITE_ID, FeatureType::Keyword),
            ("celsius", FeatureType::Double),
            ("exact", FeatureType::Decimal { precision: 38, scale: 0 }),
            ("count", FeatureType::Long),
            ("raw", FeatureType::Binary),
            ("labels", FeatureType::KeywordSet),
        ],
    )
}

fn entity(name: &str, key: KeyDefinition, features: &[(&str, FeatureType)]) -> Entity {
    let feature = |(name, feature_type): &(&str, FeatureType)| Feature {
        name: (*name).to_owned(),
        feature_type: *feature_type,
        version: 1,
        description: String::new(),
        owner: String::new(),
        alert: String::new(),
    };
    Entity {
        entity: name.to_owned(),
        table: None,
        description: "Written by the test workload".to_owned(),
        owner: "tests".to_owned(),
        alert: "tests".to_owned(),
        key,
        event_time: Some(EVENT_TIME.to_owned()),
        write_time: Some(WRITTEN_AT.to_owned()),
        ttl: Some(EXPIRES.to_owned()),
        features: features.iter().map(feature).collect(),
    }
}

fn attribute(name: &str, key_type: KeyType) -> KeyAttribute {
    KeyAttribute { name: name.to_owned(), key_type }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_definition_is_yaml_and_says_the_same() {
        for entity in all() {
            let read: Entity = serde_saphyr::from_str(&yaml(&entity)).unwrap();
            assert_eq!(read, entity);
        }
    }
}
