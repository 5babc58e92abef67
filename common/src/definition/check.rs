//! What a definition must keep to beyond its form.

use std::collections::BTreeMap;

use super::load::Written;
use super::{Entity, Feature, FeatureType, KeyAttribute};
use crate::yaml::{Fault, Node};

/// DynamoDB's limits for a table's name, in characters.
const TABLE_NAME: std::ops::RangeInclusive<usize> = 3..=255;
/// DynamoDB's limit for a key attribute's name, in bytes; taken for every attribute that is named here.
const MAX_ATTRIBUTE_NAME: usize = 255;

/// The faults of one definition.
pub(super) fn alone(written: &Written) -> Vec<Fault> {
    let mut faults = Faults { tree: &written.tree, found: Vec::new() };
    names(&written.entity, &mut faults);
    key(&written.entity, &mut faults);
    features(&written.entity, &mut faults);
    special(&written.entity, &mut faults);
    faults.found
}

/// The faults of definitions that are each right by themselves.
pub(super) fn together(all: &[Written]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut entities: BTreeMap<String, &Written> = BTreeMap::new();
    let mut tables: BTreeMap<String, &Written> = BTreeMap::new();
    let place = |written: &Written, path| written.tree.locate(path).map(|at| format!(" in {at}")).unwrap_or_default();
    for written in all {
        let name = &written.entity.entity;
        if let Some(other) = entities.get(&name.to_lowercase()) {
            let reason = format!("`{name}` is defined{} too (case does not count)", place(other, "entity"));
            faults.push(written.tree.refuse("entity", reason));
            continue;
        }
        entities.insert(name.to_lowercase(), written);
        let table = written.entity.table();
        if let Some(other) = tables.get(&table.as_str().to_lowercase()) {
            let at = place(other, table_path(&other.entity));
            let reason = format!("`{table}` is the table of `{}`{at} too (case does not count)", other.entity.entity);
            faults.push(written.tree.refuse(table_path(&written.entity), reason));
            continue;
        }
        tables.insert(table.as_str().to_lowercase(), written);
    }
    for (table, written) in &tables {
        let base = table.strip_suffix("_history").or_else(|| table.strip_suffix("_current"));
        if let Some(other) = base.and_then(|base| tables.get(base)) {
            let reason = format!(
                "`{}` is the name of a lake table of `{}`; choose another",
                written.entity.table(),
                other.entity.entity
            );
            faults.push(written.tree.refuse(table_path(&written.entity), reason));
        }
    }
    faults
}

fn table_path(entity: &Entity) -> &'static str {
    if entity.table.is_some() { "table" } else { "entity" }
}

struct Faults<'a> {
    tree: &'a Node,
    found: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, path: &str, reason: impl Into<String>) {
        self.found.push(self.tree.refuse(path, reason));
    }

    /// An attribute's name; `false` if it was refused.
    fn attribute_name(&mut self, path: &str, name: &str) -> bool {
        let reason = match name.len() {
            0 => "is empty".to_owned(),
            length if length > MAX_ATTRIBUTE_NAME => format!("has {length} bytes, a name has at most 255"),
            _ => return true,
        };
        self.add(path, reason);
        false
    }
}

fn names(entity: &Entity, faults: &mut Faults<'_>) {
    let legal = |character: char| character.is_ascii_alphanumeric() || "_-.".contains(character);
    for (path, name) in [("entity", Some(&entity.entity)), ("table", entity.table.as_ref())] {
        let Some(name) = name else { continue };
        if name.is_empty() {
            faults.add(path, "is empty");
        } else if let Some(illegal) = name.chars().find(|character| !legal(*character)) {
            let rule = "a name has letters a to z, digits, `_`, `-` and `.` only";
            faults.add(path, format!("holds `{}`, {rule}", illegal.escape_debug()));
        } else if path == table_path(entity) && !TABLE_NAME.contains(&name.len()) {
            let rule = "a table's name has 3 to 255 characters";
            match path {
                "table" => faults.add(path, rule),
                _ => faults.add(path, format!("names the table, and {rule}; set `table`")),
            }
        }
    }
}

fn key_attributes(entity: &Entity) -> impl Iterator<Item = &KeyAttribute> {
    std::iter::once(&entity.key.partition).chain(&entity.key.sort)
}

fn key(entity: &Entity, faults: &mut Faults<'_>) {
    faults.attribute_name("key.partition.name", &entity.key.partition.name);
    if let Some(sort) = &entity.key.sort
        && faults.attribute_name("key.sort.name", &sort.name)
        && sort.name == entity.key.partition.name
    {
        faults.add("key.sort.name", format!("`{}` is the partition attribute too", sort.name));
    }
}

