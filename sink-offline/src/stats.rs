//! A data file's statistics as Delta's JSON, exact: decimals and long integers never pass through a double.
//!
//! Promises that every bound holds: a minimum is at most, and a maximum at least, any value of its column. Where no true
//! bound can be written the bound is left out, and readers then read the file.
//! Lists, structs and binary have no statistics. Every other column has bounds: where a file has bounds at all, the
//! dataset of the `deltalake` package takes a column without them for one that no value is in, and DuckDB over it finds
//! nothing by that column.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, ArrowNumericType, AsArray, BooleanArray, PrimitiveArray, RecordBatch, StringArray,
    new_null_array,
};
use arrow::compute::{max, max_boolean, max_string, min, min_boolean, min_string};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use headwater_common::clock::Timestamp;

/// Characters kept of a string's bound, as other Delta writers keep.
const PREFIX_CHARS: usize = 32;

/// Columns with bounds: statistics are held in memory by readers, for every file.
const BOUNDED_COLUMNS: usize = 64;

/// The statistics of a file that holds `batch`.
pub fn of(batch: &RecordBatch) -> String {
    of_all(std::slice::from_ref(batch))
}

/// The statistics of a file that holds `batches`, which have one schema.
pub fn of_all(batches: &[RecordBatch]) -> String {
    let rows = batches.iter().map(RecordBatch::num_rows).sum();
    text(rows, |at| batches.iter().map(|batch| batch.column(at).null_count()).sum(), batches)
}

/// The statistics of a file whose batches, which have one schema, are not kept until its end.
#[derive(Debug, Default)]
pub struct Running {
    rows: usize,
    nulls: Vec<usize>,
    /// Of each batch the least and the greatest value of each column.
    ends: Vec<RecordBatch>,
}

impl Running {
    pub fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.rows += batch.num_rows();
        self.nulls.resize(batch.num_columns(), 0);
        self.nulls.iter_mut().zip(batch.columns()).for_each(|(nulls, column)| *nulls += column.null_count());
        self.ends.push(RecordBatch::try_new(batch.schema(), batch.columns().iter().map(ends).collect())?);
        Ok(())
    }

    /// Of what was added so far.
    pub fn stats(&self) -> String {
        text(self.rows, |at| self.nulls.get(at).copied().unwrap_or_default(), &self.ends)
    }
}

/// The least and the greatest value of a column that has statistics.
fn ends(column: &ArrayRef) -> ArrayRef {
    match column.data_type() {
        DataType::Utf8 => {
            let strings = column.as_string::<i32>();
            Arc::new(StringArray::from(vec![min_string(strings), max_string(strings)]))
        }
        DataType::Boolean => {
            let truths = column.as_boolean();
            Arc::new(BooleanArray::from(vec![min_boolean(truths), max_boolean(truths)]))
        }
        DataType::Int32 => number_ends::<Int32Type>(column),
        DataType::Int64 => number_ends::<Int64Type>(column),
        DataType::Float64 => number_ends::<Float64Type>(column),
        DataType::Decimal128(..) => number_ends::<Decimal128Type>(column),
        DataType::Date32 => number_ends::<Date32Type>(column),
        DataType::Timestamp(TimeUnit::Microsecond, _) => number_ends::<TimestampMicrosecondType>(column),
        other => new_null_array(other, 2),
    }
}

fn number_ends<T: ArrowNumericType>(column: &ArrayRef) -> ArrayRef {
    let numbers = column.as_primitive::<T>();
    let ends = PrimitiveArray::<T>::from_iter([min(numbers), max(numbers)]);
    Arc::new(ends.with_data_type(column.data_type().clone()))
}

/// `nulls` of each column; `batches` have the bounds of the file's rows.
fn text(rows: usize, nulls_of: impl Fn(usize) -> usize, batches: &[RecordBatch]) -> String {
    let (mut least, mut most, mut nulls) = (Object::default(), Object::default(), Object::default());
    let mut bounded = 0;
    let schema = batches.first().map(RecordBatch::schema);
    for (at, field) in schema.iter().flat_map(|schema| schema.fields().iter().enumerate()) {
        let name = field.name();
        if !has_statistics(field) {
            continue;
        }
        let column = Column(batches.iter().map(|batch| batch.column(at)).collect());
        nulls.field(name, &nulls_of(at).to_string());
        if bounded == BOUNDED_COLUMNS {
            continue;
        }
        bounded += 1;
        let (lower, upper) = column.bounds(field.data_type());
        least.maybe(name, lower);
        most.maybe(name, upper);
    }
    let (least, most, nulls) = (least.close(), most.close(), nulls.close());
    format!(r#"{{"numRecords":{rows},"minValues":{least},"maxValues":{most},"nullCount":{nulls}}}"#)
}

/// Whether readers look for statistics of this column.
fn has_statistics(field: &Field) -> bool {
    matches!(
        field.data_type(),
        DataType::Utf8
            | DataType::Int32
            | DataType::Int64
            | DataType::Float64
            | DataType::Decimal128(..)
            | DataType::Boolean
            | DataType::Date32
            | DataType::Timestamp(TimeUnit::Microsecond, _)
    )
}

/// One column of all batches.
struct Column<'a>(Vec<&'a ArrayRef>);

