//! What passes from a shard's reader to the pipeline.

use headwater_common::clock::Timestamp;
use headwater_common::ledger::GapEntry;
use headwater_common::log::LogEvent;
use headwater_common::order::{SequenceNumber, Version};
use tokio::sync::OwnedSemaphorePermit;

use crate::budget::Hold;
use crate::streams::{ListedShard, ShardKey};

/// What a reader has to say, and of which shard.
pub(crate) struct Read {
    pub key: ShardKey,
    /// Tells this reader from an earlier one of the same shard.
    pub run: u64,
    pub what: What,
}

#[allow(clippy::large_enum_variant)] // the large ones are nearly all there are
pub(crate) enum What {
    Page(Page),
    /// Everything that was in the shard when the request began has been given.
    CaughtUp(Timestamp),
    /// The service does not know the shard.
    Missing,
    /// The service has dropped all that was in the shard, to its very beginning.
    Emptied,
    Children(Vec<ListedShard>),
    /// Why the shard is not read now; `None`: it is.
    Trouble(Option<String>),
}

/// Events, and the position behind them.
pub(crate) struct Page {
    pub events: Vec<LogEvent>,
    pub position: Option<SequenceNumber>,
    pub version: Version,
    /// Of the last record.
    pub created: Option<Timestamp>,
    /// The shard ends with this page.
    pub ended: bool,
    pub gap: Option<GapEntry>,
    pub weight: usize,
    pub hold: Option<(Hold, OwnedSemaphorePermit)>,
}
