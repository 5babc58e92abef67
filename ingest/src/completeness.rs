//! How far a slot is complete: the T of its marks.
//!
//! Promises that the smallest T over all slots is never too early to be true, although the sinks keep the largest T
//! that each slot has ever claimed. So a shard that is new in a slot which has claimed more than the shard has read
//! must be covered by another slot: its parent holds there, from the parent's end until the child has been read past
//! the moment at which it was recorded. Assumes that a shard becomes visible at most `split_settle` after its sibling,
//! a change at most `settle` after it was made, and that a slot's owner knows of a take-over before it marks again.

use std::collections::BTreeMap;
use std::time::Duration;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::ledger::{Ledger, ShardEntry, ShardStatus, Slot};

use crate::streams::{Listings, StreamStatus};

/// What the decision rests on.
pub struct Evidence<'a> {
    /// Committed entries; `complete_until` of an open shard may be ahead of what is stored.
    pub ledger: &'a Ledger,
    pub listings: &'a Listings,
    pub slots: u16,
    pub settle: Duration,
    pub split_settle: Duration,
    pub now: Timestamp,
}

type Children<'a> = BTreeMap<(&'a StreamArn, &'a ShardId), Vec<&'a ShardEntry>>;

/// Answers already given, so that a long lineage is walked once.
#[derive(Default)]
struct Memory<'a> {
    children: Children<'a>,
    released: BTreeMap<(&'a StreamArn, &'a ShardId), bool>,
    until: BTreeMap<(&'a StreamArn, &'a ShardId), Timestamp>,
}

impl<'a> Evidence<'a> {
    /// T of every slot of `table`. None while the table's stream is not known to be written and listed; without the
    /// slots that have a listed shard which is not recorded yet.
    pub fn complete_until(&self, table: &TableName) -> BTreeMap<Slot, Timestamp> {
        let listing = self.ledger.current_stream(table).and_then(|stream| self.listings.get(&stream.stream));
        let Some(listing) = listing.filter(|listing| listing.status == StreamStatus::Enabled) else {
            return BTreeMap::new();
        };
        let tip = self.now.minus(self.settle);
        let mut until: BTreeMap<Slot, Timestamp> = (0..self.slots).map(|slot| (Slot(slot), tip)).collect();
        let mut memory = Memory { children: self.children(table), ..Memory::default() };
        for entry in self.ledger.shards.values().filter(|entry| entry.table == *table) {
            let held = match entry.status {
                ShardStatus::Open => self.until(entry, &mut memory),
                _ if self.released(entry, &mut memory) => continue,
                _ => entry.complete_until,
            };
            let slot = until.entry(Slot::of(&entry.shard, self.slots)).or_insert(held);
            *slot = (*slot).min(held);
        }
        for shard in listing.shards.keys().filter(|shard| !self.recorded(&listing.stream, shard)) {
            until.remove(&Slot::of(shard, self.slots));
        }
        until
    }

