//! The one order: sequence numbers as the stream gives them, and the version that every sink compares.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::clock::Timestamp;

/// A stream's sequence number: 1 to 40 decimal digits, compared by value.
///
/// DynamoDB documents 21 to 40 digits of varying width, which fit no integer type and whose text order is wrong;
/// so the number is held zero-padded to 40 digits, where text order is the order.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceNumber([u8; 40]);

#[derive(Debug, thiserror::Error)]
#[error("a sequence number is 1 to 40 decimal digits")]
pub struct BadSequenceNumber;

impl SequenceNumber {
    pub fn parse(text: &str) -> Result<SequenceNumber, BadSequenceNumber> {
        let digits = text.as_bytes();
        if digits.is_empty() || digits.len() > 40 || !digits.iter().all(u8::is_ascii_digit) {
            return Err(BadSequenceNumber);
        }
        let mut padded = [b'0'; 40];
        padded[40 - digits.len()..].copy_from_slice(digits);
        Ok(SequenceNumber(padded))
    }

    /// Forty digits.
    pub fn padded(&self) -> &str {
        // Only ASCII digits get in.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text to give back to the API, which refuses fewer than 21 digits and compares by value beyond.
    pub fn to_api(&self) -> &str {
        let text = self.padded();
        let leading = text.bytes().take_while(|byte| *byte == b'0').count();
        &text[leading.min(40 - 21)..]
    }
}

impl fmt::Debug for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_api())
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.to_api())
    }
}

impl Serialize for SequenceNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.padded())
    }
}

impl<'de> Deserialize<'de> for SequenceNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        SequenceNumber::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// The order of an item's changes, for every sink: positive, strictly rising per item, below 2^63 so that it is
/// a valid external version for OpenSearch and a Delta `bigint`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(u64);

impl Version {
    pub const ZERO: Version = Version(0);
    pub const MAX: Version = Version(i64::MAX as u64);

    /// `None` at or above 2^63.
    pub fn new(value: u64) -> Option<Version> {
        (value <= Self::MAX.0).then_some(Version(value))
    }

    pub fn get(self) -> u64 {
        self.0
    }

    pub fn as_i64(self) -> i64 {
        self.0 as i64
    }

    /// The version of the next record of a shard whose last one was `self`: above it, and not below the second of
    /// the record's creation. Reading again from a position that stored `self` gives the same version again.
    pub fn next(self, created: Timestamp) -> Version {
        Version((self.0 + 1).max(Self::floor(created).0).min(Self::MAX.0))
    }

    /// The least version that a change of this second can have.
    pub fn floor(second: Timestamp) -> Version {
        let seconds = second.as_millis().max(0) as u64 / 1000;
        Version((seconds << 30).min(Self::MAX.0))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_compare_by_value_whatever_their_width() {
        let short = SequenceNumber::parse("999999999999999999999").unwrap();
        let long = SequenceNumber::parse("1000000000000000000000000000").unwrap();
        assert!(short < long);
        assert_eq!(SequenceNumber::parse("0005").unwrap(), SequenceNumber::parse("5").unwrap());
        assert_eq!(short.to_api(), "999999999999999999999");
        assert_eq!(SequenceNumber::parse("5").unwrap().to_api(), "000000000000000000005");
    }

    #[test]
    fn what_is_no_sequence_number_is_refused() {
        for text in ["", "-1", "1.0", "x", &"1".repeat(41)] {
            assert!(SequenceNumber::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn versions_rise_within_a_second_and_across_a_clock_that_steps_back() {
        let first = Version::ZERO.next(Timestamp::from_millis(1_700_000_000_000));
        let second = first.next(Timestamp::from_millis(1_700_000_000_999));
        let earlier = second.next(Timestamp::from_millis(1_600_000_000_000));
        let later = earlier.next(Timestamp::from_millis(1_700_000_001_000));
        assert_eq!(first.get(), 1_700_000_000 << 30);
        assert_eq!(second.get(), first.get() + 1);
        assert_eq!(earlier.get(), second.get() + 1);
        assert_eq!(later.get(), 1_700_000_001 << 30);
    }
}
