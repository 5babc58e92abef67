//! An attribute's value as it lies in canonical JSON: a plain one is borrowed, a nested one is read when it is asked for.

use crate::number::Number;
use crate::value::Value;

/// Borrowed from an item's JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The value's DynamoDB JSON.
    pub json: &'a str,
    pub plain: Plain<'a>,
}

/// What a value says, where that is not nested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plain<'a> {
    S(&'a str),
    /// A well-formed decimal.
    N(&'a str),
    Bool(bool),
    Null,
    /// Binary, a map, a list or a set: see the JSON.
    Nested,
}

impl<'a> Plain<'a> {
    pub fn of(value: &'a Value) -> Plain<'a> {
        match value {
            Value::S(text) => Plain::S(text),
            Value::N(number) => Plain::N(number.as_str()),
            Value::Bool(truth) => Plain::Bool(*truth),
            Value::Null => Plain::Null,
            Value::B(_) | Value::M(_) | Value::L(_) | Value::Ss(_) | Value::Ns(_) | Value::Bs(_) => Plain::Nested,
        }
    }
}

impl<'a> Attribute<'a> {
    /// `json` is the value's.
    pub fn of(value: &'a Value, json: &'a str) -> Attribute<'a> {
        Attribute { json, plain: Plain::of(value) }
    }

    pub fn to_value(&self) -> Option<Value> {
        match self.plain {
            Plain::S(text) => Some(Value::S(text.to_owned())),
            Plain::N(text) => Number::parse(text).ok().map(Value::N),
            Plain::Bool(truth) => Some(Value::Bool(truth)),
            Plain::Null => Some(Value::Null),
            Plain::Nested => serde_json::from_str(self.json).ok(),
        }
    }

    /// DynamoDB's descriptor of its type.
    pub fn descriptor(&self) -> &'a str {
        let rest = self.json.strip_prefix("{\"").unwrap_or_default();
        rest.split('"').next().unwrap_or_default()
    }

    /// The texts of the elements of a list of numbers, if the JSON is canonical and it is one.
    pub(crate) fn numbers(&self) -> Option<Vec<&'a str>> {
        let mut rest = self.json.strip_prefix("{\"L\":[")?.strip_suffix("]}")?;
        let mut numbers = Vec::with_capacity(rest.len() / 12);
        while !rest.is_empty() {
            let (number, others) = rest.strip_prefix("{\"N\":\"")?.split_once('"')?;
            numbers.push(number);
            rest = others.strip_prefix('}')?;
            if !rest.is_empty() {
                // Another one must follow.
                rest = rest.strip_prefix(',').filter(|rest| !rest.is_empty())?;
            }
        }
        Some(numbers)
    }

    /// The texts of `lat` and `lon` of a map of these two numbers, if the JSON is canonical and it is one.
    pub(crate) fn degrees(&self) -> Option<(&'a str, &'a str)> {
        let rest = self.json.strip_prefix("{\"M\":{\"lat\":{\"N\":\"")?.strip_suffix("\"}}}")?;
        let (lat, rest) = rest.split_once('"')?;
        let lon = rest.strip_prefix("},\"lon\":{\"N\":\"").filter(|lon| !lon.contains('"'))?;
        Some((lat, lon))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(json: &str) -> Attribute<'_> {
        Attribute { json, plain: Plain::Nested }
    }

    #[test]
    fn a_list_of_numbers_and_a_place_are_read_in_place_and_nothing_else_is() {
        assert_eq!(nested(r#"{"L":[{"N":"1"},{"N":"-0.5"}]}"#).numbers(), Some(vec!["1", "-0.5"]));
        assert_eq!(nested(r#"{"L":[]}"#).numbers(), Some(vec![]));
        for json in
            [r#"{"L":[{"S":"1"}]}"#, r#"{"L":[{"N":"1"},]}"#, r#"{"NS":["1"]}"#, r#"{"L":[{"N":"1"}{"N":"2"}]}"#]
        {
            assert_eq!(nested(json).numbers(), None, "{json}");
        }
        assert_eq!(nested(r#"{"M":{"lat":{"N":"1"},"lon":{"N":"2"}}}"#).degrees(), Some(("1", "2")));
        for json in [
            r#"{"M":{"lat":{"N":"1"}}}"#,
            r#"{"M":{"lat":{"N":"1"},"lon":{"S":"2"}}}"#,
            r#"{"M":{"alt":{"N":"9"},"lat":{"N":"1"},"lon":{"N":"2"}}}"#,
            r#"{"M":{"lat":{"N":"1"},"lon":{"N":"2"},"x":{"N":"3"}}}"#,
        ] {
            assert_eq!(nested(json).degrees(), None, "{json}");
        }
    }
}
