//! Reading a checkpoint: the log's sum at one version, as Parquet.

use std::sync::Arc;

use arrow::json::LineDelimitedWriter;
use futures::TryStreamExt;
use headwater_sink_offline::delta::Line;
use headwater_sink_offline::lake::TableLocation;
use object_store::path::Path;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use serde::Deserialize;

use super::parquet_file::FileReader;
use super::state::{Keep, TableState};
use crate::error::Error;

/// `_last_checkpoint`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Hint {
    pub version: i64,
    /// Files that the checkpoint consists of, where there are several.
    #[serde(default)]
    pub parts: Option<u32>,
}

impl Hint {
    pub fn paths(&self) -> Vec<Path> {
        let version = self.version;
        match self.parts {
            None => vec![Path::from(format!("_delta_log/{version:020}.checkpoint.parquet"))],
            Some(parts) => (1..=parts)
                .map(|part| Path::from(format!("_delta_log/{version:020}.checkpoint.{part:010}.{parts:010}.parquet")))
                .collect(),
        }
    }

    /// The checkpoint that a file of the log belongs to.
    pub fn from_name(name: &str) -> Option<Hint> {
        let mut words = name.split('.');
        let version = words.next().filter(|digits| digits.len() == 20)?.parse().ok()?;
        match (words.next()?, words.next()?, words.next(), words.next()) {
            ("checkpoint", "parquet", None, None) => Some(Hint { version, parts: None }),
            ("checkpoint", _, Some(parts), Some("parquet")) => Some(Hint { version, parts: parts.parse().ok() }),
            _ => None,
        }
    }
}

/// What a checkpoint holds, but for parsed statistics and what newer protocols add.
const COLUMNS: [&str; 5] = ["protocol", "metaData", "txn", "add", "remove"];

pub async fn read(table: &TableLocation, hint: Hint, keep: Keep) -> Result<TableState, Error> {
    let mut state = TableState { version: hint.version, ..TableState::default() };
    for path in hint.paths() {
        read_part(table, &path, keep, &mut state).await?;
    }
    Ok(state)
}

async fn read_part(table: &TableLocation, path: &Path, keep: Keep, state: &mut TableState) -> Result<(), Error> {
    let failed = |source| Error::Parquet { table: table.name.clone(), file: path.to_string(), source };
    let version = state.version;
    let damaged = |reason: String| Error::Damaged { table: table.name.clone(), version, reason };
    let reader = FileReader::sized(Arc::clone(&table.store), path.clone()).await.map_err(|source| Error::Store {
        table: table.name.clone(),
        action: format!("reading {path}"),
        source,
    })?;
    let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(failed)?;
    let schema = builder.parquet_schema();
    let wanted = (0..schema.num_columns()).filter(|leaf| {
        let parts = schema.column(*leaf).path().clone();
        let parts = parts.parts();
        let known = parts.first().is_some_and(|top| COLUMNS.contains(&top.as_str()));
        known && parts.get(1).is_none_or(|second| !second.ends_with("_parsed"))
    });
    let mask = ProjectionMask::leaves(schema, wanted.collect::<Vec<_>>());
    let mut batches = builder.with_projection(mask).with_batch_size(1024).build().map_err(failed)?;
    while let Some(batch) = batches.try_next().await.map_err(failed)? {
        // As JSON the rows are the lines that the commits had, so that one parser reads both.
        let mut json = LineDelimitedWriter::new(Vec::new());
        json.write(&batch).and_then(|()| json.finish()).map_err(|error| damaged(error.to_string()))?;
        for line in json.into_inner().split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Line = serde_json::from_slice(line).map_err(|error| damaged(error.to_string()))?;
            state.apply(line, keep).map_err(|reason| Error::Unsupported { table: table.name.clone(), reason })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_checkpoints_are_told_from_other_files_of_the_log() {
        let whole = "00000000000000000012.checkpoint.parquet";
        assert_eq!(Hint::from_name(whole), Some(Hint { version: 12, parts: None }));
        let part = "00000000000000000012.checkpoint.0000000001.0000000003.parquet";
        let hint = Hint::from_name(part).unwrap();
        assert_eq!(hint, Hint { version: 12, parts: Some(3) });
        assert_eq!(hint.paths().len(), 3);
        assert!(hint.paths()[0].as_ref().ends_with(part));
        for other in ["00000000000000000012.json", "_last_checkpoint", "12.checkpoint.parquet", ""] {
            assert_eq!(Hint::from_name(other), None, "{other}");
        }
    }
}
