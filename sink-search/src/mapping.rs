//! The index's fields, from the feature definitions: what each attribute is searched by, and what a query may ask of it.
//!
//! Promises that an item is always taken: an attribute that is not of its declared type is left out of its field and
//! counted, never guessed. Attributes that are not declared are stored and not searched.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use headwater_common::clock::Timestamp;
use headwater_common::definition::{Entity, FeatureType, KeyDefinition, KeyType};
use headwater_common::typed::{Mismatch, Typed};
use headwater_common::value::{Item, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::exact::{self, Whole};
use crate::geo::GeoPoint;
use crate::query::Literal;

/// The longest keyword that is searched, in bytes, as in OpenSearch.
pub const MAX_KEYWORD: usize = 32_766;

/// Raised when the same definitions lead to another index.
const FORMAT: u32 = 1;

/// One table's searchable attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    pub key: KeyDefinition,
    /// By name.
    fields: Vec<Field>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The attribute's name.
    pub name: String,
    declared: Declared,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Declared {
    Feature(FeatureType),
    Key(KeyType),
}

/// How a field is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Whole texts.
    Keyword,
    /// Words.
    Text,
    /// 64 bits: long, bool (0 and 1), timestamp (milliseconds), date (days).
    Whole,
    /// Doubles.
    Double,
    /// Decimals in [`exact::ordered`] form.
    Exact,
    Point,
    /// Only whether it is there.
    Opaque,
}

/// A field's content in one item.
#[derive(Clone, Debug, PartialEq)]
pub enum Indexed<'a> {
    Keywords(Vec<Cow<'a, str>>),
    Text(&'a str),
    Whole(i64),
    Doubles(Vec<f64>),
    Exact(Vec<u8>),
    Point(GeoPoint),
    Opaque,
}

/// A literal, read by the type of the field that it is compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    Text(String),
    Whole(Whole),
    Double(f64),
    Exact(Vec<u8>),
}

impl Mapping {
    pub fn of(entity: &Entity) -> Mapping {
        let feature =
            |name: &str, feature_type| Field { name: name.to_owned(), declared: Declared::Feature(feature_type) };
        let mut fields: Vec<Field> =
            entity.features.iter().map(|declared| feature(&declared.name, declared.feature_type)).collect();
        for key in std::iter::once(&entity.key.partition).chain(&entity.key.sort) {
            if entity.feature(&key.name).is_none() {
                fields.push(Field { name: key.name.clone(), declared: Declared::Key(key.key_type) });
            }
        }
        // What the definitions name beside the features is searched too.
        let named = [
            (&entity.event_time, FeatureType::Timestamp),
            (&entity.write_time, FeatureType::Timestamp),
            (&entity.ttl, FeatureType::Long),
        ];
        for (name, feature_type) in named {
            match name {
                Some(name) if fields.iter().all(|field| field.name != *name) => {
                    fields.push(feature(name, feature_type))
                }
                _ => {}
            }
        }
        fields.sort_by(|one, other| one.name.cmp(&other.name));
        Mapping { key: entity.key.clone(), fields }
    }

    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.fields.iter().map(|field| field.name.as_str())
    }

    /// The field and its place among [`Mapping::fields`].
    pub fn field(&self, name: &str) -> Option<(usize, &Field)> {
        let at = self.fields.binary_search_by(|field| field.name.as_str().cmp(name)).ok()?;
        Some((at, &self.fields[at]))
    }

    pub fn outline(&self) -> Outline {
        let typed = |field: &Field| (field.name.clone(), field.type_name());
        Outline { format: FORMAT, fields: self.fields.iter().map(typed).collect() }
    }
}

/// What decides how an index is laid out; kept beside it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outline {
    format: u32,
    fields: BTreeMap<String, String>,
}

