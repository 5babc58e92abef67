//! One table's changes between the log and the index: coalesced by key, with the progress that they make true.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::change::Change;
use headwater_common::clock::Timestamp;
use headwater_common::codec::Entry;
use headwater_common::completeness::Completeness;
use headwater_common::key::KeyBytes;
use headwater_common::log::{LogId, Offset};
use headwater_common::typed;

use crate::index::{Flush, Operation, PartitionProgress, Progress};

/// What was read and not yet cut into a flush.
#[derive(Debug)]
pub struct Buffer {
    log: LogId,
    of: u16,
    write_time: Option<String>,
    operations: HashMap<KeyBytes, Operation>,
    bytes: usize,
    changes: u64,
    dead_letters: u64,
    written: Vec<Timestamp>,
    partitions: BTreeMap<u16, Reached>,
    /// When the oldest change came.
    since: Option<Instant>,
    /// Progress was made since the last cut.
    moved: bool,
    last_cut: Instant,
}

#[derive(Debug)]
struct Reached {
    next: Offset,
    complete: Completeness,
}

/// One flush, and what it stands for.
#[derive(Clone, Debug)]
pub struct Cut {
    pub flush: Arc<Flush>,
    /// Changes read, of which the flush holds the newest of each key.
    pub changes: u64,
    pub dead_letters: u64,
    /// When their producers wrote them, where they say so.
    pub written: Vec<Timestamp>,
    pub bytes: usize,
}

impl Buffer {
    /// For a table whose log has `of` partitions. `write_time` names the attribute with the producer's time.
    pub fn new(log: LogId, of: u16, write_time: Option<String>, now: Instant) -> Buffer {
        Buffer {
            log,
            of,
            write_time,
            operations: HashMap::new(),
            bytes: 0,
            changes: 0,
            dead_letters: 0,
            written: Vec::new(),
            partitions: BTreeMap::new(),
            since: None,
            moved: false,
            last_cut: now,
        }
    }

    /// Goes on from what the index holds of a partition.
    pub fn begin(&mut self, partition: u16, at: PartitionProgress) {
        let complete = Completeness::starting_at(at.complete_until);
        self.partitions.insert(partition, Reached { next: at.next, complete });
    }

    /// Takes a record; `None` is one that could not be decoded, which the index leaves out.
    pub fn take(&mut self, partition: u16, offset: Offset, entry: Option<Entry>, now: Instant) {
        let reached = self
            .partitions
            .entry(partition)
            .or_insert_with(|| Reached { next: Offset::default(), complete: Completeness::default() });
        reached.next = offset.next();
        self.moved = true;
        match entry {
            None => self.dead_letters += 1,
            Some(Entry::Mark(mark)) => reached.complete.observe(&mark),
            Some(Entry::Change(change)) => {
                self.since.get_or_insert(now);
                self.change(*change);
            }
        }
    }

    fn change(&mut self, change: Change) {
        self.changes += 1;
        if let (Some(name), Some(item)) = (&self.write_time, &change.after) {
            self.written.extend(item.get(name).and_then(|value| typed::moment(value).ok()));
        }
        let operation = Operation { key: change.key.canonical(), version: change.version, body: change.after };
        let older = self.operations.get(&operation.key);
        if older.is_some_and(|known| known.version >= operation.version) {
            return;
        }
        self.bytes = self.bytes + weight(&operation) - older.map_or(0, weight);
        self.operations.insert(operation.key.clone(), operation);
    }

    /// When the buffer is to be cut; `None` while nothing happens.
    pub fn due(&self, flush_every: Duration, flush_bytes: usize, idle_every: Duration) -> Option<Instant> {
        match self.since {
            Some(since) if self.bytes() >= flush_bytes => Some(since),
            Some(since) => Some(since + flush_every),
            None if self.moved => Some(self.last_cut + idle_every),
            None => None,
        }
    }

    /// Heap bytes held, roughly. Changes of one key take one another's place, their times do not.
    pub fn bytes(&self) -> usize {
        self.bytes + self.written.len() * size_of::<Timestamp>()
    }

