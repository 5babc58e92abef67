//! DynamoDB's attribute values, kept exactly as they were written.
//!
//! Promises that a value read from the stream, carried on the log and read back from a sink equals the value
//! that the producer wrote: numbers stay decimal text, sets stay sets, absent and NULL stay apart.
//! Refuses nothing that DynamoDB accepts; `Deserialize` refuses what DynamoDB's JSON can't mean.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::number::Number;

/// One attribute value, by DynamoDB's types.
///
/// `PartialEq` is exact: `N "1.0"` differs from `N "1"`. Where DynamoDB would call them equal, compare
/// [`Number::canonical`], as the canonical key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    S(String),
    N(Number),
    B(Vec<u8>),
    Bool(bool),
    Null,
    M(BTreeMap<String, Value>),
    L(Vec<Value>),
    Ss(Vec<String>),
    Ns(Vec<Number>),
    Bs(Vec<Vec<u8>>),
}

impl Value {
    /// DynamoDB's own descriptor of this type: `S`, `N`, `B`, `BOOL`, `NULL`, `M`, `L`, `SS`, `NS`, `BS`.
    pub fn descriptor(&self) -> &'static str {
        match self {
            Value::S(_) => "S",
            Value::N(_) => "N",
            Value::B(_) => "B",
            Value::Bool(_) => "BOOL",
            Value::Null => "NULL",
            Value::M(_) => "M",
            Value::L(_) => "L",
            Value::Ss(_) => "SS",
            Value::Ns(_) => "NS",
            Value::Bs(_) => "BS",
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::S(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<&Number> {
        match self {
            Value::N(number) => Some(number),
            _ => None,
        }
    }

    /// Heap bytes held, roughly: what a memory budget counts.
    pub fn weight(&self) -> usize {
        const NODE: usize = 48;
        NODE + match self {
            Value::S(text) => text.len(),
            Value::N(number) => number.as_str().len(),
            Value::B(bytes) => bytes.len(),
            Value::Bool(_) | Value::Null => 0,
            Value::M(map) => map.iter().map(|(name, value)| name.len() + value.weight()).sum(),
            Value::L(list) => list.iter().map(Value::weight).sum(),
            Value::Ss(set) => set.iter().map(|text| NODE + text.len()).sum(),
            Value::Ns(set) => set.iter().map(|number| NODE + number.as_str().len()).sum(),
            Value::Bs(set) => set.iter().map(|bytes| NODE + bytes.len()).sum(),
        }
    }

    /// The same value as DynamoDB compares it: numbers in canonical form, sets sorted. Two images of one item are
    /// equal for verification when their normal forms are.
    pub fn normalised(&self) -> Value {
        match self {
            Value::N(number) => Value::N(number.canonical()),
            Value::M(map) => Value::M(map.iter().map(|(name, value)| (name.clone(), value.normalised())).collect()),
            Value::L(list) => Value::L(list.iter().map(Value::normalised).collect()),
            Value::Ss(set) => Value::Ss(sorted(set.clone())),
            Value::Ns(set) => Value::Ns(sorted(set.iter().map(Number::canonical).collect())),
            Value::Bs(set) => Value::Bs(sorted(set.clone())),
            Value::S(_) | Value::B(_) | Value::Bool(_) | Value::Null => self.clone(),
        }
    }
}

fn sorted<T: Ord>(mut set: Vec<T>) -> Vec<T> {
    set.sort();
    set
}

/// An item's attributes, sorted by name, so that equal items have equal JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item(pub BTreeMap<String, Value>);

impl Item {
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Canonical DynamoDB JSON: sorted names, no white space, numbers as they were written.
    pub fn to_json(&self) -> String {
        // A map with string keys and infallible values can't fail to serialise into memory.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub fn from_json(text: &str) -> Result<Item, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// Names of the attributes that differ between two images of one item, sorted.
    pub fn changed(before: &Item, after: &Item) -> Vec<String> {
        let mut names: Vec<String> = after
            .0
            .iter()
            .filter(|(name, value)| before.get(name) != Some(value))
            .map(|(name, _)| name.clone())
            .collect();
        names.extend(before.0.keys().filter(|name| !after.0.contains_key(*name)).cloned());
        names.sort();
        names
    }

    pub fn weight(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.weight()).sum()
    }

    pub fn normalised(&self) -> Item {
        Item(self.0.iter().map(|(name, value)| (name.clone(), value.normalised())).collect())
    }
}

impl FromIterator<(String, Value)> for Item {
    fn from_iter<T: IntoIterator<Item = (String, Value)>>(iter: T) -> Self {
        Item(iter.into_iter().collect())
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(&self.0)
    }
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = Item;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of attribute names to typed values")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Item, A::Error> {
                attributes(map).map(Item)
            }
        }
        deserializer.deserialize_map(ItemVisitor)
    }
}

fn attributes<'de, A: MapAccess<'de>>(mut map: A) -> Result<BTreeMap<String, Value>, A::Error> {
    let mut out = BTreeMap::new();
    while let Some((name, value)) = map.next_entry::<String, Value>()? {
        if out.insert(name, value).is_some() {
            return Err(de::Error::custom("an attribute name occurs twice"));
        }
    }
    Ok(out)
}

