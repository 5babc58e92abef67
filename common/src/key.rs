//! Canonical key bytes: one text-safe, unambiguous form of a primary key for every store.
//!
//! Promises that two keys have the same bytes exactly when DynamoDB holds them for one item: type-tagged (`S "1"` is
//! not `N "1"`), length-prefixed (`("a|b","c")` is not `("a","b|c")`), numbers in canonical form (`1.0` is `1`).
//! The bytes are the log's record key, their base64url the lake's `_key` and the index's document id.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use sha2::{Digest, Sha256};

use crate::number::{self, Number};
use crate::value::{Item, Value};

/// OpenSearch's limit for a document id, in bytes.
const MAX_DOCUMENT_ID: usize = 512;

/// One attribute of a primary key: DynamoDB allows string, number and binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyValue {
    S(String),
    N(Number),
    B(Vec<u8>),
}

impl KeyValue {
    pub fn from_value(value: &Value) -> Option<KeyValue> {
        match value {
            Value::S(text) => Some(KeyValue::S(text.clone())),
            Value::N(number) => Some(KeyValue::N(number.clone())),
            Value::B(bytes) => Some(KeyValue::B(bytes.clone())),
            _ => None,
        }
    }

    pub fn to_value(&self) -> Value {
        match self {
            KeyValue::S(text) => Value::S(text.clone()),
            KeyValue::N(number) => Value::N(number.clone()),
            KeyValue::B(bytes) => Value::B(bytes.clone()),
        }
    }

    /// For people and for the lake's `_pk` and `_sk`: a string as it is, a number in canonical form, binary as base64url.
    pub fn readable(&self) -> String {
        self.part().readable().into_owned()
    }

    fn part(&self) -> KeyPart<'_> {
        match self {
            KeyValue::S(text) => KeyPart::S(text),
            KeyValue::N(number) => KeyPart::N(number.as_str()),
            KeyValue::B(bytes) => KeyPart::B(Cow::Borrowed(bytes)),
        }
    }
}

/// One attribute of a primary key, borrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyPart<'a> {
    S(&'a str),
    /// A well-formed decimal.
    N(&'a str),
    B(Cow<'a, [u8]>),
}

impl KeyPart<'_> {
    /// As [`KeyValue::readable`].
    pub fn readable(&self) -> Cow<'_, str> {
        match self {
            KeyPart::S(text) => Cow::Borrowed(text),
            KeyPart::N(text) => number::canonical(text),
            KeyPart::B(bytes) => Cow::Owned(BASE64URL.encode(bytes)),
        }
    }

    fn to_value(&self) -> Option<KeyValue> {
        Some(match self {
            KeyPart::S(text) => KeyValue::S((*text).to_owned()),
            KeyPart::N(text) => KeyValue::N(Number::parse(*text).ok()?),
            KeyPart::B(bytes) => KeyValue::B(bytes.to_vec()),
        })
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let canonical;
        let (tag, bytes): (u8, &[u8]) = match self {
            KeyPart::S(text) => (b'S', text.as_bytes()),
            KeyPart::N(text) => {
                canonical = number::canonical(text);
                (b'N', canonical.as_bytes())
            }
            KeyPart::B(bytes) => (b'B', bytes),
        };
        out.push(tag);
        // DynamoDB's keys have at most 2048 bytes.
        out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        out.extend_from_slice(bytes);
    }
}

/// A primary key, borrowed: the names and values of its partition and, where the table has one, sort attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRef<'a> {
    pub partition: (&'a str, KeyPart<'a>),
    pub sort: Option<(&'a str, KeyPart<'a>)>,
}

