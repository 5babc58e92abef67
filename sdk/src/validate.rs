//! What may be written: the definition's types, and DynamoDB's own rules, so that a fault is told by its feature's
//! name before anything is sent.

use headwater_common::definition::{Entity, KeyAttribute, KeyType};
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::nearest::hint;
use headwater_common::value::{Item, Value};

use crate::error::{AttributeFault, Invalid};
use crate::item::{Changes, ItemBuilder};
use crate::key::Key;
use crate::size::{MAX_ITEM_BYTES, item_bytes, value_bytes};

/// DynamoDB's limits for the values of key attributes, in bytes.
const MAX_PARTITION_BYTES: usize = 2048;
const MAX_SORT_BYTES: usize = 1024;
/// DynamoDB's limit for lists and maps in each other.
const MAX_DEPTH: usize = 32;
/// A time to live after the year 9999 was meant in milliseconds.
const MAX_TTL_SECONDS: i64 = 253_402_300_799;

/// Checks a whole item, as it was built and before it is stamped.
pub(crate) fn item(entity: &Entity, built: ItemBuilder, unknown_allowed: bool) -> Result<Item, Invalid> {
    let ItemBuilder { item, faults } = built;
    let mut check = Check { entity, unknown_allowed, faults };
    for (key, limit) in key_attributes(entity) {
        match item.get(&key.name) {
            Some(value) => check.key(key, limit, value),
            None => check.add(&key.name, "is missing: it is a key attribute"),
        }
    }
    for (name, value) in &item.0 {
        check.attribute(name, value);
    }
    check.done(item)
}

/// Checks changes of features: a key never changes, and there has to be something to change.
pub(crate) fn changes(
    entity: &Entity,
    changes: Changes,
    unknown_allowed: bool,
) -> Result<(Item, Vec<String>), Invalid> {
    let Changes { set: ItemBuilder { item, faults }, removed } = changes;
    let mut check = Check { entity, unknown_allowed, faults };
    for (name, value) in &item.0 {
        check.attribute(name, value);
    }
    for name in &removed {
        check.name(name);
    }
    for (key, _) in key_attributes(entity) {
        if item.get(&key.name).is_some() || removed.contains(&key.name) {
            check.add(&key.name, "is a key attribute, which never changes");
        }
    }
    check.done((item, removed))
}

/// The size of an item as it will be stored, stamps included.
pub(crate) fn size(entity: &Entity, item: &Item) -> Result<(), Invalid> {
    let bytes = item_bytes(item);
    if bytes <= MAX_ITEM_BYTES {
        return Ok(());
    }
    let largest = item.0.iter().max_by_key(|(_, value)| value_bytes(value));
    let attribute = largest.map(|(name, _)| name.clone()).unwrap_or_default();
    let reason = format!("is the largest attribute of an item of {bytes} bytes; DynamoDB's limit is {MAX_ITEM_BYTES}");
    Err(Invalid { entity: entity.entity.clone(), faults: vec![AttributeFault { attribute, reason }] })
}

/// The key's values under the names that the definition gives them.
pub(crate) fn key(entity: &Entity, key: Key) -> Result<ItemKey, Invalid> {
    let mut check = Check { entity, unknown_allowed: false, faults: Vec::new() };
    let definition = &entity.key;
    check.key(&definition.partition, MAX_PARTITION_BYTES, &key.partition.to_value());
    let sort = match (&definition.sort, key.sort) {
        (Some(attribute), Some(value)) => {
            check.key(attribute, MAX_SORT_BYTES, &value.to_value());
            Some((attribute.name.clone(), value))
        }
        (None, None) => None,
        (Some(attribute), None) => {
            check.add(&attribute.name, "is missing: it is the sort attribute");
            None
        }
        (None, Some(_)) => {
            check.add(&definition.partition.name, "is the whole key; a sort value was given too");
            None
        }
    };
    check.done(ItemKey { partition: (definition.partition.name.clone(), key.partition), sort })
}

fn key_attributes(entity: &Entity) -> impl Iterator<Item = (&KeyAttribute, usize)> + Clone {
    std::iter::once((&entity.key.partition, MAX_PARTITION_BYTES))
        .chain(entity.key.sort.as_ref().map(|sort| (sort, MAX_SORT_BYTES)))
}

struct Check<'a> {
    entity: &'a Entity,
    unknown_allowed: bool,
    faults: Vec<AttributeFault>,
}

