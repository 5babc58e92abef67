//! What a session does with each thing that happens.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use headwater_common::change::TableName;
use headwater_common::codec;
use headwater_common::log::{Delivery, LogRecord, TablePartition};
use headwater_common::metric;
use headwater_common::progress::SinkProgress;

use crate::pipeline::{Interruption, Session};
use crate::table::{Done, SINK, Table, Totals};
use crate::write::{LOG, PART};

/// How often progress is published.
const PUBLISH_EVERY: Duration = Duration::from_secs(1);

impl Session<'_> {
    pub(crate) async fn written(&mut self, done: Done) -> Result<(), Interruption> {
        let now = self.sink.clock.now();
        let name = done.table();
        let Some(table) = self.tables.get_mut(name) else { return Ok(()) };
        let reached = table.done(&done, now);
        if let Done::Applied { applied: Err(error), .. } = done {
            return Err(error.into());
        }
        self.sink.health.publish(PART, &self.progress());
        if let Some(reached) = reached {
            let at = |partition| TablePartition { table: name.clone(), partition };
            let next = reached.into_iter().map(|(partition, offset)| (at(partition), offset)).collect();
            self.subscription.report(&next).await?;
        }
        self.make_room();
        Ok(())
    }

    pub(crate) async fn delivered(&mut self, delivery: Delivery) -> Result<(), Interruption> {
        match delivery {
            Delivery::Assigned(partitions) => {
                for (name, table) in &mut self.tables {
                    if partitions.iter().any(|at| at.table == *name) {
                        table.look_again().await?;
                    }
                }
                for at in &partitions {
                    let Some(table) = self.tables.get_mut(&at.table) else { continue };
                    let offset = table.assign(at.partition);
                    self.subscription.start(at, offset).await?;
                }
                self.standing.clear(LOG);
            }
            Delivery::Revoked { partitions, acknowledge } => {
                self.give_up(&partitions).await?;
                drop(acknowledge);
            }
            Delivery::Records(records) => {
                let now = Instant::now();
                records.into_iter().for_each(|record| self.take(record, now));
                self.make_room();
            }
        }
        Ok(())
    }

    pub(crate) fn take(&mut self, record: LogRecord, now: Instant) {
        let LogRecord { at, offset, value, .. } = record;
        let Some(table) = self.tables.get_mut(&at.table) else { return };
        let entry = codec::decode(&value)
            .inspect_err(|error| {
                metrics::counter!(metric::DEAD_LETTERS, "sink" => SINK, "table" => at.table.to_string()).increment(1);
                tracing::warn!(%at, %offset, %error, "a record can't be decoded and is left out of the search index");
            })
            .ok();
        table.buffer.take(at.partition, offset, entry, now);
    }

    /// What was read of these partitions and is not in the index yet is the next owner's to read: nothing of it is
    /// written any more. What stays is read again from what the index holds.
    pub(crate) async fn give_up(&mut self, partitions: &[TablePartition]) -> Result<(), Interruption> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.sink.settings.drain_ms);
        loop {
            match tokio::time::timeout_at(deadline, self.writes.join_next()).await {
                Ok(None) => break,
                Ok(Some(done)) => self.written(done?).await?,
                // A write that can't be stopped any more is harmless: versions decide, and its progress is true.
                Err(_) => {
                    self.writes.shutdown().await;
                    self.tables.values_mut().for_each(Table::abandon_write);
                    break;
                }
            }
        }
        let now = Instant::now();
        for (name, table) in &mut self.tables {
            let gone: Vec<u16> = partitions.iter().filter(|at| at.table == *name).map(|at| at.partition).collect();
            if gone.is_empty() {
                continue;
            }
            for (partition, offset) in table.restart(&gone, now) {
                self.subscription.start(&TablePartition { table: name.clone(), partition }, offset).await?;
            }
        }
        Ok(())
    }

    /// Stops reading when the buffers are full, and goes on when they are half empty.
    pub(crate) fn make_room(&mut self) {
        let held: usize = self.tables.values().map(Table::bytes).sum();
        metrics::gauge!(metric::SINK_BUFFER, "sink" => SINK).set(held as f64);
        let budget = self.sink.settings.buffer_bytes;
        if held > budget {
            // Those that were assigned since the others were paused are read yet.
            let mut read: Vec<_> = self.tables.iter().flat_map(|(name, table)| table.partitions(name)).collect();
            read.retain(|at| !self.paused.contains(at));
            if !read.is_empty() {
                self.subscription.pause(&read);
                self.paused.append(&mut read);
                metrics::counter!(metric::SINK_PAUSES, "sink" => SINK).increment(1);
            }
        } else if held <= budget / 2 && !self.paused.is_empty() {
            self.subscription.resume(&std::mem::take(&mut self.paused));
        }
        metrics::gauge!(metric::SINK_PAUSED, "sink" => SINK).set(self.paused.len() as f64);
    }

    pub(crate) async fn publish(&mut self) {
        self.publish = Instant::now() + PUBLISH_EVERY;
        for (name, table) in &mut self.tables {
            match self.sink.log.extents(name).await {
                Ok(extents) => table.measure(&extents),
                Err(error) => tracing::debug!(table = %name, %error, "the log's end is not known"),
            }
            table.gauge(name);
        }
        self.sink.health.publish(PART, &self.progress());
    }

    pub(crate) fn progress(&self) -> SinkProgress {
        let tables = self.tables.iter().map(|(name, table)| (name.clone(), table.progress())).collect();
        SinkProgress { tables }
    }

    pub(crate) fn totals(self) -> BTreeMap<TableName, Totals> {
        self.tables.into_iter().map(|(name, table)| (name, table.totals)).collect()
    }
}