impl Column<'_> {
    /// The least and greatest value as JSON.
    fn bounds(&self, data_type: &DataType) -> (Option<String>, Option<String>) {
        match data_type {
            DataType::Utf8 => {
                let strings = || self.0.iter().map(|array| array.as_string::<i32>());
                let (least, most) = (strings().filter_map(min_string).min(), strings().filter_map(max_string).max());
                (least.and_then(lower_text), most.and_then(upper_text))
            }
            DataType::Boolean => {
                let truths = || self.0.iter().map(|array| array.as_boolean());
                let (least, most) = (truths().filter_map(min_boolean).min(), truths().filter_map(max_boolean).max());
                (least.map(|least| least.to_string()), most.map(|most| most.to_string()))
            }
            DataType::Int32 => {
                let (least, most) = self.extremes::<Int32Type>();
                (least.map(|least| least.to_string()), most.map(|most| most.to_string()))
            }
            DataType::Int64 => {
                let (least, most) = self.extremes::<Int64Type>();
                (least.map(|least| least.to_string()), most.map(|most| most.to_string()))
            }
            DataType::Float64 => {
                let (least, most) = self.extremes::<Float64Type>();
                // Zeros of both signs are equal, but some readers order them.
                let least = least.map(|least| if least == 0.0 { -0.0 } else { least });
                let most = most.map(|most| if most == 0.0 { 0.0 } else { most });
                (least.and_then(double), most.and_then(double))
            }
            DataType::Decimal128(_, scale) => {
                let ((least, most), scale) = (self.extremes::<Decimal128Type>(), *scale as u8);
                (least.map(|least| decimal(least, scale)), most.map(|most| decimal(most, scale)))
            }
            DataType::Date32 => {
                let (least, most) = self.extremes::<Date32Type>();
                (least.and_then(date), most.and_then(date))
            }
            DataType::Timestamp(..) => {
                let (least, most) = self.extremes::<TimestampMicrosecondType>();
                // Readers know milliseconds only.
                let least = least.map(|least| least.div_euclid(1000));
                let most = most.map(|most| -(-most).div_euclid(1000));
                (least.and_then(moment), most.and_then(moment))
            }
            _ => (None, None),
        }
    }

    fn extremes<T: ArrowNumericType>(&self) -> (Option<T::Native>, Option<T::Native>)
    where
        T::Native: PartialOrd,
    {
        let arrays = || self.0.iter().map(|array| array.as_primitive::<T>());
        let least = arrays().filter_map(min).reduce(|one, other| if other < one { other } else { one });
        let most = arrays().filter_map(max).reduce(|one, other| if other > one { other } else { one });
        (least, most)
    }
}

fn double(value: f64) -> Option<String> {
    value.is_finite().then(|| serde_json::to_string(&value).ok()).flatten()
}

/// All digits of `unscaled` / 10^`scale`.
pub fn decimal(unscaled: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    if scale == 0 {
        return unscaled.to_string();
    }
    let (sign, digits) = (if unscaled < 0 { "-" } else { "" }, unscaled.unsigned_abs().to_string());
    let digits = format!("{digits:0>width$}", width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    format!("{sign}{whole}.{fraction}")
}

/// `YYYY-MM-DD`; nothing outside of years 0 to 9999, which readers don't parse alike.
fn date(days: i32) -> Option<String> {
    let epoch = time::macros::date!(1970 - 01 - 01).to_julian_day();
    let date = time::Date::from_julian_day(epoch.checked_add(days)?).ok().filter(|date| date.year() >= 0)?;
    Some(format!("\"{:04}-{:02}-{:02}\"", date.year(), u8::from(date.month()), date.day()))
}

fn moment(millis: i64) -> Option<String> {
    date(i32::try_from(millis.div_euclid(86_400_000)).ok()?)?;
    Some(format!("\"{}\"", Timestamp::from_millis(millis).to_rfc3339()))
}

fn lower_text(least: &str) -> Option<String> {
    quoted(prefix(least))
}

/// The string itself, or where it is cut, the least string that no string with this prefix exceeds.
fn upper_text(most: &str) -> Option<String> {
    let kept = prefix(most);
    if kept.len() == most.len() {
        return quoted(most);
    }
    let mut letters: Vec<char> = kept.chars().collect();
    while let Some(last) = letters.pop() {
        // The code points between are surrogates, which no string holds.
        let next = if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(last as u32 + 1) };
        if let Some(next) = next {
            letters.push(next);
            return quoted(&letters.into_iter().collect::<String>());
        }
    }
    None
}

