//! The loop: reads the log, gathers rows by table, and commits each table by itself.
//!
//! Promises that a record is in its table exactly once, and that one table's trouble holds up no other: each has its
//! own task, its own share of the memory, and its own way back. Reading starts from what the tables contain, never from
//! what the log was told. Assumes that this stage is the only writer of rows; where another one is, the table's `txn`
//! versions keep the two apart.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use headwater_common::change::TableName;
use headwater_common::clock::Clock;
use headwater_common::definition::Entity;
use headwater_common::failure::backoff;
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, Delivery, LogError, LogRecord, Subscription};
use tokio::task::JoinError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decode::{Decoded, decode};
use crate::error::Error;
use crate::lake::Lake;
use crate::settings::Settings;
use crate::stage::{Stage, by_table};
use crate::table::Work;

/// The offline sink.
pub struct SinkOffline {
    pub log: Arc<dyn ChangeLog>,
    pub lake: Lake,
    pub entities: Vec<Entity>,
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
}

impl SinkOffline {
    /// Runs until `shutdown`, then commits what it holds. Ends with an error only where no retry can mend it: settings or
    /// definitions that can't work, a log that is not the tables'.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut stage = Stage::new(self)?;
        let Some(mut log) = stage.subscribe(&shutdown).await? else { return Ok(()) };
        loop {
            let wake = stage.wake_at();
            tokio::select! {
                biased;
                // 1: shutdown
                () = shutdown.cancelled() => break,
                // 3: a table was opened, a flush is done
                Some(ended) = stage.tasks.join_next_with_id() => stage.settle(ended, &mut *log).await?,
                // 3: records were decoded
                Some(decoded) = stage.decoding.next() => stage.accept(decoded, &mut *log),
                // 4: a table wants to commit, or it is time to publish
                () = tokio::time::sleep_until(wake) => stage.on_time().await,
                // 2 and 5: ownership comes in order with the input. Tables without room are paused at the source.
                delivery = log.next(), if stage.may_read() => stage.take(delivery, &mut *log).await,
            }
        }
        stage.drain(&mut *log).await
    }
}

impl Stage {
    async fn on_time(&mut self) {
        let names: Vec<TableName> = self.tables.keys().cloned().collect();
        for name in &names {
            self.flush_if_due(name);
        }
        if Instant::now() >= self.publish_at {
            self.publish().await;
        }
    }

    /// Arms 2 and 5.
    async fn take(&mut self, delivery: Result<Delivery, LogError>, log: &mut dyn Subscription) {
        match delivery {
            Ok(Delivery::Records(records)) => {
                self.claim(records, log);
                // A log that always has more would let nobody else on this thread.
                tokio::task::yield_now().await;
            }
            Ok(Delivery::Assigned(partitions)) => {
                self.context.readiness.well("log", self.context.clock.now());
                for (name, more) in by_table(&partitions) {
                    if let Some(table) = self.tables.get_mut(&name) {
                        table.assigned.extend(more);
                    }
                    self.reopen(&name);
                }
            }
            Ok(Delivery::Revoked { partitions, acknowledge }) => {
                let acknowledge = Arc::new(acknowledge);
                for (name, gone) in by_table(&partitions) {
                    if let Some(table) = self.tables.get_mut(&name) {
                        table.assigned.retain(|partition| !gone.contains(partition));
                        table.acknowledge.push(acknowledge.clone());
                        table.cancel.cancel();
                    }
                    self.reopen(&name);
                }
            }
            Err(error) => return self.rest(error),
        }
        if std::mem::take(&mut self.read_failures) > 0 {
            self.context.readiness.well("log", self.context.clock.now());
        }
    }

    /// Sends what is new to be decoded. Records of partitions that are not followed, or not any more, are left out.
    fn claim(&mut self, mut records: Vec<LogRecord>, log: &mut dyn Subscription) {
        let mut undecoded = Vec::new();
        while let Some(name) = records.first().map(|record| record.at.table.clone()) {
            let others = records.iter().position(|record| record.at.table != name).unwrap_or(records.len());
            let others = records.split_off(others);
            let of_table = std::mem::replace(&mut records, others);
            let Some(table) = self.tables.get_mut(&name) else { continue };
            undecoded.push(table.claim(of_table));
            self.hold_or_release(&name, log);
        }
        let work = move || undecoded.into_iter().map(decode).collect();
        self.decoding.push_back(tokio::task::spawn_blocking(work));
    }

    /// Takes in a delivery that was decoded; they come in the order in which they were read.
    fn accept(&mut self, decoded: Result<Vec<Decoded>, JoinError>, log: &mut dyn Subscription) {
        let now = Instant::now();
        match decoded {
            Ok(decoded) => {
                for of_table in decoded {
                    let name = of_table.table.clone();
                    let Some(table) = self.tables.get_mut(&name) else { continue };
                    table.accept(of_table, now);
                    self.flush_if_due(&name);
                    self.hold_or_release(&name, log);
                }
            }
            // Nobody knows whose records are missing now.
            Err(error) => {
                let names: Vec<TableName> = self.tables.keys().cloned().collect();
                for name in &names {
                    if let Some(table) = self.tables.get_mut(name) {
                        table.trouble = Some(Error::Encode(format!("a task broke off: {error}")));
                    }
                    self.reopen(name);
                }
            }
        }
    }

    /// An error of the log: it is read on after a rest.
    fn rest(&mut self, error: LogError) {
        let settings = &self.context.settings;
        let base = Duration::from_millis(settings.retry_base_ms);
        let cap = Duration::from_millis(settings.retry_cap_ms);
        let delay = backoff(self.read_failures, base, cap, 0.0);
        tracing::warn!(%error, retry_ms = delay.as_millis() as u64, "the change log can't be read");
        self.context.readiness.trouble("log", error.to_string(), self.context.clock.now());
        self.read_failures += 1;
        self.read_at = Instant::now() + delay;
    }

    /// Commits what is held, within the time for it. What is not committed then is read again after the next start.
    async fn drain(mut self, log: &mut dyn Subscription) -> Result<(), Error> {
        let deadline = Instant::now() + Duration::from_millis(self.context.settings.drain_ms);
        loop {
            let names: Vec<TableName> = self.tables.keys().cloned().collect();
            for name in &names {
                if self.tables.get(name).is_some_and(|table| table.wants_flush_at(&self.limits).is_some()) {
                    self.start_flush(name);
                }
            }
            let flushing = self.tables.values().any(|table| matches!(table.work, Work::Flushing(_)));
            if !flushing {
                break;
            }
            let Ok(Some(ended)) = tokio::time::timeout_at(deadline, self.tasks.join_next_with_id()).await else {
                tracing::warn!("stopped before everything was committed: the rest is read again after the next start");
                break;
            };
            self.settle(ended, log).await?;
        }
        self.tasks.shutdown().await;
        Ok(())
    }
}
