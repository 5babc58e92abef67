//! Columns of a parquet file as plain values, whatever Arrow type the file's reader gives them.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::Error;

/// The batches of a file with these of its top-level columns; names that it lacks are left out.
pub fn batches(path: &Path, names: &[&str]) -> Result<Vec<RecordBatch>, Error> {
    let file = File::open(path).map_err(|error| Error::file(path, error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| Error::lake(path, error))?;
    let schema = builder.parquet_schema();
    let wanted =
        schema.root_schema().get_fields().iter().enumerate().filter(|(_, field)| names.contains(&field.name()));
    let mask = ProjectionMask::roots(schema, wanted.map(|(at, _)| at).collect::<Vec<_>>());
    let reader = builder.with_projection(mask).build().map_err(|error| Error::lake(path, error))?;
    reader.collect::<Result<_, _>>().map_err(|error| Error::lake(path, error))
}

pub struct Texts(Option<ArrayRef>);

impl Texts {
    pub fn get(&self, row: usize) -> Option<String> {
        let column = self.0.as_ref()?.as_string::<i64>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    }
}

pub struct Integers(Option<ArrayRef>);

impl Integers {
    pub fn get(&self, row: usize) -> Option<i64> {
        let column = self.0.as_ref()?.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    }
}

/// A column of strings; an absent one is all null.
pub fn texts(column: Option<&ArrayRef>, name: &str) -> Result<Texts, String> {
    cast(column, name, &DataType::LargeUtf8).map(Texts)
}

/// A column of whole numbers; an absent one is all null.
pub fn integers(column: Option<&ArrayRef>, name: &str) -> Result<Integers, String> {
    cast(column, name, &DataType::Int64).map(Integers)
}

fn cast(column: Option<&ArrayRef>, name: &str, to: &DataType) -> Result<Option<ArrayRef>, String> {
    let Some(column) = column else { return Ok(None) };
    let kind = column.data_type();
    let fits = if to == &DataType::Int64 { kind.is_integer() } else { kind.is_string() };
    if !fits {
        return Err(format!("column {name} has the type {kind}"));
    }
    if kind == to {
        return Ok(Some(Arc::clone(column)));
    }
    arrow::compute::cast(column, to).map(Some).map_err(|error| format!("column {name}: {error}"))
}
