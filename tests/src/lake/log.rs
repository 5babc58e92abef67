//! A Delta table's log, replayed from its files: the newest checkpoint, then the commits after it.
//!
//! By the protocol's text and with none of the writer's code, so that a wrong log is not read by the error that wrote
//! it. Refuses what the lake promises not to use: deletion vectors, column mapping, V2 checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::{Array, StructArray};
use serde_json::Value as Json;

use super::columns;
use crate::error::Error;

/// What a table's log says at its newest version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TableLog {
    pub version: u64,
    /// Paths of the active data files, below the table's folder, decoded.
    pub files: BTreeSet<String>,
    /// The last version that each application committed.
    pub transactions: BTreeMap<String, i64>,
}

pub fn read(table: &Path) -> Result<TableLog, Error> {
    let folder = table.join("_delta_log");
    let names = names(&folder)?;
    let commits: BTreeMap<u64, &String> = names
        .iter()
        .filter_map(|name| Some((name.strip_suffix(".json")?, name)))
        .filter_map(|(stem, name)| Some((whole_version(stem)?, name)))
        .collect();
    let mut log = TableLog::default();
    let mut next = 0;
    if let Some((version, parts)) = newest_checkpoint(&folder, &names)? {
        for part in parts {
            checkpoint(&folder.join(part), &mut log)?;
        }
        log.version = version;
        next = version + 1;
    }
    let newest = commits.keys().last().copied();
    for version in next..newest.map_or(next, |newest| newest + 1) {
        let name = commits.get(&version).ok_or_else(|| Error::lake(&folder, format!("commit {version} is missing")))?;
        commit(&folder.join(name), &mut log)?;
        log.version = version;
    }
    if newest.is_none() && next == 0 {
        return Err(Error::lake(&folder, "no commit and no checkpoint"));
    }
    Ok(log)
}

fn names(folder: &Path) -> Result<Vec<String>, Error> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::file(folder, error))?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(|error| Error::file(folder, error))
}

fn whole_version(stem: &str) -> Option<u64> {
    (stem.len() == 20).then(|| stem.parse().ok()).flatten()
}

/// The newest version that has all parts of its checkpoint.
fn newest_checkpoint(folder: &Path, names: &[String]) -> Result<Option<(u64, Vec<PathBuf>)>, Error> {
    let mut found: BTreeMap<u64, (usize, Vec<PathBuf>)> = BTreeMap::new();
    for name in names {
        let Some(stem) = name.strip_suffix(".parquet") else { continue };
        let Some((version, rest)) = stem.split_once(".checkpoint") else { continue };
        let Some(version) = whole_version(version) else { continue };
        let parts = match rest.split('.').collect::<Vec<_>>()[..] {
            [""] => 1,
            ["", _, parts] => parts.parse().map_err(|error| Error::lake(&folder.join(name), error))?,
            _ => return Err(Error::lake(&folder.join(name), "a checkpoint of a kind that the lake does not use")),
        };
        let entry = found.entry(version).or_default();
        entry.0 = parts;
        entry.1.push(name.into());
    }
    let mut whole = found.into_iter().filter(|(_, (parts, names))| *parts == names.len());
    Ok(whole.next_back().map(|(version, (_, names))| (version, names)))
}

fn commit(path: &Path, log: &mut TableLog) -> Result<(), Error> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let action: Json = serde_json::from_str(line).map_err(|error| Error::lake(path, error))?;
        if let Some(add) = action.get("add") {
            if !add.get("deletionVector").is_none_or(Json::is_null) {
                return Err(Error::lake(path, "a deletion vector, which the lake does not use"));
            }
            log.files.insert(file_of(path, add)?);
        } else if let Some(remove) = action.get("remove") {
            log.files.remove(&file_of(path, remove)?);
        } else if let Some(txn) = action.get("txn") {
            let (id, version) = (txn.get("appId").and_then(Json::as_str), txn.get("version").and_then(Json::as_i64));
            let (Some(id), Some(version)) = (id, version) else {
                return Err(Error::lake(path, "a txn without a version"));
            };
            log.transactions.insert(id.to_owned(), version);
        }
    }
    Ok(())
}

