//! From the SDK's records to ours, by moving what they hold.

use std::collections::HashMap;

use aws_sdk_dynamodbstreams::types::{AttributeValue, Identity, OperationType, Record};
use headwater_common::change::Op;
use headwater_common::clock::Timestamp;
use headwater_common::number::Number;
use headwater_common::order::SequenceNumber;
use headwater_common::value::{Item, Value};

use crate::errors::StreamError;
use crate::streams::StreamRecord;

/// How DynamoDB signs the removals of its time to live.
const TTL_IDENTITY: (&str, &str) = ("Service", "dynamodb.amazonaws.com");

/// Fails with [`crate::Fault::Malformed`] on what DynamoDB can't have sent.
pub(crate) fn record(record: Record) -> Result<StreamRecord, StreamError> {
    let event_id = record.event_id.unwrap_or_default();
    let body = record.dynamodb.ok_or_else(|| lacking("a body", &event_id))?;
    let sequence = body.sequence_number.ok_or_else(|| lacking("a sequence number", &event_id))?;
    let sequence = SequenceNumber::parse(&sequence).map_err(|error| {
        StreamError::malformed(format!("a record whose sequence number is {sequence}: {error} (event {event_id})"))
    })?;
    let at = |what: &str| StreamError::malformed(format!("the record at sequence number {sequence} {what}"));
    let created = body
        .approximate_creation_date_time
        .and_then(|moment| moment.to_millis().ok())
        .ok_or_else(|| at("has no creation time"))?;
    let (identity, expired) = signature(record.user_identity);
    let op = match record.event_name {
        Some(OperationType::Insert) => Op::Insert,
        Some(OperationType::Modify) => Op::Modify,
        Some(OperationType::Remove) if expired => Op::Expire,
        Some(OperationType::Remove) => Op::Delete,
        _ => return Err(at("names no known operation")),
    };
    let image = |map: Option<HashMap<String, AttributeValue>>| {
        map.map(item).transpose().map_err(|what| at(&format!("has {what}")))
    };
    let keys = image(body.keys)?.ok_or_else(|| at("has no keys"))?;
    let after = image(body.new_image)?;
    let before = image(body.old_image)?;
    if after.is_some() == op.removes() {
        return Err(at(if op.removes() { "removes an item and has a new image" } else { "has no new image" }));
    }
    let created = Timestamp::from_millis(created);
    Ok(StreamRecord { op, sequence, event_id, created, keys, after, before, identity })
}

/// Who did it, and whether that is the time to live.
fn signature(identity: Option<Identity>) -> (Option<String>, bool) {
    match identity.map(|identity| (identity.r#type, identity.principal_id)) {
        None => (None, false),
        // The embedded server spells the members as Lambda's events do, and the SDK finds neither. It signs nothing else.
        Some((None, None)) => (Some(TTL_IDENTITY.0.to_owned()), true),
        Some((kind, principal)) => {
            let expired = (kind.as_deref(), principal.as_deref()) == (Some(TTL_IDENTITY.0), Some(TTL_IDENTITY.1));
            (kind, expired)
        }
    }
}

fn lacking(what: &str, event: &str) -> StreamError {
    StreamError::malformed(format!("a record without {what} (event {event})"))
}

fn item(map: HashMap<String, AttributeValue>) -> Result<Item, &'static str> {
    map.into_iter().map(|(name, attribute)| Ok((name, value(attribute)?))).collect::<Result<_, _>>().map(Item)
}

fn value(attribute: AttributeValue) -> Result<Value, &'static str> {
    Ok(match attribute {
        AttributeValue::S(text) => Value::S(text),
        AttributeValue::N(text) => Value::N(number(text)?),
        AttributeValue::B(blob) => Value::B(blob.into_inner()),
        AttributeValue::Bool(flag) => Value::Bool(flag),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::M(map) => Value::M(item(map)?.0),
        AttributeValue::L(list) => Value::L(list.into_iter().map(value).collect::<Result<_, _>>()?),
        AttributeValue::Ss(set) => Value::Ss(set),
        AttributeValue::Ns(set) => Value::Ns(set.into_iter().map(number).collect::<Result<_, _>>()?),
        AttributeValue::Bs(set) => Value::Bs(set.into_iter().map(|blob| blob.into_inner()).collect()),
        _ => return Err("an attribute of a type that this release does not know"),
    })
}

