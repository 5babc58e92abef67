//! Random values of every DynamoDB type, with a liking for what breaks stores.

use std::collections::{BTreeMap, BTreeSet};

use headwater_common::definition::FeatureType;
use headwater_common::number::Number;
use headwater_common::value::Value;
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Strings that a store may cut, escape wrongly, take for something else or lose.
const HARD_STRINGS: &[&str] = &[
    "",
    " ",
    "null",
    "NaN",
    "true",
    "0",
    "1E0",
    "a\u{0}b",
    "\u{1}\u{1f}\u{7f}\u{80}",
    "line\r\nline\ttab",
    "\"quoted\" \\ 'single' `back`",
    "e\u{301} \u{e9} \u{fffd} \u{feff}",
    "\u{1f9ca}\u{200d}\u{1f525} \u{10ffff}",
    "\u{202e}right to left\u{202c}",
    "a|b/c%2Fd#e?f&g",
    "{\"S\":\"json\"}",
    "\u{2028}\u{2029}",
    "9999-12-31T23:59:59Z",
];

/// Numbers at the edges of doubles, 64-bit integers and DynamoDB itself, in several spellings.
const HARD_NUMBERS: &[&str] = &[
    "0",
    "-0",
    "0.0",
    "1",
    "1.0",
    "1E0",
    "1e+2",
    "100",
    "-1.50",
    "0.1",
    "9007199254740993",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551616",
    "12345678901234567890123456789012345678",
    "-99999999999999999999999999999999999999",
    "1234567890123456789.0123456789012345678",
    "0.12345678901234567890123456789012345678",
    "9.9999999999999999999999999999999999999E+125",
    "1E-130",
    "-1E-130",
    "1.7976931348623157E+125",
];

/// Attribute names that no definition declares; some are names that the stores use themselves.
const STRANGE_NAMES: &[&str] =
    &["item", "_key", "_version", "_hw", "size", "a.b", "a b", "#x", ":v", "Größe", "\u{1f4a7}", "é", "e\u{301}", "0"];

pub fn strange_name(rng: &mut StdRng) -> String {
    pick(rng, STRANGE_NAMES).to_owned()
}

pub fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..10) {
        0..4 => pick(rng, HARD_STRINGS).to_owned(),
        4..9 => word(rng),
        _ => word(rng).repeat(rng.random_range(1..40)),
    }
}

pub fn word(rng: &mut StdRng) -> String {
    let length = rng.random_range(1..9);
    letters(rng, length)
}

pub fn letters(rng: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

pub fn bytes(rng: &mut StdRng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.random()).collect()
}

pub fn number(rng: &mut StdRng) -> Number {
    let text = match rng.random_range(0..4) {
        0 => pick(rng, HARD_NUMBERS).to_owned(),
        1 => rng.random_range(-1000..1000).to_string(),
        2 => format!("{}.{}", rng.random_range(-99..99), rng.random_range(0..10_000)),
        _ => digits(rng, 38),
    };
    number_of(&text)
}

/// A number of exactly `count` digits.
pub fn digits(rng: &mut StdRng, count: usize) -> String {
    let mut text = rng.random_range(1..10).to_string();
    // The last digit is not 0 either: DynamoDB holds 38 significant ones.
    text.extend((1..count).map(|at| {
        let from = if at + 1 == count { b'1' } else { b'0' };
        char::from(rng.random_range(from..=b'9'))
    }));
    text
}

/// The same number written differently; DynamoDB holds one item for all of these as keys.
pub fn respelled(rng: &mut StdRng, number: &Number) -> Number {
    let plain = number.canonical();
    let plain = plain.as_str();
    if plain.len() > 30 {
        return number_of(plain);
    }
    let text = match (rng.random_range(0..4), plain.contains('.')) {
        (0, _) => format!("{plain}E0"),
        (1, _) => format!("{plain}e+0"),
        (2, false) => format!("{plain}.0"),
        (2, true) => format!("{plain}00"),
        _ => plain.to_owned(),
    };
    number_of(&text)
}

/// For texts that are written here and are decimals.
pub fn number_of(text: &str) -> Number {
    Number::parse(text).unwrap_or_else(|_| Number::from(0))
}

/// Any value, nested at most `depth` deep.
pub fn any(rng: &mut StdRng, depth: u32) -> Value {
    match rng.random_range(0..if depth == 0 { 8 } else { 10 }) {
        0 => Value::S(text(rng)),
        1 => Value::N(number(rng)),
        2 => Value::B(blob(rng)),
        3 => Value::Bool(rng.random()),
        4 => Value::Null,
        5 => Value::Ss(string_set(rng)),
        6 => Value::Ns(number_set(rng)),
        7 => Value::Bs(binary_set(rng)),
        8 => Value::M(map(rng, depth)),
        _ => Value::L((0..rng.random_range(0..4)).map(|_| any(rng, depth - 1)).collect()),
    }
}

