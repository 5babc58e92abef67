//! What a Delta table holds at one version: the sum of its log's lines. Pure.

use std::collections::{BTreeMap, HashMap};

use headwater_sink_offline::delta::{Add, Line, Metadata};
use serde::Deserialize;

/// What of the log stays in memory, besides the files, the properties and the transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Each file's statistics as they are, for pruning.
    Statistics,
    /// Of each file's statistics the count of rows and the range of `_version`.
    Bounds,
    /// The same, and which files were removed, for vacuum.
    Removals,
}

/// A table at one version.
#[derive(Clone, Debug, Default)]
pub struct TableState {
    pub version: i64,
    pub metadata: Option<Metadata>,
    /// By path, percent-encoded as in the log.
    pub files: BTreeMap<String, DataFile>,
    /// With [`Keep::Removals`]: files that were removed, and when (milliseconds since the epoch), as far as the log
    /// remembers.
    pub removed: HashMap<String, i64>,
    pub txns: BTreeMap<String, i64>,
}

/// A file that belongs to the table.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    pub path: String,
    pub size: u64,
    /// Milliseconds since the epoch.
    pub modified: i64,
    pub partition: BTreeMap<String, Option<String>>,
    pub rows: Option<u64>,
    /// The smallest and greatest `_version`; `None` where the statistics don't say.
    pub versions: Option<(i64, i64)>,
    /// Statistics as JSON text, where they were kept.
    pub stats: Option<Box<str>>,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unsupported {
    #[error("needs reader version {0}, this release reads version 1")]
    Protocol(u32),
    #[error("file {0} has a deletion vector, which this release does not read")]
    DeletionVector(String),
}

impl TableState {
    /// Adds one line of the log. Lines of one commit may come in any order.
    pub fn apply(&mut self, line: Line, keep: Keep) -> Result<(), Unsupported> {
        if let Some(protocol) = line.protocol
            && !protocol.is_readable()
        {
            return Err(Unsupported::Protocol(protocol.min_reader_version));
        }
        if let Some(metadata) = line.meta_data {
            self.metadata = Some(metadata);
        }
        if let Some(txn) = line.txn {
            self.txns.insert(txn.app_id, txn.version);
        }
        if let Some(remove) = line.remove {
            self.files.remove(&remove.path);
            if keep == Keep::Removals {
                self.removed.insert(remove.path, remove.deletion_timestamp.unwrap_or(0));
            }
        }
        if let Some(add) = line.add {
            if add.deletion_vector.is_some() {
                return Err(Unsupported::DeletionVector(add.path));
            }
            self.removed.remove(&add.path);
            self.files.insert(add.path.clone(), DataFile::of(add, keep));
        }
        Ok(())
    }

    pub fn txn(&self, app_id: &str) -> Option<i64> {
        self.txns.get(app_id).copied()
    }

    pub fn property(&self, name: &str) -> Option<&str> {
        self.metadata.as_ref()?.property(name)
    }

    /// Rows of all files, where each file's statistics say.
    pub fn rows(&self) -> Option<u64> {
        self.files.values().map(|file| file.rows).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.size).sum()
    }
}

impl DataFile {
    pub fn of(add: Add, keep: Keep) -> DataFile {
        // A line without readable statistics is a file without statistics, as Delta has it.
        let brief: Brief = add.stats.as_deref().and_then(|stats| serde_json::from_str(stats).ok()).unwrap_or_default();
        DataFile {
            path: add.path,
            size: add.size,
            modified: add.modification_time,
            partition: add.partition_values,
            rows: brief.num_records,
            versions: brief.min_values.version.zip(brief.max_values.version),
            stats: add.stats.filter(|_| keep == Keep::Statistics),
        }
    }

    /// May hold a version above `version`.
    pub fn may_exceed(&self, version: i64) -> bool {
        self.versions.is_none_or(|(_, greatest)| greatest > version)
    }
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Brief {
    num_records: Option<u64>,
    min_values: VersionOnly,
    max_values: VersionOnly,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct VersionOnly {
    #[serde(rename = "_version")]
    version: Option<i64>,
}

#[cfg(test)]
mod tests {
    use headwater_sink_offline::delta::{Protocol, Remove, Txn};

    use super::*;

    fn add(path: &str, stats: &str) -> Line {
        Line::from(Add {
            path: path.into(),
            partition_values: BTreeMap::new(),
            size: 1,
            modification_time: 0,
            data_change: true,
            stats: Some(stats.into()),
            deletion_vector: None,
        })
    }

    fn remove(path: &str, at: i64) -> Line {
        Line::from(Remove {
            path: path.into(),
            deletion_timestamp: Some(at),
            data_change: true,
            extended_file_metadata: None,
            partition_values: None,
            size: None,
        })
    }

    #[test]
    fn a_file_belongs_to_the_table_from_its_add_to_its_removal() {
        let mut state = TableState::default();
        let stats = r#"{"numRecords":3,"minValues":{"_version":5,"x":1},"maxValues":{"_version":9}}"#;
        for line in [add("a", stats), add("b", "{}"), remove("b", 70)] {
            state.apply(line, Keep::Removals).unwrap();
        }
        assert_eq!(state.files.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(state.files["a"].versions, Some((5, 9)));
        assert_eq!(state.files["a"].stats, None);
        assert_eq!(state.rows(), Some(3));
        assert_eq!(state.removed["b"], 70);
        state.apply(add("b", "not json"), Keep::Bounds).unwrap();
        assert!(state.removed.is_empty() && state.rows().is_none());
        assert!(state.files["b"].may_exceed(1), "what is not known may be anything");
    }

    #[test]
    fn the_last_word_on_a_transaction_holds() {
        let mut state = TableState::default();
        for version in [3, 9] {
            state.apply(Line::from(Txn { app_id: "x".into(), version }), Keep::Bounds).unwrap();
        }
        assert_eq!(state.txn("x"), Some(9));
        assert_eq!(state.txn("y"), None);
    }

    #[test]
    fn a_table_that_would_be_misread_is_refused() {
        let mut state = TableState::default();
        let line = Line::from(Protocol { min_reader_version: 3, min_writer_version: 7 });
        assert_eq!(state.apply(line, Keep::Bounds), Err(Unsupported::Protocol(3)));
    }
}
