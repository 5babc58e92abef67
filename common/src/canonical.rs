//! Reads a change that is on the log exactly as [`codec::encode`](crate::codec::encode) writes it, without building it: a
//! sink that needs the new image's text and a few of its attributes gets just these.
//!
//! Promises that what it takes is what [`codec::decode`](crate::codec::decode) decodes, and that the image's text is its
//! canonical JSON. Whatever else a record holds, such as white space, an escape, names out of order or an old image, it
//! does not take; it may be a change all the same, and only `decode` tells.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::attribute::{Attribute, Plain};
use crate::change::Op;
use crate::clock::Timestamp;
use crate::codec::ENVELOPE_VERSION;
use crate::key::{KeyPart, KeyRef};
use crate::number::well_formed;
use crate::order::{SequenceNumber, Version};

/// Depth to which values are followed; DynamoDB allows 32 levels.
const MAX_DEPTH: usize = 40;

/// What a sink asks of a change, borrowed from its record.
#[derive(Debug)]
pub struct CanonicalChange<'a> {
    pub table: &'a str,
    pub key: KeyRef<'a>,
    pub op: Op,
    pub version: Version,
    pub created: Timestamp,
    /// Canonical JSON of the new image.
    pub after: Option<&'a str>,
    pub changed: Option<Vec<&'a str>>,
    pub shard: &'a str,
    pub sequence: SequenceNumber,
    pub event_id: &'a str,
}