fn prefix(text: &str) -> &str {
    text.char_indices().nth(PREFIX_CHARS).map_or(text, |(at, _)| &text[..at])
}

fn quoted(text: &str) -> Option<String> {
    serde_json::to_string(text).ok()
}

/// A JSON object, written by hand because no number type of a JSON library holds 38 digits.
#[derive(Default)]
struct Object(String);

impl Object {
    fn field(&mut self, name: &str, json: &str) {
        let comma = if self.0.is_empty() { "" } else { "," };
        if let Some(name) = quoted(name) {
            // A string takes any text.
            write!(self.0, "{comma}{name}:{json}").ok();
        }
    }

    fn maybe(&mut self, name: &str, json: Option<String>) {
        if let Some(json) = json {
            self.field(name, &json);
        }
    }

    fn close(self) -> String {
        format!("{{{}}}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int64Array, TimestampMicrosecondArray};
    use arrow::datatypes::Schema;

    use super::*;

    fn stats(name: &str, array: ArrayRef) -> String {
        let schema = Schema::new(vec![Field::new(name, array.data_type().clone(), true)]);
        of(&RecordBatch::try_new(Arc::new(schema), vec![array]).unwrap())
    }

    #[test]
    fn long_integers_and_decimals_keep_every_digit() {
        let longs = stats("n", Arc::new(Int64Array::from(vec![Some(9_007_199_254_740_993), None, Some(i64::MIN)])));
        assert_eq!(
            longs,
            r#"{"numRecords":3,"minValues":{"n":-9223372036854775808},"maxValues":{"n":9007199254740993},"nullCount":{"n":1}}"#
        );
        let decimals = Decimal128Array::from(vec![12_345_678_901_234_567_890_123_456_789_012_345_678, -5]);
        let decimals = stats("d", Arc::new(decimals.with_precision_and_scale(38, 2).unwrap()));
        assert!(decimals.contains(r#""minValues":{"d":-0.05}"#), "{decimals}");
        assert!(decimals.contains(r#""maxValues":{"d":123456789012345678901234567890123456.78}"#), "{decimals}");
        assert_eq!(decimal(-100, 2), "-1.00");
    }

    #[test]
    fn a_timestamps_bounds_are_widened_to_milliseconds() {
        let micros = TimestampMicrosecondArray::from(vec![1_001, -1, 2_001]).with_timezone("UTC");
        let found = stats("t", Arc::new(micros));
        assert!(found.contains(r#""minValues":{"t":"1969-12-31T23:59:59.999Z"}"#), "{found}");
        assert!(found.contains(r#""maxValues":{"t":"1970-01-01T00:00:00.003Z"}"#), "{found}");
    }

    #[test]
    fn a_column_without_values_has_no_bounds_and_a_zero_has_both_signs() {
        let nulls = stats("s", Arc::new(StringArray::from(vec![None::<&str>])));
        assert_eq!(nulls, r#"{"numRecords":1,"minValues":{},"maxValues":{},"nullCount":{"s":1}}"#);
        let zeros = stats("z", Arc::new(Float64Array::from(vec![0.0])));
        assert!(zeros.contains(r#""minValues":{"z":-0.0},"maxValues":{"z":0.0}"#), "{zeros}");
    }

    #[test]
    fn a_file_of_several_batches_has_the_bounds_of_all() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let batch = |values: Vec<Option<i64>>| {
            RecordBatch::try_new(schema.clone(), vec![Arc::new(Int64Array::from(values)) as ArrayRef]).unwrap()
        };
        let all = [batch(vec![Some(5), None]), batch(vec![None]), batch(vec![Some(-3), Some(7)])];
        let expected = r#"{"numRecords":5,"minValues":{"n":-3},"maxValues":{"n":7},"nullCount":{"n":2}}"#;
        assert_eq!(of_all(&all), expected);
        let mut running = Running::default();
        all.iter().for_each(|batch| running.add(batch).unwrap());
        assert_eq!(running.stats(), expected, "the batches need not be kept");
    }

    #[test]
    fn a_truth_has_bounds() {
        let truths = stats("x", Arc::new(BooleanArray::from(vec![Some(true), None, Some(true)])));
        assert_eq!(truths, r#"{"numRecords":3,"minValues":{"x":true},"maxValues":{"x":true},"nullCount":{"x":1}}"#);
    }

    proptest::proptest! {
        #[test]
        fn a_strings_bounds_hold_whatever_its_letters(text in "\\PC{0,40}|[a\u{d7ff}\u{10ffff}]{30,40}") {
            let parsed = |json: String| serde_json::from_str::<String>(&json).unwrap();
            let lower = parsed(lower_text(&text).unwrap());
            proptest::prop_assert!(lower <= text && lower.chars().count() <= PREFIX_CHARS);
            if let Some(upper) = upper_text(&text).map(parsed) {
                proptest::prop_assert!(upper >= text && upper.chars().count() <= PREFIX_CHARS);
            }
        }
    }
}