/// A value that the feature's type reads.
pub fn of_type(rng: &mut StdRng, feature_type: &FeatureType) -> Value {
    match feature_type {
        FeatureType::Keyword | FeatureType::Text => Value::S(text(rng)),
        FeatureType::Long => Value::N(Number::from(match rng.random_range(0..4) {
            0 => i64::MAX,
            1 => i64::MIN,
            2 => 9_007_199_254_740_993,
            _ => rng.random_range(-1000..1000),
        })),
        FeatureType::Double => {
            Value::N(number_of(&format!("{}.{}", rng.random_range(-99..99), rng.random_range(0..10_000))))
        }
        FeatureType::Decimal { precision, scale } => Value::N(decimal(rng, *precision, *scale)),
        FeatureType::Bool => Value::Bool(rng.random()),
        FeatureType::Timestamp if rng.random() => Value::N(rng.random_range(0..4_000_000_000_000_i64).into()),
        FeatureType::Timestamp => Value::S(format!("2024-02-29T23:59:{:02}.123Z", rng.random_range(0..60))),
        FeatureType::Date => Value::S(format!("{:04}-{:02}-28", rng.random_range(1..9999), rng.random_range(1..13))),
        FeatureType::Binary => Value::B(blob(rng)),
        FeatureType::GeoPoint => {
            let lat = format!("{}.{}", rng.random_range(-89..90), rng.random_range(0..100_000));
            let lon = format!("{}.{}", rng.random_range(-179..180), rng.random_range(0..100_000));
            Value::M([("lat", lat), ("lon", lon)].map(|(name, text)| (name.into(), Value::N(number_of(&text)))).into())
        }
        FeatureType::Vector { dims } => {
            Value::L((0..*dims).map(|_| Value::N(number_of(&format!("0.{}", rng.random_range(1..9999))))).collect())
        }
        FeatureType::KeywordSet => Value::Ss(string_set(rng)),
        FeatureType::NumberSet => Value::Ns(number_set(rng)),
        FeatureType::Json if rng.random() => Value::M(map(rng, 3)),
        FeatureType::Json => Value::L((0..rng.random_range(0..4)).map(|_| any(rng, 2)).collect()),
    }
}

/// A value of `decimal(precision,scale)`, half of the time with all of its digits.
fn decimal(rng: &mut StdRng, precision: u8, scale: u8) -> Number {
    let (whole, decimals) = (usize::from(precision - scale), usize::from(scale));
    let sign = if rng.random() { "-" } else { "" };
    let whole = if rng.random() { digits(rng, whole) } else { rng.random_range(0..10).to_string() };
    let text =
        if decimals == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{}", digits(rng, decimals)) };
    number_of(&text)
}

fn blob(rng: &mut StdRng) -> Vec<u8> {
    let length = rng.random_range(0..40);
    bytes(rng, length)
}

fn map(rng: &mut StdRng, depth: u32) -> BTreeMap<String, Value> {
    (0..rng.random_range(0..4))
        .map(|_| {
            let name = if rng.random() { word(rng) } else { strange_name(rng) };
            (name, any(rng, depth.saturating_sub(1)))
        })
        .collect()
}

fn string_set(rng: &mut StdRng) -> Vec<String> {
    let mut set: BTreeSet<String> = (0..rng.random_range(1..5)).map(|_| text(rng)).collect();
    // DynamoDB's sets take the empty string; its emulators don't all.
    set.remove("");
    set.insert(word(rng));
    set.into_iter().collect()
}

/// No two spellings of one number: DynamoDB refuses such a set.
fn number_set(rng: &mut StdRng) -> Vec<Number> {
    let set: BTreeMap<Number, Number> = (0..rng.random_range(1..5))
        .map(|_| {
            let number = number(rng);
            (number.canonical(), number)
        })
        .collect();
    set.into_values().collect()
}

fn binary_set(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let set: BTreeSet<Vec<u8>> = (0..rng.random_range(1..4))
        .map(|_| {
            let length = rng.random_range(1..20);
            bytes(rng, length)
        })
        .collect();
    set.into_iter().collect()
}

fn pick(rng: &mut StdRng, from: &[&'static str]) -> &'static str {
    from.choose(rng).copied().unwrap_or_default()
}