impl KeyRef<'_> {
    /// Puts the canonical bytes in the place of what `out` holds.
    pub fn canonical_into(&self, out: &mut Vec<u8>) {
        out.clear();
        self.partition.1.encode(out);
        if let Some((_, sort)) = &self.sort {
            sort.encode(out);
        }
    }

    /// `None` where a number is none.
    pub fn to_key(&self) -> Option<ItemKey> {
        let part = |(name, part): &(&str, KeyPart<'_>)| Some(((*name).to_owned(), part.to_value()?));
        let sort = match &self.sort {
            Some(sort) => Some(part(sort)?),
            None => None,
        };
        Some(ItemKey { partition: part(&self.partition)?, sort })
    }
}

/// Puts the text of canonical bytes, as [`KeyBytes::to_text`] gives it, in the place of what `out` holds.
pub fn text_into(bytes: &[u8], out: &mut String) {
    out.clear();
    BASE64URL.encode_string(bytes, out);
}

macro_rules! key_from {
    ($variant:ident: $($from:ty => $convert:expr),+) => {
        $(impl From<$from> for KeyValue {
            fn from(value: $from) -> Self {
                #[allow(clippy::redundant_closure_call)]
                KeyValue::$variant($convert(value))
            }
        })+
    };
}

key_from!(S: &str => str::to_owned, &String => String::clone, String => std::convert::identity);
key_from!(N: Number => std::convert::identity, i64 => Number::from, i32 => |n| Number::from(i64::from(n)), u32 => |n| Number::from(i64::from(n)));
key_from!(B: Vec<u8> => std::convert::identity, &[u8] => <[u8]>::to_vec);

/// An item's primary key: names and values of its partition and, where the table has one, sort attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemKey {
    pub partition: (String, KeyValue),
    pub sort: Option<(String, KeyValue)>,
}

impl ItemKey {
    pub fn canonical(&self) -> KeyBytes {
        let mut bytes = Vec::with_capacity(64);
        self.borrowed().canonical_into(&mut bytes);
        KeyBytes(bytes)
    }

    pub fn borrowed(&self) -> KeyRef<'_> {
        fn part((name, value): &(String, KeyValue)) -> (&str, KeyPart<'_>) {
            (name, value.part())
        }
        KeyRef { partition: part(&self.partition), sort: self.sort.as_ref().map(part) }
    }

    pub fn to_item(&self) -> Item {
        std::iter::once(&self.partition)
            .chain(&self.sort)
            .map(|(name, value)| (name.clone(), value.to_value()))
            .collect()
    }

    /// The key of `item` in a table whose key attributes have these names.
    pub fn of(item: &Item, partition: &str, sort: Option<&str>) -> Option<ItemKey> {
        let part = |name: &str| Some((name.to_owned(), KeyValue::from_value(item.get(name)?)?));
        let sort = match sort {
            Some(name) => Some(part(name)?),
            None => None,
        };
        Some(ItemKey { partition: part(partition)?, sort })
    }
}

/// Canonical key bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyBytes(Vec<u8>);

impl KeyBytes {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// The bytes of a lake's `_key`; `None` for what is no base64url.
    pub fn from_text(text: &str) -> Option<KeyBytes> {
        BASE64URL.decode(text).ok().map(KeyBytes)
    }

    /// The key attributes' values, which [`ItemKey::canonical`] made these bytes of; `None` for bytes that it makes of no
    /// key. Numbers come in canonical form.
    pub fn values(&self) -> Option<Vec<KeyValue>> {
        let (mut values, mut bytes) = (Vec::new(), self.as_bytes());
        while let Some((tag, rest)) = bytes.split_first() {
            let (length, rest) = rest.split_first_chunk::<4>()?;
            let (value, rest) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
            let text = || String::from_utf8(value.to_vec()).ok();
            values.push(match tag {
                b'S' => KeyValue::S(text()?),
                b'N' => KeyValue::N(Number::parse(text()?).ok()?),
                b'B' => KeyValue::B(value.to_vec()),
                _ => return None,
            });
            bytes = rest;
        }
        Some(values)
    }

