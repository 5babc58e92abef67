//! Definitions from files.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{Entity, check};
use crate::yaml::{Fault, Node, Place};

/// Everything that was refused, in the order of the files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefinitionError {
    pub faults: Vec<Fault>,
}

impl fmt::Display for DefinitionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.faults.iter().enumerate() {
            write!(f, "{}{fault}", if at == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for DefinitionError {}

/// One definition and where it was written.
pub(super) struct Written {
    pub entity: Entity,
    pub tree: Node,
}

/// Reads one YAML file, or each `*.yaml` and `*.yml` of a folder (not of its subfolders) in the order of their names.
pub fn load(path: &Path) -> Result<Vec<Entity>, DefinitionError> {
    let files = files(path).map_err(|fault| DefinitionError { faults: vec![fault] })?;
    checked(files.iter().map(|file| read(Node::read(file))))
}

/// Definitions that a program carries with it: for each its file's name, which refusals cite, and its YAML.
pub fn parse(texts: &[(&str, &str)]) -> Result<Vec<Entity>, DefinitionError> {
    checked(texts.iter().map(|(name, text)| read(Node::parse(text, Path::new(name)))))
}

fn checked(all: impl Iterator<Item = Result<Written, Fault>>) -> Result<Vec<Entity>, DefinitionError> {
    let mut written = Vec::new();
    let mut faults = Vec::new();
    for one in all {
        match one {
            Ok(one) => {
                faults.extend(check::alone(&one));
                written.push(one);
            }
            Err(fault) => faults.push(fault),
        }
    }
    faults.extend(check::together(&written));
    if faults.is_empty() {
        Ok(written.into_iter().map(|one| one.entity).collect())
    } else {
        Err(DefinitionError { faults })
    }
}

fn read(tree: Result<Node, Fault>) -> Result<Written, Fault> {
    let tree = tree?;
    let entity = tree.deserialize()?;
    Ok(Written { entity, tree })
}

fn files(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let refused = |reason: String| Fault { place: Some(Place::file(path)), path: String::new(), reason };
    let unreadable = |error: std::io::Error| refused(format!("cannot be read: {error}"));
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let yaml = file.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if yaml && !hidden && file.is_file() {
            files.push(file);
        }
    }
    if files.is_empty() {
        return Err(refused("holds no definitions: put a file such as aircraft.yaml into it".to_owned()));
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{FeatureType, KeyType};

    const AIRCRAFT: &str = "\
entity: aircraft
owner: fleet
key:
  partition: {name: tail, type: string}
event_time: at
write_time: written
ttl: expires
features:
  - name: tail
    type: keyword
  - name: delay
    type: double
    version: 2
  - name: fare
    type: decimal(12,2)
  - name: cost
    type: {decimal: {precision: 38, scale: 0}}
  - name: profile
    type: vector(8)
  - name: shape
    type: {vector: {dims: 3}}
";

    /// The texts of all faults, with the folder cut out.
    fn refusals(files: &[(&str, &str)]) -> Vec<String> {
        let folder = folder(files);
        let error = load(folder.path()).unwrap_err();
        let prefix = format!("{}/", folder.path().display());
        error.faults.iter().map(|fault| fault.to_string().replace(&prefix, "")).collect()
    }

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    /// AIRCRAFT with one text replaced.
    fn refusal(from: &str, to: &str) -> String {
        assert!(AIRCRAFT.contains(from), "{from}");
        let refusals = refusals(&[("a.yaml", &AIRCRAFT.replacen(from, to, 1))]);
        refusals.join(" | ")
    }

    #[test]
    fn a_folder_gives_its_definitions_in_the_order_of_their_files() {
        let second = "entity: airport\ntable: ports\nkey:\n  partition: {name: code, type: string}\n";
        let files =
            [("b.yml", second), ("a.yaml", AIRCRAFT), ("notes.txt", "x: ["), (".#a.yaml", "x: ["), ("c.json", "{")];
        let folder = folder(&files);
        let entities = load(folder.path()).unwrap();
        let names: Vec<&str> = entities.iter().map(|entity| entity.entity.as_str()).collect();
        assert_eq!(names, ["aircraft", "airport"]);
        assert_eq!(entities[0].key.partition.key_type, KeyType::String);
        assert_eq!(entities[0].feature("delay").unwrap().version, 2);
        assert_eq!(entities[0].feature("fare").unwrap().feature_type, FeatureType::Decimal { precision: 12, scale: 2 });
        assert_eq!(entities[0].feature("shape").unwrap().feature_type, FeatureType::Vector { dims: 3 });
        assert_eq!(entities[1].table().as_str(), "ports");
        assert_eq!(load(&folder.path().join("b.yml")).unwrap(), entities[1..]);
        assert_eq!(parse(&[("a.yaml", AIRCRAFT), ("b.yml", second)]).unwrap(), entities);
    }

    #[test]
    fn unknown_names_are_refused_with_their_place_and_the_nearest_known_one() {
        for (from, to, message) in [
            ("event_time", "event_tiem", "a.yaml:5:1: event_tiem: unknown field; did you mean `event_time`?"),
            ("version", "vresion", "a.yaml:13:5: features[1].vresion: unknown field; did you mean `version`?"),
            ("double", "duoble", "a.yaml:12:11: features[1].type: unknown type `duoble`; did you mean `double`?"),
            (
                "vector(8)",
                "vecto(8)",
                "a.yaml:19:11: features[4].type: unknown type `vecto`; did you mean `vector(dims)`?",
            ),
            (
                "scale: 0",
                "scal: 0",
                "a.yaml:17:37: features[3].type.decimal.scal: unknown field; did you mean `scale`?",
            ),
            (
                "{vector",
                "{vectro",
                "a.yaml:21:12: features[5].type.vectro: unknown value `vectro`; did you mean `vector`?",
            ),
            (
                "type: string",
                "type: strng",
                "a.yaml:4:33: key.partition.type: unknown value `strng`; did you mean `string`?",
            ),
        ] {
            assert_eq!(refusal(from, to), message);
        }
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_place() {
        for (from, to, message) in [
            ("entity: aircraft\n", "", "a.yaml:1:1: the field `entity` is missing"),
            ("    type: double\n", "", "a.yaml:11:5: features[1]: the field `type` is missing"),
            (
                "version: 2",
                "version: two",
                "a.yaml:13:14: features[1].version: expected a whole number from 0 to 4294967295, found text",
            ),
            ("version: 2", "version: 0", "a.yaml:13:14: features[1].version: must be at least 1"),
            (
                "type: double",
                "type: [double]",
                "a.yaml:12:11: features[1].type: expected a type, such as keyword, decimal(12,2) or vector(8), found a list",
            ),
            ("vector(8)", "vector(0)", "a.yaml:19:11: features[4].type: a vector has at least 1 dim"),
            (
                "decimal(12,2)",
                "decimal(39,2)",
                "a.yaml:15:11: features[2].type: a decimal has a precision of 1 to 38, this one 39",
            ),
            (
                "decimal(12,2)",
                "decimal(2,3)",
                "a.yaml:15:11: features[2].type: a decimal's scale (3) is at most its precision (2)",
            ),
            (
                "key:\n  partition: {name: tail, type: string}",
                "key: tail",
                "a.yaml:3:6: key: expected a map of fields, found text",
            ),
        ] {
            let refused = refusal(from, to);
            assert!(refused.starts_with(message), "{refused}\n{message}");
        }
        assert!(refusal("owner: fleet", "owner: [").starts_with("a.yaml:"));
    }

    #[test]
    fn illegal_and_reserved_names_are_refused() {
        for (from, to, message) in [
            ("entity: aircraft", "entity: ''", "a.yaml:1:9: entity: is empty"),
            (
                "entity: aircraft",
                "entity: ab",
                "a.yaml:1:9: entity: names the table, and a table's name has 3 to 255 characters; set `table`",
            ),
            (
                "entity: aircraft",
                "entity: air craft",
                "a.yaml:1:9: entity: holds ` `, a name has letters a to z, digits, `_`, `-` and `.` only",
            ),
            (
                "entity: aircraft",
                "entity: ab\ntable: a/b",
                "a.yaml:2:8: table: holds `/`, a name has letters a to z, digits, `_`, `-` and `.` only",
            ),
            ("name: delay", "name: ''", "a.yaml:11:11: features[1].name: is empty"),
            (
                "name: delay",
                "name: _version",
                "a.yaml:11:11: features[1].name: names that begin with `_` are the lake's own columns",
            ),
            ("name: delay", "name: Item", "a.yaml:11:11: features[1].name: `item` is the lake's own column"),
            (
                "name: delay",
                "name: a.b",
                "a.yaml:11:11: features[1].name: holds `.`, a feature's name has letters, digits, `_` and `-` only",
            ),
            ("name: fare", "name: delay", "a.yaml:14:11: features[2].name: `delay` is also the name of features[1]"),
            (
                "name: fare",
                "name: Delay",
                "a.yaml:14:11: features[2].name: `Delay` and `delay` (features[1]) differ by case alone, which Delta and Spark take for one",
            ),
            ("name: tail, ", "name: '', ", "a.yaml:4:21: key.partition.name: is empty"),
            ("event_time: at", "event_time: ''", "a.yaml:5:13: event_time: is empty"),
        ] {
            assert_eq!(refusal(from, to), message);
        }
    }

    #[test]
    fn attributes_with_a_part_of_their_own_agree_with_each_other() {
        for (from, to, message) in [
            (
                "name: tail\n    type: keyword",
                "name: tail\n    type: long",
                "a.yaml:10:11: features[0].type: `tail` is a key attribute of type string, which long can't hold",
            ),
            (
                "event_time: at",
                "event_time: tail",
                "a.yaml:5:13: event_time: `tail` is a key attribute, and an item's key never changes",
            ),
            ("write_time: written", "write_time: at", "a.yaml:6:13: write_time: `at` is the event_time attribute too"),
            ("ttl: expires", "ttl: written", "a.yaml:7:6: ttl: `written` is the write_time attribute too"),
            (
                "event_time: at",
                "event_time: delay",
                "a.yaml:12:11: features[1].type: `delay` is the event_time attribute, so its type is timestamp or long, not double",
            ),
            (
                "ttl: expires",
                "ttl: delay",
                "a.yaml:12:11: features[1].type: `delay` is the ttl attribute (epoch seconds), so its type is long, not double",
            ),
        ] {
            assert_eq!(refusal(from, to), message);
        }
        let sort = "key:\n  sort: {name: tail, type: number}";
        assert_eq!(refusal("key:", sort), "a.yaml:4:16: key.sort.name: `tail` is the partition attribute too");
    }

    #[test]
    fn entities_and_tables_are_distinct() {
        let entity = |name: &str, table: &str| {
            format!("entity: {name}\ntable: {table}\nkey:\n  partition: {{name: id, type: number}}\n")
        };
        let files = [
            ("a.yaml", entity("plane", "planes")),
            ("b.yaml", entity("Plane", "other")),
            ("c.yaml", entity("third", "Planes")),
            ("d.yaml", entity("fourth", "planes_history")),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        assert_eq!(
            refusals(&files),
            [
                "b.yaml:1:9: entity: `Plane` is defined in a.yaml:1:9 too (case does not count)",
                "c.yaml:2:8: table: `Planes` is the table of `plane` in a.yaml:2:8 too (case does not count)",
                "d.yaml:2:8: table: `planes_history` is the name of a lake table of `plane`; choose another",
            ]
        );
    }

    #[test]
    fn all_faults_of_all_files_are_told_at_once() {
        let faulty = AIRCRAFT.replace("vector(8)", "vector(0)").replace("version: 2", "version: 0");
        let files = [("a.yaml", faulty.as_str()), ("b.yaml", "entity: [")];
        let refusals = refusals(&files);
        assert_eq!(refusals.len(), 3, "{refusals:#?}");
        assert!(refusals[2].starts_with("b.yaml:"));
    }

    #[test]
    fn an_absent_or_empty_folder_is_refused() {
        let folder = folder(&[]);
        let at = folder.path().display();
        assert_eq!(
            load(folder.path()).unwrap_err().to_string(),
            format!("{at}: holds no definitions: put a file such as aircraft.yaml into it")
        );
        let absent = load(&folder.path().join("x")).unwrap_err().to_string();
        assert_eq!(absent, format!("{at}/x: cannot be read: No such file or directory (os error 2)"));
    }
}