    /// What is to be made visible now; `None` if nothing was read since the last cut.
    pub fn cut(&mut self, now: Instant) -> Option<Cut> {
        self.last_cut = now;
        if !std::mem::take(&mut self.moved) {
            return None;
        }
        self.since = None;
        let bytes = self.bytes();
        self.bytes = 0;
        let partition = |(at, reached): (&u16, &Reached)| {
            (*at, PartitionProgress { next: reached.next, complete_until: reached.complete.until() })
        };
        let progress = Progress {
            log: Some(self.log.clone()),
            of: self.of,
            partitions: self.partitions.iter().map(partition).collect(),
        };
        let operations = std::mem::take(&mut self.operations).into_values().collect();
        Some(Cut {
            flush: Arc::new(Flush { operations, progress }),
            changes: std::mem::take(&mut self.changes),
            dead_letters: std::mem::take(&mut self.dead_letters),
            written: std::mem::take(&mut self.written),
            bytes,
        })
    }
}

fn weight(operation: &Operation) -> usize {
    const FIXED: usize = 256;
    FIXED + 2 * operation.key.as_bytes().len() + operation.body.as_ref().map_or(0, |item| item.weight())
}

#[cfg(test)]
mod tests {
    use headwater_common::change::{Op, ShardId, Source, StreamArn, TableName};
    use headwater_common::completeness::Mark;
    use headwater_common::key::{ItemKey, KeyValue};
    use headwater_common::ledger::Slot;
    use headwater_common::order::{SequenceNumber, Version};
    use headwater_common::value::Item;

    use super::*;

    fn change(key: &str, version: u64, item: Option<&str>) -> Option<Entry> {
        Some(Entry::Change(Box::new(Change {
            table: TableName::new("t"),
            key: ItemKey { partition: ("k".into(), KeyValue::S(key.into())), sort: None },
            op: if item.is_some() { Op::Modify } else { Op::Delete },
            version: Version::new(version).unwrap(),
            created: Timestamp::EPOCH,
            after: item.map(|json| Item::from_json(json).unwrap()),
            before: None,
            changed: None,
            source: Source {
                stream: StreamArn::new("s"),
                generation: 1,
                shard: ShardId::new("s"),
                sequence: SequenceNumber::parse("1").unwrap(),
                event_id: String::new(),
                identity: None,
            },
        })))
    }

    fn buffer(now: Instant) -> Buffer {
        let mut buffer = Buffer::new(LogId("l".into()), 1, Some("w".into()), now);
        buffer.begin(0, PartitionProgress::default());
        buffer
    }

    #[test]
    fn a_cut_holds_the_newest_of_each_key_and_the_progress_of_all() {
        let now = Instant::now();
        let mut buffer = buffer(now);
        buffer.take(0, Offset(3), change("a", 2, Some(r#"{"w":{"N":"5"}}"#)), now);
        buffer.take(0, Offset(4), change("a", 1, None), now);
        buffer.take(0, Offset(5), None, now);
        let mark = Mark { of: 1, slots: [(Slot(0), Timestamp::from_millis(9))].into() };
        buffer.take(0, Offset(6), Some(Entry::Mark(mark)), now);
        let cut = buffer.cut(now).unwrap();
        assert_eq!(cut.flush.operations.len(), 1);
        assert_eq!(cut.flush.operations[0].version, Version::new(2).unwrap());
        let reached = PartitionProgress { next: Offset(7), complete_until: Some(Timestamp::from_millis(9)) };
        assert_eq!(cut.flush.progress.partitions, [(0, reached)].into());
        assert_eq!((cut.changes, cut.dead_letters, cut.written.len()), (2, 1, 1));
        assert_eq!(buffer.bytes(), 0);
        assert!(buffer.cut(now).is_none(), "nothing came since");
    }

    #[test]
    fn changes_are_due_soon_and_marks_alone_late() {
        let now = Instant::now();
        let (soon, late) = (Duration::from_secs(1), Duration::from_secs(60));
        let mut buffer = buffer(now);
        assert_eq!(buffer.due(soon, 1 << 20, late), None);
        let mark = Mark { of: 1, slots: [(Slot(0), Timestamp::from_millis(9))].into() };
        buffer.take(0, Offset(0), Some(Entry::Mark(mark)), now);
        assert_eq!(buffer.due(soon, 1 << 20, late), Some(now + late));
        buffer.take(0, Offset(1), change("a", 1, None), now);
        assert_eq!(buffer.due(soon, 1 << 20, late), Some(now + soon));
        assert_eq!(buffer.due(soon, 1, late), Some(now), "full");
    }
}
