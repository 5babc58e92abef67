//! The lines of Delta's log, as far as tables of reader version 1 and writer version 2 have them: what every part of the
//! lake reads and writes.
//!
//! Source: the Delta transaction log protocol (`PROTOCOL.md` of delta-io/delta).

use std::collections::BTreeMap;

use headwater_common::clock::Timestamp;
use serde::{Deserialize, Serialize};

/// Reader 1 and writer 2: what every engine reads, without table features.
pub const MIN_READER: u32 = 1;
pub const MIN_WRITER: u32 = 2;

/// One line of a commit, or one row of a checkpoint: exactly one field is set, or none where it is something that a plain
/// table does without.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit_info: Option<CommitInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub meta_data: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub txn: Option<Txn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remove: Option<Remove>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub add: Option<Add>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: u32,
    pub min_writer_version: u32,
}

impl Protocol {
    pub const PLAIN: Protocol = Protocol { min_reader_version: MIN_READER, min_writer_version: MIN_WRITER };

    /// Whether this release may write the table.
    pub fn is_plain(self) -> bool {
        self.is_readable() && self.min_writer_version <= MIN_WRITER
    }

    /// Whether this release may read the table.
    pub fn is_readable(self) -> bool {
        self.min_reader_version <= MIN_READER
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub format: Format,
    /// The table's schema as Delta's JSON.
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
    /// Milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

impl Metadata {
    pub fn property(&self, name: &str) -> Option<&str> {
        self.configuration.get(name)?.as_deref()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Default for Format {
    fn default() -> Self {
        Format { provider: "parquet".to_owned(), options: BTreeMap::new() }
    }
}

/// The version that an application has reached; the last one of an app id holds. Without `lastUpdated` it never expires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
}

/// A data file that becomes part of the table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    /// Relative to the table, percent-encoded.
    pub path: String,
    #[serde(default)]
    pub partition_values: BTreeMap<String, Option<String>>,
    pub size: u64,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub modification_time: i64,
    /// False where the same rows were only laid out anew.
    #[serde(default = "yes")]
    pub data_change: bool,
    /// Statistics as JSON text, see [`crate::stats`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Box<str>>,
    #[serde(default, skip_serializing)]
    pub deletion_vector: Option<serde::de::IgnoredAny>,
}

/// A data file that is no part of the table any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Remove {
    pub path: String,
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub deletion_timestamp: Option<i64>,
    #[serde(default = "yes")]
    pub data_change: bool,
    #[serde(default)]
    pub extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

fn yes() -> bool {
    true
}

/// For people and tools; no reader needs it. Others write it in forms of their own, so nothing but the moment is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitInfo {
    /// Milliseconds since the epoch.
    #[serde(default)]
    pub timestamp: Option<i64>,
    #[serde(skip_deserializing)]
    pub operation: String,
    #[serde(skip_deserializing)]
    pub operation_parameters: BTreeMap<String, String>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub read_version: Option<u64>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub is_blind_append: Option<bool>,
    #[serde(skip_deserializing)]
    pub engine_info: String,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub headwater: Option<Contents>,
}

impl CommitInfo {
    pub fn of(operation: &str, at: Timestamp) -> CommitInfo {
        let (operation, engine_info) = (operation.to_owned(), engine_info());
        CommitInfo { timestamp: Some(at.as_millis()), operation, engine_info, ..CommitInfo::default() }
    }
}

/// What a commit of this release holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged, rename_all_fields = "camelCase")]
pub enum Contents {
    Flush {
        schema_version: u32,
        log_id: String,
        /// The last offset of each partition.
        offsets: BTreeMap<u16, u64>,
    },
    Fold {
        /// The version of history that the table now goes up to.
        source_version: i64,
    },
}

macro_rules! lines_of {
    ($($field:ident: $action:ty),+ $(,)?) => {$(
        impl From<$action> for Line {
            fn from(action: $action) -> Line {
                Line { $field: Some(action), ..Line::default() }
            }
        }
    )+};
}

lines_of!(commit_info: CommitInfo, protocol: Protocol, meta_data: Metadata, txn: Txn, remove: Remove, add: Add);

pub fn engine_info() -> String {
    format!("headwater/{}", env!("CARGO_PKG_VERSION"))
}

/// The file of a commit, below the table's root.
pub fn commit_path(version: u64) -> object_store::path::Path {
    object_store::path::Path::from(format!("_delta_log/{version:020}.json"))
}

/// The body of a commit: one line of JSON each.
pub fn body(lines: &[Line]) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(1024 * lines.len());
    for line in lines {
        serde_json::to_writer(&mut body, line)?;
        body.push(b'\n');
    }
    Ok(body)
}

/// The lines of a commit's body.
pub fn lines(body: &[u8]) -> impl Iterator<Item = Result<Line, serde_json::Error>> {
    body.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty()).map(serde_json::from_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &[u8]) -> Vec<Line> {
        lines(body).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn lines_of_other_writers_are_read_and_what_they_add_is_passed_over() {
        let body = concat!(
            r#"{"commitInfo":{"timestamp":1,"operation":"WRITE","operationParameters":{"mode":7},"readVersion":"x"}}"#,
            "\n",
            r#"{"add":{"path":"a%20b.parquet","partitionValues":{"_date":null},"size":3,"modificationTime":5,"#,
            r#""dataChange":false,"stats":"{}","tags":{},"deletionVector":null,"baseRowId":null}}"#,
            "\n\n",
            r#"{"txn":{"appId":"headwater/x/0","version":7,"lastUpdated":null}}"#,
            "\n",
            r#"{"remove":{"path":"c.parquet","dataChange":true}}"#,
            "\n",
            r#"{"domainMetadata":{"domain":"d","configuration":"","removed":false}}"#,
            "\n",
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7,"readerFeatures":["deletionVectors"]}}"#,
            "\n",
        );
        let lines = read(body.as_bytes());
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0].commit_info.as_ref().unwrap().timestamp, Some(1));
        let add = lines[1].add.as_ref().unwrap();
        assert!(!add.data_change && add.deletion_vector.is_none());
        assert_eq!(lines[2].txn.as_ref().unwrap().version, 7);
        assert!(lines[3].remove.as_ref().unwrap().data_change);
        assert!(!lines[5].protocol.unwrap().is_readable());
    }

    #[test]
    fn a_body_reads_as_what_was_written() {
        let written = [
            Line::from(Protocol::PLAIN),
            Line::from(Txn { app_id: "headwater/current".into(), version: 9 }),
            Line::from(CommitInfo::of("WRITE", Timestamp::from_millis(5))),
        ];
        let read = read(&body(&written).unwrap());
        assert_eq!(read[0].protocol, written[0].protocol);
        assert!(read[0].protocol.is_some_and(Protocol::is_plain));
        assert_eq!(read[1].txn, written[1].txn);
        assert_eq!(read[2].commit_info.as_ref().unwrap().timestamp, Some(5));
    }

    #[test]
    fn a_commits_info_says_what_it_holds() {
        let offsets = [(0, 7)].into();
        let flush = Contents::Flush { schema_version: 1, log_id: "l".into(), offsets };
        let mut info = CommitInfo { headwater: Some(flush), ..CommitInfo::of("WRITE", Timestamp::from_millis(5)) };
        let said = |info: &CommitInfo| serde_json::to_value(info).unwrap()["headwater"].clone();
        assert_eq!(said(&info), serde_json::json!({"schemaVersion": 1, "logId": "l", "offsets": {"0": 7}}));
        info.headwater = Some(Contents::Fold { source_version: 3 });
        assert_eq!(said(&info), serde_json::json!({"sourceVersion": 3}));
    }
}
