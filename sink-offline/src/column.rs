//! One column: its type in Arrow's words and in Delta's.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use headwater_common::definition::FeatureType;
use serde_json::json;

/// The time zone of every timestamp column.
pub const UTC: &str = "UTC";

/// A column's type; both Arrow's and Delta's follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnType {
    String,
    Int,
    Long,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    /// Microseconds, UTC.
    Timestamp,
    Date,
    Binary,
    /// `lat` and `lon`, doubles, in degrees.
    GeoPoint,
    Strings,
    Floats,
    Doubles,
}

impl ColumnType {
    /// The column that holds a feature of this type.
    pub fn of(feature: FeatureType) -> ColumnType {
        match feature {
            FeatureType::Keyword | FeatureType::Text | FeatureType::Json => ColumnType::String,
            FeatureType::Long => ColumnType::Long,
            FeatureType::Double => ColumnType::Double,
            FeatureType::Decimal { precision, scale } => ColumnType::Decimal { precision, scale },
            FeatureType::Bool => ColumnType::Bool,
            FeatureType::Timestamp => ColumnType::Timestamp,
            FeatureType::Date => ColumnType::Date,
            FeatureType::Binary => ColumnType::Binary,
            FeatureType::GeoPoint => ColumnType::GeoPoint,
            FeatureType::Vector { .. } => ColumnType::Floats,
            FeatureType::KeywordSet => ColumnType::Strings,
            FeatureType::NumberSet => ColumnType::Doubles,
        }
    }

    pub fn arrow(self) -> DataType {
        match self {
            ColumnType::String => DataType::Utf8,
            ColumnType::Int => DataType::Int32,
            ColumnType::Long => DataType::Int64,
            ColumnType::Double => DataType::Float64,
            ColumnType::Decimal { precision, scale } => DataType::Decimal128(precision, scale as i8),
            ColumnType::Bool => DataType::Boolean,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into())),
            ColumnType::Date => DataType::Date32,
            ColumnType::Binary => DataType::Binary,
            ColumnType::GeoPoint => DataType::Struct(geo_fields()),
            ColumnType::Strings => DataType::List(element(DataType::Utf8)),
            ColumnType::Floats => DataType::List(element(DataType::Float32)),
            ColumnType::Doubles => DataType::List(element(DataType::Float64)),
        }
    }

    /// As in `schemaString`.
    pub fn delta(self) -> serde_json::Value {
        let list = |of: &str| json!({ "type": "array", "elementType": of, "containsNull": true });
        match self {
            ColumnType::String => json!("string"),
            ColumnType::Int => json!("integer"),
            ColumnType::Long => json!("long"),
            ColumnType::Double => json!("double"),
            ColumnType::Decimal { precision, scale } => json!(format!("decimal({precision},{scale})")),
            ColumnType::Bool => json!("boolean"),
            ColumnType::Timestamp => json!("timestamp"),
            ColumnType::Date => json!("date"),
            ColumnType::Binary => json!("binary"),
            ColumnType::GeoPoint => {
                let degree = |name: &str| json!({ "name": name, "type": "double", "nullable": true, "metadata": {} });
                json!({ "type": "struct", "fields": [degree("lat"), degree("lon")] })
            }
            ColumnType::Strings => list("string"),
            ColumnType::Floats => list("float"),
            ColumnType::Doubles => list("double"),
        }
    }
}

/// The fields of a `geo_point` column.
pub fn geo_fields() -> Fields {
    Fields::from(vec![Field::new("lat", DataType::Float64, true), Field::new("lon", DataType::Float64, true)])
}

/// The field of a list's elements, by the name that Parquet's specification gives it.
pub fn element(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("element", of, true))
}

/// One column. Every one is nullable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    pub column_type: ColumnType,
    /// Of the feature; empty for fixed columns.
    pub comment: String,
}

impl Column {
    pub(crate) fn fixed(name: &str, column_type: ColumnType) -> Column {
        Column { name: name.to_owned(), column_type, comment: String::new() }
    }

    pub fn field(&self) -> Field {
        Field::new(&self.name, self.column_type.arrow(), true)
    }

    /// As in `schemaString`.
    pub fn delta_field(&self) -> serde_json::Value {
        let metadata = if self.comment.is_empty() { json!({}) } else { json!({ "comment": self.comment }) };
        json!({ "name": self.name, "type": self.column_type.delta(), "nullable": true, "metadata": metadata })
    }
}
