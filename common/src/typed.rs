//! An attribute read by the type that its feature declares: the one reading that the SDK's validation, the lake's
//! columns and the index's fields share.
//!
//! Promises that a value is either given whole or refused with the reason: nothing is rounded, cut or guessed, but for
//! `double` and what is made of doubles, which take the nearest. NULL and absent are no value.

use crate::attribute::{Attribute, Plain};
use crate::clock::Timestamp;
use crate::definition::FeatureType;
use crate::number::{self, Number};
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
        match Plain::of(value) {
            Plain::Nested => self.read_nested(value).map(Some),
            plain => self.read_plain(plain),
        }
    }

    /// The same of an attribute as it lies in JSON. `nested` holds what has to be read for it.
    pub fn read_attribute<'a>(
        &self,
        attribute: &Attribute<'a>,
        nested: &'a mut Option<Value>,
    ) -> Result<Option<Typed<'a>>, Mismatch> {
        if attribute.plain != Plain::Nested {
            return self.read_plain(attribute.plain);
        }
        // What is usual is read in place.
        if let (FeatureType::GeoPoint, Some((lat, lon))) = (self, attribute.degrees()) {
            return place(number::to_f64(lat), number::to_f64(lon)).map(Some);
        }
        if let (FeatureType::Vector { dims }, Some(numbers)) = (self, attribute.numbers()) {
            return vector(numbers.into_iter().map(Some), *dims).map(|vector| Some(Typed::Vector(vector)));
        }
        *nested = attribute.to_value();
        let value = nested.as_ref().ok_or_else(|| content("a value"))?;
        self.read_nested(value).map(Some)
    }

    fn read_plain<'a>(&self, plain: Plain<'a>) -> Result<Option<Typed<'a>>, Mismatch> {
        let typed = match (self, plain) {
            (_, Plain::Null) => return Ok(None),
            (FeatureType::Keyword | FeatureType::Text, Plain::S(text)) => Typed::Text(text),
            (FeatureType::Long, Plain::N(number)) => {
                Typed::Long(number::to_i64(number).ok_or_else(|| content("a whole number of 64 bits"))?)
            }
            (FeatureType::Double, Plain::N(number)) => Typed::Double(finite(number)?),
            (FeatureType::Decimal { precision, scale }, Plain::N(number)) => Typed::Decimal(
                number::to_decimal(number, *precision, *scale)
                    .ok_or_else(|| Mismatch::Content(format!("exact in decimal({precision},{scale})")))?,
            ),
            (FeatureType::Bool, Plain::Bool(truth)) => Typed::Bool(truth),
            (FeatureType::Timestamp, Plain::N(_) | Plain::S(_)) => Typed::Timestamp(moment_of(plain)?),
            (FeatureType::Date, Plain::S(text)) => Typed::Date(day(text)?),
            (_, plain) => {
                let found = match plain {
                    Plain::S(_) => "S",
                    Plain::N(_) => "N",
                    Plain::Bool(_) => "BOOL",
                    Plain::Null | Plain::Nested => "NULL",
                };
                return Err(Mismatch::Type { expected: self.name(), found });
            }
        };
        Ok(Some(typed))
    }

    fn read_nested<'a>(&self, value: &'a Value) -> Result<Typed<'a>, Mismatch> {
        Ok(match (self, value) {
            (FeatureType::Binary, Value::B(bytes)) => Typed::Binary(bytes),
            (FeatureType::GeoPoint, Value::M(map)) => {
                let degree = |name: &str| map.get(name).and_then(Value::as_number).map_or(f64::NAN, Number::to_f64);
                let two = map.len() == 2;
                place(if two { degree("lat") } else { f64::NAN }, degree("lon"))?
            }
            (FeatureType::Vector { dims }, Value::L(list)) => {
                let numbers = list.iter().map(|value| value.as_number().map(Number::as_str));
                Typed::Vector(vector(numbers, *dims)?)
            }
            (FeatureType::KeywordSet, Value::Ss(set)) => Typed::KeywordSet(set),
            (FeatureType::NumberSet, Value::Ns(set)) => {
                Typed::NumberSet(set.iter().map(|number| finite(number.as_str())).collect::<Result<_, _>>()?)
            }
            (FeatureType::Json, Value::M(_) | Value::L(_)) => {
                Typed::Json(serde_json::to_string(value).map_err(|_| content("JSON"))?)
            }
            _ => return Err(Mismatch::Type { expected: self.name(), found: value.descriptor() }),
        })
    }
}

/// A moment as producers write it: epoch milliseconds (N) or RFC 3339 (S).
pub fn moment(value: &Value) -> Result<Timestamp, Mismatch> {
    moment_of(Plain::of(value))
}

