//! What the loop holds: the tables, and the tasks that open them and commit for them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::FuturesOrdered;
use headwater_common::change::TableName;
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, Subscription, TablePartition};
use headwater_common::progress::SinkProgress;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::decode::Decoded;
use crate::error::Error;
use crate::flush::{Context, Flushed, flush};
use crate::open::{Opened, open};
use crate::pipeline::SinkOffline;
use crate::plan::Plan;
use crate::readiness::{PART, Readiness};
use crate::table::{self, Limits, Table, Work};

/// The name under which the log knows this sink.
const GROUP: &str = "sink-offline";

const PUBLISH_EVERY: Duration = Duration::from_secs(1);

pub(crate) enum Ended {
    Opened(TableName, Result<Option<Box<Opened>>, Error>),
    Flushed(TableName, Box<Flushed>),
}

pub(crate) struct Stage {
    pub(crate) log: Arc<dyn ChangeLog>,
    pub(crate) health: Health,
    pub(crate) context: Context,
    pub(crate) limits: Limits,
    pub(crate) tables: BTreeMap<TableName, Table>,
    pub(crate) tasks: JoinSet<Ended>,
    /// Which table a task works for, should it end without a word.
    pub(crate) works_for: BTreeMap<Id, TableName>,
    /// Deliveries that are being decoded, in the order in which they came.
    pub(crate) decoding: FuturesOrdered<JoinHandle<Vec<Decoded>>>,
    pub(crate) publish_at: Instant,
    /// Deliveries that may be decoded at once.
    pub(crate) decoders: usize,
    /// Reading rests until then after an error of the log.
    pub(crate) read_at: Instant,
    pub(crate) read_failures: u32,
}

impl Stage {
    pub(crate) fn new(sink: SinkOffline) -> Result<Stage, Error> {
        sink.settings.check().map_err(Error::Settings)?;
        let readiness = Readiness::new(sink.health.clone());
        let now = Instant::now();
        readiness.trouble("log", "no answer yet on which partitions are this worker's", sink.clock.now());
        let mut tables = BTreeMap::new();
        for entity in &sink.entities {
            let (name, plan) = (entity.table(), Arc::new(Plan::of(entity)?));
            let table = Table::new(name.clone(), plan, sink.lake.history(&name), now);
            if tables.insert(name.clone(), table).is_some() {
                return Err(Error::Settings(format!("table {name} belongs to two entities: give each its own table")));
            }
        }
        let limits = Limits::of(&sink.settings, tables.len());
        let context = Context { settings: Arc::new(sink.settings), clock: sink.clock, readiness };
        Ok(Stage {
            log: sink.log,
            health: sink.health,
            context,
            limits,
            tables,
            tasks: JoinSet::new(),
            works_for: BTreeMap::new(),
            decoding: FuturesOrdered::new(),
            publish_at: now,
            decoders: 1 + std::thread::available_parallelism().map_or(1, usize::from),
            read_at: now,
            read_failures: 0,
        })
    }

    pub(crate) async fn subscribe(&self, shutdown: &CancellationToken) -> Result<Option<Box<dyn Subscription>>, Error> {
        let names: Vec<TableName> = self.tables.keys().cloned().collect();
        let mut attempt = 0;
        loop {
            match self.log.subscribe(GROUP, &names).await {
                Ok(subscription) => return Ok(Some(subscription)),
                Err(error) => {
                    if !self.context.pause("log", &error.into(), attempt, shutdown).await {
                        return Ok(None);
                    }
                    attempt += 1;
                }
            }
        }
    }

    pub(crate) fn may_read(&self) -> bool {
        self.decoding.len() < self.decoders && Instant::now() >= self.read_at
    }

    pub(crate) fn wake_at(&self) -> Instant {
        let flushes = self.tables.values().filter_map(|table| table.wants_flush_at(&self.limits));
        let reading = (Instant::now() < self.read_at).then_some(self.read_at);
        flushes.chain(reading).fold(self.publish_at, Instant::min)
    }

    pub(crate) fn flush_if_due(&mut self, name: &TableName) {
        let Some(table) = self.tables.get_mut(name) else { return };
        if table.wants_flush_at(&self.limits).is_some_and(|at| at <= Instant::now()) {
            self.start_flush(name);
        }
    }

