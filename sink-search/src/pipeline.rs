//! From the log into the indexes, one flush at a time for each table.
//!
//! Promises that a change is counted as applied only when the index holds it durably with the progress that says so,
//! and that reading starts from that progress (P1, P3). Holds at most the settings' bytes (P9). Ends only by the
//! request to stop, by settings that can't be, or by a log that can't continue an index.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::change::TableName;
use headwater_common::clock::Clock;
use headwater_common::definition::Entity;
use headwater_common::failure::Directive;
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, LogError, Subscription, TablePartition};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::index::{IndexError, SearchIndex};
use crate::settings::Settings;
use crate::start::{self, Refusal};
use crate::table::{Done, Table, Totals};
use crate::write::{LOG, Standing};

/// The group of the workers that follow what serves.
const GROUP: &str = "sink-search";

/// The stage. Every entity's table has its index.
pub struct SinkSearch {
    pub log: Arc<dyn ChangeLog>,
    pub indexes: BTreeMap<TableName, Arc<dyn SearchIndex>>,
    pub entities: Vec<Entity>,
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("sink_search.{0}")]
    Settings(String),
    #[error("table {0} has no search index: open one for each entity")]
    NoIndex(TableName),
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Why a session ended before it was asked to. All but a fatal one begin again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Interruption {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("a write did not finish: {0}")]
    Lost(#[from] tokio::task::JoinError),
    #[error(transparent)]
    Fatal(#[from] Error),
}

impl Interruption {
    fn directive(&self) -> Directive {
        match self {
            Interruption::Log(error) => error.directive(),
            Interruption::Index(error) => error.directive(),
            Interruption::Lost(_) => Directive::Retry,
            Interruption::Fatal(_) => Directive::Halt,
        }
    }
}

impl SinkSearch {
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        self.run_as(GROUP, shutdown).await
    }

    /// As readers of their own: what others have read is read again.
    pub async fn run_as(self, group: &str, shutdown: CancellationToken) -> Result<(), Error> {
        self.settings.check().map_err(Error::Settings)?;
        let standing = Arc::new(Standing::new(self.health.clone(), self.clock.clone()));
        let mut totals = BTreeMap::new();
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            let begun = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                begun = self.begin(group, &standing, &mut totals) => begun,
            };
            let ended = match begun {
                Ok(mut session) => {
                    let ended = session.run(&shutdown).await;
                    totals = session.totals();
                    ended
                }
                Err(interruption) => Err(interruption),
            };
            let Err(interruption) = ended else { return Ok(()) };
            let lasted = began.elapsed() > Duration::from_millis(self.settings.retry_cap_ms);
            attempt = if lasted { 0 } else { attempt + 1 };
            let pause = self.after(interruption, &standing, attempt)?;
            tokio::select! { () = shutdown.cancelled() => return Ok(()), () = tokio::time::sleep(pause) => {} }
        }
    }

    /// How long to wait before the next session, or that there is none.
    fn after(&self, interruption: Interruption, standing: &Standing, attempt: u32) -> Result<Duration, Error> {
        let news = standing.trouble(LOG, interruption.to_string());
        let pause = match interruption.directive() {
            Directive::Retry | Directive::Rebuild | Directive::Hold => self.settings.pause(attempt),
            Directive::DeadLetter | Directive::Abandon | Directive::Halt => self.settings.pause(u32::MAX),
        };
        match interruption {
            Interruption::Fatal(error) => Err(error),
            other => {
                if news {
                    tracing::error!(error = %other, "the search sink begins again");
                }
                Ok(pause)
            }
        }
    }

    /// Compares every index with its log, then subscribes.
    async fn begin(
        &self,
        group: &str,
        standing: &Arc<Standing>,
        totals: &mut BTreeMap<TableName, Totals>,
    ) -> Result<Session<'_>, Interruption> {
        let mut checked = Vec::new();
        for entity in &self.entities {
            let name = entity.table();
            let index = self.indexes.get(&name).ok_or_else(|| Error::NoIndex(name.clone()))?;
            let log = self.log.open_table(&name).await?;
            let extents = self.log.extents(&name).await?;
            let held = index.progress().await?;
            start::points(&name, &held, &log, &extents).map_err(Error::Refused)?;
            checked.push((name, entity, index.clone(), log, extents.len() as u16, held));
        }
        let names: Vec<TableName> = checked.iter().map(|(name, ..)| name.clone()).collect();
        let subscription = self.log.subscribe(group, &names).await?;
        let now = Instant::now();
        let table = |(name, entity, index, log, of, held): (TableName, &Entity, _, _, _, _)| {
            let totals = totals.remove(&name).unwrap_or_default();
            (name, Table::new(entity, index, log, of, held, totals, now))
        };
        let tables = checked.into_iter().map(table).collect();
        Ok(Session {
            sink: self,
            standing: standing.clone(),
            subscription,
            tables,
            writes: JoinSet::new(),
            paused: Vec::new(),
            publish: now,
        })
    }
}

/// Reading and writing between two interruptions.
pub(crate) struct Session<'a> {
    pub sink: &'a SinkSearch,
    pub standing: Arc<Standing>,
    pub subscription: Box<dyn Subscription>,
    pub tables: BTreeMap<TableName, Table>,
    pub writes: JoinSet<Done>,
    /// What is not read while the buffers are full.
    pub paused: Vec<TablePartition>,
    pub publish: Instant,
}

impl Session<'_> {
    async fn run(&mut self, shutdown: &CancellationToken) -> Result<(), Interruption> {
        loop {
            let deadline = self.write_what_is_due();
            tokio::select! {
                biased;
                // 1: the request to stop
                () = shutdown.cancelled() => return self.drain().await,
                // 3: the result of a write
                Some(done) = self.writes.join_next() => self.written(done?).await?,
                // 4: a flush is due, or progress is to be published
                () = tokio::time::sleep_until(deadline.into()) => {
                    if self.publish <= Instant::now() {
                        self.publish().await;
                    }
                }
                // 2 and 5: a subscription speaks of ownership and of records through one door, and stays open when
                // the buffers are full: then the partitions are paused
                delivery = self.subscription.next() => self.delivered(delivery?).await?,
            }
        }
    }

    /// Starts what is due, and says when to look again.
    fn write_what_is_due(&mut self) -> Instant {
        let (now, settings) = (Instant::now(), &self.sink.settings);
        let mut deadline = self.publish;
        for (name, table) in &mut self.tables {
            if table.writing {
                continue;
            }
            match table.due(settings) {
                Some(due) if due <= now => {
                    table.write(name, now, settings, &self.standing, &mut self.writes);
                }
                Some(due) => deadline = deadline.min(due),
                None => {}
            }
            if !table.writing && table.purge <= now {
                table.purge(name, now, self.sink.clock.now(), settings, &mut self.writes);
            }
        }
        deadline
    }

    /// Makes visible what was read, within the time that the settings give.
    async fn drain(&mut self) -> Result<(), Interruption> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(self.sink.settings.drain_ms);
        loop {
            let now = Instant::now();
            for (name, table) in self.tables.iter_mut().filter(|(_, table)| !table.writing) {
                table.write(name, now, &self.sink.settings, &self.standing, &mut self.writes);
            }
            match tokio::time::timeout_at(deadline, self.writes.join_next()).await {
                Ok(None) => break,
                Ok(Some(done)) => self.written(done?).await?,
                Err(_) => {
                    tracing::warn!(
                        "the time to drain is over: the rest is read again from the log after the next start"
                    );
                    break;
                }
            }
        }
        self.publish().await;
        Ok(())
    }
}
