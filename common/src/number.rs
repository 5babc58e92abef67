//! DynamoDB's numbers: up to 38 significant digits, kept as the text that was written, never through a double.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A decimal number as text. Any value is a well-formed decimal: `-?digits[.digits][E[+-]digits]`.
///
/// Equality is of the text; [`Number::canonical`] gives the one text of a value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Number(String);

#[derive(Debug, thiserror::Error)]
#[error("not a decimal number")]
pub struct NotANumber;

/// DynamoDB's largest magnitude is 9.99…E+125 and its smallest 1E-130; anything far outside is not one of its numbers.
const MAX_EXPONENT: i32 = 1024;

impl Number {
    /// Takes any decimal text, with or without exponent. Precision and range are DynamoDB's to judge: what it
    /// stored is kept.
    pub fn parse(text: impl Into<String>) -> Result<Number, NotANumber> {
        let text = text.into();
        if well_formed(&text) { Ok(Number(text)) } else { Err(NotANumber) }
    }

    /// Whether [`Number::parse`] takes it.
    pub fn is_decimal(text: &str) -> bool {
        well_formed(text)
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The one plain text of this value: no exponent, no leading or trailing zeros, no `-0`.
    pub fn canonical(&self) -> Number {
        Number(canonical(&self.0).into_owned())
    }

    /// `unscaled / 10^scale` exactly, in canonical form: 1250 with a scale of 2 is `12.5`.
    pub fn from_scaled(unscaled: i64, scale: u8) -> Number {
        Number(format!("{unscaled}E-{scale}")).canonical()
    }

    /// Whether DynamoDB can hold the value: at most 38 significant digits, and 0 or a magnitude from 1E-130 to
    /// 9.99…E+125.
    pub fn fits_dynamodb(&self) -> bool {
        let short = self.0.len() <= 38 && self.0.bytes().all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte));
        short
            || Decimal::read(&self.0).is_some_and(|decimal| {
                let magnitude = decimal.digits.len() as i32 + decimal.exponent - 1;
                decimal.digits.is_empty() || (decimal.digits.len() <= 38 && (-130..=125).contains(&magnitude))
            })
    }

    /// The value as a 64-bit integer, if it is one exactly.
    pub fn to_i64(&self) -> Option<i64> {
        to_i64(&self.0)
    }

    /// The nearest double. Lossy by nature; only where a double was asked for.
    pub fn to_f64(&self) -> f64 {
        to_f64(&self.0)
    }

    /// The value times `10^scale` as an integer, if it has no more than `scale` decimals and at most `precision`
    /// digits in all (`precision` ≤ 38).
    pub fn to_decimal(&self, precision: u8, scale: u8) -> Option<i128> {
        to_decimal(&self.0, precision, scale)
    }
}

/// [`Number::to_i64`] of a decimal's text.
pub fn to_i64(text: &str) -> Option<i64> {
    match text.parse() {
        Ok(value) => Some(value),
        Err(_) => Decimal::read(text)?.plain().parse().ok(),
    }
}

/// [`Number::to_f64`] of a decimal's text.
pub(crate) fn to_f64(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

/// [`Number::to_decimal`] of a decimal's text.
pub(crate) fn to_decimal(text: &str, precision: u8, scale: u8) -> Option<i128> {
    let parts = Parts::of(text)?;
    let digits = || parts.whole.bytes().chain(parts.fraction.bytes());
    let leading = digits().take_while(|digit| *digit == b'0').count();
    let all = parts.whole.len() + parts.fraction.len();
    if leading == all {
        return Some(0);
    }
    let trailing = digits().rev().take_while(|digit| *digit == b'0').count();
    let significant = all - leading - trailing;
    let exponent = parts.exponent.checked_sub_unsigned(u32::try_from(parts.fraction.len()).ok()?)?;
    let exponent = exponent.checked_add_unsigned(u32::try_from(trailing).ok()?)?;
    let shift = u32::try_from(exponent + i32::from(scale)).ok()?;
    if significant + shift as usize > usize::from(precision.min(38)) {
        return None;
    }
    let kept = || digits().skip(leading).take(significant);
    let magnitude = if significant <= 18 {
        i128::from(kept().fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0')))
    } else {
        // At most 38 digits, which 127 bits hold.
        kept().fold(0_i128, |value, digit| value * 10 + i128::from(digit - b'0'))
    };
    let magnitude = magnitude * 10_i128.pow(shift);
    Some(if parts.negative { -magnitude } else { magnitude })
}

/// The canonical text of a decimal, borrowed where it is canonical already.
pub(crate) fn canonical(text: &str) -> Cow<'_, str> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let whole = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if whole && (!digits.starts_with('0') || text == "0") {
        return Cow::Borrowed(text);
    }
    Decimal::read(text).map_or(Cow::Borrowed(text), |decimal| Cow::Owned(decimal.plain()))
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Number(value.to_string())
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Number::parse(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// Whether [`Decimal::read`] takes it, without its copies: every number of every record passes here.
pub(crate) fn well_formed(text: &str) -> bool {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mut digits, mut point) = (false, false);
    for (at, byte) in unsigned.bytes().enumerate() {
        match byte {
            b'0'..=b'9' => digits = true,
            b'.' if !point => point = true,
            b'e' | b'E' => return digits && exponent(&unsigned[at + 1..]).is_some(),
            _ => return false,
        }
    }
    digits
}

/// `±whole.fraction × 10^exponent`, as written. Both are digits only, and at least one of them has some.
struct Parts<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
}

