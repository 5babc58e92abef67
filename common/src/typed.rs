//! An attribute read by the type that its feature declares: the one reading that the SDK's validation, the lake's
//! columns and the index's fields share.
//!
//! Promises that a value is either given whole or refused with the reason: nothing is rounded, cut or guessed, but for
//! `double` and what is made of doubles, which take the nearest. NULL and absent are no value.

use crate::clock::Timestamp;
use crate::definition::FeatureType;
use crate::number::Number;
use crate::value::Value;

#[derive(Clone, Debug, PartialEq)]
pub enum Typed<'a> {
    /// `keyword` and `text`.
    Text(&'a str),
    Long(i64),
    Double(f64),
    /// Unscaled: `1.25` with two decimals is 125.
    Decimal(i128),
    Bool(bool),
    Timestamp(Timestamp),
    /// Days since 1970-01-01.
    Date(i32),
    Binary(&'a [u8]),
    GeoPoint {
        lat: f64,
        lon: f64,
    },
    Vector(Vec<f32>),
    KeywordSet(&'a [String]),
    NumberSet(Vec<f64>),
    /// DynamoDB JSON of the value.
    Json(String),
}

/// Why a value is not of its declared type. Says nothing of the value itself, which may be private.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("holds {found}, its type is {expected}")]
    Type { expected: &'static str, found: &'static str },
    #[error("is not {0}")]
    Content(String),
}

impl FeatureType {
    pub fn name(&self) -> &'static str {
        match self {
            FeatureType::Keyword => "keyword",
            FeatureType::Text => "text",
            FeatureType::Long => "long",
            FeatureType::Double => "double",
            FeatureType::Decimal { .. } => "decimal",
            FeatureType::Bool => "bool",
            FeatureType::Timestamp => "timestamp",
            FeatureType::Date => "date",
            FeatureType::Binary => "binary",
            FeatureType::GeoPoint => "geo_point",
            FeatureType::Vector { .. } => "vector",
            FeatureType::KeywordSet => "keyword_set",
            FeatureType::NumberSet => "number_set",
            FeatureType::Json => "json",
        }
    }

    /// `None` for NULL, which every type admits.
    pub fn read<'a>(&self, value: &'a Value) -> Result<Option<Typed<'a>>, Mismatch> {
        let wrong = || Mismatch::Type { expected: self.name(), found: value.descriptor() };
        let typed = match (self, value) {
            (_, Value::Null) => return Ok(None),
            (FeatureType::Keyword | FeatureType::Text, Value::S(text)) => Typed::Text(text),
            (FeatureType::Long, Value::N(number)) => {
                Typed::Long(number.to_i64().ok_or_else(|| content("a whole number of 64 bits"))?)
            }
            (FeatureType::Double, Value::N(number)) => Typed::Double(finite(number)?),
            (FeatureType::Decimal { precision, scale }, Value::N(number)) => Typed::Decimal(
                number
                    .to_decimal(*precision, *scale)
                    .ok_or_else(|| Mismatch::Content(format!("exact in decimal({precision},{scale})")))?,
            ),
            (FeatureType::Bool, Value::Bool(truth)) => Typed::Bool(*truth),
            (FeatureType::Timestamp, Value::N(_) | Value::S(_)) => Typed::Timestamp(moment(value)?),
            (FeatureType::Date, Value::S(text)) => Typed::Date(day(text)?),
            (FeatureType::Binary, Value::B(bytes)) => Typed::Binary(bytes),
            (FeatureType::GeoPoint, Value::M(_)) => geo_point(value)?,
            (FeatureType::Vector { dims }, Value::L(list)) => Typed::Vector(vector(list, *dims)?),
            (FeatureType::KeywordSet, Value::Ss(set)) => Typed::KeywordSet(set),
            (FeatureType::NumberSet, Value::Ns(set)) => {
                Typed::NumberSet(set.iter().map(finite).collect::<Result<_, _>>()?)
            }
            (FeatureType::Json, Value::M(_) | Value::L(_)) => {
                Typed::Json(serde_json::to_string(value).map_err(|_| content("JSON"))?)
            }
            _ => return Err(wrong()),
        };
        Ok(Some(typed))
    }
}

/// A moment as producers write it: epoch milliseconds (N) or RFC 3339 (S).
pub fn moment(value: &Value) -> Result<Timestamp, Mismatch> {
    let read = match value {
        Value::N(number) => number.to_i64().map(Timestamp::from_millis),
        Value::S(text) => Timestamp::parse_rfc3339(text),
        _ => None,
    };
    read.ok_or_else(|| content("a moment in epoch milliseconds (N) or RFC 3339 (S)"))
}

fn content(expected: &str) -> Mismatch {
    Mismatch::Content(expected.to_owned())
}

