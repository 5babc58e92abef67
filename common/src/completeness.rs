//! "Complete up to T": marks that ingest writes, and what a sink may conclude from them.
//!
//! Promises that T is never too early to be true: every change made before T, in every shard, has been committed to
//! the log before the mark that says so. Assumes that marks of one slot are read in the order of their partition.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::ledger::Slot;

/// A mark: for each slot that its writer owns, every shard of the slot is read and committed up to a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Slots in all; a partition is complete only once each of them has spoken.
    pub of: u16,
    pub slots: BTreeMap<Slot, Timestamp>,
}

/// What the marks of one partition add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completeness {
    of: u16,
    slots: BTreeMap<Slot, Timestamp>,
    floor: Option<Timestamp>,
}

impl Completeness {
    /// Starts from what the sink has already stored, which stays true whatever marks come.
    pub fn starting_at(stored: Option<Timestamp>) -> Completeness {
        Completeness { floor: stored, ..Completeness::default() }
    }

    pub fn observe(&mut self, mark: &Mark) {
        if mark.of != self.of {
            // What was true stays true, although the new slots have not spoken yet.
            self.floor = self.until();
            self.of = mark.of;
            self.slots.clear();
        }
        for (slot, until) in &mark.slots {
            let known = self.slots.entry(*slot).or_insert(*until);
            *known = (*known).max(*until);
        }
    }

    /// The smallest T over all slots, never below what was stored; `None` while a slot has not spoken yet.
    pub fn until(&self) -> Option<Timestamp> {
        let heard = (self.of > 0 && self.slots.len() == usize::from(self.of))
            .then(|| self.slots.values().min().copied())
            .flatten();
        heard.max(self.floor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(of: u16, slots: &[(u16, i64)]) -> Mark {
        Mark { of, slots: slots.iter().map(|(slot, t)| (Slot(*slot), Timestamp::from_millis(*t))).collect() }
    }

    #[test]
    fn nothing_is_complete_before_every_slot_has_spoken() {
        let mut seen = Completeness::default();
        seen.observe(&mark(2, &[(0, 10)]));
        assert_eq!(seen.until(), None);
        seen.observe(&mark(2, &[(1, 7)]));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(7)));
        seen.observe(&mark(2, &[(1, 12)]));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(10)));
    }

    #[test]
    fn it_never_goes_back_not_even_across_a_restart_or_a_change_of_slots() {
        let mut seen = Completeness::starting_at(Some(Timestamp::from_millis(9)));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(9)));
        seen.observe(&mark(1, &[(0, 5)]));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(9)));
        seen.observe(&mark(1, &[(0, 20)]));
        seen.observe(&mark(1, &[(0, 15)]));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(20)));
        seen.observe(&mark(2, &[(0, 30)]));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(20)), "the new slot has not spoken, the old word holds");
        seen.observe(&mark(2, &[(1, 25)]));
        assert_eq!(seen.until(), Some(Timestamp::from_millis(25)));
    }
}
