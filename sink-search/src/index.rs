//! The index as the sink sees it: versioned documents, deletes that are documents, progress that commits with them.
//!
//! An implementation promises
//! - **order**: an operation is taken only if its version is above the stored one, as with OpenSearch's external
//!   version, whatever the order in which operations come (P2);
//! - **tombstones**: a delete leaves a document with the delete's version that no search finds, so that no older
//!   version comes back (P6);
//! - **atomicity**: a flush's operations and progress become visible and durable together, before it is answered (P3);
//! - **honesty**: an answer's `as_of` is never later than what the answer was computed from (P10).
//!
//! `sink-search/tests/stage/conformance.rs` holds the tests that every implementation passes.

use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_common::clock::Timestamp;
use headwater_common::failure::{Directive, Kind};
use headwater_common::key::KeyBytes;
use headwater_common::log::{LogId, Offset};
use headwater_common::order::Version;
use headwater_common::value::Item;
use serde::{Deserialize, Serialize};

use crate::query::{Answer, QueryError, Search};

/// One item's new state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub key: KeyBytes,
    pub version: Version,
    /// `None` is a delete.
    pub body: Option<Item>,
}

/// What becomes visible at once. Operations may come in any order and repeat a key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flush {
    pub operations: Vec<Operation>,
    pub progress: Progress,
}

/// How far the index has read one table's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The log that the offsets belong to; `None` before the first flush.
    pub log: Option<LogId>,
    /// How many partitions the log has.
    pub of: u16,
    pub partitions: BTreeMap<u16, PartitionProgress>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionProgress {
    /// The first offset that is not in the index.
    pub next: Offset,
    pub complete_until: Option<Timestamp>,
}

impl Progress {
    /// Everything written before is in the index: the smallest over all partitions, once each has spoken.
    pub fn complete_until(&self) -> Option<Timestamp> {
        let all = self.of > 0 && self.partitions.len() == usize::from(self.of);
        // `None` is below every moment.
        self.partitions.values().map(|partition| partition.complete_until).min().filter(|_| all).flatten()
    }

    /// Takes over what `later` says. Partitions that it doesn't name keep what they had, and none goes back.
    pub fn advance(&mut self, later: &Progress) {
        self.log = later.log.clone().or(self.log.take());
        self.of = later.of.max(self.of);
        for (partition, reached) in &later.partitions {
            let held = self.partitions.entry(*partition).or_default();
            held.next = held.next.max(reached.next);
            held.complete_until = held.complete_until.max(reached.complete_until);
        }
    }
}

/// What became of one operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// The index held this very version already: a repetition.
    Duplicate,
    /// The index held, or the same flush brings, a newer version.
    Superseded,
    /// The document can never be taken.
    Rejected(String),
}

/// What became of a flush: one outcome for each operation, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub outcomes: Vec<Outcome>,
    /// Attributes of applied items whose type did not match their declaration, left out of their fields.
    pub mismatches: u64,
}

/// One document, as verification reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanned {
    /// [`KeyBytes::to_text`].
    pub key: String,
    pub version: Version,
    /// Canonical DynamoDB JSON; `None` for a tombstone.
    pub item: Option<String>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum IndexError {
    #[error("no space left for the search index in {place}: free some, and it goes on by itself")]
    Full { place: String },
    #[error("the search index in {place} does not answer: {reason}")]
    Unavailable { place: String, reason: String },
    #[error("the search index in {place} is damaged: {reason}; remove it, and it is built again from the log")]
    Corrupt { place: String, reason: String },
    #[error("the search index in {place} is in use by another process: stop it, or give another data folder")]
    InUse { place: String },
    #[error("the search index in {place} was opened for reading only")]
    ReadOnly { place: String },
    #[error("there is no search index in {place}: it is made when the table is first followed")]
    Missing { place: String },
    #[error("the search index in {place} was built for other feature definitions: {differences}; {remedy}")]
    MappingChanged { place: String, differences: String, remedy: &'static str },
    #[error("the search index in {place} takes nothing: {reason}; {remedy}; the sink then goes on by itself")]
    Refused { place: String, reason: String, remedy: String },
    #[error(
        "the search index in {place} was made anew, set back, or another serves in its place: its own progress says \
         where to go on"
    )]
    Replaced { place: String },
}

