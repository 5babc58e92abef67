//! What is asked of a stream, free of any SDK.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use headwater_common::change::{Op, ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::order::SequenceNumber;
use headwater_common::value::Item;

use crate::errors::StreamError;

/// A stream's shard within its stream.
pub type ShardKey = (StreamArn, ShardId);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamStatus {
    Enabled,
    /// Nothing is written to it any more; it stays readable for a day.
    Disabled,
    /// The service does not know it.
    Absent,
}

/// Which images a stream's records carry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ViewType {
    NewImage,
    NewAndOldImages,
    /// Without new images, by DynamoDB's name.
    Unfit(String),
}

/// Names of a table's key attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySchema {
    pub partition: String,
    pub sort: Option<String>,
}

/// A table as far as its stream goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceTable {
    /// `None` while it is switched off.
    pub stream: Option<StreamArn>,
    pub keys: KeySchema,
}

/// A shard as a stream's description names it. Its last sequence number is left out: some servers give one for open
/// shards, so only a missing next iterator means the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedShard {
    pub id: ShardId,
    pub parent: Option<ShardId>,
    pub first: Option<SequenceNumber>,
}

/// One page of a stream's description.
#[derive(Clone, Debug)]
pub struct StreamPage {
    pub status: StreamStatus,
    pub view: ViewType,
    /// `None` from the servers that leave it to the table's description.
    pub keys: Option<KeySchema>,
    pub shards: Vec<ListedShard>,
    /// Where the next page begins; only its absence means that there is none.
    pub next: Option<ShardId>,
}

/// All pages of a stream's description.
#[derive(Clone, Debug)]
pub struct Listing {
    pub stream: StreamArn,
    /// When the first page was asked for: a shard that could be seen then is in it.
    pub begun: Timestamp,
    pub status: StreamStatus,
    pub view: ViewType,
    pub keys: KeySchema,
    pub shards: BTreeMap<ShardId, ListedShard>,
}

/// The last complete listing of each stream.
pub type Listings = BTreeMap<StreamArn, Listing>;

/// Where in a shard reading begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    TrimHorizon,
    After(SequenceNumber),
}

#[derive(Clone, PartialEq, Eq)]
pub struct ShardIterator(pub String);

impl fmt::Debug for ShardIterator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ShardIterator")
    }
}

/// One record of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    pub op: Op,
    pub sequence: SequenceNumber,
    pub event_id: String,
    /// Whole seconds on AWS, rounded down.
    pub created: Timestamp,
    pub keys: Item,
    pub after: Option<Item>,
    pub before: Option<Item>,
    /// The type of who did it, where it was not a user.
    pub identity: Option<String>,
}

/// What one request gave.
#[derive(Clone, Debug)]
pub struct Records {
    pub records: Vec<StreamRecord>,
    /// `None`: the shard ends with these records.
    pub next: Option<ShardIterator>,
}

/// The calls to a stream. Each may fail with any [`StreamError`] and may be repeated.
#[async_trait]
pub trait Streams: Send + Sync + 'static {
    async fn table(&self, table: &TableName) -> Result<SourceTable, StreamError>;

    async fn describe(&self, stream: &StreamArn, after: Option<&ShardId>) -> Result<StreamPage, StreamError>;

    /// The children that are known of a shard; none says nothing, since they may be known later.
    async fn children(&self, stream: &StreamArn, parent: &ShardId) -> Result<Vec<ListedShard>, StreamError>;

    async fn iterator(&self, shard: &ShardKey, start: &Start) -> Result<ShardIterator, StreamError>;

    async fn records(&self, iterator: &ShardIterator, limit: u32) -> Result<Records, StreamError>;
}
