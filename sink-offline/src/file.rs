//! Rows → one Parquet file.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Field;
use bytes::Bytes;
use headwater_common::clock::Timestamp;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::delta::{Add, engine_info};
use crate::schema::{DATE, EVENT_ID, ITEM, KEY, LOG_OFFSET, PK, RESCUED, SEQ, SK, VERSION};
use crate::stats;

/// Rows of a row group, as most readers are tuned for.
const ROW_GROUP_ROWS: usize = 1 << 20;

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

/// The file's bytes. Works on the calling thread for as long as it takes, one column after another: a column's
/// dictionary and pages stay in the processor's cache, and its finished pages are the only ones held.
pub fn encode(batches: &[RecordBatch], properties: WriterProperties) -> Result<Bytes, ParquetError> {
    let schema = batches.first().ok_or_else(|| ParquetError::General("no rows".into()))?.schema();
    let writer = ArrowWriter::try_new(Vec::with_capacity(1 << 20), schema.clone(), Some(properties))?;
    let (mut file, columns) = writer.into_serialized_writer()?;
    for (at, group) in row_groups(batches).enumerate() {
        let mut writers = columns.create_column_writers(at)?.into_iter();
        let mut row_group = file.next_row_group()?;
        for (at, field) in schema.fields().iter().enumerate() {
            for column in encode_column(field, at, group, &mut writers)? {
                column.append_to_row_group(&mut row_group)?;
            }
        }
        row_group.close()?;
    }
    Ok(Bytes::from(file.into_inner()?))
}

/// One column of a row group; a nested one has several leaves, each with a writer of its own.
fn encode_column(
    field: &Field,
    at: usize,
    batches: &[RecordBatch],
    writers: &mut impl Iterator<Item = ArrowColumnWriter>,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let mut of_field: Vec<ArrowColumnWriter> = Vec::new();
    for batch in batches {
        let leaves = compute_leaves(field, batch.column(at))?;
        of_field.extend(writers.by_ref().take(leaves.len().saturating_sub(of_field.len())));
        for (writer, leaf) in of_field.iter_mut().zip(&leaves) {
            writer.write(leaf)?;
        }
    }
    of_field.into_iter().map(ArrowColumnWriter::close).collect()
}

/// The batches cut into row groups, none with more rows than [`ROW_GROUP_ROWS`] but for a batch that has more.
fn row_groups(mut batches: &[RecordBatch]) -> impl Iterator<Item = &[RecordBatch]> {
    std::iter::from_fn(move || {
        let mut rows = 0;
        let fits = |batch: &&RecordBatch| {
            rows += batch.num_rows();
            rows <= ROW_GROUP_ROWS
        };
        let fitting = batches.iter().take_while(fits).count().max(1);
        let (group, rest) = batches.split_at_checked(fitting)?;
        batches = rest;
        Some(group)
    })
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
        partition_values: [(DATE.to_owned(), Some(date))].into(),
        size: bytes.len() as u64,
        modification_time: commit_ts.as_millis(),
        data_change: true,
        stats: Some(stats::of_all(batches).into()),
        deletion_vector: None,
    };
    Ok(DataFile { add: Arc::new(add), bytes })
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray};
    use arrow::datatypes::{DataType, Float64Type, Schema};
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

    use super::*;
    use crate::schema::geo_fields;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        let n = Int64Array::from_iter(rows.clone().map(|n| (n % 3 > 0).then_some(n)));
        let text = StringArray::from_iter(rows.clone().map(|n| (n % 5 > 0).then(|| format!("t{}", n % 7))));
        let degree = |by: f64| Arc::new(Float64Array::from_iter(rows.clone().map(|n| Some(n as f64 * by)))) as ArrayRef;
        let place = StructArray::new(geo_fields(), vec![degree(0.1), degree(0.2)], None);
        let list = |n: i64| (n % 4 > 0).then(|| (0..n % 4).map(|at| Some(at as f64)).collect::<Vec<_>>());
        let list = ListArray::from_iter_primitive::<Float64Type, _, _>(rows.clone().map(list));
        let columns: Vec<(&str, ArrayRef)> =
            vec![("n", Arc::new(n)), ("place", Arc::new(place)), ("list", Arc::new(list)), ("text", Arc::new(text))];
        let field = |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
        let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns.into_iter().map(|(_, array)| array).collect()).unwrap()
    }

    #[test]
    fn rows_of_several_batches_nested_ones_too_come_back_in_order() {
        let batches = [batch(0..10), batch(10..11), batch(11..40)];
        let file = encode(&batches, properties(1).unwrap()).unwrap();
        let read = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
        let read: Vec<RecordBatch> = read.map(Result::unwrap).collect();
        let all = arrow::compute::concat_batches(&read[0].schema(), &read).unwrap();
        assert_eq!(all.columns(), batch(0..40).columns());
    }

    #[test]
    fn a_row_group_takes_no_more_batches_than_its_rows_allow() {
        let rows = |count: usize| {
            let none = Arc::new(arrow::array::NullArray::new(count)) as ArrayRef;
            let schema = Schema::new(vec![Field::new("n", DataType::Null, true)]);
            RecordBatch::try_new(Arc::new(schema), vec![none]).unwrap()
        };
        let batches = [rows(ROW_GROUP_ROWS - 1), rows(1), rows(1), rows(ROW_GROUP_ROWS + 1), rows(5)];
        let sizes: Vec<usize> = row_groups(&batches).map(<[RecordBatch]>::len).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
        assert_eq!(row_groups(&[]).count(), 0);
    }
}
