//! The change log: partitioned events, and the ledger that commits with them.
//!
//! An implementation promises
//! - **atomic commit**: a [`CommitBatch`]'s events and ledger entries become visible together or not at all, and are
//!   durable when [`SlotWriter::commit`] answers;
//! - **fencing**: a writer whose slot was taken over gets [`LogError::Fenced`] and has changed nothing;
//! - **order**: records of one partition are read in the order in which they were committed, with rising offsets;
//! - **committed only**: a reader sees no record of a commit that failed.
//!
//! `common/conformance` holds the tests that every implementation passes.

use std::collections::BTreeMap;
use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::change::TableName;
use crate::completeness::Mark;
use crate::failure::{Directive, Kind};
use crate::key::KeyBytes;
use crate::ledger::{LedgerEntry, LedgerKey, Slot};

/// A partition of one table's changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TablePartition {
    pub table: TableName,
    pub partition: u16,
}

impl fmt::Display for TablePartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.partition)
    }
}

/// A record's place in its partition. Rises; may have holes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub u64);

impl Offset {
    pub fn next(self) -> Offset {
        Offset(self.0 + 1)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The identity of one table's log. A log that was deleted and made anew has another one, and offsets of the old
/// mean nothing in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LogId(pub String);

/// The start and end of one partition: the first offset still held, and the one that the next record will get at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub start: Offset,
    pub end: Offset,
}

/// A record as it lies on the log. `value` is for [`crate::codec::decode`]; marks have no key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    pub at: TablePartition,
    pub offset: Offset,
    pub key: Option<KeyBytesOnLog>,
    pub value: Bytes,
}

/// Key bytes as read, not checked to be canonical.
pub type KeyBytesOnLog = Bytes;

/// An event to be written: the key decides the partition.
#[derive(Clone, Debug)]
pub struct LogEvent {
    pub table: TableName,
    pub key: KeyBytes,
    pub value: Bytes,
}

/// What one commit makes visible at once.
#[derive(Clone, Debug, Default)]
pub struct CommitBatch {
    pub events: Vec<LogEvent>,
    pub entries: Vec<LedgerEntry>,
    pub forgotten: Vec<LedgerKey>,
}

impl CommitBatch {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.entries.is_empty() && self.forgotten.is_empty()
    }
}

/// Proof that a commit is on stable storage; only an implementation makes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "progress moves on durability alone"]
pub struct Durable {
    pub events: usize,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The writer can't be used any more. What it was asked to commit did not happen, but for a commit that was answered
    /// with [`LogError::Unavailable`] before: the ledger says whether that one did.
    #[error("slot {slot} has another owner now")]
    Fenced { slot: Slot },
    #[error("no space left for the change log in {place}")]
    Full { place: String },
    #[error("the change log does not answer: {0}")]
    Unavailable(String),
    #[error("the change log in {place} is damaged: {reason}")]
    Corrupt { place: String, reason: String },
    #[error("{0}")]
    Misconfigured(String),
}

impl LogError {
    pub fn kind(&self) -> Kind {
        match self {
            LogError::Fenced { .. } => Kind::Fenced,
            LogError::Full { .. } => Kind::NoSpace,
            LogError::Unavailable(_) => Kind::Transient,
            LogError::Corrupt { .. } | LogError::Misconfigured(_) => Kind::Operator,
        }
    }

    pub fn directive(&self) -> Directive {
        self.kind().directive()
    }
}

/// A change in what this worker owns.
pub enum Ownership {
    Acquired(Box<dyn SlotWriter>),
    /// The slot goes to another worker. Stop publishing, then drop the sender to acknowledge.
    Released {
        slot: Slot,
        acknowledge: tokio::sync::oneshot::Sender<()>,
    },
}

impl fmt::Debug for Ownership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ownership::Acquired(writer) => write!(f, "Acquired({})", writer.slot()),
            Ownership::Released { slot, .. } => write!(f, "Released({slot})"),
        }
    }
}

/// A group of ingest workers that share the slots.
#[async_trait]
pub trait Membership: Send {
    /// Waits for the next change. Safe to cancel: nothing is lost when the future is dropped.
    async fn changed(&mut self) -> Result<Ownership, LogError>;

    /// Gives every slot back at once, so that others need not wait for a time-out.
    async fn leave(self: Box<Self>) -> Result<(), LogError>;
}

/// The right to write one slot's events and ledger entries.
#[async_trait]
pub trait SlotWriter: Send {
    fn slot(&self) -> Slot;

    /// After [`LogError::Unavailable`] the outcome may be unknown: the same batch again finds it out, and does not commit
    /// it twice. Not safe to cancel: after a dropped future nobody knows whether the commit happened, so take a new writer.
    async fn commit(&mut self, batch: CommitBatch) -> Result<Durable, LogError>;
}

/// A reader of the whole ledger: first what it holds, then every change, committed entries only.
#[async_trait]
pub trait LedgerReader: Send {
    /// Waits until there is something, then gives all there is. Safe to cancel.
    async fn next(&mut self) -> Result<Vec<LedgerUpdate>, LogError>;
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerUpdate {
    Entry(Box<LedgerEntry>),
    Forgotten(LedgerKey),
    /// Everything that was committed before the reader was made has been given.
    CaughtUp,
}

/// What a subscription has to say.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are this reader's from now on. Nothing of them comes before [`Subscription::start`]. None at
    /// all, where other readers have them.
    Assigned(Vec<TablePartition>),
    /// They are not any more. Stop publishing what came from them, then drop the sender to acknowledge.
    Revoked { partitions: Vec<TablePartition>, acknowledge: tokio::sync::oneshot::Sender<()> },
    /// In order within each partition.
    Records(Vec<LogRecord>),
}

/// A sink's way to read the log.
#[async_trait]
pub trait Subscription: Send {
    /// Waits for the next delivery. Safe to cancel.
    async fn next(&mut self) -> Result<Delivery, LogError>;

    /// Reads an assigned partition from `offset` on, which the sink takes from its own store.
    async fn start(&mut self, at: &TablePartition, offset: Offset) -> Result<(), LogError>;

    /// Gives nothing more of these partitions until they are resumed; marks and order are kept.
    fn pause(&mut self, partitions: &[TablePartition]);
    fn resume(&mut self, partitions: &[TablePartition]);

    /// Tells the log what the sink holds durably: every record below `next`. For lag and retention only.
    async fn report(&mut self, progress: &BTreeMap<TablePartition, Offset>) -> Result<(), LogError>;
}

/// The seam between the stages: embedded in one process, or Kafka.
#[async_trait]
pub trait ChangeLog: Send + Sync + 'static {
    fn slots(&self) -> u16;

    /// Makes the table's log if there is none, and says which it is.
    async fn open_table(&self, table: &TableName) -> Result<LogId, LogError>;

    /// The extents of the table's partitions, by partition.
    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError>;

    async fn join(&self) -> Result<Box<dyn Membership>, LogError>;
    async fn ledger(&self) -> Result<Box<dyn LedgerReader>, LogError>;

    /// Appends the mark to every partition of `table`, after everything committed so far.
    async fn mark(&self, table: &TableName, mark: &Mark) -> Result<(), LogError>;

    /// `group` names the sink: each group reads everything.
    async fn subscribe(&self, group: &str, tables: &[TableName]) -> Result<Box<dyn Subscription>, LogError>;
}
