//! Reads a change that is on the log exactly as [`codec::encode`](crate::codec::encode) writes it, without building it: a
//! sink that needs the new image's text and a few of its attributes gets just these.
//!
//! Promises that what it takes is what [`codec::decode`](crate::codec::decode) decodes, and that the image's text is its
//! canonical JSON. Whatever else a record holds, such as white space, an escape, names out of order or an old image, it
//! does not take; it may be a change all the same, and only `decode` tells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::change::Op;
use crate::clock::Timestamp;
use crate::codec::ENVELOPE_VERSION;
use crate::key::{ItemKey, KeyValue};
use crate::number::Number;
use crate::order::{SequenceNumber, Version};
use crate::value::Value;

/// Depth to which values are followed; DynamoDB allows 32 levels.
const MAX_DEPTH: usize = 40;

/// What a sink asks of a change, borrowed from its record.
#[derive(Debug)]
pub struct CanonicalChange<'a> {
    pub table: &'a str,
    pub key: ItemKey,
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
pub trait Wanted {
    /// Asked for each attribute, in the order of their names.
    fn wants(&mut self, name: &str) -> bool;

    /// The value of the attribute that was asked for last.
    fn take(&mut self, value: Value);
}

/// `None` if the record is not canonical, in which case some attributes may have been given.
pub fn read<'a>(record: &'a [u8], wanted: &mut dyn Wanted) -> Option<CanonicalChange<'a>> {
    let text = std::str::from_utf8(record).ok()?;
    // Looks at every byte, so that it is done many at a time.
    let plain = record.iter().fold(true, |plain, byte| plain & (*byte >= 0x20) & (*byte != b'\\'));
    if !plain {
        return None;
    }
    let mut cursor = Cursor { text, at: 0 };
    let change = cursor.change(wanted)?;
    (cursor.at == text.len()).then_some(change)
}

/// Over text without escapes and control characters.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        self.text.as_bytes().get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, wanted: &str) -> Option<()> {
        self.rest().starts_with(wanted.as_bytes()).then(|| self.at += wanted.len())
    }

    fn string(&mut self) -> Option<&'a str> {
        self.take("\"")?;
        let start = self.at;
        let length = self.rest().iter().position(|byte| *byte == b'"')?;
        self.at += length + 1;
        self.text.get(start..start + length)
    }

    /// A whole number as JSON has it: digits, without leading zeros.
    fn integer(&mut self) -> Option<i64> {
        let start = self.at;
        let length = self.rest().iter().position(|byte| !matches!(byte, b'-' | b'0'..=b'9'))?;
        self.at += length;
        let digits = self.text.get(start..start + length)?;
        let unsigned = digits.strip_prefix('-').unwrap_or(digits);
        let plain = unsigned == "0" && digits == "0" || !unsigned.starts_with('0');
        digits.parse().ok().filter(|_| plain)
    }

    /// A comma or the closing letter: whether there is another element.
    fn goes_on(&mut self, close: &str) -> Option<bool> {
        if self.take(",").is_some() { Some(true) } else { self.take(close).map(|()| false) }
    }

    fn change(&mut self, wanted: &mut dyn Wanted) -> Option<CanonicalChange<'a>> {
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
        let sort = if self.goes_on("]")? { Some(self.key_part()?) } else { None };
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
        let key = ItemKey { partition, sort };
        Some(CanonicalChange { table, key, op, version, created, after, changed, shard, sequence, event_id })
    }

    fn key_part(&mut self) -> Option<(String, KeyValue)> {
        self.take("{\"name\":")?;
        let name = self.string()?.to_owned();
        self.take(",\"value\":{\"")?;
        let value = match self.descriptor()? {
            "S" => KeyValue::S(self.string()?.to_owned()),
            "N" => KeyValue::N(Number::parse(self.string()?).ok()?),
            "B" => KeyValue::B(self.binary()?),
            _ => return None,
        };
        self.take("}}")?;
        Some((name, value))
    }

    /// The rest of a type's name, and the colon after it.
    fn descriptor(&mut self) -> Option<&'a str> {
        let start = self.at;
        let length = self.rest().iter().position(|byte| *byte == b'"')?;
        self.at += length;
        self.take("\":")?;
        self.text.get(start..start + length)
    }

    fn map(&mut self, depth: usize, wanted: &mut dyn Wanted) -> Option<()> {
        self.take("{")?;
        if self.take("}").is_some() {
            return Some(());
        }
        let mut last = None;
        loop {
            let name = self.string()?;
            // In order, and none twice.
            if last.replace(name).is_some_and(|last| last >= name) {
                return None;
            }
            self.take(":")?;
            if wanted.wants(name) {
                wanted.take(self.value(depth + 1)?);
            } else {
                self.skip(depth + 1)?;
            }
            if !self.goes_on("}")? {
                return Some(());
            }
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        (depth <= MAX_DEPTH).then_some(())?;
        self.take("{\"")?;
        let value = match self.descriptor()? {
            "S" => Value::S(self.string()?.to_owned()),
            "N" => Value::N(self.number()?),
            "B" => Value::B(self.binary()?),
            "BOOL" => Value::Bool(self.truth()?),
            "NULL" => self.take("true").map(|()| Value::Null)?,
            "M" => {
                let mut all = All::default();
                self.map(depth, &mut all)?;
                Value::M(all.map)
            }
            "L" => Value::L(self.list(|cursor| cursor.value(depth + 1))?),
            "SS" => Value::Ss(self.list(|cursor| cursor.string().map(str::to_owned))?),
            "NS" => Value::Ns(self.list(Cursor::number)?),
            "BS" => Value::Bs(self.list(Cursor::binary)?),
            _ => return None,
        };
        self.take("}").map(|()| value)
    }

    /// Checks what [`Cursor::value`] would read.
    fn skip(&mut self, depth: usize) -> Option<()> {
        (depth <= MAX_DEPTH).then_some(())?;
        self.take("{\"")?;
        match self.descriptor()? {
            "S" => drop(self.string()?),
            "N" => Number::is_decimal(self.string()?).then_some(())?,
            "B" => drop(self.binary()?),
            "BOOL" => drop(self.truth()?),
            "NULL" => self.take("true")?,
            "M" => self.map(depth, &mut Nothing)?,
            "L" => drop(self.list(|cursor| cursor.skip(depth + 1))?),
            "SS" => drop(self.list(Cursor::string)?),
            "NS" => drop(self.list(|cursor| Number::is_decimal(cursor.string()?).then_some(()))?),
            "BS" => drop(self.list(Cursor::binary)?),
            _ => return None,
        }
        self.take("}")
    }

    fn list<T>(&mut self, mut element: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        self.take("[")?;
        let mut list = Vec::new();
        if self.take("]").is_some() {
            return Some(list);
        }
        loop {
            list.push(element(self)?);
            if !self.goes_on("]")? {
                return Some(list);
            }
        }
    }

    fn truth(&mut self) -> Option<bool> {
        if self.take("true").is_some() { Some(true) } else { self.take("false").map(|()| false) }
    }

    fn number(&mut self) -> Option<Number> {
        Number::parse(self.string()?).ok()
    }

    /// Base64 that is the one encoding of its bytes, which the decoder sees to.
    fn binary(&mut self) -> Option<Vec<u8>> {
        BASE64.decode(self.string()?).ok()
    }
}

