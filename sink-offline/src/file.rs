//! Rows → one Parquet file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use headwater_common::clock::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::delta::{Add, engine_info};
use crate::schema::{DATE, EVENT_ID, ITEM, KEY, LOG_OFFSET, PK, RESCUED, SEQ, SK, VERSION};
use crate::stats;

/// How files are written: zstd, no dictionary where nearly every value is another one, page index.
pub fn properties(zstd_level: i32) -> Result<WriterProperties, ParquetError> {
    let path = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_created_by(engine_info())
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_statistics_enabled(EnabledStatistics::Page);
    for name in [KEY, PK, SK, VERSION, SEQ, EVENT_ID, LOG_OFFSET, ITEM, RESCUED] {
        properties = properties.set_column_dictionary_enabled(path(name), false);
    }
    for name in [VERSION, LOG_OFFSET] {
        properties = properties.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in [ITEM, RESCUED] {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    Ok(properties.build())
}

/// The file's bytes. Works on the calling thread for as long as it takes.
pub fn encode(batches: &[RecordBatch], properties: WriterProperties) -> Result<Bytes, ParquetError> {
    let schema = batches.first().ok_or_else(|| ParquetError::General("no rows".into()))?.schema();
    let mut writer = ArrowWriter::try_new(Vec::with_capacity(1 << 20), schema, Some(properties))?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(Bytes::from(writer.into_inner()?))
}

/// A data file that may be added to the table.
#[derive(Clone, Debug)]
pub struct DataFile {
    pub add: Arc<Add>,
    pub bytes: Bytes,
}

/// The rows of one flush as a file, with its statistics. Works on the calling thread for as long as it takes.
pub fn data_file(batches: &[RecordBatch], zstd_level: i32, commit_ts: Timestamp) -> Result<DataFile, ParquetError> {
    let bytes = encode(batches, properties(zstd_level)?)?;
    let date = commit_ts.to_rfc3339();
    let date = date.split('T').next().unwrap_or_default().to_owned();
    let add = Add {
        path: format!("{DATE}={date}/part-{}.zstd.parquet", uuid::Uuid::new_v4()),
        partition_values: [(DATE.to_owned(), date)].into(),
        size: bytes.len() as u64,
        modification_time: commit_ts.as_millis(),
        data_change: true,
        stats: stats::of_all(batches),
    };
    Ok(DataFile { add: Arc::new(add), bytes })
}
