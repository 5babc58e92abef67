//! When which table is listed.

use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::failure::backoff;
use headwater_common::ledger::ShardEntry;
use tokio::time::Instant;

use crate::discovery::{self, Discovered};
use crate::lineage;
use crate::work::{Message, Work};

/// While a lineage changes, shards are listed this often.
const HURRIED: Duration = Duration::from_secs(1);

/// For so long after a shard was recorded or ended its relatives may turn up.
const UNSETTLED: Duration = Duration::from_secs(60);

impl Work {
    /// When the next table is to be listed.
    pub(crate) fn next_discovery(&self) -> Instant {
        let idle = Instant::now() + HURRIED;
        let due = self.tables.values().filter(|work| !work.asking).map(|work| work.due).min();
        if self.slots.is_empty() { idle } else { due.map_or(idle, |due| due.min(idle)) }
    }

    pub(crate) fn discover(&mut self) {
        if self.slots.is_empty() {
            return;
        }
        let now = self.context.clock.now();
        for (table, work) in &mut self.tables {
            if work.asking || work.due > Instant::now() {
                continue;
            }
            work.asking = true;
            let older = lineage::older_streams(&self.ledger, table, now);
            let (streams, clock) = (self.context.streams.clone(), self.context.clock.clone());
            let (table, inbox, stop) = (table.clone(), self.inbox.clone(), self.context.stop.clone());
            tokio::spawn(async move {
                let found = stop.run_until_cancelled(discovery::discover(streams, clock, table, older)).await;
                if let Some(found) = found {
                    // A pipeline that has ended needs no answer.
                    inbox.send(Message::Discovered(found)).await.ok();
                }
            });
        }
    }

    /// Lists the table's shards as soon as possible.
    pub(super) fn hurry(&mut self, table: &TableName) {
        if let Some(work) = self.tables.get_mut(table) {
            work.due = work.due.min(Instant::now());
        }
    }

    pub(super) fn discovered(&mut self, Discovered { table, outcome }: Discovered) {
        let pause = self.listing_pause(&table);
        let Some(work) = self.tables.get_mut(&table) else { return };
        work.asking = false;
        self.dirty = true;
        let (trouble, listings) = match outcome {
            Ok(found) => {
                // Only what this answer says of the stream holds; without an answer the last one does.
                if let Some(current) = self.ledger.current_stream(&table) {
                    self.listings.remove(&current.stream);
                }
                work.current = found.current;
                (found.trouble, found.listings)
            }
            Err(reason) => (Some(reason), Vec::new()),
        };
        self.listings.extend(listings.into_iter().map(|listing| (listing.stream.clone(), listing)));
        match &trouble {
            None => (work.failures, work.due) = (0, Instant::now() + pause),
            Some(reason) => {
                if work.failures == 0 {
                    tracing::warn!(%table, %reason, "the table can't be followed now");
                }
                let pause = backoff(work.failures, HURRIED / 4, pause, rand::random());
                (work.failures, work.due) = (work.failures.saturating_add(1), Instant::now() + pause);
            }
        }
        self.troubles.set(format!("table/{table}"), trouble);
    }

    fn listing_pause(&self, table: &TableName) -> Duration {
        let now = self.context.clock.now();
        let unsettled = |entry: &ShardEntry| entry.table == *table && now.since(entry.since) < UNSETTLED;
        let whole = Duration::from_millis(self.context.settings.discovery_ms);
        if self.missing.is_empty() && !self.ledger.shards.values().any(unsettled) { whole } else { whole.min(HURRIED) }
    }
}
