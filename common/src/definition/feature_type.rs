//! The types of features, and how they are written: `keyword`, `decimal(12,2)`, `vector(8)`. The long form of the
//! last two, `{decimal: {precision: 12, scale: 2}}` and `{vector: {dims: 8}}`, is read too.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::{Serialize, Serializer};

use super::KeyType;
use crate::nearest::hint;

/// A feature's type, and DynamoDB's type for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeatureType {
    /// S; found by exact value and by prefix.
    Keyword,
    /// S; found by its words.
    Text,
    /// N, a whole number of 64 bits.
    Long,
    /// N, as the nearest double.
    Double,
    /// N, exact: up to 38 digits, of which `scale` are decimals.
    Decimal {
        precision: u8,
        scale: u8,
    },
    Bool,
    /// N in epoch milliseconds, or S in RFC 3339.
    Timestamp,
    /// S as `YYYY-MM-DD`.
    Date,
    /// B.
    Binary,
    /// M with `lat` and `lon`, both N, in degrees.
    GeoPoint,
    /// L of `dims` N.
    Vector {
        dims: u16,
    },
    /// SS.
    KeywordSet,
    /// NS, as doubles.
    NumberSet,
    /// M or L of any shape, kept as JSON.
    Json,
}

const NAMES: [&str; 14] = [
    "keyword",
    "text",
    "long",
    "double",
    "decimal(precision,scale)",
    "bool",
    "timestamp",
    "date",
    "binary",
    "geo_point",
    "vector(dims)",
    "keyword_set",
    "number_set",
    "json",
];

impl FeatureType {
    /// Whether a key attribute of this type can hold the feature.
    pub fn agrees_with(&self, key: KeyType) -> bool {
        match key {
            KeyType::String => {
                matches!(self, FeatureType::Keyword | FeatureType::Text | FeatureType::Date | FeatureType::Timestamp)
            }
            KeyType::Number => matches!(
                self,
                FeatureType::Long | FeatureType::Double | FeatureType::Decimal { .. } | FeatureType::Timestamp
            ),
            KeyType::Binary => matches!(self, FeatureType::Binary),
        }
    }
}

impl fmt::Display for FeatureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeatureType::Decimal { precision, scale } => write!(f, "decimal({precision},{scale})"),
            FeatureType::Vector { dims } => write!(f, "vector({dims})"),
            simple => f.write_str(simple.name()),
        }
    }
}

/// Why a text is not a feature's type.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotAType(String);

impl FromStr for FeatureType {
    type Err = NotAType;

    fn from_str(text: &str) -> Result<FeatureType, NotAType> {
        let (name, arguments) = match text.trim().strip_suffix(')').and_then(|text| text.split_once('(')) {
            Some((name, arguments)) => (name.trim_end(), arguments.split(',').map(str::trim).collect()),
            None => (text.trim(), Vec::new()),
        };
        let simple = match (name, arguments.as_slice()) {
            ("decimal", [precision, scale]) => {
                return match (precision.parse(), scale.parse()) {
                    (Ok(precision), Ok(scale)) => Ok(FeatureType::Decimal { precision, scale }),
                    _ => Err(NotAType("expected decimal(precision,scale), such as decimal(12,2)".to_owned())),
                };
            }
            ("vector", [dims]) => {
                return match dims.parse() {
                    Ok(dims) => Ok(FeatureType::Vector { dims }),
                    Err(_) => Err(NotAType("expected vector(dims) with 1 to 65535 dims, such as vector(8)".to_owned())),
                };
            }
            ("decimal", _) => return Err(NotAType("decimal needs its size, such as decimal(12,2)".to_owned())),
            ("vector", _) => return Err(NotAType("vector needs its size, such as vector(8)".to_owned())),
            ("keyword", []) => FeatureType::Keyword,
            ("text", []) => FeatureType::Text,
            ("long", []) => FeatureType::Long,
            ("double", []) => FeatureType::Double,
            ("bool", []) => FeatureType::Bool,
            ("timestamp", []) => FeatureType::Timestamp,
            ("date", []) => FeatureType::Date,
            ("binary", []) => FeatureType::Binary,
            ("geo_point", []) => FeatureType::GeoPoint,
            ("keyword_set", []) => FeatureType::KeywordSet,
            ("number_set", []) => FeatureType::NumberSet,
            ("json", []) => FeatureType::Json,
            (name, [_, ..]) if NAMES.contains(&name) => return Err(NotAType(format!("{name} takes no size"))),
            (name, _) => return Err(unknown(name)),
        };
        Ok(simple)
    }
}