/// DynamoDB's numbers reach 1e126, well inside a double.
fn finite(number: &Number) -> Result<f64, Mismatch> {
    let double = number.to_f64();
    if double.is_finite() { Ok(double) } else { Err(content("a number that a double can hold")) }
}

fn day(text: &str) -> Result<i32, Mismatch> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(text, &format).map_err(|_| content("a day as YYYY-MM-DD"))?;
    Ok(date.to_julian_day() - time::macros::date!(1970 - 01 - 01).to_julian_day())
}

fn geo_point(value: &Value) -> Result<Typed<'_>, Mismatch> {
    let Value::M(map) = value else { return Err(content("a map of lat and lon")) };
    let degree = |name: &str, limit: f64| {
        map.get(name).and_then(Value::as_number).map(Number::to_f64).filter(|degree| degree.abs() <= limit)
    };
    match (map.len(), degree("lat", 90.0), degree("lon", 180.0)) {
        (2, Some(lat), Some(lon)) => Ok(Typed::GeoPoint { lat, lon }),
        _ => Err(content("a map of lat (-90 to 90) and lon (-180 to 180), both numbers")),
    }
}

fn vector(list: &[Value], dims: u16) -> Result<Vec<f32>, Mismatch> {
    let wrong = || Mismatch::Content(format!("a list of {dims} numbers that floats can hold"));
    if list.len() != usize::from(dims) {
        return Err(wrong());
    }
    let float = |value: &Value| {
        value.as_number().map(|number| number.to_f64() as f32).filter(|float| float.is_finite()).ok_or_else(wrong)
    };
    list.iter().map(float).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn each_type_reads_what_it_declares() {
        let decimal = FeatureType::Decimal { precision: 38, scale: 2 };
        let exact = value(r#"{"N":"123456789012345678901234567890123456.78"}"#);
        assert_eq!(
            decimal.read(&exact).unwrap(),
            Some(Typed::Decimal(12_345_678_901_234_567_890_123_456_789_012_345_678))
        );
        assert_eq!(FeatureType::Long.read(&value(r#"{"N":"1.0"}"#)).unwrap(), Some(Typed::Long(1)));
        assert_eq!(FeatureType::Date.read(&value(r#"{"S":"2013-01-02"}"#)).unwrap(), Some(Typed::Date(15_707)));
        let place = value(r#"{"M":{"lat":{"N":"40.6"},"lon":{"N":"-73.8"}}}"#);
        assert_eq!(FeatureType::GeoPoint.read(&place).unwrap(), Some(Typed::GeoPoint { lat: 40.6, lon: -73.8 }));
        let moment = Timestamp::from_millis(1_357_034_400_000);
        for form in [r#"{"N":"1357034400000"}"#, r#"{"S":"2013-01-01T10:00:00Z"}"#] {
            assert_eq!(FeatureType::Timestamp.read(&value(form)).unwrap(), Some(Typed::Timestamp(moment)));
        }
        let two = FeatureType::Vector { dims: 2 };
        assert_eq!(two.read(&value(r#"{"L":[{"N":"1"},{"N":"0.5"}]}"#)).unwrap(), Some(Typed::Vector(vec![1.0, 0.5])));
    }

    #[test]
    fn null_is_no_value_whatever_the_type() {
        assert_eq!(FeatureType::Long.read(&Value::Null), Ok(None));
        assert_eq!(FeatureType::Json.read(&Value::Null), Ok(None));
    }

    #[test]
    fn what_would_lose_something_is_refused() {
        let refused = [
            (FeatureType::Long, r#"{"N":"9223372036854775808"}"#),
            (FeatureType::Long, r#"{"N":"1.5"}"#),
            (FeatureType::Long, r#"{"S":"1"}"#),
            (FeatureType::Decimal { precision: 5, scale: 2 }, r#"{"N":"1.234"}"#),
            (FeatureType::Decimal { precision: 5, scale: 2 }, r#"{"N":"1000"}"#),
            (FeatureType::Date, r#"{"S":"2013-02-30"}"#),
            (FeatureType::Timestamp, r#"{"S":"yesterday"}"#),
            (FeatureType::GeoPoint, r#"{"M":{"lat":{"N":"91"},"lon":{"N":"0"}}}"#),
            (FeatureType::GeoPoint, r#"{"M":{"lat":{"N":"1"},"lon":{"N":"0"},"alt":{"N":"9"}}}"#),
            (FeatureType::Vector { dims: 3 }, r#"{"L":[{"N":"1"},{"N":"0.5"}]}"#),
            (FeatureType::Vector { dims: 1 }, r#"{"L":[{"N":"1e60"}]}"#),
        ];
        for (feature_type, json) in refused {
            assert!(feature_type.read(&value(json)).is_err(), "{feature_type:?} {json}");
        }
    }
}
