//! What a file's statistics say of some columns, as the text that the log has. Pure.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::table::state::DataFile;

/// The values are JSON text, so that no number passes through a double.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Known<'a> {
    pub num_records: Option<u64>,
    pub min_values: HashMap<&'a str, &'a str>,
    pub max_values: HashMap<&'a str, &'a str>,
    pub null_count: HashMap<&'a str, &'a str>,
}

impl<'a> Known<'a> {
    /// Nothing where the statistics can't be read.
    pub fn of(file: &'a DataFile, columns: &HashSet<&'a str>) -> Known<'a> {
        let read = |stats: &'a str| Whole(columns).deserialize(&mut serde_json::Deserializer::from_str(stats)).ok();
        file.stats.as_deref().and_then(read).unwrap_or_default()
    }
}

struct Whole<'c, 'a>(&'c HashSet<&'a str>);

impl<'a> DeserializeSeed<'a> for Whole<'_, 'a> {
    type Value = Known<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Known<'a>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Whole<'_, 'a> {
    type Value = Known<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a file's statistics")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Known<'a>, A::Error> {
        let mut known = Known::default();
        while let Some(name) = map.next_key::<Cow<'a, str>>()? {
            match name.as_ref() {
                "numRecords" => known.num_records = map.next_value()?,
                "minValues" => known.min_values = map.next_value_seed(Columns(self.0))?,
                "maxValues" => known.max_values = map.next_value_seed(Columns(self.0))?,
                "nullCount" => known.null_count = map.next_value_seed(Columns(self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(known)
    }
}

struct Columns<'c, 'a>(&'c HashSet<&'a str>);

impl<'a> DeserializeSeed<'a> for Columns<'_, 'a> {
    type Value = HashMap<&'a str, &'a str>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Columns<'_, 'a> {
    type Value = HashMap<&'a str, &'a str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value for each column")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut values = HashMap::new();
        while let Some(name) = map.next_key::<Cow<'a, str>>()? {
            match self.0.get(name.as_ref()) {
                Some(column) => drop(values.insert(*column, map.next_value::<&'a RawValue>()?.get())),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn only_the_columns_asked_for_are_read_and_in_every_digit() {
        let stats = concat!(
            r#"{"numRecords":2,"tightBounds":true,"minValues":{"a":-0.05,"b":{"c":1}},"#,
            r#""maxValues":{"b":{"c":2},"a":123456789012345678901234567890.12},"nullCount":{"a":0,"d":[1]}}"#
        );
        let file = DataFile {
            path: "x".into(),
            size: 1,
            modified: 0,
            partition: BTreeMap::new(),
            rows: None,
            versions: None,
            stats: Some(stats.into()),
        };
        let known = Known::of(&file, &HashSet::from(["a"]));
        assert_eq!((known.num_records, known.min_values["a"], known.null_count["a"]), (Some(2), "-0.05", "0"));
        assert_eq!(known.max_values, HashMap::from([("a", "123456789012345678901234567890.12")]));
    }
}
