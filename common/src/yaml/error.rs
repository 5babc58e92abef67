//! A refusal while a tree is read, in words for someone who does not know Rust.

use std::fmt;

use serde::de::{self, Expected, Unexpected};

use super::{Fault, Place};
use crate::nearest::hint;

/// A refusal that does not know its place until it leaves the node at fault.
#[derive(Debug)]
pub(super) struct Error {
    reason: String,
    at: Option<(Option<Place>, String)>,
}

impl Error {
    pub fn new(reason: String) -> Error {
        Error { reason, at: None }
    }

    pub fn at(mut self, place: &Option<Place>, path: &str) -> Error {
        self.at.get_or_insert_with(|| (place.clone(), path.to_owned()));
        self
    }

    pub fn into_fault(self) -> Fault {
        let (place, path) = self.at.unwrap_or_default();
        Fault { place, path, reason: self.reason }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }

    /// Says what kind of value was found and not the value, which may be a secret.
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(_) => "true or false",
            Unexpected::Unsigned(_) | Unexpected::Signed(_) => "a whole number",
            Unexpected::Float(_) => "a number with decimals",
            Unexpected::Str(_) | Unexpected::Char(_) => "text",
            Unexpected::Unit | Unexpected::Option => "nothing",
            Unexpected::Seq => "a list",
            Unexpected::Map => "a map",
            _ => "something else",
        };
        Error::new(format!("expected {}, found {found}", plainly(expected)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        match found {
            Unexpected::Unsigned(number) => Error::new(format!("expected {}, found {number}", plainly(expected))),
            Unexpected::Signed(number) => Error::new(format!("expected {}, found {number}", plainly(expected))),
            _ => Self::invalid_type(found, expected),
        }
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Error::new(format!("unknown field{}", hint(field, known.iter().copied())))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Error::new(format!("unknown value `{variant}`{}", hint(variant, known.iter().copied())))
    }

    fn missing_field(field: &'static str) -> Self {
        Error::new(format!("the field `{field}` is missing"))
    }
}

/// What serde's own visitors expect.
fn plainly(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    let range = match text.as_str() {
        "u8" => "0 to 255",
        "u16" => "0 to 65535",
        "u32" => "0 to 4294967295",
        "u64" | "usize" => "0 to 18446744073709551615",
        "i8" => "-128 to 127",
        "i16" => "-32768 to 32767",
        "i32" => "-2147483648 to 2147483647",
        "i64" | "isize" => "-9223372036854775808 to 9223372036854775807",
        "a string" => return "text".to_owned(),
        "a boolean" => return "true or false".to_owned(),
        "a sequence" => return "a list".to_owned(),
        "f32" | "f64" => return "a number".to_owned(),
        struct_name if struct_name.starts_with("struct ") => return "a map of fields".to_owned(),
        _ => return text,
    };
    format!("a whole number from {range}")
}
