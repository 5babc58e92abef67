//! From a shard's records to changes: the version, the key, the names of what changed.

use headwater_common::change::{Change, Source, TableName};
use headwater_common::key::ItemKey;
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::value::Item;

use crate::errors::StreamError;
use crate::streams::{KeySchema, ShardKey, StreamRecord};

/// Numbers one shard's records in their order. The same records after the same `position` and `version` get the same
/// numbers again.
#[derive(Clone, Debug)]
pub(crate) struct Numbering {
    pub table: TableName,
    pub key: ShardKey,
    pub generation: u32,
    pub keys: KeySchema,
    pub before_image: bool,
    /// The last record numbered; `None` before the first.
    pub position: Option<SequenceNumber>,
    /// The version given to it, or inherited from the parents.
    pub version: Version,
    /// Records whose sequence number did not rise.
    pub regressions: u64,
}

impl Numbering {
    /// Leaves the numbering as it was when the record can't be a change.
    pub(crate) fn assign(&mut self, record: StreamRecord) -> Result<Change, StreamError> {
        let Some(key) = ItemKey::of(&record.keys, &self.keys.partition, self.keys.sort.as_deref()) else {
            return Err(StreamError::malformed(format!(
                "the record at sequence number {} of shard {} lacks the table's key attributes",
                record.sequence, self.key.1
            )));
        };
        if self.position.as_ref().is_some_and(|last| record.sequence <= *last) {
            self.regressions += 1;
        }
        self.version = self.version.next(record.created);
        self.position = Some(record.sequence.clone());
        let changed = match (&record.before, &record.after) {
            (Some(before), Some(after)) => Some(Item::changed(before, after)),
            _ => None,
        };
        Ok(Change {
            table: self.table.clone(),
            key,
            op: record.op,
            version: self.version,
            created: record.created,
            after: record.after,
            before: record.before.filter(|_| self.before_image),
            changed,
            source: Source {
                stream: self.key.0.clone(),
                generation: self.generation,
                shard: self.key.1.clone(),
                sequence: record.sequence,
                event_id: record.event_id,
                identity: record.identity,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_common::change::{Op, ShardId, StreamArn};
    use headwater_common::clock::Timestamp;

    fn numbering() -> Numbering {
        Numbering {
            table: TableName::new("t"),
            key: (StreamArn::new("arn"), ShardId::new("s")),
            generation: 1,
            keys: KeySchema { partition: "id".into(), sort: None },
            before_image: false,
            position: None,
            version: Version::ZERO,
            regressions: 0,
        }
    }

    fn record(sequence: &str, second: i64) -> StreamRecord {
        StreamRecord {
            op: Op::Modify,
            sequence: SequenceNumber::parse(sequence).unwrap(),
            event_id: "e".into(),
            created: Timestamp::from_millis(second * 1000),
            keys: Item::from_json(r#"{"id":{"S":"a"}}"#).unwrap(),
            after: Some(Item::from_json(r#"{"id":{"S":"a"},"x":{"N":"2"}}"#).unwrap()),
            before: Some(Item::from_json(r#"{"id":{"S":"a"},"x":{"N":"1"}}"#).unwrap()),
            identity: None,
        }
    }

    #[test]
    fn reading_again_from_a_position_gives_every_record_the_same_version() {
        let records = [record("1", 50), record("2", 50), record("3", 49), record("4", 51)];
        let mut whole = numbering();
        let first: Vec<_> = records.iter().map(|record| whole.assign(record.clone()).unwrap().version).collect();
        let mut part = numbering();
        part.assign(records[0].clone()).unwrap();
        part.assign(records[1].clone()).unwrap();
        let mut resumed = Numbering { position: part.position, version: part.version, ..numbering() };
        let again: Vec<_> = records[2..].iter().map(|record| resumed.assign(record.clone()).unwrap().version).collect();
        assert_eq!(again, first[2..]);
        assert!(first.is_sorted() && first[3].get() == 51 << 30);
    }

    #[test]
    fn what_changed_is_named_and_the_old_image_is_left_out_unless_it_is_wanted() {
        let change = numbering().assign(record("1", 1)).unwrap();
        assert_eq!((change.changed, change.before), (Some(vec!["x".to_owned()]), None));
        let mut wanted = Numbering { before_image: true, ..numbering() };
        assert!(wanted.assign(record("1", 1)).unwrap().before.is_some());
    }

    #[test]
    fn a_sequence_number_that_does_not_rise_is_counted_and_a_record_without_its_key_is_refused() {
        let mut numbering = numbering();
        numbering.assign(record("2", 1)).unwrap();
        numbering.assign(record("2", 1)).unwrap();
        assert_eq!(numbering.regressions, 1);
        let stray = StreamRecord { keys: Item::default(), ..record("3", 1) };
        assert!(numbering.assign(stray).unwrap_err().reason.contains("000000000000000000003"));
        assert_eq!(numbering.position, SequenceNumber::parse("2").ok());
    }
}
