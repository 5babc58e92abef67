//! The lines of a Delta commit, as far as tables of reader version 1 and writer version 2 have them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One line of a commit, or one row of a checkpoint: exactly one field is set.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
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
    /// Written, never read: nothing depends on it.
    #[serde(skip_serializing_if = "Option::is_none", skip_deserializing)]
    pub commit_info: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    pub min_reader_version: u32,
    pub min_writer_version: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    pub id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    pub format: Format,
    /// The table's schema as Delta's JSON.
    pub schema_string: String,
    #[serde(default)]
    pub partition_columns: Vec<String>,
    #[serde(default)]
    pub configuration: BTreeMap<String, Option<String>>,
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
        Format { provider: "parquet".to_owned(), options: BTreeMap::new() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Txn {
    pub app_id: String,
    pub version: i64,
}

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
    /// Statistics as JSON text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<Box<str>>,
    #[serde(default, skip_serializing)]
    pub deletion_vector: Option<serde::de::IgnoredAny>,
}

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

impl From<Protocol> for Line {
    fn from(protocol: Protocol) -> Self {
        Line { protocol: Some(protocol), ..Line::default() }
    }
}

impl From<Metadata> for Line {
    fn from(metadata: Metadata) -> Self {
        Line { meta_data: Some(metadata), ..Line::default() }
    }
}

impl From<Txn> for Line {
    fn from(txn: Txn) -> Self {
        Line { txn: Some(txn), ..Line::default() }
    }
}

impl From<Remove> for Line {
    fn from(remove: Remove) -> Self {
        Line { remove: Some(remove), ..Line::default() }
    }
}

impl From<Add> for Line {
    fn from(add: Add) -> Self {
        Line { add: Some(add), ..Line::default() }
    }
}

impl Line {
    pub fn commit_info(info: serde_json::Value) -> Line {
        Line { commit_info: Some(info), ..Line::default() }
    }
}

/// A commit's body: one line of JSON each.
pub fn to_body(lines: &[Line]) -> Result<Vec<u8>, serde_json::Error> {
    let mut body = Vec::with_capacity(1024 * lines.len());
    for line in lines {
        serde_json::to_writer(&mut body, line)?;
        body.push(b'\n');
    }
    Ok(body)
}

pub fn from_body(body: &[u8]) -> Result<Vec<Line>, serde_json::Error> {
    body.split(|byte| *byte == b'\n')
        .filter(|line| line.iter().any(|byte| !byte.is_ascii_whitespace()))
        .map(serde_json::from_slice)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_other_writers_are_read_and_what_they_add_is_passed_over() {
        let body = concat!(
            r#"{"commitInfo":{"timestamp":1,"operation":"WRITE"}}"#,
            "\n",
            r#"{"add":{"path":"a%20b.parquet","partitionValues":{"_date":null},"size":3,"modificationTime":5,"#,
            r#""dataChange":false,"stats":"{}","tags":{},"deletionVector":null,"baseRowId":null}}"#,
            "\n\n",
            r#"{"txn":{"appId":"headwater/x/0","version":7,"lastUpdated":null}}"#,
            "\n",
            r#"{"remove":{"path":"c.parquet","dataChange":true}}"#,
            "\n",
        );
        let lines = from_body(body.as_bytes()).unwrap();
        assert_eq!(lines.len(), 4);
        let add = lines[1].add.as_ref().unwrap();
        assert!(!add.data_change && add.deletion_vector.is_none());
        assert_eq!(lines[2].txn.as_ref().unwrap().version, 7);
        assert!(lines[3].remove.as_ref().unwrap().data_change);
    }

    #[test]
    fn a_body_reads_as_what_was_written() {
        let lines = vec![
            Line::from(Protocol { min_reader_version: 1, min_writer_version: 2 }),
            Line::from(Txn { app_id: "headwater/current".into(), version: 9 }),
        ];
        let read = from_body(&to_body(&lines).unwrap()).unwrap();
        assert_eq!(read[0].protocol, lines[0].protocol);
        assert_eq!(read[1].txn, lines[1].txn);
    }
}
