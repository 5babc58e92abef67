//! The actions of Delta's log, as far as this stage writes and reads them.
//!
//! Source: the Delta transaction log protocol (`PROTOCOL.md` of delta-io/delta).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Reader 1 and writer 2: what every engine reads, without table features.
pub const MIN_READER: i32 = 1;
pub const MIN_WRITER: i32 = 2;

/// One line of a commit, to be written.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    CommitInfo(CommitInfo),
    Protocol(Protocol),
    MetaData(Box<Metadata>),
    Txn(Txn),
    Add(Add),
}

/// One line of a commit or one row of a checkpoint, as far as it matters here: other actions are read as nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    pub protocol: Option<Protocol>,
    pub meta_data: Option<Box<Metadata>>,
    pub txn: Option<Txn>,
    pub commit_info: Option<CommitTime>,
}

#[derive(Debug, Deserialize)]
pub struct CommitTime {
    /// Milliseconds since the epoch.
    pub timestamp: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: i32,
    pub min_writer_version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reader_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writer_features: Option<Vec<String>>,
}

impl Protocol {
    pub fn plain() -> Protocol {
        Protocol {
            min_reader_version: MIN_READER,
            min_writer_version: MIN_WRITER,
            reader_features: None,
            writer_features: None,
        }
    }

    pub fn is_plain(&self) -> bool {
        self.min_reader_version <= MIN_READER && self.min_writer_version <= MIN_WRITER
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
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_time: Option<i64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Format {
    pub provider: String,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl Default for Format {
    fn default() -> Self {
        Format { provider: "parquet".into(), options: BTreeMap::new() }
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Add {
    pub path: String,
    pub partition_values: BTreeMap<String, String>,
    pub size: u64,
    /// Milliseconds since the epoch.
    pub modification_time: i64,
    pub data_change: bool,
    /// JSON, see [`crate::stats`].
    pub stats: String,
}

/// For people and tools; no reader needs it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CommitInfo {
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    pub operation: String,
    pub operation_parameters: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_version: Option<u64>,
    pub is_blind_append: bool,
    pub engine_info: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headwater: Option<FlushInfo>,
}

/// What a flush held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FlushInfo {
    pub schema_version: u32,
    pub log_id: String,
    /// The last offset of each partition.
    pub offsets: BTreeMap<u16, u64>,
}

pub fn engine_info() -> String {
    format!("headwater/{}", env!("CARGO_PKG_VERSION"))
}

/// The file of a commit, below the table's root.
pub fn commit_path(version: u64) -> object_store::path::Path {
    object_store::path::Path::from(format!("_delta_log/{version:020}.json"))
}

/// The body of a commit: one action a line.
pub fn body(actions: &[Action]) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(4096);
    for action in actions {
        serde_json::to_writer(&mut body, action)?;
        body.push(b'\n');
    }
    Ok(body)
}
