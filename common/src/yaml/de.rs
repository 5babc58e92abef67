//! Serde over a tree: an error takes the place and path of the innermost node that it left.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::error::Error;
use super::{Content, Entry, Node};

/// One node and its path.
pub(super) struct De<'a> {
    node: &'a Node,
    path: String,
}

impl<'a> De<'a> {
    pub fn root(node: &'a Node) -> De<'a> {
        De { node, path: String::new() }
    }

    fn child(&self, entry: &'a Entry) -> De<'a> {
        De { node: &entry.node, path: joined(&self.path, &entry.name) }
    }

    fn located<T>(&self, result: Result<T, Error>) -> Result<T, Error> {
        result.map_err(|error| error.at(&self.node.place, &self.path))
    }

    /// The text of a scalar as it was written.
    fn text(&self) -> Option<&'a str> {
        match &self.node.content {
            Content::Text(text) => Some(self.node.plain.as_deref().unwrap_or(text)),
            Content::List(_) | Content::Map(_) => None,
            _ => self.node.plain.as_deref(),
        }
    }
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl<'de> Deserializer<'de> for De<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let result = match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Unsigned(value) => visitor.visit_u64(*value),
            Content::Signed(value) => visitor.visit_i64(*value),
            Content::Float(value) => visitor.visit_f64(*value),
            Content::Text(text) => visitor.visit_str(text),
            Content::List(list) => visitor.visit_seq(List { parent: &self, list, next: 0 }),
            Content::Map(map) => visitor.visit_map(Map { parent: &self, map, next: 0 }),
        };
        self.located(result)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.content {
            // An empty variable is an empty text where text is asked for, and nothing where it need not be there.
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.text() {
            Some(text) => self.located(visitor.visit_str(text)),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_str(visitor)
    }

    /// A list or map that was named and left empty has no elements.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.content {
            Content::Null => self.located(visitor.visit_seq(List { parent: &self, list: &[], next: 0 })),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.node.content {
            Content::Null => self.located(visitor.visit_map(Map { parent: &self, map: &[], next: 0 })),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let result = match (&self.node.content, self.text()) {
            (Content::Map(map), _) if map.len() == 1 => {
                visitor.visit_enum(Variant { entry: &map[0], value: self.child(&map[0]) })
            }
            (_, Some(text)) => visitor.visit_enum(text.into_deserializer()),
            _ => Err(Error::new("expected one name, or a map with one name".to_owned())),
        };
        self.located(result)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier
    }
}

struct List<'a> {
    parent: &'a De<'a>,
    list: &'a [Node],
    next: usize,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.list.get(self.next) else { return Ok(None) };
        let path = format!("{}[{}]", self.parent.path, self.next);
        self.next += 1;
        seed.deserialize(De { node, path }).map(Some)
    }
}

struct Map<'a> {
    parent: &'a De<'a>,
    map: &'a [Entry],
    next: usize,
}

impl<'de> MapAccess<'de> for Map<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some(entry) = self.map.get(self.next) else { return Ok(None) };
        self.next += 1;
        let name: StrDeserializer<'_, Error> = entry.name.as_str().into_deserializer();
        seed.deserialize(name)
            .map(Some)
            .map_err(|error| error.at(&entry.place, &joined(&self.parent.path, &entry.name)))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        match self.next.checked_sub(1).and_then(|at| self.map.get(at)) {
            Some(entry) => seed.deserialize(self.parent.child(entry)),
            None => Err(Error::new("a value was asked for before its name".to_owned())),
        }
    }
}

struct Variant<'a> {
    entry: &'a Entry,
    value: De<'a>,
}

impl<'a, 'de> EnumAccess<'de> for Variant<'a> {
    type Error = Error;
    type Variant = De<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, De<'a>), Error> {
        let name: StrDeserializer<'_, Error> = self.entry.name.as_str().into_deserializer();
        match seed.deserialize(name) {
            Ok(variant) => Ok((variant, self.value)),
            Err(error) => Err(error.at(&self.entry.place, &self.value.path)),
        }
    }
}

impl<'de> VariantAccess<'de> for De<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        match self.node.content {
            Content::Null => Ok(()),
            _ => self.located(Err(Error::new("takes no value".to_owned()))),
        }
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Error> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Error> {
        self.deserialize_map(visitor)
    }
}