impl Parts<'_> {
    fn of(text: &str) -> Option<Parts<'_>> {
        let (negative, rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit());
        let some = !whole.is_empty() || !fraction.is_empty();
        (some && digits).then_some(Parts { negative, whole, fraction, exponent })
    }
}

/// `±digits × 10^exponent`; digits carry no zeros at either end, and are empty for zero.
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i32,
}

impl Decimal {
    fn read(text: &str) -> Option<Decimal> {
        let Parts { negative, whole, fraction, exponent } = Parts::of(text)?;
        let all = format!("{whole}{fraction}");
        let trimmed = all.trim_end_matches('0');
        let zeros = (all.len() - trimmed.len()) as i32;
        let digits = trimmed.trim_start_matches('0').to_owned();
        let negative = negative && !digits.is_empty();
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
        Some(Decimal { negative, digits, exponent })
    }

    fn plain(&self) -> String {
        if self.digits.is_empty() {
            return "0".to_owned();
        }
        let sign = if self.negative { "-" } else { "" };
        if self.exponent >= 0 {
            return format!("{sign}{}{}", self.digits, "0".repeat(self.exponent as usize));
        }
        let decimals = self.exponent.unsigned_abs() as usize;
        if decimals >= self.digits.len() {
            return format!("{sign}0.{}{}", "0".repeat(decimals - self.digits.len()), self.digits);
        }
        let (whole, fraction) = self.digits.split_at(self.digits.len() - decimals);
        format!("{sign}{whole}.{fraction}")
    }
}

fn exponent(text: &str) -> Option<i32> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i32 = digits.parse().ok()?;
    let value = if text.starts_with('-') { -value } else { value };
    (value.abs() <= MAX_EXPONENT).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        Number::parse(text).unwrap().canonical().to_string()
    }

    #[test]
    fn one_value_has_one_canonical_text() {
        for (text, plain) in [
            ("1.0", "1"),
            ("1e3", "1000"),
            ("-0", "0"),
            ("0.000", "0"),
            ("00012", "12"),
            ("+5", "5"),
            (".5", "0.5"),
            ("5.", "5"),
            ("-1.50E-3", "-0.0015"),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345678"),
            ("1E-130", &format!("0.{}1", "0".repeat(129))),
        ] {
            assert_eq!(canonical(text), plain, "{text}");
        }
    }

    #[test]
    fn what_is_no_decimal_is_refused() {
        for text in ["", "-", ".", "NaN", "Infinity", "0x10", " 5", "1e", "1e999999999999", "1,5", "1.2.3", "--1", "١"]
        {
            assert!(Number::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_number_is_well_formed_exactly_if_it_can_be_read(text in "[-+]{0,2}[0-9]{0,3}[.]{0,2}[0-9]{0,3}([eE][-+]{0,2}[0-9]{0,5})?x{0,1}") {
            proptest::prop_assert_eq!(well_formed(&text), Decimal::read(&text).is_some(), "{}", text);
        }
    }

    #[test]
    fn what_dynamodb_cannot_hold_is_told() {
        for (text, fits) in [
            ("99999999999999999999999999999999999999", true),
            ("999999999999999999999999999999999999990", true),
            ("999999999999999999999999999999999999999", false),
            ("9.9999999999999999999999999999999999999E+125", true),
            ("1E+126", false),
            ("1E-130", true),
            ("1E-131", false),
            ("0E+500", true),
        ] {
            assert_eq!(Number::parse(text).unwrap().fits_dynamodb(), fits, "{text}");
        }
    }

    #[test]
    fn integers_and_decimals_are_exact_or_refused() {
        assert_eq!(Number::parse("9007199254740993").unwrap().to_i64(), Some(9_007_199_254_740_993));
        assert_eq!(Number::parse("1e3").unwrap().to_i64(), Some(1000));
        assert_eq!(Number::parse("1.5").unwrap().to_i64(), None);
        assert_eq!(Number::parse("9223372036854775808").unwrap().to_i64(), None);
        assert_eq!(Number::parse("12.30").unwrap().to_decimal(4, 2), Some(1230));
        assert_eq!(Number::parse("12.345").unwrap().to_decimal(10, 2), None);
        assert_eq!(Number::parse("123.45").unwrap().to_decimal(4, 2), None);
        assert_eq!(Number::parse("-0").unwrap().to_decimal(4, 2), Some(0));
    }

    #[test]
    fn a_scaled_whole_number_is_that_decimal() {
        let cases =
            [(1250, 2, "12.5"), (-5, 2, "-0.05"), (0, 3, "0"), (7, 0, "7"), (i64::MIN, 1, "-922337203685477580.8")];
        for (unscaled, scale, text) in cases {
            let number = Number::from_scaled(unscaled, scale);
            assert_eq!(number.as_str(), text);
            assert_eq!(number.to_decimal(38, scale), Some(i128::from(unscaled)));
        }
    }
}
