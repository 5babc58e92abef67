//! What one table has read and not committed yet, and where each of its partitions stands.
//!
//! Promises that a record enters once: what lies below a partition's next offset is skipped. Records are claimed in order,
//! decoded elsewhere, and accepted in order, so that what is accepted has no holes.

use std::collections::BTreeMap;

use headwater_common::clock::Timestamp;
use headwater_common::completeness::Completeness;
use headwater_common::log::{LogRecord, Offset};

use crate::decode::{Decoded, Tally};
use crate::gathered::Gathered;
use crate::position::{Moves, Start, Step};

struct Partition {
    /// The last offset that the table contains.
    stored: Option<Offset>,
    /// Where reading goes on.
    next: Offset,
    /// The last offset that was accepted.
    accepted: Option<Offset>,
    completeness: Completeness,
    stored_complete: Option<Timestamp>,
}

#[derive(Default)]
pub(crate) struct Buffer {
    partitions: BTreeMap<u16, Partition>,
    rows: Gathered,
    tally: Tally,
    /// Bytes of records that are being decoded.
    decoding: usize,
}

/// One flush's part of a buffer.
pub(crate) struct Taken {
    pub(crate) rows: Gathered,
    pub(crate) moves: Moves,
    pub(crate) tally: Tally,
}

impl Buffer {
    /// Takes in records of this partition from now on.
    pub(crate) fn start(&mut self, partition: u16, start: &Start) {
        let completeness = Completeness::starting_at(start.complete);
        let (stored, next, stored_complete) = (start.stored, start.next, start.complete);
        self.partitions.insert(partition, Partition { stored, next, accepted: stored, completeness, stored_complete });
    }

    pub(crate) fn partitions(&self) -> impl Iterator<Item = u16> {
        self.partitions.keys().copied()
    }

    /// Whether the record is the next of a partition that is followed; it is then on its way to be decoded.
    pub(crate) fn claim(&mut self, record: &LogRecord) -> bool {
        let Some(partition) = self.partitions.get_mut(&record.at.partition) else { return false };
        let wanted = record.offset >= partition.next;
        if wanted {
            partition.next = record.offset.next();
            self.decoding += record.value.len();
        }
        wanted
    }

    /// Takes in what was claimed.
    pub(crate) fn accept(&mut self, decoded: Decoded) {
        self.decoding = self.decoding.saturating_sub(decoded.bytes);
        for (at, last) in decoded.last {
            if let Some(partition) = self.partitions.get_mut(&at) {
                partition.accepted = Some(last);
            }
        }
        for (at, mark) in decoded.marks {
            if let Some(partition) = self.partitions.get_mut(&at) {
                partition.completeness.observe(&mark);
            }
        }
        self.rows.append(decoded.gathered);
        self.tally.add(decoded.tally);
    }

    /// Bytes of rows that are ready.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.bytes
    }

    /// Bytes of rows, and of records that become some.
    pub(crate) fn held(&self) -> usize {
        self.rows.bytes + self.decoding
    }

    pub(crate) fn has_rows(&self) -> bool {
        self.rows.rows > 0
    }

    /// Whether anything was read that the table does not contain, marks among it. Asked while no flush is in flight.
    pub(crate) fn is_dirty(&self) -> bool {
        self.partitions.values().any(|partition| partition.accepted > partition.stored)
    }

    /// Everything accepted so far, as one commit. Asked while no flush is in flight.
    pub(crate) fn take(&mut self) -> Taken {
        let mut moves = Moves::default();
        for (at, partition) in &self.partitions {
            let Some(last) = partition.accepted.filter(|_| partition.accepted > partition.stored) else { continue };
            moves.steps.insert(*at, Step { before: partition.stored, last });
            let until = partition.completeness.until();
            if let Some(until) = until.filter(|_| until > partition.stored_complete) {
                moves.complete.insert(*at, until);
            }
        }
        Taken { rows: std::mem::take(&mut self.rows), moves, tally: std::mem::take(&mut self.tally) }
    }

    /// The table contains the moves now.
    pub(crate) fn committed(&mut self, moves: &Moves) {
        for (at, step) in &moves.steps {
            if let Some(partition) = self.partitions.get_mut(at) {
                partition.stored = Some(step.last);
            }
        }
        for (at, until) in &moves.complete {
            if let Some(partition) = self.partitions.get_mut(at) {
                partition.stored_complete = Some(*until);
            }
        }
    }

    /// The first offset of each partition that the table does not contain.
    pub(crate) fn progress(&self) -> impl Iterator<Item = (u16, Offset)> {
        self.partitions.iter().map(|(at, partition)| {
            let next = partition.stored.map_or(Offset::default(), Offset::next);
            (*at, next)
        })
    }
}
