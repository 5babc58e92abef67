//! How answers get out: text for people, JSON lines for programs.

use std::io::{self, Write};

use headwater_common::value::Value;
use serde::Serialize;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Json,
}

impl Format {
    pub fn of(json: bool) -> Format {
        if json { Format::Json } else { Format::Text }
    }

    /// One document as JSON, or `text` for people.
    pub fn answer(self, document: &impl Serialize, text: impl FnOnce() -> String) -> Result<(), Failure> {
        match self {
            Format::Json => line(&json(document)?),
            Format::Text => line(text().trim_end()),
        }
    }
}

pub fn json(document: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(document).map_err(|error| Failure::failed(format!("can't write the answer as JSON: {error}")))
}

/// Whoever reads may have heard enough: a closed pipe is no failure.
pub fn line(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::failed(format!("can't write the answer: {error}"))),
    }
}

/// Whole lines, as they are.
pub fn block(lines: &[u8]) -> Result<(), Failure> {
    match io::stdout().lock().write_all(lines) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("can't write the answer: {error}")))
        }
        _ => Ok(()),
    }
}

/// A word to whoever watches, beside the answer. Nobody watching is no failure.
pub fn note(text: &str) {
    writeln!(io::stderr().lock(), "{text}").ok();
}

/// An attribute value for people: numbers and texts bare, a point as `40.64,-73.78`, a list of numbers as `[1, 0.5]`, the
/// rest as DynamoDB JSON.
pub fn value(value: &Value) -> String {
    match value {
        Value::M(map) if map.len() == 2 => match (map.get("lat"), map.get("lon")) {
            (Some(Value::N(lat)), Some(Value::N(lon))) => format!("{},{}", lat.as_str(), lon.as_str()),
            _ => serde_json::to_string(value).unwrap_or_default(),
        },
        Value::L(list) if list.iter().all(|element| element.as_number().is_some()) => {
            let numbers: Vec<&str> = list.iter().filter_map(Value::as_number).map(|number| number.as_str()).collect();
            format!("[{}]", numbers.join(", "))
        }
        Value::S(text) => text.clone(),
        Value::N(number) => number.as_str().to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null => "null".into(),
        Value::Ss(set) => format!("{{{}}}", set.join(", ")),
        other => serde_json::to_string(other).unwrap_or_default(),
    }
}

/// A number for people: `1 234 567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use headwater_common::value::Value;

    #[test]
    fn points_and_vectors_are_readable() {
        let shown = |json: &str| super::value(&serde_json::from_str::<Value>(json).unwrap());
        assert_eq!(shown(r#"{"M":{"lat":{"N":"40.64"},"lon":{"N":"-73.78"}}}"#), "40.64,-73.78");
        assert_eq!(shown(r#"{"L":[{"N":"1"},{"N":"0.5"}]}"#), "[1, 0.5]");
        assert_eq!(shown(r#"{"M":{"lat":{"S":"x"},"lon":{"N":"1"}}}"#), r#"{"M":{"lat":{"S":"x"},"lon":{"N":"1"}}}"#);
        assert_eq!(shown(r#"{"L":[{"S":"x"}]}"#), r#"{"L":[{"S":"x"}]}"#);
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        let grouped = |number| super::grouped(number);
        assert_eq!([grouped(0), grouped(999), grouped(1000), grouped(1_234_567)], ["0", "999", "1 000", "1 234 567"]);
    }
}
