//! Writing one bucket anew: its old files, merged with what changed, into new ones of bounded size.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use futures::TryStreamExt;
use headwater_common::clock::Timestamp;
use headwater_sink_offline::delta::Add;
use headwater_sink_offline::lake::TableLocation;
use headwater_sink_offline::stats::Running;
use object_store::path::Path;
use parquet::errors::ParquetError;

use super::BUCKET;
use super::merge::{Incoming, conform};
use crate::error::Error;
use crate::table::parquet_file::{FileWriter, open, properties, writer};
use crate::table::state::DataFile;

/// Where and how buckets are written.
pub struct Buckets<'a> {
    pub table: &'a TableLocation,
    /// The columns of the files.
    pub schema: &'a SchemaRef,
    /// A file is ended when it has this many bytes; so many are held while it is written.
    pub file_bytes: usize,
    pub now: Timestamp,
}

/// A file being written. Rows come sorted by key.
struct Open {
    path: Path,
    writer: FileWriter,
    stats: Running,
}

impl Buckets<'_> {
    /// The bucket's new files, in the order of keys; none where no row is left. `old` is in the order of keys, too.
    pub async fn rewrite(&self, bucket: u16, old: &[DataFile], mut incoming: Incoming) -> Result<Vec<Add>, Error> {
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let mut output = Output { buckets: self, bucket, id: uuid::Uuid::new_v4(), done: Vec::new(), open: None };
        for file in old {
            let file = open(self.table, file).await?;
            let mut batches = file.scan(self.table, &columns)?;
            while let Some(batch) = batches.try_next().await.map_err(|source| file.failed(self.table, source))? {
                let merged = conform(&batch, self.schema).and_then(|batch| incoming.merge(&batch));
                output.write(&merged.map_err(|source| self.arrow(source))?).await?;
            }
        }
        output.write(&incoming.rest()).await?;
        output.finish().await
    }

    fn arrow(&self, source: arrow::error::ArrowError) -> Error {
        Error::Arrow { table: self.table.name.clone(), source }
    }

    fn parquet(&self, path: &Path, source: ParquetError) -> Error {
        Error::Parquet { table: self.table.name.clone(), file: path.to_string(), source }
    }
}

struct Output<'a> {
    buckets: &'a Buckets<'a>,
    bucket: u16,
    id: uuid::Uuid,
    done: Vec<Add>,
    open: Option<Open>,
}

impl Output<'_> {
    async fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => self.begin()?,
        };
        open.stats.add(batch).map_err(|source| self.buckets.arrow(source))?;
        let written = open.writer.write(batch).await;
        written.map_err(|source| self.buckets.parquet(&open.path, source))?;
        if open.writer.bytes_written() + open.writer.in_progress_size() < self.buckets.file_bytes {
            self.open = Some(open);
        } else {
            self.end(open).await?;
        }
        Ok(())
    }

    fn begin(&self) -> Result<Open, Error> {
        // The number keeps the order of keys in the order of names.
        let name = format!("{BUCKET}={}/part-{}-{:05}.parquet", self.bucket, self.id, self.done.len());
        let path = Path::from(name);
        let buckets = self.buckets;
        let properties = properties(buckets.file_bytes / 2).build();
        let store = Arc::clone(&buckets.table.store);
        let writer = writer(store, &path, SchemaRef::clone(buckets.schema), properties, 2 * buckets.file_bytes)
            .map_err(|source| buckets.parquet(&path, source))?;
        Ok(Open { path, writer, stats: Running::default() })
    }

    async fn end(&mut self, mut open: Open) -> Result<(), Error> {
        let failed = |source| self.buckets.parquet(&open.path, source);
        open.writer.finish().await.map_err(failed)?;
        self.done.push(Add {
            stats: Some(open.stats.stats().into()),
            size: open.writer.bytes_written() as u64,
            path: open.path.to_string(),
            partition_values: BTreeMap::from([(BUCKET.to_owned(), Some(self.bucket.to_string()))]),
            modification_time: self.buckets.now.as_millis(),
            data_change: true,
            deletion_vector: None,
        });
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<Add>, Error> {
        if let Some(open) = self.open.take() {
            self.end(open).await?;
        }
        Ok(self.done)
    }
}
