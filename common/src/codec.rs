//! The envelope on the log: compact JSON in Debezium's shape, with attribute values kept typed.
//!
//! Promises that what was encoded decodes to the same change. Refuses an envelope version that it doesn't know, and
//! never panics on any bytes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use crate::change::{Change, Op, ShardId, Source, StreamArn, TableName};
use crate::clock::Timestamp;
use crate::completeness::Mark;
use crate::key::{ItemKey, KeyValue};
use crate::ledger::Slot;
use crate::order::{SequenceNumber, Version};
use crate::value::{Item, Value};

/// The envelope's version, raised when a reader of the old would misread the new.
pub const ENVELOPE_VERSION: u32 = 1;

/// What a record on the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Change(Box<Change>),
    Mark(Mark),
}

#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("envelope version {0} is not known to this release, which reads version {ENVELOPE_VERSION}")]
    UnknownVersion(u32),
    #[error("not an envelope: {0}")]
    Malformed(Malformed),
    #[error("not an envelope: {0}")]
    Inconsistent(&'static str),
}

/// Where bytes stop being an envelope. The parser's own words would show what stands there, which may be private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} at column {column} of line {line}")]
pub struct Malformed {
    what: &'static str,
    line: usize,
    column: usize,
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        let what = match error.classify() {
            Category::Syntax => "no JSON",
            Category::Data => "another value than expected",
            Category::Eof => "it ends",
            Category::Io => "it can't be read",
        };
        DecodeError::Malformed(Malformed { what, line: error.line(), column: error.column() })
    }
}

#[derive(Serialize, Deserialize)]
struct Envelope<'a> {
    v: u32,
    op: Op,
    ts_ms: Timestamp,
    version: Version,
    #[serde(borrow)]
    key: Cow<'a, [KeyPart]>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    before: Option<Cow<'a, Item>>,
    after: Option<Cow<'a, Item>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    changed: Option<Cow<'a, [String]>>,
    source: SourceOnLog<'a>,
}

#[derive(Clone, Serialize, Deserialize)]
struct KeyPart {
    name: String,
    value: Value,
}

#[derive(Serialize, Deserialize)]
struct SourceOnLog<'a> {
    connector: Cow<'a, str>,
    table: Cow<'a, str>,
    stream: Cow<'a, str>,
    generation: u32,
    shard: Cow<'a, str>,
    seq: SequenceNumber,
    event_id: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    identity: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
struct MarkOnLog {
    v: u32,
    op: MarkOp,
    of: u16,
    slots: BTreeMap<Slot, Timestamp>,
}

#[derive(Serialize, Deserialize)]
enum MarkOp {
    #[serde(rename = "m")]
    Mark,
}

/// Only what decides how the rest is read.
#[derive(Deserialize)]
struct Head<'a> {
    v: u32,
    #[serde(borrow)]
    op: Cow<'a, str>,
}

pub fn encode(change: &Change) -> Bytes {
    let part = |(name, value): &(String, KeyValue)| KeyPart { name: name.clone(), value: value.to_value() };
    let source = &change.source;
    let envelope = Envelope {
        v: ENVELOPE_VERSION,
        op: change.op,
        ts_ms: change.created,
        version: change.version,
        key: Cow::Owned(std::iter::once(&change.key.partition).chain(&change.key.sort).map(part).collect()),
        before: change.before.as_ref().map(Cow::Borrowed),
        after: change.after.as_ref().map(Cow::Borrowed),
        changed: change.changed.as_deref().map(Cow::Borrowed),
        source: SourceOnLog {
            connector: "headwater".into(),
            table: change.table.as_str().into(),
            stream: source.stream.as_str().into(),
            generation: source.generation,
            shard: source.shard.as_str().into(),
            seq: source.sequence.clone(),
            event_id: source.event_id.as_str().into(),
            identity: source.identity.as_deref().map(Cow::Borrowed),
        },
    };
    // Maps with string keys and infallible values can't fail to serialise into memory.
    Bytes::from(serde_json::to_vec(&envelope).unwrap_or_default())
}

pub fn encode_mark(mark: &Mark) -> Bytes {
    let on_log = MarkOnLog { v: ENVELOPE_VERSION, op: MarkOp::Mark, of: mark.of, slots: mark.slots.clone() };
    Bytes::from(serde_json::to_vec(&on_log).unwrap_or_default())
}

pub fn decode(bytes: &[u8]) -> Result<Entry, DecodeError> {
    // A change in one pass, since nearly every record is one; what is none is told apart by its head.
    match serde_json::from_slice::<Envelope<'_>>(bytes) {
        Ok(envelope) if envelope.v == ENVELOPE_VERSION => Ok(Entry::Change(Box::new(into_change(envelope)?))),
        Ok(envelope) => Err(DecodeError::UnknownVersion(envelope.v)),
        Err(malformed) => decode_by_head(bytes, malformed),
    }
}

fn decode_by_head(bytes: &[u8], malformed: serde_json::Error) -> Result<Entry, DecodeError> {
    let head: Head<'_> = serde_json::from_slice(bytes)?;
    if head.v != ENVELOPE_VERSION {
        return Err(DecodeError::UnknownVersion(head.v));
    }
    if head.op != "m" {
        return Err(malformed.into());
    }
    let on_log: MarkOnLog = serde_json::from_slice(bytes)?;
    Ok(Entry::Mark(Mark { of: on_log.of, slots: on_log.slots }))
}

