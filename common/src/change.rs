//! One change of one item: the contract between ingest and the sinks.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::key::ItemKey;
use crate::order::{SequenceNumber, Version};
use crate::value::Item;

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: impl AsRef<str>) -> Self {
                $name(Arc::from(text.as_ref()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name_type! {
    /// A source table's name.
    TableName
}
name_type! {
    /// A shard's id, unique within its stream.
    ShardId
}
name_type! {
    /// A stream's ARN. A table that is recreated, or whose stream is switched off and on, gets another one.
    StreamArn
}

/// What happened to the item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Op {
    #[serde(rename = "c")]
    Insert,
    #[serde(rename = "u")]
    Modify,
    #[serde(rename = "d")]
    Delete,
    /// Deleted by the table's time to live.
    #[serde(rename = "x")]
    Expire,
    /// A row that a bootstrap read.
    #[serde(rename = "r")]
    Snapshot,
}

impl Op {
    pub fn code(self) -> &'static str {
        match self {
            Op::Insert => "c",
            Op::Modify => "u",
            Op::Delete => "d",
            Op::Expire => "x",
            Op::Snapshot => "r",
        }
    }

    pub fn from_code(code: &str) -> Option<Op> {
        let all = [Op::Insert, Op::Modify, Op::Delete, Op::Expire, Op::Snapshot];
        all.into_iter().find(|op| op.code() == code)
    }

    pub fn removes(self) -> bool {
        matches!(self, Op::Delete | Op::Expire)
    }
}

/// Where a change was read. Audit only: the order is [`Change::version`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub stream: StreamArn,
    /// Counts the table's streams; a new ARN or a new bootstrap opens the next one.
    pub generation: u32,
    pub shard: ShardId,
    pub sequence: SequenceNumber,
    /// DynamoDB's `eventID`.
    pub event_id: String,
    /// Who deleted it, where not a user: `Service` for the time to live.
    pub identity: Option<String>,
}

/// One change of one item. `after` is present exactly when the item lives on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub table: TableName,
    pub key: ItemKey,
    pub op: Op,
    pub version: Version,
    /// The stream's ApproximateCreationDateTime: whole seconds on AWS, whole minutes on DynamoDB Local.
    pub created: Timestamp,
    pub after: Option<Item>,
    pub before: Option<Item>,
    /// Names of the attributes that differ, when both images were read.
    pub changed: Option<Vec<String>>,
    pub source: Source,
}

impl Change {
    /// Heap bytes held, roughly.
    pub fn weight(&self) -> usize {
        const FIXED: usize = 512;
        FIXED + self.after.as_ref().map_or(0, Item::weight) + self.before.as_ref().map_or(0, Item::weight)
    }
}