impl Outline {
    /// Sixteen hexadecimal digits.
    pub fn fingerprint(&self) -> String {
        // A map of texts can't fail to serialise into memory.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(json).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    /// An outline for fields of both, if an index of this one can get those of `newer` beside its own.
    pub fn joined(&self, newer: &Outline) -> Option<Outline> {
        let agree = |(name, is): (&String, &String)| self.fields.get(name).is_none_or(|was| was == is);
        if self.format != newer.format || !newer.fields.iter().all(agree) {
            return None;
        }
        let fields = self.fields.iter().chain(&newer.fields).map(|(name, is)| (name.clone(), is.clone())).collect();
        Some(Outline { format: self.format, fields })
    }

    /// For a person: what `newer` changes.
    pub fn differences(&self, newer: &Outline) -> String {
        let mut found = Vec::new();
        for (name, was) in &self.fields {
            match newer.fields.get(name) {
                None => found.push(format!("`{name}` is gone")),
                Some(is) if is != was => found.push(format!("`{name}` was {was} and is {is}")),
                Some(_) => {}
            }
        }
        let new = newer.fields.keys().filter(|name| !self.fields.contains_key(*name));
        found.extend(new.map(|name| format!("`{name}` is new")));
        if found.is_empty() { format!("format {} and not {}", self.format, newer.format) } else { found.join(", ") }
    }
}

impl Field {
    pub fn form(&self) -> Form {
        match self.declared {
            Declared::Key(KeyType::String | KeyType::Binary) => Form::Keyword,
            Declared::Key(KeyType::Number) => Form::Exact,
            Declared::Feature(feature_type) => match feature_type {
                FeatureType::Keyword | FeatureType::KeywordSet => Form::Keyword,
                FeatureType::Text => Form::Text,
                FeatureType::Long | FeatureType::Bool | FeatureType::Timestamp | FeatureType::Date => Form::Whole,
                FeatureType::Double | FeatureType::NumberSet => Form::Double,
                FeatureType::Decimal { .. } => Form::Exact,
                FeatureType::GeoPoint => Form::Point,
                FeatureType::Binary | FeatureType::Vector { .. } | FeatureType::Json => Form::Opaque,
            },
        }
    }

    /// `None` for a key attribute that is no feature.
    pub(crate) fn feature_type(&self) -> Option<FeatureType> {
        match self.declared {
            Declared::Feature(feature_type) => Some(feature_type),
            Declared::Key(_) => None,
        }
    }

    /// One item may hold several values.
    pub fn is_set(&self) -> bool {
        matches!(self.declared, Declared::Feature(FeatureType::KeywordSet | FeatureType::NumberSet))
    }

    pub fn is_bool(&self) -> bool {
        self.declared == Declared::Feature(FeatureType::Bool)
    }

    /// As the definition says it: `keyword`, `decimal(12,2)`, `number key`.
    pub fn type_name(&self) -> String {
        match self.declared {
            Declared::Feature(feature_type) => feature_type.to_string(),
            Declared::Key(KeyType::String) => "string key".into(),
            Declared::Key(KeyType::Number) => "number key".into(),
            Declared::Key(KeyType::Binary) => "binary key".into(),
        }
    }

