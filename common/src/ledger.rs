//! The ledger: what is known of every stream and shard, and every gap. It lives in the log, beside the events.
//!
//! A compacted map from [`LedgerKey`] to [`LedgerEntry`]: the last entry of a key is the truth. An entry is written in
//! the same atomic commit as the events that it speaks of.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::change::{ShardId, StreamArn, TableName};
use crate::clock::Timestamp;
use crate::key::java_partition;
use crate::order::{SequenceNumber, Version};

/// A share of the ledger that one worker owns at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

impl Slot {
    /// The owner of this slot is the leader.
    pub const LEADER: Slot = Slot(0);

    /// `hash(shard id) mod slots`.
    pub fn of(shard: &ShardId, slots: u16) -> Slot {
        Slot(java_partition(shard.as_str().as_bytes(), slots))
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardStatus {
    Open,
    /// Read to its end, every record committed.
    Finished,
    /// Data was trimmed before it was read; the gap ledger says which.
    Lost,
}

/// One shard's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardEntry {
    pub table: TableName,
    pub stream: StreamArn,
    pub generation: u32,
    pub shard: ShardId,
    pub parents: Vec<ShardId>,
    pub status: ShardStatus,
    /// The last record committed; `None` before the first.
    pub position: Option<SequenceNumber>,
    /// The version given to that record, or inherited from the parents.
    pub last_version: Version,
    /// Every change of this shard made before this time is committed.
    pub complete_until: Timestamp,
    /// When the status last changed; a finished shard is forgotten 48 h later.
    pub since: Timestamp,
}

/// A table's stream, by generation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEntry {
    pub table: TableName,
    pub stream: StreamArn,
    pub generation: u32,
    pub since: Timestamp,
    /// Closed when the table got another stream.
    pub closed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapCause {
    /// The stream's retention overtook the reader.
    Trimmed,
    /// A shard with unread data is no longer known to the service.
    ShardVanished,
    /// The table has another stream than before; what was written between the two is in neither.
    StreamReplaced,
}

/// A range of a stream that was not read and can't be any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GapEntry {
    pub table: TableName,
    pub stream: StreamArn,
    pub generation: u32,
    pub shard: ShardId,
    /// The last record that was committed before the gap; `None` when none was.
    pub from: Option<SequenceNumber>,
    /// The first record known after it; `None` when not known.
    pub to: Option<SequenceNumber>,
    pub cause: GapCause,
    pub found: Timestamp,
    pub repaired: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum LedgerEntry {
    Shard(ShardEntry),
    Stream(StreamEntry),
    Gap(GapEntry),
}

/// What an entry replaces.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerKey(pub String);

impl LedgerEntry {
    pub fn key(&self) -> LedgerKey {
        LedgerKey(match self {
            LedgerEntry::Shard(entry) => format!("shard/{}/{}", entry.stream, entry.shard),
            LedgerEntry::Stream(entry) => format!("stream/{}/{}", entry.table, entry.generation),
            LedgerEntry::Gap(entry) => {
                let from = entry.from.as_ref().map_or("start", |sequence| sequence.padded());
                format!("gap/{}/{}/{from}", entry.stream, entry.shard)
            }
        })
    }

    /// The slot whose owner may write this entry.
    pub fn slot(&self, slots: u16) -> Slot {
        match self {
            LedgerEntry::Shard(entry) => Slot::of(&entry.shard, slots),
            LedgerEntry::Stream(_) => Slot::LEADER,
            // Written with the stream's entries.
            LedgerEntry::Gap(entry) if entry.cause == GapCause::StreamReplaced => Slot::LEADER,
            LedgerEntry::Gap(entry) => Slot::of(&entry.shard, slots),
        }
    }
}

/// The ledger as read so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub shards: BTreeMap<(StreamArn, ShardId), ShardEntry>,
    pub streams: BTreeMap<(TableName, u32), StreamEntry>,
    pub gaps: BTreeMap<LedgerKey, GapEntry>,
}

impl Ledger {
    pub fn apply(&mut self, entry: LedgerEntry) {
        let key = entry.key();
        match entry {
            LedgerEntry::Shard(entry) => {
                self.shards.insert((entry.stream.clone(), entry.shard.clone()), entry);
            }
            LedgerEntry::Stream(entry) => {
                self.streams.insert((entry.table.clone(), entry.generation), entry);
            }
            LedgerEntry::Gap(entry) => {
                self.gaps.insert(key, entry);
            }
        }
    }

    pub fn forget(&mut self, key: &LedgerKey) {
        self.gaps.remove(key);
        self.shards.retain(|_, entry| LedgerEntry::Shard(entry.clone()).key() != *key);
        self.streams.retain(|_, entry| LedgerEntry::Stream(entry.clone()).key() != *key);
    }

    /// The stream that `table` is read from now.
    pub fn current_stream(&self, table: &TableName) -> Option<&StreamEntry> {
        self.streams.values().rfind(|entry| entry.table == *table && !entry.closed)
    }

    pub fn open_gaps(&self) -> impl Iterator<Item = &GapEntry> {
        self.gaps.values().filter(|gap| gap.repaired.is_none())
    }
}
