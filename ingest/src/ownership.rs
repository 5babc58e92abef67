//! Slots come and go, and the ledger is what all workers know.
//!
//! Promises that a slot that was lost is not touched again, and that nothing is decided in a slot before the ledger was
//! read to its end under the new ownership.

use std::collections::BTreeMap;

use headwater_common::ledger::{Ledger, LedgerEntry, Slot};
use headwater_common::log::{LedgerReader, LedgerUpdate, LogError, Ownership};

use crate::commit::SlotWork;
use crate::streams::ShardKey;
use crate::work::Work;

impl Work {
    pub(crate) fn own(&mut self, change: Ownership) {
        tracing::debug!(?change, "slots change hands");
        self.stale = true;
        match change {
            Ownership::Acquired(writer) => {
                self.runs += 1;
                let slot = writer.slot();
                self.lose(slot);
                self.slots.insert(slot, SlotWork::new(writer, self.runs));
                // Nobody may read what another owner wrote as this one's before the ledger was read again.
            }
            Ownership::Released { slot, acknowledge } => {
                // Nothing of the slot may be under way when its next owner is told that it can begin.
                if let Some(busy) = self.slots.get(&slot).filter(|held| held.is_busy()) {
                    self.acknowledgements.insert((slot, busy.epoch), acknowledge);
                }
                self.lose(slot);
            }
        }
    }

    /// Ends a slot's work and nothing else.
    pub(super) fn lose(&mut self, slot: Slot) {
        if self.slots.remove(&slot).is_some() {
            tracing::info!(%slot, "the slot has another owner");
            self.stale = true;
        }
        let lost: Vec<ShardKey> =
            self.lanes.iter().filter(|(_, lane)| lane.slot == slot).map(|(key, _)| key.clone()).collect();
        lost.iter().for_each(|key| self.end_lane(key));
        self.troubles.set(format!("log/{slot}"), None);
    }

    pub(crate) fn lose_all(&mut self) {
        let held: Vec<Slot> = self.slots.keys().copied().collect();
        held.into_iter().for_each(|slot| self.lose(slot));
    }

    pub(super) fn end_lane(&mut self, key: &ShardKey) {
        if let Some(lane) = self.lanes.remove(key) {
            lane.cancel.cancel();
        }
        self.missing.remove(key);
        self.troubles.set(format!("shard/{}/{}", key.0, key.1), None);
    }

    /// Reads the ledger from its beginning. What this worker has committed to slots that it held before is known better
    /// here, where `held` says which those are.
    pub(crate) async fn reload(&mut self, held: &BTreeMap<Slot, u64>) -> Result<Box<dyn LedgerReader>, LogError> {
        let mut reader = self.context.log.ledger().await?;
        let mut ledger = Ledger::default();
        let mut caught_up = false;
        while !caught_up {
            for update in reader.next().await? {
                match update {
                    LedgerUpdate::Entry(entry) => ledger.apply(*entry),
                    LedgerUpdate::Forgotten(key) => ledger.forget(&key),
                    LedgerUpdate::CaughtUp => caught_up = true,
                }
            }
        }
        let kept: Vec<LedgerEntry> = entries(&self.ledger).filter(|entry| self.held_since(entry, held)).collect();
        kept.into_iter().for_each(|entry| ledger.apply(entry));
        self.ledger = ledger;
        (self.stale, self.dirty) = (false, true);
        Ok(reader)
    }

    fn held_since(&self, entry: &LedgerEntry, held: &BTreeMap<Slot, u64>) -> bool {
        let slot = entry.slot(self.context.log.slots());
        self.slots.get(&slot).is_some_and(|work| held.get(&slot) == Some(&work.epoch))
    }

    /// Which slots are held, and since which ownership.
    pub(crate) fn held(&self) -> BTreeMap<Slot, u64> {
        self.slots.iter().map(|(slot, work)| (*slot, work.epoch)).collect()
    }

    /// What other workers committed. Of its own slots a worker knows more than the ledger's reader.
    pub(crate) fn follow(&mut self, updates: Vec<LedgerUpdate>) {
        let slots = self.context.log.slots();
        for update in updates {
            match update {
                LedgerUpdate::Entry(entry) if !self.slots.contains_key(&entry.slot(slots)) => {
                    self.ledger.apply(*entry);
                    self.dirty = true;
                }
                LedgerUpdate::Forgotten(key) => {
                    let known = entries(&self.ledger).find(|entry| entry.key() == key);
                    if known.is_some_and(|entry| !self.slots.contains_key(&entry.slot(slots))) {
                        self.ledger.forget(&key);
                        self.dirty = true;
                    }
                }
                LedgerUpdate::Entry(_) | LedgerUpdate::CaughtUp => {}
            }
        }
    }
}

fn entries(ledger: &Ledger) -> impl Iterator<Item = LedgerEntry> + '_ {
    let shards = ledger.shards.values().cloned().map(LedgerEntry::Shard);
    let streams = ledger.streams.values().cloned().map(LedgerEntry::Stream);
    shards.chain(streams).chain(ledger.gaps.values().cloned().map(LedgerEntry::Gap))
}