impl Check<'_> {
    fn add(&mut self, attribute: &str, reason: impl Into<String>) {
        self.faults.push(AttributeFault { attribute: attribute.to_owned(), reason: reason.into() });
    }

    fn done<T>(self, checked: T) -> Result<T, Invalid> {
        if self.faults.is_empty() {
            return Ok(checked);
        }
        Err(Invalid { entity: self.entity.entity.clone(), faults: self.faults })
    }

    fn key(&mut self, key: &KeyAttribute, limit: usize, value: &Value) {
        let bytes = value_bytes(value);
        match (key.key_type, KeyValue::from_value(value)) {
            (KeyType::String, Some(KeyValue::S(_))) | (KeyType::Binary, Some(KeyValue::B(_))) => match bytes {
                0 => self.add(&key.name, "is empty: it is a key attribute"),
                _ if bytes > limit => {
                    self.add(
                        &key.name,
                        format!("has {bytes} bytes, a value of this key attribute has at most {limit}"),
                    );
                }
                _ => {}
            },
            (KeyType::Number, Some(KeyValue::N(number))) if number.fits_dynamodb() => {}
            (KeyType::Number, Some(KeyValue::N(_))) => self.add(&key.name, NUMBER),
            (expected, _) => {
                let found = value.descriptor();
                self.add(&key.name, format!("holds {found}, the key attribute is a {}", expected.name()));
            }
        }
    }

    fn attribute(&mut self, name: &str, value: &Value) {
        if !self.name(name) {
            return;
        }
        let is_key = key_attributes(self.entity).any(|(key, _)| key.name == name);
        if let Some(reason) = ill_formed(value, 0) {
            self.add(name, reason);
        } else if let Some(feature) = self.entity.feature(name)
            && let Err(mismatch) = feature.feature_type.read(value)
        {
            self.add(name, mismatch.to_string());
        } else if self.entity.ttl.as_deref() == Some(name)
            && let Some(reason) = wrong_ttl(value)
        {
            self.add(name, reason);
        } else if name.is_empty() && !is_key {
            self.add(name, "is an empty name");
        }
    }

    /// Whether an attribute of this name may be written by a producer.
    fn name(&mut self, name: &str) -> bool {
        let entity = self.entity;
        for (stamp, source) in
            [(&entity.event_time, "from the event time that the write is given"), (&entity.write_time, "by the clock")]
        {
            if stamp.as_deref() == Some(name) {
                self.add(name, format!("is stamped {source}; leave it out"));
                return false;
            }
        }
        let keys = key_attributes(entity).map(|(key, _)| key.name.as_str());
        let features = entity.features.iter().map(|feature| feature.name.as_str());
        let known = keys.chain(features).chain(entity.ttl.as_deref());
        if self.unknown_allowed || known.clone().any(|known| known == name) {
            return true;
        }
        let hint = hint(name, known);
        self.add(name, format!("is not in the definition{hint}"));
        false
    }
}

const NUMBER: &str = "is not a number of at most 38 digits from 1E-130 to 9.99E+125";

/// What DynamoDB would refuse about a value, of whatever type.
fn ill_formed(value: &Value, depth: usize) -> Option<String> {
    fn repeats<T: Ord>(mut set: Vec<T>) -> bool {
        set.sort();
        set.windows(2).any(|pair| pair[0] == pair[1])
    }
    let set = |empty: bool, repeats: bool| match (empty, repeats) {
        (true, _) => Some("is an empty set, which DynamoDB does not hold; leave it out".to_owned()),
        (_, true) => Some("is a set with an element twice".to_owned()),
        _ => None,
    };
    if depth > MAX_DEPTH {
        return Some(format!("nests lists and maps more than {MAX_DEPTH} deep"));
    }
    match value {
        Value::N(number) => (!number.fits_dynamodb()).then(|| NUMBER.to_owned()),
        Value::Ss(texts) => set(texts.is_empty(), repeats(texts.iter().collect())),
        Value::Bs(blobs) => set(blobs.is_empty(), repeats(blobs.iter().collect())),
        Value::Ns(numbers) if numbers.iter().any(|number| !number.fits_dynamodb()) => Some(NUMBER.to_owned()),
        Value::Ns(numbers) => {
            set(numbers.is_empty(), repeats(numbers.iter().map(|number| number.canonical()).collect()))
        }
        Value::L(list) => list.iter().find_map(|value| ill_formed(value, depth + 1)),
        Value::M(map) if map.contains_key("") => Some("holds a map with an empty name".to_owned()),
        Value::M(map) => map.values().find_map(|value| ill_formed(value, depth + 1)),
        Value::S(_) | Value::B(_) | Value::Bool(_) | Value::Null => None,
    }
}

