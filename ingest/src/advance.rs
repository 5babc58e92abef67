//! Puts the lineage's decisions into effect: entries to the ledger, readers to shards.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use headwater_common::change::{ShardId, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::ledger::{LedgerEntry, ShardEntry, ShardStatus, Slot};
use headwater_common::metric;

use crate::lineage;
use crate::reader::Reader;
use crate::record::Numbering;
use crate::streams::{ShardKey, StreamStatus};
use crate::work::{Lane, Work};

impl Work {
    /// Decides anew if anything was learned.
    pub(crate) fn advance(&mut self) {
        if !std::mem::take(&mut self.dirty) {
            return;
        }
        for table in self.context.tables.clone() {
            let now = self.context.clock.now();
            self.open_stream(&table, now);
            self.record_shards(&table, now);
            self.start_readers(&table, now);
        }
        self.give_up_lost();
        self.forget();
    }

    /// The leader's: which stream the table has.
    fn open_stream(&mut self, table: &TableName, now: Timestamp) {
        let Some(current) = self.tables.get(table).and_then(|work| work.current.clone()) else { return };
        let Some(leader) = self.slots.get_mut(&Slot::LEADER) else { return };
        let entries = lineage::openings(&self.ledger, table, &current, now);
        if entries.is_empty() || entries.iter().any(|entry| leader.pending.contains(&entry.key())) {
            return;
        }
        tracing::info!(%table, stream = %current, "the table has a stream that was not known");
        if entries.iter().any(|entry| matches!(entry, LedgerEntry::Gap(_))) {
            metrics::counter!(metric::GAPS, "table" => table.to_string()).increment(1);
        }
        leader.decide(entries, Vec::new());
    }

    fn record_shards(&mut self, table: &TableName, now: Timestamp) {
        let mut new: BTreeMap<Slot, Vec<LedgerEntry>> = BTreeMap::new();
        for stream in self.ledger.streams.values().filter(|stream| stream.table == *table) {
            let Some(listing) = self.listings.get(&stream.stream) else { continue };
            for shard in lineage::unrecorded(&self.ledger, stream, listing, now) {
                let slot = Slot::of(&shard.shard, self.context.log.slots());
                new.entry(slot).or_default().push(LedgerEntry::Shard(shard));
            }
        }
        for (slot, mut entries) in new {
            let Some(work) = self.slots.get_mut(&slot) else { continue };
            entries.retain(|entry| !work.pending.contains(&entry.key()));
            if !entries.is_empty() {
                work.decide(entries, Vec::new());
            }
        }
    }

    fn start_readers(&mut self, table: &TableName, now: Timestamp) {
        let settle = self.context.settings.split_settle();
        let startable = lineage::startable(&self.ledger, &self.listings, table, settle, now);
        let free = |entry: &&&ShardEntry| {
            let slot = Slot::of(&entry.shard, self.context.log.slots());
            !self.lanes.contains_key(&(entry.stream.clone(), entry.shard.clone())) && self.slots.contains_key(&slot)
        };
        let free: Vec<ShardEntry> = startable.iter().filter(free).map(|entry| ShardEntry::clone(entry)).collect();
        free.into_iter().for_each(|entry| self.start_reader(entry, now));
        let closed = self.ledger.streams.values().filter(|stream| stream.closed && stream.table == *table);
        for stream in closed {
            let lanes = self.lanes.iter().filter(|(key, _)| key.0 == stream.stream);
            lanes.for_each(|(_, lane)| lane.replaced.store(true, Ordering::Relaxed));
        }
    }

