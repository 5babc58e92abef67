//! Arrow builders, one for each type of column.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Date32Builder, Decimal128Builder, Float32Builder, Float64Builder,
    Int32Builder, Int64Builder, ListBuilder, StringBuilder, StructArray, TimestampMicrosecondBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::DataType;
use headwater_common::clock::Timestamp;
use headwater_common::typed::Typed;

use crate::schema::{ColumnType, UTC, element, geo_fields};

pub fn timestamps(rows: usize) -> TimestampMicrosecondBuilder {
    TimestampMicrosecondBuilder::with_capacity(rows).with_timezone(UTC)
}

pub fn strings() -> ListBuilder<StringBuilder> {
    ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8))
}

/// Microseconds, if the column can hold the moment exactly.
pub fn micros(moment: Timestamp) -> Option<i64> {
    moment.as_millis().checked_mul(1000)
}

/// Room for a text, about.
const TEXT_BYTES: usize = 16;

/// A feature's column while it is filled.
pub(crate) enum FeatureColumn {
    String(StringBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Double(Float64Builder),
    Decimal(Decimal128Builder),
    Bool(BooleanBuilder),
    Timestamp(TimestampMicrosecondBuilder),
    Date(Date32Builder),
    Binary(BinaryBuilder),
    GeoPoint { lat: Float64Builder, lon: Float64Builder, valid: Vec<bool> },
    Strings(ListBuilder<StringBuilder>),
    Floats(ListBuilder<Float32Builder>),
    Doubles(ListBuilder<Float64Builder>),
}

impl FeatureColumn {
    pub(crate) fn with_capacity(column_type: ColumnType, rows: usize) -> FeatureColumn {
        match column_type {
            ColumnType::String => FeatureColumn::String(StringBuilder::with_capacity(rows, rows * TEXT_BYTES)),
            ColumnType::Int => FeatureColumn::Int(Int32Builder::with_capacity(rows)),
            ColumnType::Long => FeatureColumn::Long(Int64Builder::with_capacity(rows)),
            ColumnType::Double => FeatureColumn::Double(Float64Builder::with_capacity(rows)),
            ColumnType::Decimal { .. } => {
                let builder = Decimal128Builder::with_capacity(rows);
                FeatureColumn::Decimal(builder.with_data_type(column_type.arrow()))
            }
            ColumnType::Bool => FeatureColumn::Bool(BooleanBuilder::with_capacity(rows)),
            ColumnType::Timestamp => FeatureColumn::Timestamp(timestamps(rows)),
            ColumnType::Date => FeatureColumn::Date(Date32Builder::with_capacity(rows)),
            ColumnType::Binary => FeatureColumn::Binary(BinaryBuilder::new()),
            ColumnType::GeoPoint => FeatureColumn::GeoPoint {
                lat: Float64Builder::with_capacity(rows),
                lon: Float64Builder::with_capacity(rows),
                valid: Vec::with_capacity(rows),
            },
            ColumnType::Strings => FeatureColumn::Strings(strings()),
            ColumnType::Floats => {
                FeatureColumn::Floats(ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32)))
            }
            ColumnType::Doubles => {
                FeatureColumn::Doubles(ListBuilder::new(Float64Builder::new()).with_field(element(DataType::Float64)))
            }
        }
    }

    /// Appends the value, or a null and `false` where the column can't hold it.
    pub(crate) fn append(&mut self, value: &Typed<'_>) -> bool {
        match (&mut *self, value) {
            (FeatureColumn::String(column), Typed::Text(text)) => column.append_value(text),
            (FeatureColumn::String(column), Typed::Json(json)) => column.append_value(json),
            (FeatureColumn::Long(column), Typed::Long(long)) => column.append_value(*long),
            (FeatureColumn::Double(column), Typed::Double(double)) => column.append_value(*double),
            (FeatureColumn::Decimal(column), Typed::Decimal(unscaled)) => column.append_value(*unscaled),
            (FeatureColumn::Bool(column), Typed::Bool(truth)) => column.append_value(*truth),
            (FeatureColumn::Timestamp(column), Typed::Timestamp(moment)) => {
                let micros = micros(*moment);
                column.append_option(micros);
                return micros.is_some();
            }
            (FeatureColumn::Date(column), Typed::Date(days)) => column.append_value(*days),
            (FeatureColumn::Binary(column), Typed::Binary(bytes)) => column.append_value(bytes),
            (FeatureColumn::GeoPoint { lat, lon, valid }, Typed::GeoPoint { lat: y, lon: x }) => {
                lat.append_value(*y);
                lon.append_value(*x);
                valid.push(true);
            }
            (FeatureColumn::Strings(column), Typed::KeywordSet(set)) => column.append_value(set.iter().map(Some)),
            (FeatureColumn::Floats(column), Typed::Vector(vector)) => {
                column.values().append_slice(vector);
                column.append(true);
            }
            (FeatureColumn::Doubles(column), Typed::NumberSet(set)) => {
                column.values().append_slice(set);
                column.append(true);
            }
            _ => {
                self.append_null();
                return false;
            }
        }
        true
    }

    pub(crate) fn append_null(&mut self) {
        match self {
            FeatureColumn::String(column) => column.append_null(),
            FeatureColumn::Int(column) => column.append_null(),
            FeatureColumn::Long(column) => column.append_null(),
            FeatureColumn::Double(column) => column.append_null(),
            FeatureColumn::Decimal(column) => column.append_null(),
            FeatureColumn::Bool(column) => column.append_null(),
            FeatureColumn::Timestamp(column) => column.append_null(),
            FeatureColumn::Date(column) => column.append_null(),
            FeatureColumn::Binary(column) => column.append_null(),
            FeatureColumn::GeoPoint { lat, lon, valid } => {
                lat.append_null();
                lon.append_null();
                valid.push(false);
            }
            FeatureColumn::Strings(column) => column.append_null(),
            FeatureColumn::Floats(column) => column.append_null(),
            FeatureColumn::Doubles(column) => column.append_null(),
        }
    }

    pub(crate) fn finish(&mut self) -> ArrayRef {
        match self {
            FeatureColumn::String(column) => Arc::new(column.finish()),
            FeatureColumn::Int(column) => Arc::new(column.finish()),
            FeatureColumn::Long(column) => Arc::new(column.finish()),
            FeatureColumn::Double(column) => Arc::new(column.finish()),
            FeatureColumn::Decimal(column) => Arc::new(column.finish()),
            FeatureColumn::Bool(column) => Arc::new(column.finish()),
            FeatureColumn::Timestamp(column) => Arc::new(column.finish()),
            FeatureColumn::Date(column) => Arc::new(column.finish()),
            FeatureColumn::Binary(column) => Arc::new(column.finish()),
            FeatureColumn::GeoPoint { lat, lon, valid } => {
                let nulls = NullBuffer::from(std::mem::take(valid));
                let degrees: Vec<ArrayRef> = vec![Arc::new(lat.finish()), Arc::new(lon.finish())];
                Arc::new(StructArray::new(geo_fields(), degrees, Some(nulls)))
            }
            FeatureColumn::Strings(column) => Arc::new(column.finish()),
            FeatureColumn::Floats(column) => Arc::new(column.finish()),
            FeatureColumn::Doubles(column) => Arc::new(column.finish()),
        }
    }
}
