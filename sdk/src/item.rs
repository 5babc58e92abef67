//! Items and changes, built feature by feature.

use std::collections::BTreeMap;

use headwater_common::clock::Timestamp;
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};

use crate::error::AttributeFault;

/// What a feature can be set to. Refuses only what DynamoDB has no value for: a double that is not finite.
pub trait IntoValue {
    /// The value, or the reason why there is none.
    fn into_value(self) -> Result<Value, String>;
}

/// A whole item: its key and its features. Faults are kept until the item is put, where all are told at once.
#[derive(Clone, Debug, Default)]
pub struct ItemBuilder {
    pub(crate) item: Item,
    pub(crate) faults: Vec<AttributeFault>,
}

impl ItemBuilder {
    pub fn new() -> ItemBuilder {
        ItemBuilder::default()
    }

    /// Sets an attribute, in place of what it was set to before.
    pub fn set(mut self, name: impl Into<String>, value: impl IntoValue) -> ItemBuilder {
        let name = name.into();
        match value.into_value() {
            Ok(value) => {
                self.item.0.insert(name, value);
            }
            Err(reason) => self.faults.push(AttributeFault { attribute: name, reason }),
        }
        self
    }

    /// The item as it would be put, before the store's stamps: for tests and for writing it elsewhere.
    pub fn build(self) -> Result<Item, Vec<AttributeFault>> {
        if self.faults.is_empty() { Ok(self.item) } else { Err(self.faults) }
    }
}

impl From<Item> for ItemBuilder {
    fn from(item: Item) -> Self {
        ItemBuilder { item, faults: Vec::new() }
    }
}

/// Changes of some features of an item: those that are set, and those that are removed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub(crate) set: ItemBuilder,
    pub(crate) removed: Vec<String>,
}

impl Changes {
    pub fn new() -> Changes {
        Changes::default()
    }

    /// Sets a feature; the last word on it counts.
    pub fn set(mut self, name: impl Into<String>, value: impl IntoValue) -> Changes {
        let name = name.into();
        self.removed.retain(|removed| *removed != name);
        self.set = self.set.set(name, value);
        self
    }

    /// Removes a feature: absent afterwards, which is not NULL.
    pub fn remove(mut self, name: impl Into<String>) -> Changes {
        let name = name.into();
        self.set.item.0.remove(&name);
        if !self.removed.contains(&name) {
            self.removed.push(name);
        }
        self
    }
}

impl From<ItemBuilder> for Changes {
    fn from(set: ItemBuilder) -> Self {
        Changes { set, removed: Vec::new() }
    }
}

/// A place on earth, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeoPoint {
    pub lat: f64,
    pub lon: f64,
}

/// A set of texts, each once.
pub fn keyword_set<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Value {
    let texts: std::collections::BTreeSet<String> = texts.into_iter().map(Into::into).collect();
    Value::Ss(texts.into_iter().collect())
}

/// A set of numbers, each once. Two texts of one number are one element.
pub fn number_set(numbers: impl IntoIterator<Item = Number>) -> Value {
    let numbers: BTreeMap<Number, Number> = numbers.into_iter().map(|number| (number.canonical(), number)).collect();
    Value::Ns(numbers.into_values().collect())
}

macro_rules! into_value {
    ($($from:ty => |$value:ident| $into:expr;)+) => {
        $(impl IntoValue for $from {
            fn into_value(self) -> Result<Value, String> {
                let $value = self;
                Ok($into)
            }
        })+
    };
}

