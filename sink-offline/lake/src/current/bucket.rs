//! Writing one bucket anew: its old files, merged with what changed, into new ones of bounded size.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array as _, Int64Array, RecordBatch, StringArray};
use arrow::compute::{max, min};
use arrow::datatypes::{Schema, SchemaRef};
use futures::TryStreamExt;
use headwater_common::clock::Timestamp;
use headwater_sink_offline::delta::Add;
use headwater_sink_offline::lake::TableLocation;
use headwater_sink_offline::{schema, stats};
use object_store::path::Path;
use parquet::errors::ParquetError;

use super::BUCKET;
use super::merge::{Incoming, conform};
use crate::error::Error;
use crate::newest::{longs, strings};
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
    rows: usize,
    /// By column.
    nulls: Vec<usize>,
    keys: Option<(String, String)>,
    versions: Option<(i64, i64)>,
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
        let noted = open.note(batch);
        noted.map_err(|reason| Error::Schema { table: self.buckets.table.name.clone(), reason })?;
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
        let nulls = vec![0; buckets.schema.fields().len()];
        Ok(Open { path, writer, rows: 0, nulls, keys: None, versions: None })
    }

    async fn end(&mut self, mut open: Open) -> Result<(), Error> {
        let failed = |source| self.buckets.parquet(&open.path, source);
        open.writer.finish().await.map_err(failed)?;
        self.done.push(Add {
            stats: Some(open.stats(self.buckets.schema).into()),
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

impl Open {
    fn note(&mut self, batch: &RecordBatch) -> Result<(), String> {
        self.rows += batch.num_rows();
        self.nulls.iter_mut().zip(batch.columns()).for_each(|(nulls, column)| *nulls += column.null_count());
        let (keys, versions) = (strings(batch, schema::KEY)?, longs(batch, schema::VERSION)?);
        let last = keys.value(batch.num_rows() - 1).to_owned();
        match &mut self.keys {
            Some((_, greatest)) => *greatest = last,
            None => self.keys = Some((keys.value(0).to_owned(), last)),
        }
        if let (Some(least), Some(most)) = (min(versions), max(versions)) {
            let known = self.versions.unwrap_or((least, most));
            self.versions = Some((known.0.min(least), known.1.max(most)));
        }
        Ok(())
    }

    /// Bounds of key and version only: rows lie in buckets by a hash, so that no other column has a range worth a look.
    /// Nulls are counted of all: the dataset of the `deltalake` package takes a column without a count for one of nulls,
    /// and finds nothing by it.
    fn stats(&self, schema: &Schema) -> String {
        let bounds = self.keys.as_ref().zip(self.versions).and_then(|((first, last), (least, most))| {
            let keys = Arc::new(StringArray::from(vec![first.as_str(), last.as_str()])) as _;
            let versions = Arc::new(Int64Array::from(vec![least, most])) as _;
            let bounds = RecordBatch::try_from_iter([(schema::KEY, keys), (schema::VERSION, versions)]).ok()?;
            serde_json::from_str(&stats::of(&bounds)).ok()
        });
        let mut stats: serde_json::Value = bounds.unwrap_or_else(|| serde_json::json!({}));
        stats["numRecords"] = self.rows.into();
        for (field, nulls) in schema.fields().iter().zip(&self.nulls).filter(|(field, _)| stats::has_statistics(field))
        {
            stats["nullCount"][field.name()] = (*nulls).into();
        }
        stats.to_string()
    }
}
