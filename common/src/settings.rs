//! Settings: one YAML file, overlaid by `HEADWATER_…` environment variables.
//!
//! `HEADWATER_SINK_OFFLINE__FLUSH_MS=1000` sets `sink_offline.flush_ms`: lower case, nested fields by two underscores.
//! A value is a YAML scalar, a list in `[…]` or a map in `{…}`; a variable beats the file.
//!
//! Promises that every refusal names the file with line and column, or the environment variable, and the field's path.
//! Refuses unknown fields (where `T` does: `#[serde(deny_unknown_fields)]`), with the nearest known name. Values are
//! checked by `T`'s own rules, which say where through [`Loaded::refuse`]. Refusals never show a value that was text of
//! the wrong type: it may be a secret.

use std::path::Path;

use serde::de::DeserializeOwned;

use crate::yaml::{Content, Entry, Node};
pub use crate::yaml::{Fault, Place};

const PREFIX: &str = "HEADWATER_";

/// Why settings were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SettingsError(pub Fault);

/// Settings and where each was written.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    pub settings: T,
    tree: Node,
}

impl<T> Loaded<T> {
    /// Refuses the value at `path` (such as `sink_offline.flush_ms`) with the place where it was written, or the
    /// innermost part of the path that was.
    pub fn refuse(&self, path: &str, reason: impl Into<String>) -> SettingsError {
        SettingsError(self.tree.refuse(path, reason))
    }
}

