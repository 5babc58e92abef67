//! Which files a predicate can't match, by the statistics in the log. Pure.
//!
//! Statistics are read for the predicate's columns only, as there may be many files with many columns each. A bound that
//! can't be read exactly counts as unknown, and the file is then read.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, UInt64Array};
use arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;

use super::known::Known;
use crate::table::state::DataFile;

/// For each file, whether it may hold rows that `predicate` lets through. `schema` has the partition columns, too.
pub fn may_match(files: &[&DataFile], schema: &SchemaRef, predicate: &Arc<dyn PhysicalExpr>) -> Vec<bool> {
    let all = || vec![true; files.len()];
    let builder = PruningPredicateBuilder::new().with_file_schema(Arc::clone(schema));
    let Ok(pruning) = builder.try_build(Arc::clone(predicate)) else { return all() };
    if pruning.always_true() {
        return all();
    }
    let columns = collect_columns(predicate);
    let columns: HashSet<&str> = columns.iter().map(|column| column.name()).collect();
    let known = files.iter().map(|file| Known::of(file, &columns)).collect();
    pruning.prune(&Statistics { schema, files, known }).unwrap_or_else(|_| all())
}

/// A partition's value as a column's.
pub fn partition_value(file: &DataFile, column: &str, data_type: &DataType) -> ScalarValue {
    let text = file.partition.get(column).and_then(|value| value.as_deref());
    let value = text.and_then(|text| ScalarValue::try_from_string(text.to_owned(), data_type).ok());
    value.or_else(|| ScalarValue::try_from(data_type).ok()).unwrap_or(ScalarValue::Null)
}

#[derive(Clone, Copy, PartialEq)]
enum Bound {
    Min,
    Max,
}

struct Statistics<'a> {
    schema: &'a Schema,
    files: &'a [&'a DataFile],
    known: Vec<Known<'a>>,
}

impl Statistics<'_> {
    fn bounds(&self, column: &Column, bound: Bound) -> Option<ArrayRef> {
        let data_type = self.schema.field_with_name(column.name()).ok()?.data_type();
        let unknown = ScalarValue::try_from(data_type).ok()?;
        let values = self.files.iter().zip(&self.known).map(|(file, known)| {
            if file.partition.contains_key(column.name()) {
                return partition_value(file, column.name(), data_type);
            }
            let values = if bound == Bound::Min { &known.min_values } else { &known.max_values };
            let value = values.get(column.name()).and_then(|json| scalar(json, data_type, bound));
            value.unwrap_or_else(|| unknown.clone())
        });
        ScalarValue::iter_to_array(values).ok()
    }
}

impl PruningStatistics for Statistics<'_> {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Bound::Min)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds(column, Bound::Max)
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        let counts = self.files.iter().zip(&self.known).map(|(file, known)| {
            if let Some(value) = file.partition.get(column.name()) {
                return if value.is_some() { Some(0) } else { known.num_records };
            }
            known.null_count.get(column.name()).and_then(|json| json.parse::<u64>().ok())
        });
        Some(Arc::new(counts.collect::<UInt64Array>()))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(self.known.iter().map(|known| known.num_records).collect::<UInt64Array>()))
    }

    fn contained(&self, _column: &Column, _values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// A bound as its column's type, from JSON text: no number passes through a double unless it is one.
fn scalar(json: &str, data_type: &DataType, bound: Bound) -> Option<ScalarValue> {
    let text = || serde_json::from_str::<String>(json).ok();
    Some(match data_type {
        DataType::Utf8 => ScalarValue::Utf8(Some(text()?)),
        DataType::Int32 => ScalarValue::Int32(Some(json.parse().ok()?)),
        DataType::Int64 => ScalarValue::Int64(Some(json.parse().ok()?)),
        DataType::Float64 => ScalarValue::Float64(Some(json.parse().ok()?)),
        DataType::Decimal128(precision, scale) => {
            let unscaled = unscaled(json, u32::try_from(*scale).ok()?, bound)?;
            ScalarValue::Decimal128(Some(unscaled), *precision, *scale)
        }
        DataType::Date32 => ScalarValue::try_from_string(text()?, data_type).ok()?,
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            let value = ScalarValue::try_from_string(text()?, data_type).ok()?;
            let ScalarValue::TimestampMicrosecond(Some(micros), zone) = value else { return None };
            // Some writers cut a moment to milliseconds: the true one may lie up to that much later.
            let widened = if bound == Bound::Max { micros.checked_add(999)? } else { micros };
            ScalarValue::TimestampMicrosecond(Some(widened), zone)
        }
        _ => return None,
    })
}

