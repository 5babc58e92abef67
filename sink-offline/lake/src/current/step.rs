//! One step of a fold: some files of history, reduced to what changes in each bucket. Their items are read for some
//! buckets at a time, so that each bucket is written once and few items are held.

use std::collections::{BTreeMap, BTreeSet, HashSet};

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

/// What a step reads.
pub struct Step<'a> {
    pub history: &'a TableLocation,
    /// The columns of current's files.
    pub schema: &'a SchemaRef,
    pub buckets: u16,
}

/// What changes in one bucket.
#[derive(Default)]
struct Changes {
    keys: HashSet<Box<str>>,
    /// Of live items: file, row, by the order in which they are read.
    places: BTreeMap<u32, BTreeSet<u32>>,
    rows: Vec<RecordBatch>,
}

/// The changes of one step by bucket, their items still unread.
pub struct Reduced {
    files: Vec<OpenFile>,
    changes: BTreeMap<u16, Changes>,
    /// Bytes of a change, about.
    row_bytes: u64,
}

impl Step<'_> {
    /// The newest changes in `files`, without those that `before`, the history before them, overtakes.
    pub async fn reduce<'a>(
        &self,
        files: Vec<OpenFile>,
        before: impl Iterator<Item = &'a DataFile> + Clone,
    ) -> Result<Reduced, Error> {
        let (bytes, rows) =
            files.iter().fold((0, 0), |(bytes, rows), file| (bytes + file.weight(), rows + file.rows()));
        let mut newest = Newest::default();
        for file in files {
            newest.read_open(self.history, file).await?;
        }
        newest.drop_overtaken(self.history, before).await?;
        let mut changes: BTreeMap<u16, Changes> = BTreeMap::new();
        for (key, place) in newest.by_key {
            let change = changes.entry(self.bucket(&key)?).or_default();
            if place.lives {
                change.places.entry(place.file).or_default().insert(place.row);
            }
            change.keys.insert(key);
        }
        Ok(Reduced { files: newest.files, changes, row_bytes: bytes / (rows as u64).max(1) })
    }

    /// Reads the items of the next buckets, as many as `bytes` allow but one at least; nothing when all are done.
    pub async fn next(&self, reduced: &mut Reduced, bytes: u64) -> Result<BTreeMap<u16, Incoming>, Error> {
        let (mut group, mut held) = (BTreeMap::new(), 0);
        while let Some(next) = reduced.changes.first_entry() {
            let live: usize = next.get().places.values().map(BTreeSet::len).sum();
            held += live as u64 * reduced.row_bytes;
            if held > bytes && !group.is_empty() {
                break;
            }
            let (bucket, changes) = next.remove_entry();
            group.insert(bucket, changes);
        }
        for (index, file) in reduced.files.iter().enumerate() {
            self.gather(index as u32, file, &mut group).await?;
        }
        let incoming = |(bucket, changes): (u16, Changes)| {
            Incoming::new(self.schema, &changes.rows, changes.keys).map(|incoming| (bucket, incoming))
        };
        group.into_iter().map(incoming).collect::<Result<_, _>>().map_err(|source| self.failed(source))
    }

    /// Reads the group's rows of one file and deals them out to their buckets.
    async fn gather(&self, index: u32, file: &OpenFile, group: &mut BTreeMap<u16, Changes>) -> Result<(), Error> {
        let places = group
            .iter()
            .flat_map(|(bucket, changes)| changes.places.get(&index).into_iter().flatten().map(|row| (*row, *bucket)));
        let places: BTreeMap<u32, u16> = places.collect();
        if places.is_empty() {
            return Ok(());
        }
        let columns: Vec<&str> = self.schema.fields().iter().map(|field| field.name().as_str()).collect();
        let parquet = |source| file.failed(self.history, source);
        let wanted = selection(places.keys().copied(), file.rows());
        let mut batches = file.stream(&columns, Some(wanted)).map_err(parquet)?;
        let mut buckets = places.into_values();
        while let Some(batch) = batches.try_next().await.map_err(parquet)? {
            let mut by_bucket: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
            for (at, bucket) in buckets.by_ref().take(batch.num_rows()).enumerate() {
                by_bucket.entry(bucket).or_default().push(at as u32);
            }
            let batch = conform(&batch, self.schema).map_err(|source| self.failed(source))?;
            for (bucket, rows) in by_bucket {
                let part = take_record_batch(&batch, &UInt32Array::from(rows)).map_err(|source| self.failed(source))?;
                group.entry(bucket).or_default().rows.push(part);
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
