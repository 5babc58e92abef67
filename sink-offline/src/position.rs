//! Where each partition stands in the table, and what became of a commit: the decisions that exactly-once rests on.
//!
//! A table holds, for each partition of its log, one `txn` with the last offset that it contains, and one with the time
//! up to which the partition is complete. Both change in the commit that adds the rows, so they are true whatever
//! happened around it.
//!
//! What became of a commit whose steps are `(before, last]`, by what the table stores afterwards:
//!
//! | stored, of every partition | verdict |
//! |---|---|
//! | `before` | it did not happen |
//! | `last` or more | it happened |
//! | anything else | another sink writes this table |

use std::collections::{BTreeMap, BTreeSet};

use headwater_common::clock::Timestamp;
use headwater_common::log::{Extent, LogId, Offset};

use crate::origin::Origin;

const PREFIX: &str = "headwater/";
const COMPLETE: &str = "/complete";

/// The app id whose version is the last offset contained.
pub fn offset_app(log: &LogId, partition: u16) -> String {
    format!("{PREFIX}{}/{partition}", log.0)
}

/// The app id whose version is the time, in milliseconds since the epoch, up to which the partition is complete.
pub fn complete_app(log: &LogId, partition: u16) -> String {
    format!("{PREFIX}{}/{partition}{COMPLETE}", log.0)
}

/// Whether a `txn` is this stage's.
pub fn is_ours(app_id: &str) -> bool {
    app_id.starts_with(PREFIX)
}

pub(crate) fn log_of(app_id: &str) -> Option<&str> {
    partition_of(app_id).map(|(log, _)| log)
}

/// The log and the partition that one of our app ids speaks of.
fn partition_of(app_id: &str) -> Option<(&str, &str)> {
    let rest = app_id.strip_prefix(PREFIX)?;
    rest.strip_suffix(COMPLETE).unwrap_or(rest).rsplit_once('/')
}

/// The table's `txn` versions by app id.
pub type Txns = BTreeMap<String, i64>;

/// The last offset that the table contains.
pub fn stored_offset(txns: &Txns, log: &LogId, partition: u16) -> Option<Offset> {
    let version = *txns.get(&offset_app(log, partition))?;
    u64::try_from(version).ok().map(Offset)
}

pub fn stored_complete(txns: &Txns, log: &LogId, partition: u16) -> Option<Timestamp> {
    txns.get(&complete_app(log, partition)).copied().map(Timestamp::from_millis)
}

/// The time up to which the whole table is complete: the smallest over its partitions, none while one has not spoken.
pub fn complete_until(txns: &Txns, log: &LogId, partitions: u16) -> Option<Timestamp> {
    (0..partitions).map(|partition| stored_complete(txns, log, partition)).min().flatten()
}

/// The same for a reader, who has the table alone: of the log that it names, whatever others said before. What one log
/// said of a partition never stands for another's, so where it names none (a table of an earlier release) each that wrote
/// it counts, by itself. Without a number of partitions, of those that the table has heard of.
pub fn complete_by_table(txns: &Txns, origin: &Origin) -> Option<Timestamp> {
    let mut logs: BTreeMap<&str, u16> = BTreeMap::new();
    for (log, partition) in txns.keys().filter_map(|app_id| partition_of(app_id)) {
        let heard_of = logs.entry(log).or_default();
        *heard_of = partition.parse::<u16>().map_or(*heard_of, |at| at.saturating_add(1).max(*heard_of));
    }
    let present = |log: &str| origin.log.as_ref().is_none_or(|named| named.0 == log);
    let of = |(log, heard_of)| complete_until(txns, &LogId(String::from(log)), origin.partitions.unwrap_or(heard_of));
    logs.into_iter().filter(|(log, _)| present(log)).map(of).min().flatten()
}

/// Where reading goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    /// The last offset that the table contains.
    pub stored: Option<Offset>,
    /// The next one to read.
    pub next: Offset,
    pub complete: Option<Timestamp>,
}

