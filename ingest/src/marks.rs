//! What the worker says every second: completeness to the log, readiness and state to the board.

use std::collections::BTreeMap;

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::completeness::Mark;
use headwater_common::ledger::Slot;

use crate::completeness::Evidence;
use crate::status::{self, PART, Status, TableStatus};
use crate::work::{TableWork, Work};

impl Work {
    /// Writes the marks, and says how things stand.
    pub(crate) fn mark(&mut self) {
        let now = self.context.clock.now();
        while let Some(done) = self.marks.try_join_next() {
            let reason = match done {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(format!("completeness is not marked: {error}")),
                Err(error) => Some(format!("completeness is not marked: {error}")),
            };
            self.troubles.set("marks".to_owned(), reason);
        }
        let of = self.context.log.slots();
        let free = self.marks.is_empty();
        for table in self.context.tables.clone() {
            let slots = self.claims(&table, now);
            if let Some(work) = self.tables.get_mut(&table) {
                work.complete_until = slots.values().min().copied();
            }
            if free && !slots.is_empty() {
                let (log, mark) = (self.context.log.clone(), Mark { of, slots });
                self.marks.spawn(async move { log.mark(&table, &mark).await });
            }
        }
        self.tell(now);
    }

    /// What this worker may claim of its slots: nothing that is undecided, and never less than before.
    fn claims(&mut self, table: &TableName, now: Timestamp) -> BTreeMap<Slot, Timestamp> {
        let settings = &self.context.settings;
        let evidence = Evidence {
            ledger: &self.ledger,
            listings: &self.listings,
            slots: self.context.log.slots(),
            settle: settings.settle(),
            split_settle: settings.split_settle(),
            now,
        };
        let mut claims = evidence.complete_until(table);
        claims.retain(|slot, _| self.slots.get(slot).is_some_and(|work| work.pending.is_empty()));
        for (slot, until) in &mut claims {
            let claimed = self.claimed.entry((table.clone(), *slot)).or_insert(*until);
            *claimed = (*claimed).max(*until);
            *until = *claimed;
        }
        claims
    }

    fn tell(&self, now: Timestamp) {
        let context = &self.context;
        self.troubles.tell(&context.health, &self.ledger, &context.tables, now);
        let table = |(table, work): (&TableName, &TableWork)| {
            (table.clone(), TableStatus::of(&self.ledger, table, work.records, work.complete_until))
        };
        let status = Status { slots: self.slots.len(), tables: self.tables.iter().map(table).collect() };
        for (table, known) in &status.tables {
            status::gauge_gaps(table, known.gaps.len());
        }
        context.health.publish(PART, &status);
        for lane in self.lanes.values() {
            status::gauge(&lane.entry, now);
        }
    }
}