struct Base64<'a>(&'a [u8]);

impl Serialize for Base64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64.encode(self.0))
    }
}

struct BinarySet<'a>(&'a [Vec<u8>]);

impl Serialize for BinarySet<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for bytes in self.0 {
            seq.serialize_element(&Base64(bytes))?;
        }
        seq.end()
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Value::S(text) => map.serialize_entry("S", text)?,
            Value::N(number) => map.serialize_entry("N", number)?,
            Value::B(bytes) => map.serialize_entry("B", &Base64(bytes))?,
            Value::Bool(flag) => map.serialize_entry("BOOL", flag)?,
            Value::Null => map.serialize_entry("NULL", &true)?,
            Value::M(inner) => map.serialize_entry("M", inner)?,
            Value::L(list) => map.serialize_entry("L", list)?,
            Value::Ss(set) => map.serialize_entry("SS", set)?,
            Value::Ns(set) => map.serialize_entry("NS", set)?,
            Value::Bs(set) => map.serialize_entry("BS", &BinarySet(set))?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ValueVisitor;
        impl<'de> Visitor<'de> for ValueVisitor {
            type Value = Value;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("one typed attribute value, such as {\"S\":\"text\"}")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let Some(descriptor) = map.next_key::<Text<'de>>()? else {
                    return Err(de::Error::custom("an attribute value without a type"));
                };
                let value = typed(&descriptor.0, &mut map)?;
                if map.next_key::<Text<'de>>()?.is_some() {
                    return Err(de::Error::custom("an attribute value with two types"));
                }
                Ok(value)
            }
        }
        deserializer.deserialize_map(ValueVisitor)
    }
}

fn typed<'de, A: MapAccess<'de>>(descriptor: &str, map: &mut A) -> Result<Value, A::Error> {
    Ok(match descriptor {
        "S" => Value::S(map.next_value()?),
        "N" => Value::N(map.next_value()?),
        "B" => Value::B(decode(&map.next_value::<Text<'de>>()?.0)?),
        "BOOL" => Value::Bool(map.next_value()?),
        "NULL" => match map.next_value::<bool>()? {
            true => Value::Null,
            false => return Err(de::Error::custom("NULL can only be true")),
        },
        "M" => Value::M(map.next_value::<Item>()?.0),
        "L" => Value::L(map.next_value()?),
        "SS" => Value::Ss(map.next_value()?),
        "NS" => Value::Ns(map.next_value()?),
        "BS" => {
            let set: Vec<Text<'de>> = map.next_value()?;
            Value::Bs(set.iter().map(|text| decode(&text.0)).collect::<Result<_, _>>()?)
        }
        other => {
            return Err(de::Error::unknown_variant(
                other,
                &["S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"],
            ));
        }
    })
}

fn decode<E: de::Error>(text: &str) -> Result<Vec<u8>, E> {
    BASE64.decode(text).map_err(|_| E::custom("a binary value that is not base64"))
}

/// Borrows from the input where it can, which an envelope's short descriptors always allow.
struct Text<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_json_exactly() {
        let text = concat!(
            r#"{"a":{"S":""},"b":{"N":"1.0"},"c":{"N":"12345678901234567890123456789012345678"},"d":{"B":"AP8="},"#,
            r#""e":{"BOOL":false},"f":{"NULL":true},"g":{"M":{"x":{"L":[{"NULL":true},{"S":"é"}]}}},"#,
            r#""h":{"SS":["a","b"]},"i":{"NS":["1","1E+5"]},"j":{"BS":["","AA=="]}}"#
        );
        let item = Item::from_json(text).unwrap();
        assert_eq!(item.to_json(), text);
    }

    #[test]
    fn what_dynamodb_json_cannot_mean_is_refused() {
        for bad in [
            r#"{"a":{}}"#,
            r#"{"a":{"S":"x","N":"1"}}"#,
            r#"{"a":{"NULL":false}}"#,
            r#"{"a":{"N":"1x"}}"#,
            r#"{"a":{"N":1}}"#,
            r#"{"a":{"B":"*"}}"#,
            r#"{"a":{"Q":"x"}}"#,
            r#"{"a":{"S":"x"},"a":{"S":"y"}}"#,
            r#"[]"#,
        ] {
            assert!(Item::from_json(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn changed_names_what_was_added_altered_or_removed() {
        let before = Item::from_json(r#"{"a":{"S":"1"},"b":{"S":"1"},"c":{"S":"1"}}"#).unwrap();
        let after = Item::from_json(r#"{"a":{"S":"1"},"b":{"N":"1"},"d":{"S":"1"}}"#).unwrap();
        assert_eq!(Item::changed(&before, &after), ["b", "c", "d"]);
    }

    #[test]
    fn normal_forms_compare_as_dynamodb_does() {
        let one = Item::from_json(r#"{"a":{"N":"1.0"},"b":{"SS":["y","x"]}}"#).unwrap();
        let other = Item::from_json(r#"{"a":{"N":"1"},"b":{"SS":["x","y"]}}"#).unwrap();
        assert_ne!(one, other);
        assert_eq!(one.normalised(), other.normalised());
    }
}