/// Why a table and a log do not belong together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the table was written from log {found}, this one is {ours}: give the sink the log that belongs to the table, or move the table away and rebuild it"
    )]
    OtherLog { found: String, ours: String },
    #[error(
        "the table holds partition {partition} up to offset {stored}, the log ends at {end}: the log was made anew, move the table away and rebuild it"
    )]
    PastEnd { partition: u16, stored: Offset, end: Offset },
    #[error(
        "the table needs partition {partition} from offset {next} on, the log begins at {start}: what lies between is lost to this table, move it away and rebuild it"
    )]
    Trimmed { partition: u16, next: Offset, start: Offset },
    #[error("partition {partition} was assigned, the log has {partitions}: start again")]
    NoPartition { partition: u16, partitions: usize },
}

/// Where each of `partitions` goes on, or why the table can't follow this log. `extents` are the log's, by partition, not
/// older than `txns`: other workers commit all the time. Of their partitions nothing is judged here.
pub fn starts(
    txns: &Txns,
    log: &LogId,
    extents: &[Extent],
    partitions: &BTreeSet<u16>,
) -> Result<BTreeMap<u16, Start>, Refusal> {
    let start = |partition: u16| {
        let unknown = Refusal::NoPartition { partition, partitions: extents.len() };
        let extent = extents.get(usize::from(partition)).ok_or(unknown)?;
        let stored = stored_offset(txns, log, partition);
        let next = stored.map_or(extent.start, Offset::next);
        if let Some(stored) = stored.filter(|_| next > extent.end) {
            return Err(Refusal::PastEnd { partition, stored, end: extent.end });
        }
        if next < extent.start {
            return Err(Refusal::Trimmed { partition, next, start: extent.start });
        }
        Ok((partition, Start { stored, next, complete: stored_complete(txns, log, partition) }))
    };
    partitions.iter().copied().map(start).collect()
}

/// One partition's part of a commit: `(before, last]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub before: Option<Offset>,
    pub last: Offset,
}

/// What a commit moves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moves {
    pub steps: BTreeMap<u16, Step>,
    pub complete: BTreeMap<u16, Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The table is as it was: commit.
    Absent,
    /// The table contains all of it: nothing is left to do.
    Landed,
    /// Another sink has moved this partition: this commit must never happen.
    Superseded { partition: u16, stored: Option<Offset> },
}

