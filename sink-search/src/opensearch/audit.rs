//! Whether an index that is there can keep what this sink promises: its settings, its fields, its aliases. Pure.
//!
//! An index is made right; others may have changed it since, or made it themselves from a template. What would break a
//! promise in silence is refused by the name of the setting, with the remedy. What only costs time is left alone.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::layout::{LIVE, Meta};

/// Documents that are asked for at once at most; OpenSearch's default window.
const WINDOW: u64 = 10_000;
const BUILT_AGAIN: &str = "build it again with `headwater rebuild`";

/// An index as `GET /<index>?flat_settings=true` describes it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Described {
    #[serde(default)]
    pub aliases: BTreeMap<String, Value>,
    pub mappings: Value,
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
}

/// What would break a promise, and how it is mended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub reason: String,
    pub remedy: String,
}

impl Fault {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Fault {
        Fault { reason: reason.into(), remedy: remedy.into() }
    }
}

impl Described {
    /// What it was made for.
    pub fn meta(&self) -> Option<Meta> {
        serde_json::from_value(self.mappings["_meta"]["headwater"].clone()).ok()
    }
}

/// Holds the index against the mapping that it would be made with. Fields that it has beside are harmless. One that does
/// not serve yet has no read alias.
pub(super) fn audit(
    found: &Described,
    mapping: &Value,
    read_alias: Option<&str>,
    write_alias: &str,
) -> Result<(), Fault> {
    settings(&found.settings)?;
    strictness(&found.mappings)?;
    fields(&found.mappings["properties"], &mapping["properties"], "")?;
    aliases(&found.aliases, read_alias, write_alias)
}

fn settings(found: &BTreeMap<String, Value>) -> Result<(), Fault> {
    let value = |name: &str| found.get(name).and_then(Value::as_str).unwrap_or_default();
    let is = |name: &str, broken: &str| value(name).eq_ignore_ascii_case(broken);
    if is("index.translog.durability", "async") {
        let reason = "index.translog.durability is async, so that what was acknowledged may be lost in a crash";
        return Err(Fault::new(reason, "set index.translog.durability to request"));
    }
    if is("index.replication.type", "segment") {
        let reason =
            "index.replication.type is SEGMENT, so that replicas answer searches with what was before a refresh";
        return Err(Fault::new(reason, BUILT_AGAIN));
    }
    for name in ["index.default_pipeline", "index.final_pipeline", "index.search.default_pipeline"] {
        if !matches!(value(name), "" | "_none") {
            let reason = format!("{name} is {}, which changes documents on their way", value(name));
            return Err(Fault::new(reason, format!("set {name} to null")));
        }
    }
    if is("index.mapping.ignore_malformed", "true") {
        let reason = "index.mapping.ignore_malformed is true, so that values may be left out of their fields unseen";
        return Err(Fault::new(reason, BUILT_AGAIN));
    }
    match value("index.max_result_window").parse::<u64>() {
        Ok(window) if window < WINDOW => {
            let reason = format!("index.max_result_window is {window}, and pages are found in steps of {WINDOW}");
            Err(Fault::new(reason, "set index.max_result_window to null"))
        }
        _ => Ok(()),
    }
}

fn strictness(mappings: &Value) -> Result<(), Fault> {
    if mappings["dynamic"] != "strict" {
        let is = shown(&mappings["dynamic"]);
        let reason =
            format!("its mapping has dynamic {is} and not strict, so that types may be guessed from documents");
        return Err(Fault::new(reason, "set the mapping's dynamic to strict"));
    }
    let source = &mappings["_source"];
    if source["enabled"] == false || !source["includes"].is_null() || !source["excludes"].is_null() {
        return Err(Fault::new("its mapping's _source does not keep whole items", BUILT_AGAIN));
    }
    if mappings["_routing"]["required"] == true {
        return Err(Fault::new("its mapping's _routing is required, and items have none", BUILT_AGAIN));
    }
    Ok(())
}

/// Every field that is declared, with the type and parameters that it is declared with.
fn fields(found: &Value, wanted: &Value, path: &str) -> Result<(), Fault> {
    let none = Map::new();
    for (name, wanted) in wanted.as_object().unwrap_or(&none) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let found = &found[name];
        if found.is_null() {
            return Err(Fault::new(format!("its mapping lacks field {path}"), BUILT_AGAIN));
        }
        if wanted["properties"].is_object() {
            let lax = !matches!(found["dynamic"].as_str(), None | Some("strict")) || found["dynamic"].is_boolean();
            if lax || !found["properties"].is_object() || found["type"] == "nested" {
                let reason = format!("field {path} is no object of declared fields alone");
                return Err(Fault::new(reason, BUILT_AGAIN));
            }
            fields(&found["properties"], &wanted["properties"], &path)?;
        } else if let Some((parameter, is, should)) = difference(found, wanted) {
            let reason = format!("field {path} has {parameter} {} and not {}", shown(is), shown(should));
            return Err(Fault::new(reason, BUILT_AGAIN));
        }
    }
    Ok(())
}

/// The first parameter that is not the same; what is empty is as good as absent.
fn difference<'a>(found: &'a Value, wanted: &'a Value) -> Option<(String, &'a Value, &'a Value)> {
    let (Some(one), Some(other)) = (found.as_object(), wanted.as_object()) else {
        return (found != wanted).then(|| ("the parameters".to_owned(), found, wanted));
    };
    let first = ["type".to_owned()];
    for name in first.iter().chain(one.keys()).chain(other.keys()) {
        let (is, should) = (&found[name], &wanted[name]);
        let nothing = |value: &Value| value.is_null() || value.as_object().is_some_and(Map::is_empty);
        if is == should || (nothing(is) && nothing(should)) {
            continue;
        }
        match (is.is_object() && should.is_object()).then(|| difference(is, should)) {
            Some(None) => {}
            Some(Some((inner, is, should))) => return Some((format!("{name}.{inner}"), is, should)),
            None => return Some((name.clone(), is, should)),
        }
    }
    None
}

fn aliases(found: &BTreeMap<String, Value>, read_alias: Option<&str>, write_alias: &str) -> Result<(), Fault> {
    let nothing = Value::Null;
    let alias = |name: &str| found.get(name).unwrap_or(&nothing);
    if let Some(read_alias) = read_alias {
        let read = alias(read_alias);
        let live = &read["filter"]["term"][LIVE];
        let filtered = read["filter"].as_object().is_some_and(|filter| filter.len() == 1);
        if !filtered || !(*live == true || live["value"] == true) {
            let reason =
                format!("alias {read_alias} is not filtered by {LIVE} = true, so that deleted items are found");
            let remedy = format!("put the alias on it again with the filter {{\"term\": {{\"{LIVE}\": true}}}}");
            return Err(Fault::new(reason, remedy));
        }
    }
    if !alias(write_alias)["filter"].is_null() {
        return Err(Fault::new(format!("alias {write_alias} has a filter, and must see everything"), BUILT_AGAIN));
    }
    for name in read_alias.into_iter().chain([write_alias]) {
        if !alias(name)["index_routing"].is_null() || !alias(name)["search_routing"].is_null() {
            let reason =
                format!("alias {name} has a routing, so that items are looked for on other shards than theirs");
            return Err(Fault::new(reason, format!("put alias {name} on it again without a routing")));
        }
    }
    Ok(())
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "(none)".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
