//! Reading and writing one Parquet file of a table, by ranges and in a stream.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use headwater_sink_offline::lake::TableLocation;
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStream};
use parquet::arrow::{AsyncArrowWriter, ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::state::DataFile;
use crate::error::Error;

/// The footer and page index of most files come with one read of this many bytes.
const FOOTER: usize = 64 * 1024;
/// Rows decoded at once.
const BATCH: usize = 4096;

/// A file in a store, read by ranges.
#[derive(Clone)]
pub struct FileReader {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

impl FileReader {
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, size: u64) -> FileReader {
        FileReader { store, path, size }
    }

    /// Asks the store for the size.
    pub async fn sized(store: Arc<dyn ObjectStore>, path: Path) -> object_store::Result<FileReader> {
        let size = store.head(&path).await?.size;
        Ok(FileReader { store, path, size })
    }
}

impl AsyncFileReader for FileReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        async { self.store.get_range(&self.path, range).await.map_err(external) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(external) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async {
            let size = self.size;
            let reader = ParquetMetaDataReader::new()
                .with_page_index_policy(PageIndexPolicy::Optional)
                .with_prefetch_hint(Some(FOOTER));
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}

/// A data file with its footer read.
#[derive(Clone)]
pub struct OpenFile {
    reader: FileReader,
    metadata: ArrowReaderMetadata,
    /// As the store knows it.
    pub path: Path,
    pub file: DataFile,
}

pub async fn open(table: &TableLocation, file: &DataFile) -> std::result::Result<OpenFile, Error> {
    let failed = |source| Error::Parquet { table: table.name.clone(), file: file.path.clone(), source };
    let path = Path::from_url_path(&file.path).map_err(|error| failed(ParquetError::External(Box::new(error))))?;
    let mut reader = FileReader::new(Arc::clone(&table.store), path.clone(), file.size);
    let options = ArrowReaderOptions::new();
    let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await.map_err(failed)?;
    Ok(OpenFile { reader, metadata, path, file: file.clone() })
}

impl OpenFile {
    pub fn rows(&self) -> usize {
        self.metadata.metadata().row_groups().iter().map(|group| group.num_rows() as usize).sum()
    }

    pub fn metadata(&self) -> &ParquetMetaData {
        self.metadata.metadata()
    }

    /// Bytes before compression.
    pub fn weight(&self) -> u64 {
        self.metadata.metadata().row_groups().iter().map(|group| group.total_byte_size().max(0) as u64).sum()
    }

    /// The columns of these names that the file has.
    pub fn scan(
        &self,
        table: &TableLocation,
        columns: &[&str],
    ) -> std::result::Result<ParquetRecordBatchStream<FileReader>, Error> {
        self.stream(columns, None).map_err(|source| self.failed(table, source))
    }

    pub fn stream(&self, columns: &[&str], rows: Option<RowSelection>) -> Result<ParquetRecordBatchStream<FileReader>> {
        let fields = self.metadata.schema().fields().iter().enumerate();
        let wanted = fields.filter(|(_, field)| columns.contains(&field.name().as_str())).map(|(at, _)| at);
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), wanted.collect::<Vec<_>>());
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone());
        let builder = builder.with_projection(mask).with_batch_size(BATCH);
        match rows {
            Some(rows) => builder.with_row_selection(rows).build(),
            None => builder.build(),
        }
    }

    pub fn failed(&self, table: &TableLocation, source: ParquetError) -> Error {
        Error::Parquet { table: table.name.clone(), file: self.file.path.clone(), source }
    }
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// How files of `<table>_current` are encoded: nothing is gained by a dictionary of values that occur once.
pub fn properties(row_group_bytes: usize) -> WriterPropertiesBuilder {
    let unique = [headwater_sink_offline::schema::KEY, headwater_sink_offline::schema::ITEM];
    let builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_bytes(Some(row_group_bytes));
    unique
        .iter()
        .fold(builder, |builder, column| builder.set_column_dictionary_enabled(ColumnPath::from(*column), false))
}

pub type FileWriter = AsyncArrowWriter<BufWriter>;

/// Up to `capacity` bytes are held and then put as one object, so that a crash leaves a whole file or none.
pub fn writer(
    store: Arc<dyn ObjectStore>,
    path: &Path,
    schema: SchemaRef,
    properties: WriterProperties,
    capacity: usize,
) -> Result<FileWriter> {
    let file = BufWriter::with_capacity(store, path.clone(), capacity);
    AsyncArrowWriter::try_new(file, schema, Some(properties))
}