/// What became of a commit, by what the table stores. Sure only where nothing of it is still on its way: see
/// [`crate::commit`].
pub fn judge(moves: &Moves, txns: &Txns, log: &LogId) -> Verdict {
    let mut all = None;
    for (partition, step) in &moves.steps {
        let stored = stored_offset(txns, log, *partition);
        let one = if stored == step.before {
            Verdict::Absent
        } else if stored.is_some_and(|stored| stored >= step.last) {
            Verdict::Landed
        } else {
            return Verdict::Superseded { partition: *partition, stored };
        };
        if *all.get_or_insert(one) != one {
            return Verdict::Superseded { partition: *partition, stored };
        }
    }
    all.unwrap_or(Verdict::Landed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> LogId {
        LogId("a/b".into())
    }

    fn txns(stored: &[(u16, u64)]) -> Txns {
        stored.iter().map(|(partition, offset)| (offset_app(&log(), *partition), *offset as i64)).collect()
    }

    fn moves(steps: &[(u16, Option<u64>, u64)]) -> Moves {
        let step = |(partition, before, last): &(u16, Option<u64>, u64)| {
            (*partition, Step { before: before.map(Offset), last: Offset(*last) })
        };
        Moves { steps: steps.iter().map(step).collect(), complete: BTreeMap::new() }
    }

    #[test]
    fn what_one_log_said_of_a_partition_never_stands_for_another_log() {
        let mut txns = Txns::new();
        let complete = |txns: &Txns, log: Option<&str>, partitions| {
            complete_by_table(txns, &Origin { log: log.map(|log| LogId(log.into())), partitions })
        };
        assert_eq!(complete(&txns, None, Some(2)), None);
        for (app_id, version) in [("a/0", 5), ("a/0/complete", 900), ("a/1", 2), ("a/1/complete", 700)] {
            txns.insert(format!("{PREFIX}{app_id}"), version);
        }
        txns.insert("spark".into(), 1);
        let at = |millis| Some(Timestamp::from_millis(millis));
        assert_eq!(complete(&txns, None, Some(2)), at(700));
        assert_eq!(complete(&txns, None, Some(3)), None, "a partition has not spoken");
        assert_eq!(complete(&txns, Some("b"), Some(2)), None, "the present log has not spoken");
        // As many have spoken as there are, but not of one log.
        txns.insert(format!("{PREFIX}b/0"), 1);
        txns.insert(format!("{PREFIX}b/0/complete"), 800);
        for log in [None, Some("b")] {
            assert_eq!(complete(&txns, log, Some(2)), None, "{log:?}");
        }
        txns.insert(format!("{PREFIX}b/1/complete"), 950);
        assert_eq!(complete(&txns, None, Some(2)), at(700), "any of them may be the present one");
        assert_eq!(complete(&txns, Some("b"), Some(2)), at(800), "what a log that was given up said counts no more");
        assert_eq!(complete(&txns, Some("b"), None), at(800));
        assert_eq!(complete(&txns, Some("c"), None), None);
    }

    #[test]
    fn a_commit_happened_when_the_table_stores_its_last_offsets_and_not_when_it_stores_those_before() {
        let ours = moves(&[(0, Some(4), 9), (1, None, 3)]);
        for (stored, verdict) in [
            (vec![(0, 4)], Verdict::Absent),
            (vec![(0, 9), (1, 3)], Verdict::Landed),
            (vec![(0, 12), (1, 3)], Verdict::Landed),
            (vec![(0, 6)], Verdict::Superseded { partition: 0, stored: Some(Offset(6)) }),
            (vec![(0, 9)], Verdict::Superseded { partition: 1, stored: None }),
            (vec![(0, 4), (1, 3)], Verdict::Superseded { partition: 1, stored: Some(Offset(3)) }),
            (vec![], Verdict::Superseded { partition: 0, stored: None }),
        ] {
            assert_eq!(judge(&ours, &txns(&stored), &log()), verdict, "{stored:?}");
        }
    }

    #[test]
    fn reading_goes_on_after_what_the_table_contains_and_from_the_logs_start_where_it_contains_nothing() {
        let extents = [Extent { start: Offset(0), end: Offset(9) }, Extent { start: Offset(5), end: Offset(5) }];
        let mut stored = txns(&[(0, 8)]);
        stored.insert(complete_app(&log(), 0), 77);
        let found = starts(&stored, &log(), &extents, &[0, 1].into()).unwrap();
        let complete = Some(Timestamp::from_millis(77));
        assert_eq!(found[&0], Start { stored: Some(Offset(8)), next: Offset(9), complete });
        assert_eq!(found[&1], Start { stored: None, next: Offset(5), complete: None });
        assert_eq!(complete_until(&stored, &log(), 1), complete);
        assert_eq!(complete_until(&stored, &log(), 2), None);
    }

    #[test]
    fn a_log_that_is_not_the_tables_is_refused() {
        let of = |start, end| [Extent { start: Offset(start), end: Offset(end) }];
        let stored = txns(&[(0, 8)]);
        let past = starts(&stored, &log(), &of(0, 8), &[0].into()).unwrap_err();
        assert_eq!(past, Refusal::PastEnd { partition: 0, stored: Offset(8), end: Offset(8) });
        let trimmed = starts(&stored, &log(), &of(10, 20), &[0].into()).unwrap_err();
        assert_eq!(trimmed, Refusal::Trimmed { partition: 0, next: Offset(9), start: Offset(10) });
        // Another worker's partition is its own business.
        assert_eq!(starts(&stored, &log(), &of(0, 8), &[].into()), Ok(BTreeMap::new()));
        let none = starts(&stored, &log(), &of(0, 20), &[1].into()).unwrap_err();
        assert_eq!(none, Refusal::NoPartition { partition: 1, partitions: 1 });
    }
}
