//! Writes the features as the events happen: the part of the producer that does I/O.
//!
//! Promises that the writes of one key are made one after another in event-time order, while those of other keys are
//! under way; that no more than a bounded number waits; that a stop or an error loses no write that was answered.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_common::clock::Clock;
use headwater_sdk::{FeatureStore, Put, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::data;
use crate::error::Error;
use crate::events::{Kind, moments};
use crate::features::{Features, Write};

/// Writes that may wait for one writer.
const QUEUE: usize = 32;
const OBSERVE_EVERY: Duration = Duration::from_millis(100);
/// How much of what a slow store made it miss a replay with a rate makes up for.
const CATCH_UP: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flights {
    /// The first of the year, until the last of them has arrived.
    First(usize),
    All,
    /// As many as fit.
    For(Duration),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Replay {
    pub flights: Flights,
    /// Writes under way at a time, 1 at least.
    pub writers: usize,
    /// Writes a second at most.
    pub rate: Option<f64>,
}

impl Default for Replay {
    /// The whole year, as fast as the store takes it.
    fn default() -> Self {
        Replay { flights: Flights::All, writers: 16, rate: None }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Departures and cancellations.
    pub flights: u64,
    /// Answered ones.
    pub writes: u64,
    /// Those of `writes` that the store has.
    pub applied: u64,
    /// Those of `writes` that the store refused, because it has the same event time or a later one.
    pub older: u64,
    /// Of the latest event.
    pub event_time: Timestamp,
    pub elapsed: Duration,
}

/// The last progress.
pub type Summary = Progress;

/// Replays until the flights are over or `stop` is cancelled, which is no error. `observer` is told about ten times a
/// second, and at the end.
pub async fn replay(
    store: &FeatureStore,
    replay: &Replay,
    clock: Arc<dyn Clock>,
    observer: &(dyn Fn(Progress) + Sync),
    stop: CancellationToken,
) -> Result<Summary, Error> {
    let (count, span) = match replay.flights {
        Flights::First(count) => (count, Duration::MAX),
        Flights::All => (usize::MAX, Duration::MAX),
        Flights::For(span) => (usize::MAX, span),
    };
    let mut features = Features::new(data::airports()?, data::planes()?);
    let mut pace = Pace::of(replay.rate);
    let mut writers = Writers::start(store, replay.writers.max(1));
    let started = clock.now();
    let mut progress = Progress::default();
    let mut observed = Duration::ZERO;
    'moments: for moment in moments(data::flights()?.take(count)) {
        let moment = moment?;
        progress.elapsed = clock.now().since(started);
        if progress.elapsed >= span {
            break;
        }
        progress.event_time = moment.time;
        progress.flights +=
            moment.events.iter().filter(|event| !matches!(event.kind, Kind::Arrival { .. })).count() as u64;
        for write in features.apply(&moment)? {
            let queued = async {
                pace.wait().await;
                writers.queue(write).await
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break 'moments,
                queued = queued => if !queued { break 'moments },
            }
        }
        if progress.elapsed >= observed + OBSERVE_EVERY {
            observed = progress.elapsed;
            observer(writers.counted(progress));
        }
    }
    writers.finish().await?;
    progress.elapsed = clock.now().since(started);
    let summary = writers.counted(progress);
    observer(summary);
    Ok(summary)
}

/// Tasks that write, each for its share of the keys.
struct Writers {
    queues: Vec<mpsc::Sender<Write>>,
    tasks: JoinSet<Result<(), Error>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    applied: AtomicU64,
    older: AtomicU64,
}

impl Writers {
    fn start(store: &FeatureStore, count: usize) -> Writers {
        let counts = Arc::new(Counts::default());
        let mut tasks = JoinSet::new();
        let queues = (0..count)
            .map(|_| {
                let (queue, writes) = mpsc::channel(QUEUE);
                tasks.spawn(write_all(store.clone(), writes, counts.clone()));
                queue
            })
            .collect();
        Writers { queues, tasks, counts }
    }

    /// Waits for room. `false` once that key's writer has met an error, which [`Writers::finish`] returns.
    async fn queue(&self, write: Write) -> bool {
        let mut hasher = DefaultHasher::new();
        (write.entity, &write.key).hash(&mut hasher);
        let writer = (hasher.finish() % self.queues.len() as u64) as usize;
        self.queues[writer].send(write).await.is_ok()
    }

    /// Waits until what is queued is written.
    async fn finish(&mut self) -> Result<(), Error> {
        self.queues.clear();
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|_| Error::Panicked)??;
        }
        Ok(())
    }

    fn counted(&self, progress: Progress) -> Progress {
        let applied = self.counts.applied.load(Ordering::Relaxed);
        let older = self.counts.older.load(Ordering::Relaxed);
        Progress { applied, older, writes: applied + older, ..progress }
    }
}

async fn write_all(store: FeatureStore, mut writes: mpsc::Receiver<Write>, counts: Arc<Counts>) -> Result<(), Error> {
    while let Some(Write { entity, key, item, event_time }) = writes.recv().await {
        let written = match store.entity(entity) {
            Ok(entity) => entity.put(item, event_time).await,
            Err(error) => Err(error),
        };
        match written.map_err(|source| Error::Write { entity, key, source: Box::new(source) })? {
            Put::Applied => counts.applied.fetch_add(1, Ordering::Relaxed),
            Put::Older => counts.older.fetch_add(1, Ordering::Relaxed),
        };
    }
    Ok(())
}

/// Spreads writes over time.
struct Pace {
    interval: Option<Duration>,
    due: Instant,
}

impl Pace {
    fn of(rate: Option<f64>) -> Pace {
        let interval = rate.and_then(|rate| Duration::try_from_secs_f64(1.0 / rate).ok());
        Pace { interval, due: Instant::now() }
    }

    async fn wait(&mut self) {
        let Some(interval) = self.interval else { return };
        let now = Instant::now();
        if self.due > now {
            tokio::time::sleep_until(self.due).await;
        } else {
            self.due = self.due.max(now.checked_sub(CATCH_UP).unwrap_or(now));
        }
        self.due += interval;
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.writes as f64 / self.elapsed.as_secs_f64().max(0.001);
        let Progress { flights, writes, older, event_time, .. } = self;
        write!(f, "{flights} flights, {writes} writes ({rate:.0}/s), {older} older, up to {event_time}")
    }
}