fn unknown(name: &str) -> NotAType {
    let known = NAMES.iter().map(|form| form.split('(').next().unwrap_or(form));
    let near = crate::nearest::nearest(name, known).and_then(|near| NAMES.iter().find(|form| form.starts_with(near)));
    NotAType(match near {
        Some(near) => format!("unknown type `{name}`; did you mean `{near}`?"),
        None => format!("unknown type `{name}`{}", hint(name, NAMES)),
    })
}

impl Serialize for FeatureType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum LongForm {
    Decimal,
    Vector,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DecimalSize {
    precision: u8,
    scale: u8,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct VectorSize {
    dims: u16,
}

impl<'de> Deserialize<'de> for FeatureType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TypeVisitor;
        impl<'de> Visitor<'de> for TypeVisitor {
            type Value = FeatureType;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a type, such as keyword, decimal(12,2) or vector(8)")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<FeatureType, E> {
                text.parse().map_err(E::custom)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FeatureType, A::Error> {
                let read = match map.next_key::<LongForm>()? {
                    Some(LongForm::Decimal) => {
                        let DecimalSize { precision, scale } = map.next_value()?;
                        FeatureType::Decimal { precision, scale }
                    }
                    Some(LongForm::Vector) => {
                        let VectorSize { dims } = map.next_value()?;
                        FeatureType::Vector { dims }
                    }
                    None => return Err(de::Error::invalid_type(de::Unexpected::Map, &self)),
                };
                match map.next_key::<String>()? {
                    None => Ok(read),
                    Some(_) => Err(de::Error::custom("a feature has one type")),
                }
            }
        }
        deserializer.deserialize_any(TypeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<FeatureType>().unwrap_err().to_string()
    }

    #[test]
    fn every_type_is_written_and_read_as_one_short_text() {
        let sized = [FeatureType::Decimal { precision: 12, scale: 2 }, FeatureType::Vector { dims: 8 }];
        let simple = NAMES.iter().filter(|name| !name.contains('(')).map(|name| name.parse().unwrap());
        for feature_type in simple.chain(sized) {
            assert_eq!(feature_type.to_string().parse::<FeatureType>().unwrap(), feature_type);
            let json = serde_json::to_string(&feature_type).unwrap();
            assert_eq!(serde_json::from_str::<FeatureType>(&json).unwrap(), feature_type);
        }
        assert_eq!(" decimal( 12 , 2 ) ".parse::<FeatureType>().unwrap(), sized[0]);
    }

    #[test]
    fn the_long_form_is_read_too() {
        let read = |json: &str| serde_json::from_str::<FeatureType>(json);
        let decimal = FeatureType::Decimal { precision: 12, scale: 2 };
        assert_eq!(read(r#"{"decimal":{"precision":12,"scale":2}}"#).unwrap(), decimal);
        assert_eq!(read(r#"{"vector":{"dims":8}}"#).unwrap(), FeatureType::Vector { dims: 8 });
        assert!(read(r#"{"vector":{"dims":8},"long":null}"#).is_err());
        assert!(read("{}").is_err());
    }

    #[test]
    fn refusals_name_what_was_meant() {
        assert_eq!(refusal("keywrod"), "unknown type `keywrod`; did you mean `keyword`?");
        assert_eq!(refusal("vectr(8)"), "unknown type `vectr`; did you mean `vector(dims)`?");
        assert_eq!(refusal("decimal"), "decimal needs its size, such as decimal(12,2)");
        assert_eq!(refusal("vector(70000)"), "expected vector(dims) with 1 to 65535 dims, such as vector(8)");
        assert_eq!(refusal("long(8)"), "long takes no size");
        assert!(refusal("blob").starts_with("unknown type `blob`; known: keyword, text, long"), "{}", refusal("blob"));
    }
}