    fn start_reader(&mut self, mut entry: ShardEntry, now: Timestamp) {
        let key: ShardKey = (entry.stream.clone(), entry.shard.clone());
        // The key's names come with the listing.
        let listing = self
            .listings
            .get(&entry.stream)
            .filter(|listing| listing.status != StreamStatus::Absent && !listing.keys.partition.is_empty());
        let Some(listing) = listing else { return };
        let known = |parent| self.ledger.shards.get(&(entry.stream.clone(), ShardId::clone(parent)));
        if entry.parents.iter().filter_map(known).any(|parent| parent.status == ShardStatus::Open) {
            metrics::counter!(metric::CHILDREN_BEFORE_PARENTS).increment(1);
            tracing::error!(shard = %entry.shard, "a shard would be read before its parent");
            return;
        }
        entry.last_version = lineage::inherited(&self.ledger, &entry);
        let first = listing.shards.get(&entry.shard).and_then(|shard| shard.first.as_ref());
        let begun = self.ledger.open_gaps().find(|gap| lineage::unended(gap, &entry)).cloned();
        let gap = begun.or_else(|| lineage::overslept(&entry, first, now));
        let mut streams = self.ledger.streams.values().filter(|stream| stream.stream == entry.stream);
        let followed_since = streams.next().map_or(entry.since, |stream| stream.since);
        self.runs += 1;
        let replaced = Arc::new(AtomicBool::new(false));
        let cancel = self.context.stop.child_token();
        let reader = Reader {
            streams: self.context.streams.clone(),
            clock: self.context.clock.clone(),
            settings: self.context.settings.clone(),
            budget: self.context.budget.clone(),
            inbox: self.inbox.clone(),
            run: self.runs,
            numbering: Numbering {
                table: entry.table.clone(),
                key: key.clone(),
                generation: entry.generation,
                keys: listing.keys.clone(),
                before_image: self.context.settings.before_image,
                position: entry.position.clone(),
                version: entry.last_version,
                regressions: 0,
            },
            entry: entry.clone(),
            replaced: replaced.clone(),
            followed_since,
            gap,
        };
        tracing::info!(table = %entry.table, shard = %entry.shard, position = ?entry.position, "reading a shard");
        let stopped = cancel.clone();
        tokio::spawn(async move { stopped.run_until_cancelled(reader.run()).await });
        let slot = Slot::of(&entry.shard, self.context.log.slots());
        let stored = entry.complete_until;
        let lane = Lane { run: self.runs, slot, entry, queued: 0, claim: None, stored, cancel, replaced };
        self.lanes.insert(key, lane);
    }

    /// Shards that can't be read any more, each with its gap.
    fn give_up_lost(&mut self) {
        let now = self.context.clock.now();
        let settle = self.context.settings.split_settle();
        let mut lost = lineage::vanished(&self.ledger, &self.listings, &self.missing, settle, now);
        let orphaned = lineage::orphaned(&self.ledger, &self.listings, now);
        lost.extend(orphaned.into_iter().map(|(entry, gap)| (entry, Some(gap))));
        for (entry, gap) in lost {
            let key = (entry.stream.clone(), entry.shard.clone());
            let slot = Slot::of(&entry.shard, self.context.log.slots());
            let Some(work) = self.slots.get_mut(&slot) else { continue };
            let entry = LedgerEntry::Shard(entry);
            // What was read before is committed first, and moves the gap's beginning.
            if work.pending.contains(&entry.key()) || self.lanes.get(&key).is_some_and(|lane| lane.queued > 0) {
                continue;
            }
            match &gap {
                Some(gap) => {
                    tracing::error!(shard = %key.1, stream = %key.0, "the shard is gone with what was unread in it");
                    metrics::counter!(metric::GAPS, "table" => gap.table.to_string()).increment(1);
                }
                None => tracing::info!(shard = %key.1, stream = %key.0, "nothing is left in the shard"),
            }
            work.decide(std::iter::once(entry).chain(gap.map(LedgerEntry::Gap)).collect(), Vec::new());
            self.end_lane(&key);
        }
    }

    fn forget(&mut self) {
        let now = self.context.clock.now();
        for entry in lineage::forgettable(&self.ledger, &self.listings, now) {
            let key = LedgerEntry::Shard(entry.clone()).key();
            let work = self.slots.get_mut(&Slot::of(&entry.shard, self.context.log.slots()));
            if let Some(work) = work.filter(|work| !work.pending.contains(&key)) {
                work.decide(Vec::new(), vec![key]);
            }
        }
    }
}