fn wrong_ttl(value: &Value) -> Option<String> {
    match value.as_number().and_then(|number| number.to_i64()) {
        Some(seconds) if seconds > MAX_TTL_SECONDS => {
            Some("lies after the year 9999: the time to live is in epoch seconds, not milliseconds".to_owned())
        }
        Some(_) => None,
        None => Some("is not a whole number of epoch seconds (N), as the time to live is".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::item::keyword_set;

    fn entity() -> Entity {
        serde_json::from_value(serde_json::json!({
            "entity": "route",
            "key": {"partition": {"name": "from", "type": "string"}, "sort": {"name": "day", "type": "number"}},
            "event_time": "at", "write_time": "written", "ttl": "expires",
            "features": [
                {"name": "delay", "type": "double"},
                {"name": "fare", "type": "decimal(5,2)"},
                {"name": "tags", "type": "keyword_set"},
                {"name": "extra", "type": "json"},
                {"name": "cabin", "type": "long"},
            ],
        }))
        .unwrap()
    }

    fn good() -> ItemBuilder {
        ItemBuilder::new().set("from", "JFK").set("day", 3)
    }

    fn refusal(built: ItemBuilder) -> String {
        item(&entity(), built, false).unwrap_err().to_string()
    }

    #[test]
    fn an_item_that_agrees_passes() {
        let built = good().set("delay", 1.5).set("fare", 12_u32).set("tags", keyword_set(["a"]));
        let built = built.set("cabin", None::<i64>).set("expires", 1_400_000_000);
        item(&entity(), built, false).unwrap();
    }

    #[test]
    fn every_fault_is_told_at_once_by_its_attribute() {
        let built = ItemBuilder::new().set("from", "").set("delya", 1).set("delay", "late").set("cabin", f64::NAN);
        assert_eq!(
            refusal(built),
            "route: `cabin` is not a finite number, and DynamoDB holds no other; `from` is empty: it is a key \
             attribute; `day` is missing: it is a key attribute; `delay` holds S, its type is double; `delya` is not \
             in the definition; did you mean `delay`?"
        );
    }

    #[test]
    fn types_keys_stamps_and_dynamodbs_own_rules_are_checked() {
        let number = |text: &str| headwater_common::number::Number::parse(text).unwrap();
        let deep = (0..40).fold(Value::Null, |inner, _| Value::L(vec![inner]));
        for (built, message) in [
            (good().set("fare", number("1.234")), "`fare` is not exact in decimal(5,2)"),
            (good().set("day", "3"), "`day` holds S, the key attribute is a number"),
            (
                good().set("from", "x".repeat(2049)),
                "`from` has 2049 bytes, a value of this key attribute has at most 2048",
            ),
            (good().set("at", 1), "`at` is stamped from the event time that the write is given; leave it out"),
            (good().set("written", 1), "`written` is stamped by the clock; leave it out"),
            (
                good().set("expires", 1_400_000_000_000_i64),
                "`expires` lies after the year 9999: the time to live is in epoch seconds, not milliseconds",
            ),
            (
                good().set("tags", Value::Ss(vec![])),
                "`tags` is an empty set, which DynamoDB does not hold; leave it out",
            ),
            (good().set("tags", Value::Ss(vec!["a".into(), "a".into()])), "`tags` is a set with an element twice"),
            (
                good().set("delay", number("1e126")),
                "`delay` is not a number of at most 38 digits from 1E-130 to 9.99E+125",
            ),
            (good().set("extra", deep), "`extra` nests lists and maps more than 32 deep"),
        ] {
            assert_eq!(refusal(built), format!("route: {message}"));
        }
    }

    #[test]
    fn unknown_attributes_pass_where_they_are_admitted() {
        item(&entity(), good().set("free", 1), true).unwrap();
        assert!(item(&entity(), good().set("delay", "late"), true).is_err());
    }

    #[test]
    fn changes_leave_the_key_and_the_stamps_alone() {
        let refusal = |wanted: Changes| changes(&entity(), wanted, false).unwrap_err().to_string();
        assert_eq!(refusal(Changes::new().set("day", 4)), "route: `day` is a key attribute, which never changes");
        assert_eq!(refusal(Changes::new().remove("from")), "route: `from` is a key attribute, which never changes");
        assert_eq!(
            refusal(Changes::new().remove("dely")),
            "route: `dely` is not in the definition; did you mean `delay`?"
        );
        changes(&entity(), Changes::new().set("delay", 1.0).remove("fare"), false).unwrap();
    }

    #[test]
    fn a_key_has_the_parts_and_types_of_its_definition() {
        let refusal = |given: Key| key(&entity(), given).unwrap_err().to_string();
        assert_eq!(refusal("JFK".into()), "route: `day` is missing: it is the sort attribute");
        assert_eq!(refusal((1, 2).into()), "route: `from` holds N, the key attribute is a string");
        let single =
            Entity { key: headwater_common::definition::KeyDefinition { sort: None, ..entity().key }, ..entity() };
        assert!(key(&single, ("JFK", 1).into()).is_err());
        assert_eq!(
            key(&entity(), ("JFK", 1).into()).unwrap().to_item().to_json(),
            r#"{"day":{"N":"1"},"from":{"S":"JFK"}}"#
        );
    }

    #[test]
    fn an_item_above_the_limit_names_its_largest_attribute() {
        let large =
            Item::from_json(&format!(r#"{{"a":{{"S":"{}"}},"b":{{"S":"x"}}}}"#, "y".repeat(MAX_ITEM_BYTES))).unwrap();
        let message = size(&entity(), &large).unwrap_err().to_string();
        assert_eq!(
            message,
            "route: `a` is the largest attribute of an item of 409603 bytes; DynamoDB's limit is 409600"
        );
    }
}
