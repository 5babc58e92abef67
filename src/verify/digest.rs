//! Digests of key ranges: two stores that hold the same items have the same digests, whatever the order they are read in.
//!
//! Promises constant memory, whatever the number of items. Assumes that no two different sets of items are made to
//! collide on purpose: a bucket is a sum of 128-bit hashes.

use std::collections::BTreeSet;

use headwater_common::value::Item;
use sha2::{Digest, Sha256};

const BUCKETS: usize = 4096;

/// One item's place and fingerprint. Equal where DynamoDB calls the items equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    pub bucket: usize,
    pub hash: u128,
}

impl Fingerprint {
    pub fn of(key: &str, item: &Item) -> Fingerprint {
        let hash =
            Sha256::new().chain_update(key).chain_update([0]).chain_update(item.normalised().to_json()).finalize();
        Fingerprint { bucket: bucket(key), hash: first_16(&hash) }
    }
}

pub fn bucket(key: &str) -> usize {
    let hash = Sha256::digest(key);
    usize::from(u16::from_be_bytes([hash[0], hash[1]])) % BUCKETS
}

fn first_16(hash: &[u8]) -> u128 {
    hash.iter().take(16).fold(0, |sum, byte| (sum << 8) | u128::from(*byte))
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    sums: Vec<u128>,
    counts: Vec<u64>,
}

impl Default for Digests {
    fn default() -> Self {
        Digests { sums: vec![0; BUCKETS], counts: vec![0; BUCKETS] }
    }
}

impl Digests {
    pub fn add(&mut self, item: Fingerprint) {
        self.sums[item.bucket] = self.sums[item.bucket].wrapping_add(item.hash);
        self.counts[item.bucket] += 1;
    }

    pub fn items(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The buckets in which two stores differ.
    pub fn differing(&self, other: &Digests) -> BTreeSet<usize> {
        let differs = |at: &usize| self.sums[*at] != other.sums[*at] || self.counts[*at] != other.counts[*at];
        (0..BUCKETS).filter(differs).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(items: &[(&str, &str)]) -> Digests {
        let mut digests = Digests::default();
        for (key, json) in items {
            digests.add(Fingerprint::of(key, &Item::from_json(json).unwrap()));
        }
        digests
    }

    #[test]
    fn order_and_the_spelling_of_numbers_make_no_difference() {
        let one = digests(&[("a", r#"{"n":{"N":"1.0"}}"#), ("b", r#"{"s":{"SS":["x","y"]}}"#)]);
        let other = digests(&[("b", r#"{"s":{"SS":["y","x"]}}"#), ("a", r#"{"n":{"N":"1"}}"#)]);
        assert!(one.differing(&other).is_empty());
        assert_eq!(one.items(), 2);
    }

    #[test]
    fn a_value_a_type_an_absence_and_a_double_each_show() {
        let base = digests(&[("a", r#"{"n":{"N":"1"}}"#)]);
        for other in [
            digests(&[("a", r#"{"n":{"N":"2"}}"#)]),
            digests(&[("a", r#"{"n":{"S":"1"}}"#)]),
            digests(&[]),
            digests(&[("a", r#"{"n":{"N":"1"}}"#), ("a", r#"{"n":{"N":"1"}}"#)]),
        ] {
            assert_eq!(base.differing(&other), BTreeSet::from([bucket("a")]));
        }
    }
}