/// The attributes that a reader asks for.
pub trait Wanted<'a> {
    /// Asked for each attribute. `None` where the name does not come after the one before.
    fn wants(&mut self, name: &'a str) -> Option<bool>;

    /// The attribute that was asked for last.
    fn take(&mut self, attribute: Attribute<'a>);
}

/// `None` if the record is not canonical, in which case some attributes may have been given.
pub fn read<'a>(record: &'a [u8], wanted: &mut impl Wanted<'a>) -> Option<CanonicalChange<'a>> {
    let text = std::str::from_utf8(record).ok()?;
    if !is_plain(record) {
        return None;
    }
    let mut cursor = Cursor { text, at: 0 };
    let change = cursor.change(wanted)?;
    (cursor.at == text.len()).then_some(change)
}

/// Whether there are neither escapes nor control characters.
fn is_plain(record: &[u8]) -> bool {
    // Every byte is looked at, so that it is done many at a time.
    let odd = |found: u8, byte: &u8| found | u8::from(*byte < 0x20) | u8::from(*byte == b'\\');
    let (blocks, rest) = record.as_chunks::<64>();
    blocks.iter().all(|block| block.iter().fold(0, odd) == 0) && rest.iter().fold(0, odd) == 0
}

/// Over text without escapes and control characters.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    #[inline(always)]
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    /// Always inline, so that the length is known and a few bytes are compared at once.
    #[inline(always)]
    fn take(&mut self, wanted: &'static str) -> Option<()> {
        self.rest().starts_with(wanted.as_bytes()).then(|| self.at += wanted.len())
    }

    #[inline(always)]
    fn string(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let start = self.at;
        let end = start + quote(self.rest())?;
        self.at = end + 1;
        self.text.get(start..end)
    }

    /// A whole number as JSON has it: digits, without leading zeros.
    fn integer(&mut self) -> Option<i64> {
        let negative = self.take("-").is_some();
        let (mut value, mut length) = (0_i64, 0);
        for byte in self.rest() {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            // Downwards, where the least one has its place.
            value = value.checked_mul(10)?.checked_sub(i64::from(digit))?;
            length += 1;
        }
        let zeros = self.rest().first() == Some(&b'0') && (length > 1 || negative);
        self.at += length;
        if length == 0 || zeros {
            return None;
        }
        if negative { Some(value) } else { value.checked_neg() }
    }

    /// A comma or the closing letter: whether there is another element.
    #[inline(always)]
    fn goes_on(&mut self, close: u8) -> Option<bool> {
        let next = *self.rest().first()?;
        self.at += 1;
        if next == b',' { Some(true) } else { (next == close).then_some(false) }
    }

    fn change(&mut self, wanted: &mut impl Wanted<'a>) -> Option<CanonicalChange<'a>> {
        self.take("{\"v\":")?;
        (self.integer()? == i64::from(ENVELOPE_VERSION)).then_some(())?;
        self.take(",\"op\":")?;
        let op = Op::from_code(self.string()?)?;
        self.take(",\"ts_ms\":")?;
        let created = Timestamp::from_millis(self.integer()?);
        self.take(",\"version\":")?;
        let version = Version::new(u64::try_from(self.integer()?).ok()?)?;
        self.take(",\"key\":[")?;
        let partition = self.key_part()?;
        let sort = if self.goes_on(b']')? { Some(self.key_part()?) } else { None };
        if sort.is_some() {
            self.take("]")?;
        }
        self.take(",\"after\":")?;
        let start = self.at;
        let after = match self.take("null") {
            Some(()) => None,
            None => {
                self.map(0, wanted)?;
                Some(self.text.get(start..self.at)?)
            }
        };
        (op.removes() == after.is_none()).then_some(())?;
        let changed = match self.take(",\"changed\":") {
            Some(()) => Some(self.list(Cursor::string)?),
            None => None,
        };
        self.take(",\"source\":{\"connector\":")?;
        self.string()?;
        self.take(",\"table\":")?;
        let table = self.string()?;
        self.take(",\"stream\":")?;
        self.string()?;
        self.take(",\"generation\":")?;
        u32::try_from(self.integer()?).ok()?;
        self.take(",\"shard\":")?;
        let shard = self.string()?;
        self.take(",\"seq\":")?;
        let sequence = SequenceNumber::parse(self.string()?).ok()?;
        self.take(",\"event_id\":")?;
        let event_id = self.string()?;
        if self.take(",\"identity\":").is_some() {
            self.string()?;
        }
        self.take("}}")?;
        let key = KeyRef { partition, sort };
        Some(CanonicalChange { table, key, op, version, created, after, changed, shard, sequence, event_id })
    }

    fn key_part(&mut self) -> Option<(&'a str, KeyPart<'a>)> {
        self.take("{\"name\":")?;
        let name = self.string()?;
        self.take(",\"value\":{\"")?;
        let value = if self.take("S\":").is_some() {
            KeyPart::S(self.string()?)
        } else if self.take("N\":").is_some() {
            KeyPart::N(self.number()?)
        } else {
            self.take("B\":")?;
            KeyPart::B(Cow::Owned(self.binary()?))
        };
        self.take("}}")?;
        Some((name, value))
    }

    fn map(&mut self, depth: usize, wanted: &mut impl Wanted<'a>) -> Option<()> {
        self.take("{")?;
        if self.take("}").is_some() {
            return Some(());
        }
        loop {
            let name = self.string()?;
            self.take(":")?;
            let wants = wanted.wants(name)?;
            let attribute = self.attribute(depth + 1)?;
            if wants {
                wanted.take(attribute);
            }
            if !self.goes_on(b'}')? {
                return Some(());
            }
        }
    }

    /// A value, checked to be canonical throughout.
    #[inline]
    fn attribute(&mut self, depth: usize) -> Option<Attribute<'a>> {
        let start = self.at;
        self.take("{\"")?;
        let plain = if self.take("S\":").is_some() {
            Plain::S(self.string()?)
        } else if self.take("N\":").is_some() {
            Plain::N(self.number()?)
        } else {
            self.rarer(depth)?
        };
        self.take("}")?;
        Some(Attribute { json: self.text.get(start..self.at)?, plain })
    }

    fn rarer(&mut self, depth: usize) -> Option<Plain<'a>> {
        (depth <= MAX_DEPTH).then_some(())?;
        if self.take("BOOL\":").is_some() {
            return if self.take("true").is_some() {
                Some(Plain::Bool(true))
            } else {
                self.take("false").map(|()| Plain::Bool(false))
            };
        }
        if self.take("NULL\":").is_some() {
            return self.take("true").map(|()| Plain::Null);
        }
        if self.take("M\":").is_some() {
            self.map(depth, &mut Nothing::default())?;
        } else if self.take("L\":").is_some() {
            self.list(|cursor| cursor.attribute(depth + 1).map(drop))?;
        } else if self.take("SS\":").is_some() {
            self.list(|cursor| cursor.string().map(drop))?;
        } else if self.take("NS\":").is_some() {
            self.list(|cursor| cursor.number().map(drop))?;
        } else if self.take("BS\":").is_some() {
            self.list(|cursor| cursor.binary().map(drop))?;
        } else {
            self.take("B\":")?;
            self.binary()?;
        }
        Some(Plain::Nested)
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.take("[")?;
        let mut list = Vec::new();
        if self.take("]").is_some() {
            return Some(list);
        }
        loop {
            list.push(element(self)?);
            if !self.goes_on(b']')? {
                return Some(list);
            }
        }
    }

    #[inline(always)]
    fn number(&mut self) -> Option<&'a str> {
        self.string().filter(|text| well_formed(text))
    }

    /// Base64 that is the one encoding of its bytes, which the decoder sees to.
    fn binary(&mut self) -> Option<Vec<u8>> {
        BASE64.decode(self.string()?).ok()
    }
}