fn number(text: String) -> Result<Number, &'static str> {
    Number::parse(text).map_err(|_| "a number that is no decimal")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::Fault;
    use aws_sdk_dynamodbstreams::primitives::{Blob, DateTime};
    use aws_sdk_dynamodbstreams::types::StreamRecord as Body;

    fn body() -> aws_sdk_dynamodbstreams::types::builders::StreamRecordBuilder {
        Body::builder()
            .keys("id", AttributeValue::S("a".into()))
            .sequence_number("100000000000000000001")
            .approximate_creation_date_time(DateTime::from_secs(1_700_000_000))
    }

    fn built(op: OperationType, body: Body) -> Record {
        Record::builder().event_id("e1").event_name(op).dynamodb(body).build()
    }

    #[test]
    fn every_type_is_kept_exactly() {
        let map = HashMap::from([("x".to_owned(), AttributeValue::L(vec![AttributeValue::Null(true)]))]);
        let put = body()
            .new_image("s", AttributeValue::S(String::new()))
            .new_image("n", AttributeValue::N("12345678901234567890123456789012345678".into()))
            .new_image("b", AttributeValue::B(Blob::new([0, 255])))
            .new_image("t", AttributeValue::Bool(false))
            .new_image("u", AttributeValue::Null(true))
            .new_image("m", AttributeValue::M(map))
            .new_image("ss", AttributeValue::Ss(vec!["b".into(), "a".into()]))
            .new_image("ns", AttributeValue::Ns(vec!["1.0".into(), "1E+5".into()]))
            .new_image("bs", AttributeValue::Bs(vec![Blob::new([])]))
            .build();
        let read = record(built(OperationType::Insert, put)).unwrap();
        assert_eq!(
            read.after.unwrap().to_json(),
            concat!(
                r#"{"b":{"B":"AP8="},"bs":{"BS":[""]},"m":{"M":{"x":{"L":[{"NULL":true}]}}},"#,
                r#""n":{"N":"12345678901234567890123456789012345678"},"ns":{"NS":["1.0","1E+5"]},"#,
                r#""s":{"S":""},"ss":{"SS":["b","a"]},"t":{"BOOL":false},"u":{"NULL":true}}"#
            )
        );
        assert_eq!((read.op, read.created.as_millis()), (Op::Insert, 1_700_000_000_000));
        assert_eq!(read.sequence.to_api(), "100000000000000000001");
    }

    #[test]
    fn only_the_time_to_live_makes_a_removal_an_expiry() {
        let removed = |kind: &str, principal: &str| {
            let mut record = built(OperationType::Remove, body().build());
            record.user_identity = Some(Identity::builder().r#type(kind).principal_id(principal).build());
            super::record(record).unwrap()
        };
        assert_eq!(removed("Service", "dynamodb.amazonaws.com").op, Op::Expire);
        assert_eq!(removed("Service", "replication.dynamodb.amazonaws.com").op, Op::Delete);
        assert_eq!(record(built(OperationType::Remove, body().build())).unwrap().op, Op::Delete);
        let mut unspelled = built(OperationType::Remove, body().build());
        unspelled.user_identity = Some(Identity::builder().build());
        assert_eq!(record(unspelled).unwrap().op, Op::Expire, "the embedded server's");
    }

    #[test]
    fn what_dynamodb_can_not_have_sent_is_named_with_its_place() {
        let bad_number = body().new_image("n", AttributeValue::N("one".into())).build();
        let no_image = body().build();
        let bad_sequence = body().sequence_number("12x").new_image("n", AttributeValue::Null(true)).build();
        for (body, place) in
            [(bad_number, "100000000000000000001"), (no_image, "100000000000000000001"), (bad_sequence, "e1")]
        {
            let error = record(built(OperationType::Modify, body)).unwrap_err();
            assert_eq!(error.fault, Fault::Malformed);
            assert!(error.reason.contains(place), "{error}");
        }
    }
}
