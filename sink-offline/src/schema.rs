//! The columns of `<table>_history`, in Arrow's words and in Delta's.
//!
//! One row for each change. A dead letter is a row with `_commit_ts`, `_log_partition`, `_log_offset`, `_rescued` (the
//! record as it came) and `_error`, and nothing else: who reads changes asks for `_error IS NULL`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use headwater_common::definition::{Entity, FeatureType};
use serde_json::json;

pub use crate::column::{Column, ColumnType, UTC, element, geo_fields};

pub const KEY: &str = "_key";
pub const PK: &str = "_pk";
pub const SK: &str = "_sk";
pub const VERSION: &str = "_version";
pub const OP: &str = "_op";
pub const EVENT_TS: &str = "_event_ts";
pub const EVENT_TIME: &str = "_event_time";
pub const COMMIT_TS: &str = "_commit_ts";
/// The only partition column; in the paths and the log, not in the files.
pub const DATE: &str = "_date";
pub const SEQ: &str = "_seq";
pub const SHARD: &str = "_shard";
pub const EVENT_ID: &str = "_event_id";
pub const LOG_PARTITION: &str = "_log_partition";
pub const LOG_OFFSET: &str = "_log_offset";
pub const CHANGED: &str = "_changed";
pub const ITEM: &str = "item";
pub const RESCUED: &str = "_rescued";
pub const ERROR: &str = "_error";

/// Raised when the fixed columns change; in every commit's info.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SchemaError {
    #[error(
        "feature {feature} of {entity} has the name of a column that every history table has: give it another name"
    )]
    Reserved { entity: String, feature: String },
    #[error(
        "features {first} and {second} of {entity} differ in case only, which the lake's readers don't tell apart: rename one"
    )]
    SameName { entity: String, first: String, second: String },
    #[error(
        "feature {feature} of {entity} has a name that the lake can't hold: leave out spaces and any of , ; {{ }} ( ) ="
    )]
    BadName { entity: String, feature: String },
    #[error(
        "feature {feature} of {entity} is decimal({precision},{scale}): precision is 1 to 38 and scale at most precision"
    )]
    BadDecimal { entity: String, feature: String, precision: u8, scale: u8 },
    #[error(
        "column {column} of {table} is {found}, the definition says {wanted}: give the feature a new name, or write the new type beside the old as a feature of its own"
    )]
    ChangedType { table: String, column: String, found: String, wanted: String },
}

/// The columns of one entity's history table.
#[derive(Clone, Debug)]
pub struct HistorySchema {
    columns: Vec<Column>,
    features: std::ops::Range<usize>,
    file: SchemaRef,
}

impl HistorySchema {
    /// Refuses names and types that the lake can't hold.
    pub fn of(entity: &Entity) -> Result<HistorySchema, SchemaError> {
        check(entity)?;
        let mut columns = leading();
        let first = columns.len();
        columns.extend(entity.features.iter().map(|feature| Column {
            name: feature.name.clone(),
            column_type: ColumnType::of(feature.feature_type),
            comment: feature.description.clone(),
        }));
        let features = first..columns.len();
        columns.extend(trailing());
        let in_files = columns.iter().filter(|column| column.name != DATE).map(Column::field);
        let file = Arc::new(Schema::new(in_files.collect::<Vec<_>>()));
        Ok(HistorySchema { columns, features, file })
    }

    /// All columns, [`DATE`] among them.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// One column for each declared feature, in the order of the definition.
    pub fn features(&self) -> &[Column] {
        &self.columns[self.features.clone()]
    }

    /// The schema of a data file: every column but [`DATE`].
    pub fn file(&self) -> &SchemaRef {
        &self.file
    }

    /// The schema as readers see it.
    pub fn table(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(Column::field).collect::<Vec<_>>()))
    }

    pub fn schema_string(&self) -> String {
        let fields: Vec<_> = self.columns.iter().map(Column::delta_field).collect();
        json!({ "type": "struct", "fields": fields }).to_string()
    }

    /// The `schemaString` that holds `existing` and the columns that it lacks, or `None` if it lacks none. Columns that
    /// are no longer declared stay: old files have them. A column of another type is refused.
    pub fn evolve(&self, table: &str, existing: &str) -> Result<Option<String>, EvolveError> {
        let mut schema: serde_json::Value = serde_json::from_str(existing)?;
        let fields = schema.get_mut("fields").and_then(|fields| fields.as_array_mut()).ok_or(EvolveError::NoFields)?;
        let known: BTreeMap<String, serde_json::Value> = fields
            .iter()
            .filter_map(|field| Some((field.get("name")?.as_str()?.to_lowercase(), field.get("type")?.clone())))
            .collect();
        let before = fields.len();
        for column in &self.columns {
            let wanted = column.column_type.delta();
            match known.get(&column.name.to_lowercase()) {
                None => fields.push(column.delta_field()),
                Some(found) if *found == wanted => {}
                Some(found) => {
                    let (found, wanted) = (found.to_string(), wanted.to_string());
                    let (table, column) = (table.to_owned(), column.name.clone());
                    return Err(SchemaError::ChangedType { table, column, found, wanted }.into());
                }
            }
        }
        let grown = fields.len() > before;
        Ok(grown.then(|| schema.to_string()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum EvolveError {
    #[error("the table's schema is not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("the table's schema has no fields")]
    NoFields,
    #[error(transparent)]
    Refused(#[from] SchemaError),
}

fn leading() -> Vec<Column> {
    use ColumnType::{Date, Int, Long, String, Strings, Timestamp};
    [
        (KEY, String),
        (PK, String),
        (SK, String),
        (VERSION, Long),
        (OP, String),
        (EVENT_TS, Timestamp),
        (EVENT_TIME, Timestamp),
        (COMMIT_TS, Timestamp),
        (DATE, Date),
        (SEQ, String),
        (SHARD, String),
        (EVENT_ID, String),
        (LOG_PARTITION, Int),
        (LOG_OFFSET, Long),
        (CHANGED, Strings),
        (ITEM, String),
    ]
    .map(|(name, column_type)| Column::fixed(name, column_type))
    .into()
}

fn trailing() -> [Column; 2] {
    [RESCUED, ERROR].map(|name| Column::fixed(name, ColumnType::String))
}

fn check(entity: &Entity) -> Result<(), SchemaError> {
    let (of, mut seen) = (|| entity.entity.clone(), BTreeMap::new());
    let fixed: Vec<String> = leading().into_iter().chain(trailing()).map(|column| column.name).collect();
    for feature in &entity.features {
        let (entity, lower) = (of(), feature.name.to_lowercase());
        let feature_name = feature.name.clone();
        if fixed.contains(&lower) {
            return Err(SchemaError::Reserved { entity, feature: feature_name });
        }
        let bad = |letter: char| letter.is_whitespace() || letter.is_control() || ",;{}()=".contains(letter);
        if feature_name.is_empty() || feature_name.contains(bad) {
            return Err(SchemaError::BadName { entity, feature: feature_name });
        }
        if let FeatureType::Decimal { precision, scale } = feature.feature_type
            && (!(1..=38).contains(&precision) || scale > precision)
        {
            return Err(SchemaError::BadDecimal { entity, feature: feature_name, precision, scale });
        }
        if let Some(first) = seen.insert(lower, feature_name.clone()) {
            return Err(SchemaError::SameName { entity, first, second: feature_name });
        }
    }
    Ok(())
}