/// Where the first quote is, looked for eight bytes at a time: most strings of a record are short.
#[inline(always)]
fn quote(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    const QUOTES: u64 = u64::from_le_bytes([b'"'; 8]);
    let mut at = 0;
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let differences = u64::from_le_bytes(*eight) ^ QUOTES;
        // The lowest bit that is set marks the first byte that is zero; those above it may be marked wrongly.
        let zeros = differences.wrapping_sub(ONES) & !differences & HIGHS;
        if zeros != 0 {
            return Some(at + (zeros.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|byte| *byte == b'"').map(|found| at + found)
}

/// Nothing of a map, but that its names are in order.
#[derive(Default)]
struct Nothing<'a>(Option<&'a str>);

impl<'a> Wanted<'a> for Nothing<'a> {
    fn wants(&mut self, name: &'a str) -> Option<bool> {
        let last = self.0.replace(name);
        last.is_none_or(|last| last < name).then_some(false)
    }

    fn take(&mut self, _: Attribute<'a>) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::change::{Change, ShardId, Source, StreamArn, TableName};
    use crate::codec::{Entry, decode, encode};
    use crate::key::{ItemKey, KeyValue};
    use crate::number::Number;
    use crate::value::Item;
    use crate::value::Value;

    fn value() -> impl Strategy<Value = Value> {
        let number = || "-?[0-9]{1,20}(\\.[0-9]{1,5})?(E[+-]?[0-9]{1,2})?".prop_map(|n| Number::parse(n).unwrap());
        let bytes = || proptest::collection::vec(any::<u8>(), 0..6);
        let leaf = prop_oneof![
            "[a-zé\"\\\\\n]{0,8}".prop_map(Value::S),
            "[a-z]{0,8}".prop_map(Value::S),
            number().prop_map(Value::N),
            bytes().prop_map(Value::B),
            any::<bool>().prop_map(Value::Bool),
            Just(Value::Null),
            proptest::collection::vec("[a-z]{0,3}", 0..3).prop_map(Value::Ss),
            proptest::collection::vec(number(), 0..3).prop_map(Value::Ns),
            proptest::collection::vec(bytes(), 0..3).prop_map(Value::Bs),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::L),
                proptest::collection::btree_map("[a-z]{0,4}", inner, 0..4).prop_map(Value::M),
            ]
        })
    }

    fn key_value() -> impl Strategy<Value = KeyValue> {
        prop_oneof![
            "[a-z]{0,4}".prop_map(KeyValue::S),
            "-?[0-9]{1,5}".prop_map(|n| KeyValue::N(Number::parse(n).unwrap())),
            proptest::collection::vec(any::<u8>(), 0..4).prop_map(KeyValue::B),
        ]
    }

    fn change() -> impl Strategy<Value = Change> {
        let item = proptest::collection::btree_map("[a-zA-Z_é]{0,6}", value(), 0..5).prop_map(Item);
        let key = (key_value(), proptest::option::of(key_value())).prop_map(|(partition, sort)| ItemKey {
            partition: ("p".into(), partition),
            sort: sort.map(|sort| ("s".into(), sort)),
        });
        let changed = proptest::option::of(proptest::collection::vec("[a-z]{0,3}", 0..3));
        let identity = proptest::option::of(Just("Service".to_owned()));
        let numbers = (any::<i64>(), 0..=Version::MAX.get(), any::<u32>(), "[0-9]{1,40}");
        (item, key, changed, identity, numbers, any::<bool>()).prop_map(
            |(item, key, changed, identity, (created, version, generation, sequence), removed)| Change {
                table: TableName::new("aircraft"),
                key,
                op: if removed { Op::Expire } else { Op::Modify },
                version: Version::new(version).unwrap(),
                created: Timestamp::from_millis(created),
                after: (!removed).then_some(item),
                before: None,
                changed,
                source: Source {
                    stream: StreamArn::new("arn:x"),
                    generation,
                    shard: ShardId::new("shardId-1"),
                    sequence: SequenceNumber::parse(&sequence).unwrap(),
                    event_id: "e1".into(),
                    identity,
                },
            },
        )
    }

    /// Every attribute, as a value.
    #[derive(Default)]
    struct All {
        map: std::collections::BTreeMap<String, Value>,
        name: String,
    }

    impl<'a> Wanted<'a> for All {
        fn wants(&mut self, name: &'a str) -> Option<bool> {
            name.clone_into(&mut self.name);
            self.map.last_key_value().is_none_or(|(last, _)| last.as_str() < name).then_some(true)
        }

        fn take(&mut self, attribute: Attribute<'a>) {
            let value = attribute.to_value().expect("a value was read");
            assert_eq!(serde_json::to_string(&value).unwrap(), attribute.json);
            assert_eq!(value.descriptor(), attribute.descriptor());
            self.map.insert(std::mem::take(&mut self.name), value);
        }
    }

    /// What was read agrees with `change`, the attributes and the image's text among it.
    fn agrees(read: &CanonicalChange<'_>, attributes: All, change: &Change) -> bool {
        let borrowed: Option<Vec<&str>> =
            change.changed.as_ref().map(|names| names.iter().map(String::as_str).collect());
        read.table == change.table.as_str()
            && read.key.to_key().as_ref() == Some(&change.key)
            && (read.op, read.version, read.created) == (change.op, change.version, change.created)
            && read.after.map(str::to_owned) == change.after.as_ref().map(Item::to_json)
            && read.changed == borrowed
            && (read.shard, &read.sequence, read.event_id)
                == (change.source.shard.as_str(), &change.source.sequence, change.source.event_id.as_str())
            && attributes.map == change.after.clone().unwrap_or_default().0
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_unless_it_has_an_escape(change in change()) {
            let record = encode(&change);
            let mut all = All::default();
            match read(&record, &mut all) {
                Some(found) => prop_assert!(agrees(&found, all, &change)),
                None => prop_assert!(record.contains(&b'\\')),
            }
            prop_assert_eq!(read(&record, &mut Nothing::default()).is_some(), !record.contains(&b'\\'));
        }

        #[test]
        fn what_was_tampered_with_is_read_only_as_it_decodes(
            change in change(),
            at in any::<prop::sample::Index>(),
            letter in "[ \"{}:,0-9a-zA-Z=+.\\]\\[-]",
            insert in any::<bool>(),
        ) {
            let record = encode(&change);
            let at = at.index(record.len());
            let mut tampered = record[..at].to_vec();
            tampered.extend_from_slice(letter.as_bytes());
            tampered.extend_from_slice(&record[at + usize::from(!insert)..]);
            let mut all = All::default();
            if let Some(found) = read(&tampered, &mut all) {
                let decoded = decode(&tampered);
                let Ok(Entry::Change(decoded)) = decoded else { panic!("{decoded:?}") };
                prop_assert!(agrees(&found, all, &decoded));
            }
        }
    }

    proptest! {
        #[test]
        fn the_first_quote_is_found_wherever_it_is(bytes in proptest::collection::vec(prop_oneof![Just(b'"'), any::<u8>()], 0..40)) {
            prop_assert_eq!(quote(&bytes), bytes.iter().position(|byte| *byte == b'"'));
        }
    }

    #[test]
    fn what_is_not_canonical_is_not_read() {
        let golden = include_str!("../golden/change-v1.json").trim_end();
        assert!(read(golden.as_bytes(), &mut Nothing::default()).is_some());
        assert!(read(include_bytes!("../golden/mark-v1.json"), &mut Nothing::default()).is_none());
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":01"),
            ("\"v\":1", "\"v\": 1"),
            ("{\"N\":\"1.0\"}", "{\"N\":\"x\"}"),
            ("{\"N\":\"1.0\"}", "{\"N\":1}"),
            ("{\"N\":\"1.0\"}", "{\"B\":\"AB==\"}"),
            ("{\"N\":\"1.0\"}", "{\"NULL\":false}"),
            ("{\"N\":\"1.0\"}", "{}"),
            ("\"delay\"", "\"zelay\""),
            ("\"op\":\"u\"", "\"op\":\"d\""),
            ("\"op\":\"u\"", "\"op\":\"z\""),
            ("}}", "}} "),
        ] {
            let tampered = golden.replacen(from, to, 1);
            assert_ne!(tampered, golden, "{from}");
            assert!(read(tampered.as_bytes(), &mut Nothing::default()).is_none(), "{tampered}");
        }
    }

    #[test]
    fn values_of_any_depth_end_in_a_refusal_and_not_in_a_full_stack() {
        let golden = include_str!("../golden/change-v1.json").trim_end();
        let deep = format!("{}{{\"NULL\":true}}{}", "{\"L\":[".repeat(100_000), "]}".repeat(100_000));
        let record = golden.replacen("{\"N\":\"1.0\"}", &deep, 1);
        assert!(read(record.as_bytes(), &mut Nothing::default()).is_none());
        assert!(read(record.as_bytes(), &mut All::default()).is_none());
    }
}
