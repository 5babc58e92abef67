//! Upkeep: folds history into current, writes checkpoints, cleans up the log, deletes what nobody needs.
//!
//! Promises that nothing that a reader within the retention needs is deleted, and that a failure here never stops the
//! stream: it is retried, and readiness says so meanwhile. Works on threads of its own for as long as it takes.

mod clean;
mod settings;
mod table;
mod vacuum;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::Clock;
use headwater_common::definition::Entity;
use headwater_common::failure::{Directive, backoff};
use headwater_common::health::Health;
use headwater_sink_offline::lake::Lake;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use settings::Settings;
pub use table::{Report, Upkeep};

use crate::error::Error;

/// The name of this part on the board of health.
pub const PART: &str = "maintenance";

pub struct Maintenance {
    pub lake: Lake,
    pub entities: Vec<Entity>,
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
}

/// What happened to one table's turn.
struct Turn {
    table: TableName,
    upkeep: Upkeep,
    took: Duration,
    outcome: Result<Report, Error>,
}

impl Maintenance {
    /// Keeps every table until shutdown. Ends with an error only where the settings can't work.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        self.settings.check().map_err(Error::Settings)?;
        let mut waiting: Vec<(Instant, Upkeep)> = Vec::new();
        for entity in &self.entities {
            waiting.push((Instant::now() + Duration::from_millis(self.settings.fold_ms), self.upkeep(&entity.table())));
        }
        let mut running: JoinSet<Turn> = JoinSet::new();
        let mut whose: Option<TableName> = None;
        let mut failures: BTreeMap<TableName, (u32, String)> = BTreeMap::new();
        let mut reports: BTreeMap<TableName, Report> = BTreeMap::new();
        self.health.ready(PART, self.clock.now());
        loop {
            let next = waiting.iter().map(|(at, _)| *at).min();
            tokio::select! {
                biased;
                // 1: shutdown; a fold ends after its step, which a crash would undo anyway.
                () = shutdown.cancelled() => break,
                // 3: the result of a table's turn.
                Some(turn) = running.join_next() => {
                    match (turn, whose.take()) {
                        (Ok(turn), _) => {
                            let wait = self.settle(&turn, &mut failures, &mut reports);
                            waiting.push((Instant::now() + wait, turn.upkeep));
                        }
                        (Err(error), Some(table)) => waiting.push((self.mourn(&table, &error), self.upkeep(&table))),
                        (Err(_), None) => {}
                    }
                }
                // 4: a table's turn. One at a time, to leave the other cores to the stream.
                () = until(next), if running.is_empty() => {
                    let due = waiting.iter().position(|(at, _)| Some(*at) == next);
                    if let Some((_, upkeep)) = due.map(|due| waiting.swap_remove(due)) {
                        whose = Some(upkeep.table().clone());
                        self.take_turn(&mut running, upkeep, &shutdown);
                    }
                }
            }
        }
        while let Some(turn) = running.join_next().await {
            if let Ok(turn) = turn {
                self.settle(&turn, &mut failures, &mut reports);
            }
        }
        Ok(())
    }

    /// One table's whole upkeep at once: fold, checkpoints, clean-up.
    pub async fn run_once(&self, table: &TableName) -> Result<Report, Error> {
        let mut upkeep = self.upkeep(table);
        upkeep.turn(self.clock.now(), true, &CancellationToken::new()).await
    }

    fn upkeep(&self, table: &TableName) -> Upkeep {
        Upkeep::new(&self.lake, table, &self.settings)
    }

    fn take_turn(&self, running: &mut JoinSet<Turn>, mut upkeep: Upkeep, shutdown: &CancellationToken) {
        let (clock, stop) = (Arc::clone(&self.clock), shutdown.clone());
        let runtime = tokio::runtime::Handle::current();
        // Encoding takes its thread for long: not one of those that the stream runs on.
        running.spawn_blocking(move || {
            let started = Instant::now();
            let outcome = runtime.block_on(upkeep.turn(clock.now(), false, &stop));
            Turn { table: upkeep.table().clone(), upkeep, took: started.elapsed(), outcome }
        });
    }

    /// A turn that panicked took its table's state with it; the table is begun anew. Says when.
    fn mourn(&self, table: &TableName, error: &tokio::task::JoinError) -> Instant {
        tracing::error!(%table, %error, "upkeep broke off");
        self.health.not_ready(PART, &format!("upkeep of {table} broke off: see the log"), self.clock.now());
        Instant::now() + Duration::from_millis(self.settings.retry_cap_ms)
    }

    /// Says how the turn went, and how long the table's next one waits.
    fn settle(
        &self,
        turn: &Turn,
        failures: &mut BTreeMap<TableName, (u32, String)>,
        reports: &mut BTreeMap<TableName, Report>,
    ) -> Duration {
        let wait = match &turn.outcome {
            Ok(report) => {
                failures.remove(&turn.table);
                reports.insert(turn.table.clone(), report.clone());
                self.settings.fold_after(turn.took)
            }
            Err(error) => {
                let (attempts, reason) = failures.entry(turn.table.clone()).or_default();
                *reason = error.to_string();
                let cap = Duration::from_millis(self.settings.retry_cap_ms);
                let wait = match error.kind().directive() {
                    Directive::Halt => cap,
                    _ => backoff(*attempts, Duration::from_millis(self.settings.retry_base_ms), cap, 0.0),
                };
                *attempts += 1;
                tracing::warn!(table = %turn.table, kind = ?error.kind(), attempt = *attempts, %error, "upkeep held up");
                wait
            }
        };
        self.health.publish(PART, reports);
        let now = self.clock.now();
        match failures.values().next() {
            // One loss against another writer is no trouble yet.
            Some((attempts, reason)) if *attempts > 1 => self.health.not_ready(PART, reason, now),
            _ => self.health.ready(PART, now),
        }
        wait
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