/// `json`, a plain decimal number, times 10^`scale`; digits beyond are rounded away from what the bound excludes.
fn unscaled(json: &str, scale: u32, bound: Bound) -> Option<i128> {
    let (negative, digits) = match json.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, json),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(fraction) {
        return None;
    }
    let kept = fraction.len().min(scale as usize);
    let zeros = 10_i128.checked_pow(scale - kept as u32)?;
    let value = format!("{whole}{}", &fraction[..kept]).parse::<i128>().ok()?.checked_mul(zeros)?;
    let value = if negative { -value } else { value };
    let inexact = fraction[kept..].bytes().any(|byte| byte != b'0');
    match (inexact, bound) {
        (false, _) => Some(value),
        (true, Bound::Min) => value.checked_sub(1),
        (true, Bound::Max) => value.checked_add(1),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use arrow::datatypes::Field;
    use datafusion::common::DFSchema;
    use datafusion::prelude::{Expr, SessionContext, col, lit};

    use super::*;

    fn file(stats: &str) -> DataFile {
        DataFile {
            path: "x".into(),
            size: 1,
            modified: 0,
            partition: BTreeMap::from([("_date".into(), Some("2026-01-02".into()))]),
            rows: None,
            versions: None,
            stats: Some(stats.into()),
        }
    }

    fn kept(files: &[DataFile], fields: Vec<Field>, predicate: Expr) -> Vec<bool> {
        let schema = Arc::new(Schema::new(fields));
        let df_schema = DFSchema::try_from(schema.as_ref().clone()).unwrap();
        let predicate = SessionContext::new().create_physical_expr(predicate, &df_schema).unwrap();
        may_match(&files.iter().collect::<Vec<_>>(), &schema, &predicate)
    }

    #[test]
    fn a_file_without_the_value_is_left_out_and_one_without_statistics_is_read() {
        let files = [
            file(r#"{"numRecords":2,"minValues":{"_key":"a"},"maxValues":{"_key":"c"},"nullCount":{"_key":0}}"#),
            file(r#"{"numRecords":2,"minValues":{"_key":"d"},"maxValues":{"_key":"f"}}"#),
            file("{}"),
        ];
        let fields = vec![Field::new("_key", DataType::Utf8, true), Field::new("_date", DataType::Date32, true)];
        assert_eq!(kept(&files, fields.clone(), col("_key").eq(lit("e"))), [false, true, true]);
        let other_day = lit(ScalarValue::try_from_string("2026-01-03".into(), &DataType::Date32).unwrap());
        assert_eq!(kept(&files, fields, col("_date").eq(other_day)), [false, false, false]);
    }

    #[test]
    fn decimals_and_longs_are_compared_in_every_digit() {
        let decimal = DataType::Decimal128(38, 2);
        let files = [file(
            r#"{"numRecords":1,"minValues":{"n":9007199254740993,"d":123456789012345678901234567890123456.78},"maxValues":{"n":9007199254740993,"d":123456789012345678901234567890123456.78}}"#,
        )];
        let fields = vec![Field::new("n", DataType::Int64, true), Field::new("d", decimal, true)];
        let long = |value: i64| col("n").eq(lit(value));
        assert_eq!(kept(&files, fields.clone(), long(9_007_199_254_740_993)), [true]);
        assert_eq!(kept(&files, fields.clone(), long(9_007_199_254_740_992)), [false]);
        let exact = |last: i128| {
            let value = 12_345_678_901_234_567_890_123_456_789_012_345_670 + last;
            col("d").eq(lit(ScalarValue::Decimal128(Some(value), 38, 2)))
        };
        assert_eq!(kept(&files, fields.clone(), exact(8)), [true]);
        assert_eq!(kept(&files, fields, exact(7)), [false]);
    }

    #[test]
    fn a_bound_that_is_not_exact_is_widened_or_unknown() {
        assert_eq!(unscaled("-0.051", 2, Bound::Min), Some(-6));
        assert_eq!(unscaled("0.051", 2, Bound::Max), Some(6));
        assert_eq!(unscaled("0.050", 2, Bound::Max), Some(5));
        assert_eq!(unscaled("1e3", 2, Bound::Max), None);
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let Some(ScalarValue::TimestampMicrosecond(Some(micros), _)) =
            scalar("\"1970-01-01T00:00:00.001Z\"", &moment, Bound::Max)
        else {
            panic!("no bound")
        };
        assert_eq!(micros, 1_999);
    }
}