    fn children(&self, table: &TableName) -> Children<'a> {
        let mut children = Children::new();
        for entry in self.ledger.shards.values().filter(|entry| entry.table == *table) {
            for parent in &entry.parents {
                children.entry((&entry.stream, parent)).or_default().push(entry);
            }
        }
        children
    }

    fn recorded(&self, stream: &StreamArn, shard: &ShardId) -> bool {
        self.ledger.shards.contains_key(&(stream.clone(), shard.clone()))
    }

    /// An open shard that was not read yet holds nothing from before its parents' end.
    fn until(&self, entry: &'a ShardEntry, memory: &mut Memory<'a>) -> Timestamp {
        if entry.status != ShardStatus::Open || entry.position.is_some() {
            return entry.complete_until;
        }
        let key = (&entry.stream, &entry.shard);
        if let Some(known) = memory.until.get(&key) {
            return *known;
        }
        // What a lineage without an end would find, which no service gives.
        memory.until.insert(key, entry.complete_until);
        let parents: Option<Vec<&ShardEntry>> = entry
            .parents
            .iter()
            .map(|parent| self.ledger.shards.get(&(entry.stream.clone(), parent.clone())))
            .collect();
        let least = parents.and_then(|parents| parents.into_iter().map(|parent| self.until(parent, memory)).min());
        let until = entry.complete_until.max(least.unwrap_or(entry.complete_until));
        memory.until.insert(key, until);
        until
    }

    /// Whether a shard that was read to its end holds its slot no longer.
    fn released(&self, entry: &'a ShardEntry, memory: &mut Memory<'a>) -> bool {
        let key = (&entry.stream, &entry.shard);
        if let Some(known) = memory.released.get(&key) {
            return *known;
        }
        memory.released.insert(key, false);
        let mut children = memory.children.get(&key).cloned().unwrap_or_default();
        if children.is_empty() {
            children = self.roots_of_next_stream(entry);
        }
        let released = match children.iter().map(|child| child.since).min() {
            Some(first) => {
                self.all_seen(entry, children[0], first)
                    && children.into_iter().all(|child| self.settled(child, memory))
            }
            // Its children, if there were any, are lost too.
            None => entry.status == ShardStatus::Lost && self.all_seen(entry, entry, entry.since),
        };
        memory.released.insert(key, released);
        released
    }

    /// Where the stream was replaced, the next stream's first shards stand for children.
    fn roots_of_next_stream(&self, entry: &ShardEntry) -> Vec<&'a ShardEntry> {
        let streams = || self.ledger.streams.values().filter(|stream| stream.table == entry.table);
        let closed = streams().any(|stream| stream.stream == entry.stream && stream.closed);
        let next = streams().map(|stream| stream.generation).filter(|next| *next > entry.generation).min();
        let next = next.filter(|_| closed);
        let root = |other: &&ShardEntry| {
            let known = |parent| self.recorded(&other.stream, parent);
            other.table == entry.table && Some(other.generation) == next && !other.parents.iter().any(known)
        };
        self.ledger.shards.values().filter(root).collect()
    }

    /// Whether a listing begun long enough after the first child was recorded shows no child that is not.
    fn all_seen(&self, parent: &ShardEntry, child: &ShardEntry, first: Timestamp) -> bool {
        self.listings.get(&child.stream).is_some_and(|listing| {
            let new = |listed: &crate::streams::ListedShard| {
                let related = child.stream != parent.stream || listed.parent.as_ref() == Some(&parent.shard);
                related && !self.recorded(&listing.stream, &listed.id)
            };
            listing.begun >= first.plus(self.split_settle) && !listing.shards.values().any(new)
        })
    }

    /// Whether a child's own slot covers all that its parent's did.
    fn settled(&self, child: &'a ShardEntry, memory: &mut Memory<'a>) -> bool {
        match child.status {
            ShardStatus::Open => child.complete_until >= child.since,
            _ => self.released(child, memory),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lineage::tests::{ARN, at, ledger, listing, shard, stream};
    use headwater_common::ledger::ShardStatus::{Finished, Open};

    /// T of the table, as a sink that has heard every slot computes it.
    fn table_until(ledger: &Ledger, listings: &Listings, now: i64) -> Option<i64> {
        let (slots, settle) = (16, Duration::from_millis(5));
        let split_settle = Duration::from_millis(50);
        let evidence = Evidence { ledger, listings, slots, settle, split_settle, now: at(now) };
        let until = evidence.complete_until(&TableName::new("t"));
        (until.len() == 16).then(|| until.values().min().map(|until| until.as_millis())).flatten()
    }

    #[test]
    fn nothing_is_claimed_before_every_listed_shard_is_recorded() {
        let open = [stream(ARN, 1, false)];
        assert_eq!(table_until(&ledger(&open, &[]), &Listings::new(), 1000), None);
        assert_eq!(table_until(&ledger(&open, &[]), &listing(ARN, 9, &[("a", None)]), 1000), None);
        let recorded = ledger(&open, &[shard("a", &[], Open, 700)]);
        assert_eq!(table_until(&recorded, &listing(ARN, 9, &[("a", None)]), 1000), Some(700));
        let mut off = listing(ARN, 9, &[("a", None)]);
        off.values_mut().for_each(|listing| listing.status = StreamStatus::Disabled);
        assert_eq!(table_until(&recorded, &off, 1000), None, "what is written now is in no stream");
    }

    #[test]
    fn a_table_without_shards_is_complete_but_for_the_margin() {
        assert_eq!(table_until(&ledger(&[stream(ARN, 1, false)], &[]), &listing(ARN, 9, &[]), 1000), Some(995));
    }

    #[test]
    fn an_unread_child_is_as_complete_as_its_open_parent() {
        let mut child = shard("b", &["a"], Open, 0);
        child.position = None;
        let ledger = ledger(&[stream(ARN, 1, false)], &[shard("a", &[], Open, 700), child]);
        assert_eq!(table_until(&ledger, &listing(ARN, 900, &[("a", None)]), 1000), Some(700));
    }

    #[test]
    fn a_finished_parent_holds_until_every_child_was_read_past_its_recording() {
        let open = [stream(ARN, 1, false)];
        let parent = shard("a", &[], Finished, 80);
        let both = [("a", None), ("b", Some("a")), ("c", Some("a"))];
        let with = |children: &[ShardEntry]| {
            let mut shards = vec![parent.clone()];
            shards.extend_from_slice(children);
            ledger(&open, &shards)
        };
        assert_eq!(table_until(&with(&[]), &listing(ARN, 900, &[("a", None)]), 1000), Some(80), "no child seen yet");
        // Recorded at 100 (`since`).
        let one = with(&[shard("b", &["a"], Open, 700)]);
        assert_eq!(table_until(&one, &listing(ARN, 149, &both[..2]), 1000), Some(80), "a sibling may follow");
        assert_eq!(table_until(&one, &listing(ARN, 150, &both[..2]), 1000), Some(700));
        let late = with(&[shard("b", &["a"], Open, 700), shard("c", &["a"], Open, 99)]);
        assert_eq!(table_until(&late, &listing(ARN, 900, &both), 1000), Some(80), "its slot has claimed up to 100");
        let read = with(&[shard("b", &["a"], Open, 700), shard("c", &["a"], Open, 100)]);
        assert_eq!(table_until(&read, &listing(ARN, 900, &both), 1000), Some(100));
    }

    #[test]
    fn a_child_that_ended_at_once_passes_the_hold_on_to_its_own_children() {
        let family = |grandchild: i64| {
            let shards =
                [shard("a", &[], Finished, 80), shard("b", &["a"], Finished, 90), shard("c", &["b"], Open, grandchild)];
            ledger(&[stream(ARN, 1, false)], &shards)
        };
        let listings = listing(ARN, 900, &[("a", None), ("b", Some("a")), ("c", Some("b"))]);
        assert_eq!(table_until(&family(99), &listings, 1000), Some(80));
        assert_eq!(table_until(&family(500), &listings, 1000), Some(500));
    }

    #[test]
    fn the_end_of_a_replaced_stream_holds_until_the_next_ones_shards_are_read() {
        let mut next = shard("n", &[], Open, 50);
        (next.stream, next.generation) = (StreamArn::new("arn/2"), 2);
        let streams = [stream(ARN, 1, true), stream("arn/2", 2, false)];
        let listings = listing("arn/2", 900, &[("n", None)]);
        let old = shard("a", &[], Finished, 80);
        assert_eq!(table_until(&ledger(&streams, &[old.clone(), next.clone()]), &listings, 1000), Some(50));
        next.complete_until = at(600);
        assert_eq!(table_until(&ledger(&streams, &[old.clone(), next]), &listings, 1000), Some(600));
        assert_eq!(table_until(&ledger(&streams, &[old]), &listing("arn/2", 900, &[]), 1000), Some(80));
    }
}