    /// The field's content, `None` where the attribute is absent or NULL.
    pub fn read<'a>(&self, item: &'a Item) -> Result<Option<Indexed<'a>>, Mismatch> {
        let Some(value) = item.get(&self.name) else { return Ok(None) };
        let Declared::Feature(feature_type) = self.declared else { return self.read_key(value).map(Some) };
        let Some(typed) = feature_type.read(value)? else { return Ok(None) };
        let indexed = match typed {
            Typed::Text(text) if feature_type == FeatureType::Text => Indexed::Text(text),
            Typed::Text(text) => Indexed::Keywords(vec![short(text)?.into()]),
            Typed::KeywordSet(set) => {
                Indexed::Keywords(set.iter().map(|text| short(text).map(Cow::Borrowed)).collect::<Result<_, _>>()?)
            }
            Typed::Long(long) => Indexed::Whole(long),
            Typed::Bool(truth) => Indexed::Whole(truth.into()),
            Typed::Timestamp(moment) => Indexed::Whole(moment.as_millis()),
            Typed::Date(days) => Indexed::Whole(days.into()),
            Typed::Double(double) => Indexed::Doubles(vec![without_sign_of_zero(double)]),
            Typed::NumberSet(doubles) => Indexed::Doubles(doubles.into_iter().map(without_sign_of_zero).collect()),
            Typed::Decimal(_) => Indexed::Exact(value.as_number().map(exact::ordered).unwrap_or_default()),
            Typed::GeoPoint { lat, lon } => Indexed::Point(GeoPoint { lat, lon }),
            Typed::Binary(_) | Typed::Vector(_) | Typed::Json(_) => Indexed::Opaque,
        };
        Ok(Some(indexed))
    }

    fn read_key<'a>(&self, value: &'a Value) -> Result<Indexed<'a>, Mismatch> {
        match (self.declared, value) {
            (Declared::Key(KeyType::String), Value::S(text)) => Ok(Indexed::Keywords(vec![short(text)?.into()])),
            (Declared::Key(KeyType::Number), Value::N(number)) => Ok(Indexed::Exact(exact::ordered(number))),
            (Declared::Key(KeyType::Binary), Value::B(bytes)) => {
                Ok(Indexed::Keywords(vec![BASE64URL.encode(bytes).into()]))
            }
            _ => Err(Mismatch::Content("of its key's type".into())),
        }
    }

    /// The literal as this field compares it. The error says what works instead.
    pub fn operand(&self, literal: &Literal) -> Result<Operand, String> {
        let wants = |what: &str| Err(format!("`{}` is {}: compare it with {what}", self.name, self.type_name()));
        match (self.form(), literal) {
            (Form::Keyword, Literal::Text(text)) => Ok(Operand::Text(text.clone())),
            (Form::Keyword, _) => wants("a text in quotes"),
            (Form::Double, Literal::Number(number)) => Ok(Operand::Double(without_sign_of_zero(number.to_f64()))),
            (Form::Exact, Literal::Number(number)) => Ok(Operand::Exact(exact::ordered(number))),
            (Form::Double | Form::Exact, _) => wants("a number"),
            (Form::Whole, literal) => match self.whole(literal) {
                Ok(whole) => Ok(Operand::Whole(whole)),
                Err(what) => wants(what),
            },
            (Form::Text, Literal::Text(text)) => {
                Err(format!("`{0}` is text, found by its words: write `{0} : \"{text}\"`", self.name))
            }
            (Form::Text, _) => Err(format!("`{0}` is text, found by its words: write `{0} : \"words\"`", self.name)),
            (Form::Point, _) => Err(format!("`{0}` is geo_point: write `distance({0}, lat, lon) < 10km`", self.name)),
            (Form::Opaque, _) => Err(format!(
                "`{0}` is {1}, stored and not searched: only `exists({0})` works",
                self.name,
                self.type_name()
            )),
        }
    }

    fn whole(&self, literal: &Literal) -> Result<Whole, &'static str> {
        let Declared::Feature(feature_type) = self.declared else { return Err("a number") };
        match (feature_type, literal) {
            (FeatureType::Bool, Literal::Bool(truth)) => Ok(i64::from(*truth).into()),
            (FeatureType::Bool, _) => Err("true or false"),
            (FeatureType::Long, Literal::Number(number)) => Ok(Whole::of(number)),
            (FeatureType::Timestamp, Literal::Number(number)) => Ok(Whole::of(number)),
            (FeatureType::Timestamp, Literal::Text(text)) => Timestamp::parse_rfc3339(text)
                .map(|moment| moment.as_millis().into())
                .ok_or("a moment such as \"2013-01-31T10:00:00Z\", or epoch milliseconds"),
            (FeatureType::Timestamp, _) => Err("a moment such as \"2013-01-31T10:00:00Z\", or epoch milliseconds"),
            (FeatureType::Date, Literal::Text(text)) => match FeatureType::Date.read(&Value::S(text.clone())) {
                Ok(Some(Typed::Date(days))) => Ok(i64::from(days).into()),
                _ => Err("a day such as \"2013-01-31\""),
            },
            (FeatureType::Date, _) => Err("a day such as \"2013-01-31\""),
            _ => Err("a number"),
        }
    }
}

fn short(text: &str) -> Result<&str, Mismatch> {
    if text.len() <= MAX_KEYWORD {
        return Ok(text);
    }
    Err(Mismatch::Content(format!("a text of at most {MAX_KEYWORD} bytes, which a keyword can hold")))
}

/// -0 and 0 are one number, and two doubles.
fn without_sign_of_zero(double: f64) -> f64 {
    double + 0.0
}