fn features(entity: &Entity, faults: &mut Faults<'_>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for (at, feature) in entity.features.iter().enumerate() {
        let path = format!("features[{at}].name");
        let name = feature.name.as_str();
        if faults.attribute_name(&path, name) {
            if let Some(reason) = reserved(name) {
                faults.add(&path, reason);
            } else if let Some(first) = seen.get(&name.to_lowercase()) {
                let other = &entity.features[*first].name;
                let reason = if other == name {
                    format!("`{name}` is also the name of features[{first}]")
                } else {
                    format!(
                        "`{name}` and `{other}` (features[{first}]) differ by case alone, \
                         which Delta and Spark take for one"
                    )
                };
                faults.add(&path, reason);
            } else {
                seen.insert(name.to_lowercase(), at);
            }
        }
        if feature.version == 0 {
            faults.add(&format!("features[{at}].version"), "must be at least 1");
        }
        if let Some(reason) = wrong_size(feature.feature_type) {
            faults.add(&format!("features[{at}].type"), reason);
        }
    }
}

/// Why a name can't be a feature's: it is a column's name in the lake and a field's in the index.
fn reserved(name: &str) -> Option<String> {
    if name.starts_with('_') {
        return Some("names that begin with `_` are the lake's own columns".to_owned());
    }
    if name.eq_ignore_ascii_case("item") {
        return Some("`item` is the lake's own column".to_owned());
    }
    let illegal = name.chars().find(|character| !(character.is_alphanumeric() || matches!(character, '_' | '-')))?;
    Some(format!("holds `{}`, a feature's name has letters, digits, `_` and `-` only", illegal.escape_debug()))
}

fn wrong_size(feature_type: FeatureType) -> Option<String> {
    match feature_type {
        FeatureType::Decimal { precision, .. } if !(1..=38).contains(&precision) => {
            Some(format!("a decimal has a precision of 1 to 38, this one {precision}"))
        }
        FeatureType::Decimal { precision, scale } if scale > precision => {
            Some(format!("a decimal's scale ({scale}) is at most its precision ({precision})"))
        }
        FeatureType::Vector { dims: 0 } => Some("a vector has at least 1 dim".to_owned()),
        _ => None,
    }
}

/// The attributes with a part of their own: event time, write time, time to live.
fn special(entity: &Entity, faults: &mut Faults<'_>) {
    let parts = [
        ("event_time", entity.event_time.as_deref()),
        ("write_time", entity.write_time.as_deref()),
        ("ttl", entity.ttl.as_deref()),
    ];
    let mut accepted: Vec<(&str, &str)> = Vec::new();
    for (part, name) in parts {
        let Some(name) = name else { continue };
        if !faults.attribute_name(part, name) {
            continue;
        }
        if key_attributes(entity).any(|key| key.name == name) {
            faults.add(part, format!("`{name}` is a key attribute, and an item's key never changes"));
        } else if let Some((other, _)) = accepted.iter().find(|(_, other)| *other == name) {
            faults.add(part, format!("`{name}` is the {other} attribute too"));
        } else {
            accepted.push((part, name));
        }
    }
    for (at, feature) in entity.features.iter().enumerate() {
        if let Some(reason) = disagreement(entity, &accepted, feature) {
            faults.add(&format!("features[{at}].type"), reason);
        }
    }
}

/// Why a feature's type does not agree with another part that its attribute has.
fn disagreement(entity: &Entity, parts: &[(&str, &str)], feature: &Feature) -> Option<String> {
    let Feature { name, feature_type, .. } = feature;
    if let Some(key) = key_attributes(entity).find(|key| key.name == *name) {
        let key_type = key.key_type.name();
        let reason = format!("`{name}` is a key attribute of type {key_type}, which {feature_type} can't hold");
        return (!feature_type.agrees_with(key.key_type)).then_some(reason);
    }
    let (part, _) = parts.iter().find(|(_, part)| part == name)?;
    match (*part, feature_type) {
        (_, FeatureType::Long) => None,
        ("ttl", _) => {
            Some(format!("`{name}` is the ttl attribute (epoch seconds), so its type is long, not {feature_type}"))
        }
        (_, FeatureType::Timestamp) => None,
        _ => Some(format!("`{name}` is the {part} attribute, so its type is timestamp or long, not {feature_type}")),
    }
}
