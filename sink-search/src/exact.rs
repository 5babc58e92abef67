//! Numbers compared exactly, whatever their size: decimals as bytes in their order, and bounds on whole numbers.

use std::ops::{Bound, RangeInclusive};

use headwater_common::number::Number;

/// Bytes that compare as the numbers do. Two numbers have the same bytes exactly when they are equal.
///
/// A class (negative, zero, positive), the exponent of `0.d₁d₂… × 10^e`, the digits; a negative number's exponent and
/// digits are complemented, and closed by a byte above every complemented digit.
pub fn ordered(number: &Number) -> Vec<u8> {
    const NEGATIVE: u8 = 1;
    const ZERO: u8 = 2;
    const POSITIVE: u8 = 3;
    let plain = number.canonical();
    let (negative, magnitude) = match plain.as_str().strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.as_str()),
    };
    let (whole, fraction) = magnitude.split_once('.').unwrap_or((magnitude, ""));
    let whole = if whole == "0" { "" } else { whole };
    let leading = if whole.is_empty() { fraction.bytes().take_while(|digit| *digit == b'0').count() } else { 0 };
    let exponent = whole.len() as i32 - leading as i32;
    let digits = format!("{whole}{}", &fraction[leading..]);
    let digits = digits.trim_end_matches('0');
    if digits.is_empty() {
        return vec![ZERO];
    }
    // The exponent of any number that parses is far inside 15 bits.
    let mut bytes = vec![if negative { NEGATIVE } else { POSITIVE }];
    bytes.extend_from_slice(&((exponent + 0x4000) as u16).to_be_bytes());
    bytes.extend_from_slice(digits.as_bytes());
    if negative {
        bytes[1..].iter_mut().for_each(|byte| *byte = !*byte);
        bytes.push(0xff);
    }
    bytes
}

/// A number as a place among the whole numbers: the largest one that is not above it, and whether it is that one.
/// Saturates far outside of 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Whole {
    pub floor: i128,
    pub exact: bool,
}

impl Whole {
    pub fn of(number: &Number) -> Whole {
        let plain = number.canonical();
        let text = plain.as_str();
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let negative = text.starts_with('-');
        let far = if negative { i128::MIN / 2 } else { i128::MAX / 2 };
        // "-0.5" has the whole part -0.
        let towards_zero = whole.parse::<i128>().unwrap_or(far);
        let exact = fraction.is_empty();
        Whole { floor: towards_zero - i128::from(negative && !exact), exact }
    }
}

impl From<i64> for Whole {
    fn from(value: i64) -> Whole {
        Whole { floor: value.into(), exact: true }
    }
}

/// The 64-bit numbers between two bounds; `None` where there are none.
pub fn whole_range(lower: Bound<Whole>, upper: Bound<Whole>) -> Option<RangeInclusive<i64>> {
    let first = match lower {
        Bound::Unbounded => i128::from(i64::MIN),
        Bound::Included(Whole { floor, exact: true }) => floor,
        Bound::Included(Whole { floor, exact: false }) | Bound::Excluded(Whole { floor, .. }) => floor + 1,
    };
    let last = match upper {
        Bound::Unbounded => i128::from(i64::MAX),
        Bound::Excluded(Whole { floor, exact: true }) => floor - 1,
        Bound::Included(Whole { floor, .. }) | Bound::Excluded(Whole { floor, exact: false }) => floor,
    };
    let first = i64::try_from(first.max(i64::MIN.into())).ok()?;
    let last = i64::try_from(last.min(i64::MAX.into())).ok()?;
    (first <= last).then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(text: &str) -> Number {
        Number::parse(text).unwrap()
    }

    #[test]
    fn bytes_rise_as_the_numbers_do() {
        let rising = [
            "-9.9e125",
            "-12345678901234567890123456789012345678",
            "-12345678901234567890123456789012345677",
            "-100",
            "-1.23",
            "-1.2",
            "-1",
            "-0.123",
            "-0.12",
            "-1e-130",
            "0",
            "1e-130",
            "0.0099",
            "0.01",
            "0.12",
            "0.123",
            "1",
            "1.2",
            "9.99",
            "10",
            "12345678901234567890123456789012345677",
            "12345678901234567890123456789012345678",
            "9.9e125",
        ];
        for pair in rising.windows(2) {
            assert!(ordered(&number(pair[0])) < ordered(&number(pair[1])), "{pair:?}");
        }
        for same in [["1.0", "1"], ["-0", "0"], ["1e3", "1000"], ["0.10", ".1"], ["-20", "-2e1"]] {
            assert_eq!(ordered(&number(same[0])), ordered(&number(same[1])), "{same:?}");
        }
    }

    #[test]
    fn bounds_between_whole_numbers_round_inwards() {
        use Bound::*;
        let whole = |text: &str| Whole::of(&number(text));
        assert_eq!(whole_range(Included(whole("1.5")), Unbounded), Some(2..=i64::MAX));
        assert_eq!(whole_range(Excluded(whole("1")), Excluded(whole("3"))), Some(2..=2));
        assert_eq!(whole_range(Included(whole("-1.5")), Included(whole("-0.5"))), Some(-1..=-1));
        assert_eq!(whole_range(Included(whole("1.2")), Included(whole("1.8"))), None);
        assert_eq!(whole_range(Included(whole("1e30")), Unbounded), None);
        assert_eq!(whole_range(Unbounded, Included(whole("1e125"))), Some(i64::MIN..=i64::MAX));
        assert_eq!(whole_range(Excluded(whole("9223372036854775807")), Unbounded), None);
        assert_eq!(whole_range(Included(whole("-9223372036854775808.5")), Unbounded), Some(i64::MIN..=i64::MAX));
    }

    proptest! {
        #[test]
        fn any_two_decimals_compare_as_their_integers(a in any::<i64>(), b in any::<i64>(), scale in 0_i32..30) {
            let text = |value: i64| number(&format!("{value}e-{scale}"));
            prop_assert_eq!(ordered(&text(a)).cmp(&ordered(&text(b))), a.cmp(&b));
        }
    }
}