#[derive(Default)]
struct All {
    map: std::collections::BTreeMap<String, Value>,
    name: String,
}

impl Wanted for All {
    fn wants(&mut self, name: &str) -> bool {
        name.clone_into(&mut self.name);
        true
    }

    fn take(&mut self, value: Value) {
        self.map.insert(std::mem::take(&mut self.name), value);
    }
}

struct Nothing;

impl Wanted for Nothing {
    fn wants(&mut self, _: &str) -> bool {
        false
    }

    fn take(&mut self, _: Value) {}
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::change::{Change, ShardId, Source, StreamArn, TableName};
    use crate::codec::{Entry, decode, encode};
    use crate::value::Item;

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

    /// What was read agrees with `change`, the attributes and the image's text among it.
    fn agrees(read: &CanonicalChange<'_>, attributes: All, change: &Change) -> bool {
        let borrowed: Option<Vec<&str>> =
            change.changed.as_ref().map(|names| names.iter().map(String::as_str).collect());
        read.table == change.table.as_str()
            && (&read.key, read.op, read.version, read.created)
                == (&change.key, change.op, change.version, change.created)
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
            prop_assert_eq!(read(&record, &mut Nothing).is_some(), !record.contains(&b'\\'));
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

    #[test]
    fn what_is_not_canonical_is_not_read() {
        let golden = include_str!("../golden/change-v1.json").trim_end();
        assert!(read(golden.as_bytes(), &mut Nothing).is_some());
        assert!(read(include_bytes!("../golden/mark-v1.json"), &mut Nothing).is_none());
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
            assert!(read(tampered.as_bytes(), &mut Nothing).is_none(), "{tampered}");
        }
    }

    #[test]
    fn values_of_any_depth_end_in_a_refusal_and_not_in_a_full_stack() {
        let golden = include_str!("../golden/change-v1.json").trim_end();
        let deep = format!("{}{{\"NULL\":true}}{}", "{\"L\":[".repeat(100_000), "]}".repeat(100_000));
        let record = golden.replacen("{\"N\":\"1.0\"}", &deep, 1);
        assert!(read(record.as_bytes(), &mut Nothing).is_none());
        assert!(read(record.as_bytes(), &mut All::default()).is_none());
    }
}