/// Reads `file` (none: the environment alone) and overlays those of `env` that begin with `HEADWATER_`. Variables
/// that mean something else under that prefix are the caller's to leave out.
pub fn load<T: DeserializeOwned>(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<T, SettingsError> {
    load_located(file, env).map(|loaded| loaded.settings)
}

/// As [`load`], keeping where each setting was written for checks that follow.
pub fn load_located<T: DeserializeOwned>(
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Loaded<T>, SettingsError> {
    let mut tree = match file {
        Some(file) => Node::read(file).map_err(SettingsError)?,
        None => Node::empty(),
    };
    let mut variables: Vec<(String, String)> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    // A whole section comes before its fields, so that the narrower variable wins.
    variables.sort();
    for (name, value) in &variables {
        overlay(&mut tree, name, value).map_err(SettingsError)?;
    }
    let settings = tree.deserialize().map_err(SettingsError)?;
    Ok(Loaded { settings, tree })
}

fn overlay(tree: &mut Node, name: &str, value: &str) -> Result<(), Fault> {
    let place = Some(Place::Environment(name.into()));
    let path = name[PREFIX.len()..].to_lowercase();
    let refused = |path: &str, reason: String| Fault { place: place.clone(), path: path.to_owned(), reason };
    let steps: Vec<&str> = path.split("__").collect();
    if steps.iter().any(|step| step.is_empty()) {
        let form = "names no field: write HEADWATER_SECTION__FIELD, with two underscores between names";
        return Err(refused("", form.to_owned()));
    }
    let mut node = tree;
    for (depth, step) in steps.iter().enumerate() {
        if matches!(node.content, Content::Null) {
            node.content = Content::Map(Vec::new());
            node.place = node.place.take().or_else(|| place.clone());
        }
        let Content::Map(map) = &mut node.content else {
            return Err(refused(&steps[..depth].join("."), "holds one value, so it has no fields to set".to_owned()));
        };
        let at = map.iter().position(|entry| entry.name == *step).unwrap_or_else(|| {
            let node = Node { place: place.clone(), ..Node::empty() };
            map.push(Entry { name: (*step).to_owned(), place: place.clone(), node });
            map.len() - 1
        });
        node = &mut map[at].node;
    }
    *node = Node::of_variable(name, value)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sample {
        folder: String,
        port: u16,
        tables: Vec<String>,
        sink_offline: Sink,
        mode: Mode,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Sink {
        flush_ms: u64,
        limit: Option<u64>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Mode {
        #[default]
        Embedded,
        Distributed {
            prefix: String,
        },
    }

    const FILE: &str = "\
folder: data
port: 8000
sink_offline:
  flush_ms: 500
mode:
  distributed: {prefix: hw}
";

    fn loaded(file: &str, env: &[(&str, &str)]) -> Result<Loaded<Sample>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("headwater.yaml");
        std::fs::write(&path, file).unwrap();
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        load_located(Some(&path), env)
            .map_err(|error| error.to_string().replace(folder.path().to_str().unwrap(), "etc"))
    }

    fn refusal(file: &str, env: &[(&str, &str)]) -> String {
        loaded(file, env).unwrap_err()
    }

    #[test]
    fn the_environment_beats_the_file_field_by_field() {
        let env = [
            ("HEADWATER_SINK_OFFLINE__FLUSH_MS", "1000"),
            ("HEADWATER_SINK_OFFLINE__LIMIT", ""),
            ("HEADWATER_FOLDER", "007: #1"),
            ("HEADWATER_TABLES", "[a, 1.10]"),
            ("PATH", "/bin"),
        ];
        let settings = loaded(FILE, &env).unwrap().settings;
        let expected = Sample {
            folder: "007: #1".into(),
            port: 8000,
            tables: vec!["a".into(), "1.10".into()],
            sink_offline: Sink { flush_ms: 1000, limit: None },
            mode: Mode::Distributed { prefix: "hw".into() },
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn a_narrower_variable_beats_a_whole_section() {
        let env = [
            ("HEADWATER_SINK_OFFLINE__FLUSH_MS", "7"),
            ("HEADWATER_SINK_OFFLINE", "{flush_ms: 5, limit: 6}"),
            ("HEADWATER_MODE", "embedded"),
        ];
        let settings = loaded(FILE, &env).unwrap().settings;
        assert_eq!(settings.sink_offline, Sink { flush_ms: 7, limit: Some(6) });
        assert_eq!(settings.mode, Mode::Embedded);
    }

    #[test]
    fn without_a_file_there_is_the_environment() {
        let env = [("HEADWATER_FOLDER".to_owned(), "12".to_owned())];
        assert_eq!(load::<Sample>(None, env.into_iter()).unwrap().folder, "12");
        assert_eq!(load::<Sample>(None, std::iter::empty()).unwrap(), Sample::default());
    }

    #[test]
    fn refusals_in_the_file_name_line_column_and_path() {
        for (file, message) in [
            (
                "sink_offline:\n  flsuh_ms: 5\n",
                "etc/headwater.yaml:2:3: sink_offline.flsuh_ms: unknown field; did you mean `flush_ms`?",
            ),
            (
                "retention: 5\n",
                "etc/headwater.yaml:1:1: retention: unknown field; known: folder, port, tables, sink_offline, mode",
            ),
            ("port: 70000\n", "etc/headwater.yaml:1:7: port: expected a whole number from 0 to 65535, found 70000"),
            ("port: secret\n", "etc/headwater.yaml:1:7: port: expected a whole number from 0 to 65535, found text"),
            ("tables:\n  - [a]\n", "etc/headwater.yaml:2:5: tables[0]: expected text, found a list"),
            (
                "sink_offline: 5\n",
                "etc/headwater.yaml:1:15: sink_offline: expected a map of fields, found a whole number",
            ),
            ("mode: embeded\n", "etc/headwater.yaml:1:7: mode: unknown value `embeded`; did you mean `embedded`?"),
            ("mode:\n  distributed: {}\n", "etc/headwater.yaml:2:16: mode.distributed: the field `prefix` is missing"),
            ("port: 1\nport: 2\n", "etc/headwater.yaml:2:1: duplicate mapping key `port` is not allowed here"),
        ] {
            assert_eq!(refusal(file, &[]), message);
        }
    }

    #[test]
    fn refusals_in_the_environment_name_the_variable_and_path() {
        for (name, value, message) in [
            (
                "HEADWATER_SINK_OFLINE__FLUSH_MS",
                "5",
                "environment variable HEADWATER_SINK_OFLINE__FLUSH_MS: sink_ofline: unknown field; \
                 did you mean `sink_offline`?",
            ),
            (
                "HEADWATER_PORT",
                "eighty",
                "environment variable HEADWATER_PORT: port: expected a whole number from 0 to 65535, found text",
            ),
            (
                "HEADWATER_FOLDER__NAME",
                "x",
                "environment variable HEADWATER_FOLDER__NAME: folder: holds one value, so it has no fields to set",
            ),
            (
                "HEADWATER_SINK_OFFLINE__",
                "x",
                "environment variable HEADWATER_SINK_OFFLINE__: names no field: write HEADWATER_SECTION__FIELD, \
                 with two underscores between names",
            ),
        ] {
            assert_eq!(refusal(FILE, &[(name, value)]), message);
        }
        assert!(refusal(FILE, &[("HEADWATER_TABLES", "[a")]).starts_with("environment variable HEADWATER_TABLES: "));
    }

    #[test]
    fn a_later_check_says_where_the_value_was_written() {
        let loaded = loaded(FILE, &[("HEADWATER_PORT", "0")]).unwrap();
        let flush = loaded.refuse("sink_offline.flush_ms", "must be at least 1000").to_string();
        assert!(flush.ends_with("headwater.yaml:4:13: sink_offline.flush_ms: must be at least 1000"), "{flush}");
        assert_eq!(
            loaded.refuse("port", "must not be 0").to_string(),
            "environment variable HEADWATER_PORT: port: must not be 0"
        );
    }
}