fn into_change(envelope: Envelope<'_>) -> Result<Change, DecodeError> {
    if envelope.op.removes() != envelope.after.is_none() {
        return Err(DecodeError::Inconsistent("a removal has no new image, anything else has one"));
    }
    if Version::new(envelope.version.get()).is_none() {
        return Err(DecodeError::Inconsistent("a version is below 2^63"));
    }
    let mut parts = envelope.key.into_owned().into_iter();
    let mut part = || {
        parts.next().map(|part| match KeyValue::from_value(&part.value) {
            Some(value) => Ok((part.name, value)),
            None => Err(DecodeError::Inconsistent("a key attribute is a string, a number or binary")),
        })
    };
    let partition = part().transpose()?.ok_or(DecodeError::Inconsistent("a key has a partition attribute"))?;
    let sort = part().transpose()?;
    if part().is_some() {
        return Err(DecodeError::Inconsistent("a key has at most two attributes"));
    }
    let source = envelope.source;
    Ok(Change {
        table: TableName::new(source.table),
        key: ItemKey { partition, sort },
        op: envelope.op,
        version: envelope.version,
        created: envelope.ts_ms,
        after: envelope.after.map(Cow::into_owned),
        before: envelope.before.map(Cow::into_owned),
        changed: envelope.changed.map(Cow::into_owned),
        source: Source {
            stream: StreamArn::new(source.stream),
            generation: source.generation,
            shard: ShardId::new(source.shard),
            sequence: source.seq,
            event_id: source.event_id.into_owned(),
            identity: source.identity.map(Cow::into_owned),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            table: TableName::new("aircraft"),
            key: ItemKey { partition: ("tail".into(), KeyValue::S("N1".into())), sort: None },
            op: Op::Modify,
            version: Version::new(1_700_000_000 << 30).unwrap(),
            created: Timestamp::from_millis(1_700_000_000_000),
            after: Some(Item::from_json(r#"{"delay":{"N":"1.0"},"tail":{"S":"N1"}}"#).unwrap()),
            before: None,
            changed: Some(vec!["delay".into()]),
            source: Source {
                stream: StreamArn::new("arn:aws:dynamodb:eu-west-1:1:table/aircraft/stream/x"),
                generation: 1,
                shard: ShardId::new("shardId-1"),
                sequence: SequenceNumber::parse("100000000000000000005").unwrap(),
                event_id: "e1".into(),
                identity: None,
            },
        }
    }

    /// The bytes are a contract with every log that exists.
    #[test]
    fn the_envelope_has_the_golden_bytes() {
        let golden = include_str!("../golden/change-v1.json").trim_end();
        assert_eq!(std::str::from_utf8(&encode(&change())).unwrap(), golden);
        assert_eq!(decode(golden.as_bytes()).unwrap(), Entry::Change(Box::new(change())));
    }

    #[test]
    fn a_mark_has_the_golden_bytes() {
        let golden = include_str!("../golden/mark-v1.json").trim_end();
        let mark = Mark { of: 2, slots: [(crate::ledger::Slot(1), Timestamp::from_millis(5))].into() };
        assert_eq!(std::str::from_utf8(&encode_mark(&mark)).unwrap(), golden);
        assert_eq!(decode(golden.as_bytes()).unwrap(), Entry::Mark(mark));
    }

    #[test]
    fn an_unknown_version_is_refused_and_never_guessed() {
        assert!(matches!(decode(br#"{"v":2,"op":"c","anything":[]}"#), Err(DecodeError::UnknownVersion(2))));
        assert!(matches!(decode(br#"{"v":2,"op":"m","of":1,"slots":{}}"#), Err(DecodeError::UnknownVersion(2))));
        let same_shape = include_str!("../golden/change-v1.json").replacen("\"v\":1", "\"v\":2", 1);
        assert!(matches!(decode(same_shape.as_bytes()), Err(DecodeError::UnknownVersion(2))));
    }

    #[test]
    fn an_envelope_that_contradicts_itself_is_refused() {
        let mut deleted = change();
        deleted.op = Op::Delete;
        assert!(matches!(decode(&encode(&deleted)), Err(DecodeError::Inconsistent(_))));
    }

    #[test]
    fn a_refusal_says_where_and_never_what_stands_there() {
        let golden = include_str!("../golden/change-v1.json").trim_end();
        for (was, is) in [
            (r#""op":"u""#, r#""op":"secret""#),
            (r#""v":1,"#, r#""v":"secret","#),
            (r#"{"N":"1.0"}"#, r#"{"N":"secret"}"#),
            (r#"{"N":"1.0"}"#, r#"{"secret":"1.0"}"#),
            (r#""seq":"0"#, r#""seq":"secret0"#),
            (r#""ts_ms":1700000000000"#, r#""ts_ms":"secret""#),
            ("}}", "secret"),
        ] {
            let broken = golden.replacen(was, is, 1);
            assert_ne!(broken, golden);
            let refusal = decode(broken.as_bytes()).unwrap_err();
            let texts = format!("{refusal} {refusal:?}");
            assert!(texts.contains("column") && !texts.contains("secret"), "{texts}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn any_cut_or_flipped_envelope_decodes_or_is_refused(at in 0usize..400, with in proptest::num::u8::ANY) {
            let mut bytes = encode(&change()).to_vec();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = decode(&bytes);
            let _ = decode(&bytes[..at]);
        }
    }
}