    pub(crate) fn start_flush(&mut self, name: &TableName) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let Some((committer, taken)) = table.take() else { return };
        let (name, context, cancel) = (name.clone(), self.context.clone(), table.cancel.clone());
        self.spawn(name.clone(), async move {
            let flushed = flush(committer, taken, name.to_string(), context, cancel).await;
            Ended::Flushed(name, Box::new(flushed))
        });
    }

    /// Opens the table, from what it contains; what was read and not committed is read again.
    pub(crate) fn start_open(&mut self, name: &TableName) {
        let Some(table) = self.tables.get_mut(name) else { return };
        table.reset();
        table.work = Work::Opening;
        table.cancel = CancellationToken::new();
        self.context.readiness.trouble(name.as_str(), "opening", self.context.clock.now());
        let (log, location, plan) = (self.log.clone(), table.location.clone(), table.plan.clone());
        let assigned = table.assigned.clone();
        let (name, context, cancel) = (name.clone(), self.context.clone(), table.cancel.clone());
        let trouble = table.trouble.take();
        self.spawn(name.clone(), async move {
            if let Some(error) = trouble
                && !context.pause(name.as_str(), &error, 0, &cancel).await
            {
                return Ended::Opened(name, Ok(None));
            }
            let opened = open(log, name.clone(), location, plan, assigned, context, cancel).await;
            Ended::Opened(name, opened)
        });
    }

    pub(crate) fn spawn(&mut self, name: TableName, work: impl Future<Output = Ended> + Send + 'static) {
        let id = self.tasks.spawn(work).id();
        self.works_for.insert(id, name);
    }

    /// At once, or when the task that works for the table has ended.
    pub(crate) fn reopen(&mut self, name: &TableName) {
        let Some(table) = self.tables.get_mut(name) else { return };
        match table.work {
            Work::Opening | Work::Flushing(_) => table.stale = true,
            Work::None if table.assigned.is_empty() => {
                table.reset();
                self.context.readiness.well(name.as_str(), self.context.clock.now());
            }
            Work::None => self.start_open(name),
        }
    }

    pub(crate) fn hold_or_release(&mut self, name: &TableName, log: &mut dyn Subscription) {
        if let Some(table) = self.tables.get_mut(name) {
            table.hold_or_release(&self.limits, log);
        }
    }

    /// Arm 3.
    pub(crate) async fn settle(
        &mut self,
        ended: Result<(Id, Ended), JoinError>,
        log: &mut dyn Subscription,
    ) -> Result<(), Error> {
        let name = match ended {
            Ok((id, Ended::Opened(name, opened))) => {
                self.works_for.remove(&id);
                self.opened(&name, opened?, log).await;
                name
            }
            Ok((id, Ended::Flushed(name, flushed))) => {
                self.works_for.remove(&id);
                if let Some(table) = self.tables.get_mut(&name) {
                    table.flushed(*flushed, self.context.clock.now(), Instant::now());
                }
                self.report(&name, log).await;
                self.publish().await;
                name
            }
            Err(error) => {
                let Some(name) = self.works_for.remove(&error.id()) else { return Ok(()) };
                if let Some(table) = self.tables.get_mut(&name) {
                    table.work = Work::None;
                    table.stale = true;
                    table.trouble = Some(Error::Encode(format!("a task broke off: {error}")));
                }
                name
            }
        };
        if self.tables.get(&name).is_some_and(|table| table.stale) {
            self.reopen(&name);
        }
        self.flush_if_due(&name);
        self.hold_or_release(&name, log);
        Ok(())
    }

    pub(crate) async fn opened(&mut self, name: &TableName, opened: Option<Box<Opened>>, log: &mut dyn Subscription) {
        let Some(table) = self.tables.get_mut(name) else { return };
        let (Some(opened), false) = (opened, table.stale) else {
            (table.work, table.stale) = (Work::None, true);
            return;
        };
        let from = table.opened(*opened, Instant::now());
        let now = self.context.clock.now();
        for (at, offset) in &from {
            if let Err(error) = log.start(at, *offset).await {
                table.stale = true;
                table.trouble = Some(error.into());
                return;
            }
        }
        tracing::info!(table = %name, partitions = from.len(), "table open");
        self.context.readiness.well(name.as_str(), now);
    }

    /// Tells the log, for its measures only.
    pub(crate) async fn report(&self, name: &TableName, log: &mut dyn Subscription) {
        let mut progress = BTreeMap::new();
        if let Some(table) = self.tables.get(name) {
            table.report(&mut progress);
        }
        if let Err(error) = log.report(&progress).await {
            tracing::warn!(table = %name, %error, "progress not reported to the log");
        }
    }

    pub(crate) async fn publish(&mut self) {
        self.publish_at = Instant::now() + PUBLISH_EVERY;
        let mut progress = SinkProgress::default();
        for (name, table) in &mut self.tables {
            match self.log.extents(name).await {
                Ok(extents) => table.measure(&extents),
                Err(error) => tracing::debug!(table = %name, %error, "the log's extents are not known"),
            }
            progress.tables.insert(name.clone(), table.progress());
        }
        table::gauge(self.tables.values());
        self.health.publish(PART, &progress);
    }
}

pub(crate) fn by_table(partitions: &[TablePartition]) -> BTreeMap<TableName, Vec<u16>> {
    let mut grouped: BTreeMap<TableName, Vec<u16>> = BTreeMap::new();
    for at in partitions {
        grouped.entry(at.table.clone()).or_default().push(at.partition);
    }
    grouped
}
