//! The stage: joins the log, reads the shards of its slots, commits what they give.
//!
//! One loop, biased in the order of its arms, and a separate one that drains.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use headwater_common::change::TableName;
use headwater_common::clock::Clock;
use headwater_common::failure::{Kind, backoff};
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, LogError, Membership};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::adapter::AwsStreams;
use crate::budget::Budget;
use crate::follower::Follower;
use crate::settings::Settings;
use crate::status::PART;
use crate::streams::Streams;
use crate::work::{Context, Message, Work};

/// Messages of readers that may wait; what they hold is bounded by the memory budget.
const INBOX: usize = 256;

/// What no retry can mend.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("ingest settings: {0}")]
    Settings(String),
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Follows the streams of `tables` into `log`.
pub struct Ingest {
    pub streams: aws_sdk_dynamodbstreams::Client,
    pub tables_client: aws_sdk_dynamodb::Client,
    pub tables: Vec<TableName>,
    pub log: Arc<dyn ChangeLog>,
    pub settings: Settings,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
}

impl Ingest {
    /// Runs until `shutdown`, then commits what was read within the drain time. Fails only on what no retry can mend.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        self.settings.check().map_err(Error::Settings)?;
        self.health.expect(PART, self.clock.now());
        let timeout = Duration::from_millis(self.settings.request_timeout_ms);
        let streams: Arc<dyn Streams> = Arc::new(AwsStreams::new(&self.streams, &self.tables_client, timeout));
        let context = Context {
            streams,
            log: self.log,
            clock: self.clock,
            health: self.health,
            budget: Budget::new(self.settings.memory_bytes),
            settings: Arc::new(self.settings),
            tables: self.tables,
            stop: CancellationToken::new(),
            give_up: CancellationToken::new(),
        };
        // Readers and commits end with this loop, however it ends.
        let _guards = (context.stop.clone().drop_guard(), context.give_up.clone().drop_guard());
        for table in &context.tables {
            let opened = retrying(&context, || async { context.log.open_table(table).await.map(drop) });
            if shutdown.run_until_cancelled(opened).await.transpose()?.is_none() {
                return Ok(());
            }
        }
        let (sender, inbox) = mpsc::channel(INBOX);
        Pipeline { work: Work::new(context, sender), inbox }.run(shutdown).await
    }
}

struct Pipeline {
    work: Work,
    inbox: mpsc::Receiver<Message>,
}

/// This worker's place in the group, and what it hears of the others.
struct Place {
    membership: Box<dyn Membership>,
    ledger: Follower,
}

/// Why the loop ended.
enum End {
    Shutdown,
    /// The log has to be joined anew.
    Rejoin(LogError),
}

impl Pipeline {
    async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut attempt = 0;
        loop {
            let joined = retrying(&self.work.context, || join(&*self.work.context.log));
            let Some(joined) = shutdown.run_until_cancelled(joined).await else { return Ok(()) };
            let mut place = joined?;
            // A place that could not be read before is read anew.
            self.work.stale = true;
            let started = Instant::now();
            match self.follow(&mut place, &shutdown).await {
                End::Shutdown => return self.drain(place).await,
                End::Rejoin(error) => {
                    tracing::warn!(%error, "the log is joined anew");
                    self.work.lose_all();
                    let reason = format!("the change log does not answer: {error}");
                    self.work.context.health.not_ready(PART, &reason, self.work.context.clock.now());
                    attempt = if started.elapsed() > Duration::from_secs(60) { 0 } else { attempt + 1 };
                }
            }
            let pause =
                backoff(attempt, Duration::from_millis(100), self.work.context.settings.retry_max(), rand::random());
            if shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return Ok(());
            }
        }
    }

    async fn follow(&mut self, place: &mut Place, shutdown: &CancellationToken) -> End {
        let mut ticks = tokio::time::interval(Duration::from_millis(self.work.context.settings.mark_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut held = self.work.held();
        loop {
            let due = self.work.next_discovery();
            tokio::select! {
                biased;
                // 1 shutdown
                () = shutdown.cancelled() => return End::Shutdown,
                // 2 ownership change, and what others wrote to the ledger
                change = place.membership.changed() => match change {
                    Ok(change) => self.work.own(change),
                    Err(error) => return End::Rejoin(error),
                },
                updates = place.ledger.next() => match updates {
                    Ok(updates) => self.work.follow(updates),
                    Err(error) => return End::Rejoin(error),
                },
                // 3 result of a commit
                Some(done) = self.work.commits.join_next() => {
                    if let Err(error) = self.work.committed(done) {
                        return End::Rejoin(error);
                    }
                }
                // 4 deadlines: marks, the next listing
                _ = ticks.tick() => self.work.mark(),
                () = tokio::time::sleep_until(due) => self.work.discover(),
                // 5 input
                Some(message) = self.inbox.recv(), if self.work.has_room() => self.work.take(message),
            }
            if self.work.stale {
                // What else changed hands is taken in before the ledger is read.
                while let Some(change) = place.membership.changed().now_or_never() {
                    match change {
                        Ok(change) => self.work.own(change),
                        Err(error) => return End::Rejoin(error),
                    }
                }
                match self.work.reload(&held).await {
                    Ok(reader) => place.ledger = Follower::start(reader),
                    Err(error) => return End::Rejoin(error),
                }
                held = self.work.held();
            }
            self.work.advance();
            self.work.flush();
        }
    }

    /// Reads no more, and commits what was read for as long as the settings allow.
    async fn drain(mut self, place: Place) -> Result<(), Error> {
        self.work.context.stop.cancel();
        let deadline = Instant::now() + Duration::from_millis(self.work.context.settings.drain_ms);
        while let Ok(message) = self.inbox.try_recv() {
            self.work.take(message);
        }
        while !self.work.is_drained() {
            self.work.flush();
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => {
                    tracing::warn!("what was read is not committed in time and will be read again");
                    break;
                }
                Some(done) = self.work.commits.join_next() => self.work.committed(done)?,
            }
        }
        self.work.context.give_up.cancel();
        Ok(place.membership.leave().await?)
    }
}

async fn join(log: &dyn ChangeLog) -> Result<Place, LogError> {
    Ok(Place { membership: log.join().await?, ledger: Follower::start(log.ledger().await?) })
}

/// The same again until it works; what no retry can mend ends it.
async fn retrying<T, F>(context: &Context, call: impl Fn() -> F) -> Result<T, LogError>
where
    F: Future<Output = Result<T, LogError>>,
{
    let mut attempt = 0;
    loop {
        let error = match call().await {
            Err(error) if error.kind() != Kind::Operator => error,
            outcome => return outcome,
        };
        if attempt == 0 {
            tracing::warn!(%error, "the change log can't be opened now");
        }
        context.health.not_ready(PART, &error.to_string(), context.clock.now());
        tokio::time::sleep(backoff(attempt, Duration::from_millis(100), context.settings.retry_max(), rand::random()))
            .await;
        attempt = attempt.saturating_add(1);
    }
}
