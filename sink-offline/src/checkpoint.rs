//! Reads from a checkpoint what a writer needs: the columns of the files are never fetched, so it costs as little for a
//! table of a million files as for one of ten.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{filter_record_batch, is_not_null, or};
use arrow::json::LineDelimitedWriter;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::{AsyncFileReader, MetadataSuffixFetch, ParquetRecordBatchStreamBuilder};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Of the file's end, fetched with the first request: enough for the footer of a checkpoint of any usual table.
const FOOTER_BYTES: usize = 256 << 10;

/// The protocol, metadata and `txn` rows of one checkpoint file, as lines of JSON like a commit's.
pub(crate) async fn checkpoint_lines(store: Arc<dyn ObjectStore>, path: &Path) -> Result<Vec<u8>> {
    const WANTED: [&str; 3] = ["protocol", "metaData", "txn"];
    let builder = ParquetRecordBatchStreamBuilder::new(ObjectReader { store, path: path.clone() }).await?;
    let roots = builder.schema().fields().iter().enumerate();
    let roots: Vec<usize> =
        roots.filter(|(_, field)| WANTED.contains(&field.name().as_str())).map(|(at, _)| at).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
    let mut batches = builder.with_projection(mask).build()?;
    let mut writer = LineDelimitedWriter::new(Vec::new());
    while let Some(batch) = batches.try_next().await? {
        writer.write(&with_content(&batch)?)?;
    }
    writer.finish()?;
    Ok(writer.into_inner())
}

/// The rows in which any of the columns says something.
fn with_content(batch: &RecordBatch) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
    let mut any = BooleanArray::from(vec![false; batch.num_rows()]);
    for column in batch.columns() {
        any = or(&any, &is_not_null(column)?)?;
    }
    filter_record_batch(batch, &any)
}

struct ObjectReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for ObjectReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.store.get_range(&self.path, range).map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            let reader = reader.with_prefetch_hint(Some(FOOTER_BYTES));
            Ok(Arc::new(reader.load_via_suffix_and_finish(self).await?))
        }
        .boxed()
    }
}

impl MetadataSuffixFetch for &mut ObjectReader {
    fn fetch_suffix(&mut self, suffix: usize) -> BoxFuture<'_, Result<Bytes>> {
        let options = GetOptions { range: Some(GetRange::Suffix(suffix as u64)), ..GetOptions::default() };
        async move {
            let answer = self.store.get_opts(&self.path, options).await.map_err(external)?;
            answer.bytes().await.map_err(external)
        }
        .boxed()
    }
}