impl IndexError {
    pub fn kind(&self) -> Kind {
        match self {
            IndexError::Full { .. } => Kind::NoSpace,
            IndexError::Unavailable { .. } => Kind::Transient,
            IndexError::Replaced { .. } => Kind::Stale,
            IndexError::Corrupt { .. }
            | IndexError::InUse { .. }
            | IndexError::ReadOnly { .. }
            | IndexError::Missing { .. }
            | IndexError::MappingChanged { .. }
            | IndexError::Refused { .. } => Kind::Operator,
        }
    }

    pub fn directive(&self) -> Directive {
        self.kind().directive()
    }
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    Index(#[from] IndexError),
}

/// One table's index: embedded in this process, or OpenSearch.
#[async_trait]
pub trait SearchIndex: Send + Sync + 'static {
    /// Applies a flush. An error means that the outcome is not known: the same flush may be applied again, without
    /// effect where it had succeeded.
    async fn apply(&self, flush: Arc<Flush>) -> Result<Applied, IndexError>;

    /// What the last durable flush stored.
    async fn progress(&self) -> Result<Progress, IndexError>;

    async fn search(&self, search: &Search) -> Result<Answer, SearchError>;

    /// Documents and tombstones above `after`, in the order of their key texts' bytes, at most `limit`. Only an
    /// empty answer is the end.
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Scanned>, IndexError>;

    /// Removes tombstones of deletes made before `before`, some at a time, and says how many. Nothing older than that
    /// may be applied any more.
    async fn purge(&self, before: Timestamp) -> Result<u64, IndexError>;
}

/// For each key of a batch the operation with the largest version, by its place, and for the others their outcome.
pub fn coalesce(operations: &[Operation]) -> (Vec<usize>, Vec<Outcome>) {
    let mut outcomes = vec![Outcome::Applied; operations.len()];
    let mut newest: HashMap<&KeyBytes, usize> = HashMap::with_capacity(operations.len());
    for (at, operation) in operations.iter().enumerate() {
        match newest.entry(&operation.key) {
            Entry::Vacant(place) => {
                place.insert(at);
            }
            Entry::Occupied(mut place) => {
                let known = operations[*place.get()].version;
                if operation.version > known {
                    outcomes[*place.get()] = Outcome::Superseded;
                    place.insert(at);
                } else if operation.version == known {
                    outcomes[at] = Outcome::Duplicate;
                } else {
                    outcomes[at] = Outcome::Superseded;
                }
            }
        }
    }
    let mut winners: Vec<usize> = newest.into_values().collect();
    winners.sort_unstable();
    (winners, outcomes)
}

#[cfg(test)]
mod tests {
    use headwater_common::key::{ItemKey, KeyValue};

    use super::*;

    fn operation(key: &str, version: u64) -> Operation {
        let key = ItemKey { partition: ("k".into(), KeyValue::S(key.into())), sort: None }.canonical();
        Operation { key, version: Version::new(version).unwrap(), body: None }
    }

    #[test]
    fn of_one_key_the_largest_version_wins_wherever_it_stands() {
        let batch = [operation("a", 2), operation("b", 1), operation("a", 3), operation("a", 3), operation("a", 1)];
        let (winners, outcomes) = coalesce(&batch);
        assert_eq!(winners, [1, 2]);
        use Outcome::*;
        assert_eq!(outcomes, [Superseded, Applied, Applied, Duplicate, Superseded]);
    }

    #[test]
    fn a_table_is_complete_up_to_its_slowest_partition_and_never_before_all_have_spoken() {
        let at = |ms| Some(Timestamp::from_millis(ms));
        let partition = |complete_until| PartitionProgress { next: Offset(1), complete_until };
        let mut progress = Progress { log: None, of: 2, partitions: [(0, partition(at(5)))].into() };
        assert_eq!(progress.complete_until(), None, "partition 1 is not known");
        progress.partitions.insert(1, partition(None));
        assert_eq!(progress.complete_until(), None, "partition 1 has not spoken");
        progress.partitions.insert(1, partition(at(3)));
        assert_eq!(progress.complete_until(), at(3));
    }

    #[test]
    fn progress_never_goes_back() {
        let at = |next, ms| PartitionProgress { next: Offset(next), complete_until: Some(Timestamp::from_millis(ms)) };
        let mut held =
            Progress { log: Some(LogId("a".into())), of: 2, partitions: [(0, at(9, 9)), (1, at(4, 4))].into() };
        held.advance(&Progress { log: Some(LogId("a".into())), of: 2, partitions: [(0, at(5, 10))].into() });
        assert_eq!(held.partitions, [(0, at(9, 10)), (1, at(4, 4))].into());
    }
}