/// The same of an attribute as it lies in JSON.
pub fn moment_of(plain: Plain<'_>) -> Result<Timestamp, Mismatch> {
    let read = match plain {
        Plain::N(number) => number::to_i64(number).map(Timestamp::from_millis),
        Plain::S(text) => Timestamp::parse_rfc3339(text),
        Plain::Bool(_) | Plain::Null | Plain::Nested => None,
    };
    read.ok_or_else(|| content("a moment in epoch milliseconds (N) or RFC 3339 (S)"))
}

fn content(expected: &str) -> Mismatch {
    Mismatch::Content(expected.to_owned())
}

/// DynamoDB's numbers reach 1e126, well inside a double.
fn finite(number: &str) -> Result<f64, Mismatch> {
    let double = number::to_f64(number);
    if double.is_finite() { Ok(double) } else { Err(content("a number that a double can hold")) }
}

fn day(text: &str) -> Result<i32, Mismatch> {
    let format = time::macros::format_description!("[year]-[month]-[day]");
    let date = time::Date::parse(text, &format).map_err(|_| content("a day as YYYY-MM-DD"))?;
    Ok(date.to_julian_day() - time::macros::date!(1970 - 01 - 01).to_julian_day())
}

/// From degrees; what is none is not a number.
fn place(lat: f64, lon: f64) -> Result<Typed<'static>, Mismatch> {
    if lat.abs() <= 90.0 && lon.abs() <= 180.0 {
        return Ok(Typed::GeoPoint { lat, lon });
    }
    Err(content("a map of lat (-90 to 90) and lon (-180 to 180), both numbers"))
}

fn vector<'a>(numbers: impl ExactSizeIterator<Item = Option<&'a str>>, dims: u16) -> Result<Vec<f32>, Mismatch> {
    let wrong = || Mismatch::Content(format!("a list of {dims} numbers that floats can hold"));
    if numbers.len() != usize::from(dims) {
        return Err(wrong());
    }
    let float = |number: Option<&str>| {
        number.map(|number| number::to_f64(number) as f32).filter(|float| float.is_finite()).ok_or_else(wrong)
    };
    numbers.map(float).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    /// Read as a value and as it lies in JSON; both must agree.
    fn read(feature_type: FeatureType, json: &str) -> Result<Option<String>, Mismatch> {
        let value = value(json);
        let as_value = feature_type.read(&value).map(|typed| typed.map(|typed| format!("{typed:?}")));
        let mut nested = None;
        let attribute = Attribute::of(&value, json);
        let in_place = feature_type.read_attribute(&attribute, &mut nested);
        assert_eq!(in_place.map(|typed| typed.map(|typed| format!("{typed:?}"))), as_value, "{feature_type:?} {json}");
        as_value
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
    fn an_attribute_in_json_reads_as_its_value() {
        let values = [
            r#"{"S":"2013-01-02"}"#,
            r#"{"N":"12.50"}"#,
            r#"{"BOOL":true}"#,
            r#"{"NULL":true}"#,
            r#"{"B":"AP8="}"#,
            r#"{"SS":["a"]}"#,
            r#"{"NS":["1","2.5"]}"#,
            r#"{"BS":["AP8="]}"#,
            r#"{"L":[{"N":"1"},{"N":"0.5"}]}"#,
            r#"{"L":[{"N":"1"},{"S":"x"}]}"#,
            r#"{"M":{"lat":{"N":"40.6"},"lon":{"N":"-73.8"}}}"#,
            r#"{"M":{"lat":{"N":"40.6"},"lon":{"N":"-73.8"},"x":{"NULL":true}}}"#,
            r#"{"M":{"lat":{"N":"99"},"lon":{"N":"-73.8"}}}"#,
            r#"{"M":{"l\"at":{"S":"\\"}}}"#,
        ];
        let types = [
            FeatureType::Keyword,
            FeatureType::Text,
            FeatureType::Long,
            FeatureType::Double,
            FeatureType::Decimal { precision: 5, scale: 2 },
            FeatureType::Bool,
            FeatureType::Timestamp,
            FeatureType::Date,
            FeatureType::Binary,
            FeatureType::GeoPoint,
            FeatureType::Vector { dims: 2 },
            FeatureType::KeywordSet,
            FeatureType::NumberSet,
            FeatureType::Json,
        ];
        let read = values.iter().flat_map(|json| types.iter().map(|of| read(*of, json)));
        assert_eq!(read.filter(Result::is_ok).count(), 14 + 17, "fourteen of NULL, and those of the right type");
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
            assert!(read(feature_type, json).is_err(), "{feature_type:?} {json}");
        }
    }
}
