//! Which data files no reader can need any more. Pure.

use headwater_common::clock::Timestamp;
use object_store::path::Path;

use crate::table::state::TableState;

/// A file in a table's folder.
#[derive(Clone, Debug)]
pub struct Found {
    pub path: Path,
    pub written: Timestamp,
}

/// The files to delete: neither part of the table, nor removed from it after `before`, nor written after it, for such a
/// one may still be committed. `state` must be newer than the listing. Only data files are looked at.
pub fn unreferenced(found: &[Found], state: &TableState, before: Timestamp) -> Vec<Path> {
    let removed_since = |path: &str| state.removed.get(path).is_some_and(|at| *at >= before.as_millis());
    let unneeded = |file: &&Found| {
        let path = file.path.as_ref();
        // The log has its paths percent-encoded; the lake's own names need no encoding, others are left alone.
        let known = state.files.contains_key(path) || removed_since(path);
        let plain = path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.=/".contains(&byte));
        plain && is_data(path) && !known && file.written < before
    };
    found.iter().filter(unneeded).map(|file| file.path.clone()).collect()
}

fn is_data(path: &str) -> bool {
    path.ends_with(".parquet") && !path.starts_with("_delta_log/")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use headwater_sink_offline::delta::Add;

    use super::*;
    use crate::table::state::{DataFile, Keep};

    fn state(files: &[&str], removed: &[(&str, i64)]) -> TableState {
        let file = |path: &&str| {
            let add = Add {
                path: (*path).to_owned(),
                partition_values: BTreeMap::new(),
                size: 1,
                modification_time: 0,
                data_change: true,
                stats: None,
                deletion_vector: None,
            };
            ((*path).to_owned(), DataFile::of(add, Keep::Bounds))
        };
        TableState {
            files: files.iter().map(file).collect(),
            removed: removed.iter().map(|(path, at)| ((*path).to_owned(), *at)).collect(),
            ..TableState::default()
        }
    }

    #[test]
    fn only_old_files_that_no_version_within_the_retention_names_go() {
        let found = |path: &str, at: i64| Found { path: Path::from(path), written: Timestamp::from_millis(at) };
        let files = [
            found("_date=2026-01-01/active.parquet", 1),
            found("_date=2026-01-01/removed-long-ago.parquet", 1),
            found("_date=2026-01-01/removed-just-now.parquet", 1),
            found("_date=2026-01-01/orphan.parquet", 1),
            found("_date=2026-01-01/being-committed.parquet", 60),
            found("_delta_log/00000000000000000003.checkpoint.parquet", 1),
            found("_delta_log/00000000000000000003.json", 1),
            found("notes.txt", 1),
        ];
        let removed =
            [("_date=2026-01-01/removed-long-ago.parquet", 20), ("_date=2026-01-01/removed-just-now.parquet", 55)];
        let state = state(&["_date=2026-01-01/active.parquet"], &removed);
        let gone = unreferenced(&files, &state, Timestamp::from_millis(50));
        let names: Vec<_> = gone.iter().map(|path| path.filename().unwrap()).collect();
        assert_eq!(names, ["removed-long-ago.parquet", "orphan.parquet"]);
    }
}