pub(super) fn file_of(commit: &Path, action: &Json) -> Result<String, Error> {
    let path = action.get("path").and_then(Json::as_str);
    decoded(path.ok_or_else(|| Error::lake(commit, "a file without a path"))?)
        .ok_or_else(|| Error::lake(commit, "a file's path is not percent-encoded text"))
}

/// Paths in the log are percent-encoded.
fn decoded(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        if *first == b'%' {
            let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok())?;
            bytes.push(u8::from_str_radix(hex, 16).ok()?);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

fn checkpoint(path: &Path, log: &mut TableLog) -> Result<(), Error> {
    for batch in columns::batches(path, &["add", "txn"])? {
        let wrong = |reason: String| Error::lake(path, reason);
        let part =
            |name: &str| batch.column_by_name(name).and_then(|column| column.as_any().downcast_ref::<StructArray>());
        if let Some(adds) = part("add") {
            let paths = columns::texts(adds.column_by_name("path"), "add.path").map_err(wrong)?;
            let vectors = adds.column_by_name("deletionVector");
            for at in (0..adds.len()).filter(|at| adds.is_valid(*at)) {
                if vectors.is_some_and(|vectors| vectors.is_valid(at)) {
                    return Err(wrong("a deletion vector, which the lake does not use".into()));
                }
                let name = paths.get(at).ok_or_else(|| wrong("a file without a path".into()))?;
                log.files.insert(decoded(&name).ok_or_else(|| wrong("a file's path is not text".into()))?);
            }
        }
        if let Some(txns) = part("txn") {
            let ids = columns::texts(txns.column_by_name("appId"), "txn.appId").map_err(wrong)?;
            let versions = columns::integers(txns.column_by_name("version"), "txn.version").map_err(wrong)?;
            for at in (0..txns.len()).filter(|at| txns.is_valid(*at)) {
                let both = ids.get(at).zip(versions.get(at));
                let (id, version) = both.ok_or_else(|| wrong("a txn without a version".into()))?;
                log.transactions.insert(id, version);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log_of(files: &[(&str, &str)]) -> Result<TableLog, Error> {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("_delta_log");
        std::fs::create_dir(&log).unwrap();
        for (name, text) in files {
            std::fs::write(log.join(name), text).unwrap();
        }
        read(folder.path())
    }

    const FIRST: (&str, &str) = ("00000000000000000000.json", r#"{"add":{"path":"_date=2024-01-01/a%20b.parquet"}}"#);

    #[test]
    fn what_was_removed_is_no_active_file() {
        let second = "{\"remove\":{\"path\":\"_date=2024-01-01/a%20b.parquet\"}}\n{\"add\":{\"path\":\"c.parquet\"}}\n\
                      {\"txn\":{\"appId\":\"headwater/x/0\",\"version\":7}}";
        let log = log_of(&[FIRST, ("00000000000000000001.json", second)]).unwrap();
        assert_eq!((log.version, log.transactions["headwater/x/0"]), (1, 7));
        assert_eq!(log.files.into_iter().collect::<Vec<_>>(), ["c.parquet"]);
    }

    #[test]
    fn a_log_with_a_hole_or_without_commits_is_refused() {
        assert!(log_of(&[FIRST, ("00000000000000000002.json", "{}")]).is_err());
        assert!(log_of(&[("_last_checkpoint", "{}")]).is_err());
    }

    #[test]
    fn what_the_lake_does_not_use_is_refused() {
        let vector = r#"{"add":{"path":"a","deletionVector":{"storageType":"u"}}}"#;
        assert!(log_of(&[("00000000000000000000.json", vector)]).is_err());
        assert!(log_of(&[FIRST, ("00000000000000000000.checkpoint.8a-b.parquet", "")]).is_err());
    }
}