    /// The lake's `_key`: base64url without padding, of any length.
    pub fn to_text(&self) -> String {
        BASE64URL.encode(&self.0)
    }

    /// The index's document id: the same text, or above 512 bytes `#` and the base64url of its SHA-256, which no
    /// base64url text can equal.
    pub fn document_id(&self) -> String {
        let text = self.to_text();
        if text.len() <= MAX_DOCUMENT_ID {
            return text;
        }
        format!("#{}", BASE64URL.encode(Sha256::digest(&self.0)))
    }

    /// The partition that a Java producer with the default partitioner would choose.
    pub fn partition(&self, partitions: u16) -> u16 {
        java_partition(&self.0, partitions)
    }

    /// The bucket of `<table>_current` that holds this key.
    pub fn bucket(&self, buckets: u16) -> u16 {
        // Not the partition's hash: buckets and partitions must not correlate.
        let digest = Sha256::digest(&self.0);
        u16::from_be_bytes([digest[0], digest[1]]) % buckets.max(1)
    }
}

/// Kafka's default partitioner for a record with a key: murmur2 without its sign, modulo the partitions.
pub fn java_partition(key: &[u8], partitions: u16) -> u16 {
    ((murmur2(key) & 0x7fff_ffff) % u32::from(partitions.max(1))) as u16
}

/// Kafka's murmur2, seed 0x9747b28c (`org.apache.kafka.common.utils.Utils.murmur2`).
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c_u32 ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut word = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        word = word.wrapping_mul(M);
        word ^= word >> 24;
        hash = hash.wrapping_mul(M) ^ word.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (at, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * at);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(partition: KeyValue, sort: Option<KeyValue>) -> KeyBytes {
        ItemKey { partition: ("p".into(), partition), sort: sort.map(|value| ("s".into(), value)) }.canonical()
    }

    fn s(text: &str) -> KeyValue {
        KeyValue::S(text.into())
    }

    fn n(text: &str) -> KeyValue {
        KeyValue::N(Number::parse(text).unwrap())
    }

    #[test]
    fn the_values_of_a_key_come_back_and_no_other_bytes_have_any() {
        let values =
            [KeyValue::S("a|b".into()), KeyValue::N(Number::parse("-1.5").unwrap()), KeyValue::B(vec![0, 255])];
        for first in &values {
            for second in &values {
                let part = |value: &KeyValue| ("k".to_owned(), value.clone());
                let key = ItemKey { partition: part(first), sort: Some(part(second)) }.canonical();
                assert_eq!(key.values(), Some(vec![first.clone(), second.clone()]));
                let mut cut = key.into_bytes();
                cut.pop();
                assert_eq!(KeyBytes(cut).values(), None);
            }
        }
        assert_eq!(KeyBytes(vec![b'X', 0, 0, 0, 0]).values(), None);
        assert_eq!(KeyBytes(vec![b'N', 0, 0, 0, 1, b'x']).values(), None);
    }

    #[test]
    fn keys_that_dynamodb_tells_apart_have_different_bytes() {
        assert_ne!(key(s("1"), None), key(n("1"), None));
        assert_ne!(key(s("1"), None), key(KeyValue::B(b"1".to_vec()), None));
        assert_ne!(key(s("a|b"), Some(s("c"))), key(s("a"), Some(s("b|c"))));
        assert_ne!(key(s("ab"), None), key(s("a"), Some(s("b"))));
        assert_eq!(key(n("1.0"), None), key(n("1e0"), None));
    }

    #[test]
    fn a_long_key_becomes_a_digest_that_no_short_key_can_equal() {
        let short = key(s("a"), None).document_id();
        let long = key(s(&"a".repeat(600)), None).document_id();
        assert!(!short.starts_with('#'));
        assert!(long.starts_with('#') && long.len() < MAX_DOCUMENT_ID);
    }

    /// The cases of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        for (text, hash) in [
            ("21", -973_932_308_i32),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }
}
