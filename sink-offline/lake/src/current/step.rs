//! One step of a fold: some files of history, reduced to what changes in each bucket.

use std::collections::{BTreeMap, HashSet};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use headwater_common::key::KeyBytes;
use headwater_sink_offline::lake::TableLocation;

use super::merge::{Incoming, conform};
use crate::error::Error;
use crate::newest::{Newest, selection};
use crate::table::parquet_file::OpenFile;
use crate::table::state::DataFile;

/// What one step changes, by bucket.
#[derive(Default)]
struct Changes {
    keys: HashSet<Box<str>>,
    rows: Vec<RecordBatch>,
}

/// What a step reads.
pub struct Step<'a> {
    pub history: &'a TableLocation,
    /// The columns of current's files.
    pub schema: &'a SchemaRef,
    pub buckets: u16,
}

impl Step<'_> {
    /// The changes of `files` to each bucket, without those that `before`, the history before them, overtakes.
    pub async fn reduce<'a>(
        &self,
        files: Vec<OpenFile>,
        before: impl Iterator<Item = &'a DataFile> + Clone,
    ) -> Result<BTreeMap<u16, Incoming>, Error> {
        let mut newest = Newest::default();
        for file in files {
            newest.read_open(self.history, file).await?;
        }
        newest.drop_overtaken(self.history, before).await?;
        let mut changes: BTreeMap<u16, Changes> = BTreeMap::new();
        for key in newest.by_key.keys() {
            changes.entry(self.bucket(key)?).or_default().keys.insert(key.clone());
        }
        for (file, rows) in newest.files.iter().zip(newest.live_rows()).filter(|(_, rows)| !rows.is_empty()) {
            self.gather(file, &rows, &mut changes).await?;
        }
        let incoming = |(bucket, changes): (u16, Changes)| {
            Incoming::new(self.schema, &changes.rows, changes.keys).map(|incoming| (bucket, incoming))
        };
        changes.into_iter().map(incoming).collect::<Result<_, _>>().map_err(|source| self.failed(source))
    }

    /// Reads the given rows of one file and deals them out to their buckets.
    async fn gather(
        &self,
        file: &OpenFile,
        rows: &[(u32, &str)],
        changes: &mut BTreeMap<u16, Changes>,
    ) -> Result<(), Error> {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let wanted = selection(rows.iter().map(|(row, _)| *row), file.rows());
        let parquet = |source| file.failed(self.history, source);
        let mut batches = file.stream(&columns, Some(wanted)).map_err(parquet)?;
        let mut keys = rows.iter().map(|(_, key)| *key);
        while let Some(batch) = batches.try_next().await.map_err(parquet)? {
            let mut by_bucket: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            for (at, key) in keys.by_ref().take(batch.num_rows()).enumerate() {
                by_bucket.entry(self.bucket(key)?).or_default().push(at as u32);
            }
            let batch = conform(&batch, self.schema).map_err(|source| self.failed(source))?;
            for (bucket, rows) in by_bucket {
                let part = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(|source| self.failed(source))?;
                changes.entry(bucket).or_default().rows.push(part);
            }
        }
        Ok(())
    }

    fn bucket(&self, key: &str) -> Result<u16, Error> {
        let bytes = KeyBytes::from_text(key).ok_or_else(|| Error::Schema {
            table: self.history.name.clone(),
            reason: "a value of _key is not base64url".to_owned(),
        })?;
        Ok(bytes.bucket(self.buckets))
    }

    fn failed(&self, source: arrow::error::ArrowError) -> Error {
        Error::Arrow { table: self.history.name.clone(), source }
    }
}