into_value! {
    Value => |value| value;
    &str => |text| Value::S(text.to_owned());
    &String => |text| Value::S(text.clone());
    String => |text| Value::S(text);
    bool => |truth| Value::Bool(truth);
    Number => |number| Value::N(number);
    i64 => |number| Value::N(number.into());
    i32 => |number| Value::N(i64::from(number).into());
    i16 => |number| Value::N(i64::from(number).into());
    i8 => |number| Value::N(i64::from(number).into());
    u32 => |number| Value::N(i64::from(number).into());
    u16 => |number| Value::N(i64::from(number).into());
    u8 => |number| Value::N(i64::from(number).into());
    u64 => |number| Value::N(Number::parse(number.to_string()).map_err(|error| error.to_string())?);
    Timestamp => |moment| Value::N(moment.as_millis().into());
    Vec<u8> => |bytes| Value::B(bytes);
    &[u8] => |bytes| Value::B(bytes.to_vec());
    Vec<Value> => |list| Value::L(list);
    BTreeMap<String, Value> => |map| Value::M(map);
    f64 => |double| Value::N(shortest(double, double.is_finite(), double.abs())?);
    // As a float, so that 0.1 is written 0.1 and not 0.10000000149.
    f32 => |float| Value::N(shortest(float, float.is_finite(), f64::from(float.abs()))?);
    Vec<f32> => |list| Value::L(list.into_iter().map(IntoValue::into_value).collect::<Result<_, _>>()?);
    &[f32] => |list| Value::L(list.iter().copied().map(IntoValue::into_value).collect::<Result<_, _>>()?);
    Vec<f64> => |list| Value::L(list.into_iter().map(IntoValue::into_value).collect::<Result<_, _>>()?);
    &[f64] => |list| Value::L(list.iter().copied().map(IntoValue::into_value).collect::<Result<_, _>>()?);
    GeoPoint => |point| Value::M(BTreeMap::from([
        ("lat".to_owned(), point.lat.into_value()?),
        ("lon".to_owned(), point.lon.into_value()?),
    ]));
}

/// NULL where there is none.
impl<T: IntoValue> IntoValue for Option<T> {
    fn into_value(self) -> Result<Value, String> {
        self.map_or(Ok(Value::Null), IntoValue::into_value)
    }
}

/// The shortest decimal text that reads back as the same float.
fn shortest<F: std::fmt::Display + std::fmt::LowerExp>(
    float: F,
    finite: bool,
    magnitude: f64,
) -> Result<Number, String> {
    if !finite {
        return Err("is not a finite number, and DynamoDB holds no other".to_owned());
    }
    let plain = magnitude == 0.0 || (1e-7..1e21).contains(&magnitude);
    let text = if plain { float.to_string() } else { format!("{float:e}") };
    Number::parse(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: impl IntoValue) -> String {
        serde_json::to_string(&value.into_value().unwrap()).unwrap()
    }

    #[test]
    fn floats_are_written_as_the_shortest_text_that_reads_back() {
        assert_eq!(text(0.1_f32), r#"{"N":"0.1"}"#);
        assert_eq!(text(0.1_f64), r#"{"N":"0.1"}"#);
        assert_eq!(text(-1e300_f64), r#"{"N":"-1e300"}"#);
        assert_eq!(text(1e-9_f64), r#"{"N":"1e-9"}"#);
        assert_eq!(text(u64::MAX), r#"{"N":"18446744073709551615"}"#);
        assert_eq!(text(vec![1.0_f32, 0.25]), r#"{"L":[{"N":"1"},{"N":"0.25"}]}"#);
        assert_eq!(text(GeoPoint { lat: 40.6, lon: -73.8 }), r#"{"M":{"lat":{"N":"40.6"},"lon":{"N":"-73.8"}}}"#);
        assert_eq!(text(None::<i64>), r#"{"NULL":true}"#);
        assert!(f64::NAN.into_value().is_err());
        assert!(vec![1.0, f32::INFINITY].into_value().is_err());
    }

    #[test]
    fn sets_hold_each_element_once() {
        assert_eq!(text(keyword_set(["b", "a", "b"])), r#"{"SS":["a","b"]}"#);
        let numbers = ["2", "1", "2.0"].map(|text| Number::parse(text).unwrap());
        assert_eq!(text(number_set(numbers)), r#"{"NS":["1","2.0"]}"#);
    }

    #[test]
    fn the_last_word_on_a_feature_counts() {
        let changes = Changes::new().set("a", 1).remove("a").remove("b").set("b", 2);
        assert_eq!(changes.removed, ["a"]);
        assert_eq!(changes.set.item.to_json(), r#"{"b":{"N":"2"}}"#);
    }
}
