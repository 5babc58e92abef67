//! Reads one shard from its position to its end: iterators, pace, and what to do about each fault.
//!
//! Promises that pages come in order and without holes, that the last page comes before the end, and that a range which
//! can't be read any more comes as a gap before anything behind it. Holds at most [`WINDOW`] pages that are not
//! committed, so that one is fetched while the one before is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use headwater_common::clock::{Clock, Timestamp};
use headwater_common::codec;
use headwater_common::failure::backoff;
use headwater_common::ledger::{GapCause, GapEntry, ShardEntry};
use headwater_common::log::LogEvent;
use headwater_common::metric;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::budget::{Budget, Hold};
use crate::errors::{Fault, StreamError};
use crate::lineage;
use crate::page::{Page, Read, What};
use crate::record::Numbering;
use crate::settings::Settings;
use crate::streams::{Records, ShardIterator, Start, StreamRecord, Streams};
use crate::work::Message;

const WINDOW: usize = 2;

/// Failures in a row that are worth saying.
const TROUBLE: u32 = 3;

/// How often a finished shard's children are asked for; after that the listing finds them.
const CHILD_CALLS: u32 = 10;

const FIRST_PAUSE: Duration = Duration::from_millis(100);

pub(crate) struct Reader {
    pub streams: Arc<dyn Streams>,
    pub clock: Arc<dyn Clock>,
    pub settings: Arc<Settings>,
    pub budget: Budget,
    pub inbox: mpsc::Sender<Message>,
    pub run: u64,
    pub entry: ShardEntry,
    pub numbering: Numbering,
    /// Set once the table has another stream: nothing is written to this one any more.
    pub replaced: Arc<AtomicBool>,
    /// When the stream became known: what was trimmed within the retention after that is older than the pipeline.
    pub followed_since: Timestamp,
    /// A gap whose end is the next record.
    pub gap: Option<GapEntry>,
}

/// What changes from one request to the next.
struct Progress {
    window: Arc<Semaphore>,
    iterator: Option<ShardIterator>,
    /// Empty answers in a row.
    empty: u32,
    /// Failures in a row.
    failures: u32,
    /// Times in a row that even the shard's beginning was trimmed.
    emptied: u32,
}

/// The pipeline is gone.
struct Closed;

impl Reader {
    /// Ends with the shard, or when the pipeline does.
    pub(crate) async fn run(mut self) {
        let window = Arc::new(Semaphore::new(WINDOW));
        let mut progress = Progress { window, iterator: None, empty: 0, failures: 0, emptied: 0 };
        if let Some(gap) = self.gap.clone()
            && self.send_gap(gap).await.is_err()
        {
            return;
        }
        loop {
            match self.step(&mut progress).await {
                Ok(true) => break,
                Ok(false) => {}
                Err(Closed) => return,
            }
        }
        self.ask_for_children().await;
    }

    /// One request; true at the shard's end.
    async fn step(&mut self, progress: &mut Progress) -> Result<bool, Closed> {
        let place = progress.window.clone().acquire_owned().await.map_err(|_| Closed)?;
        let iterator = match progress.iterator.clone() {
            Some(iterator) => iterator,
            None => match self.streams.iterator(&self.numbering.key, &self.start()).await {
                Ok(iterator) => progress.iterator.insert(iterator).clone(),
                Err(error) => return self.failed(progress, error).await.map(|()| false),
            },
        };
        let hold = self.budget.reserve().await.ok_or(Closed)?;
        let (asked, timer) = (self.clock.now(), Instant::now());
        match self.streams.records(&iterator, self.settings.page_records).await {
            Ok(records) => {
                if progress.failures >= TROUBLE {
                    self.send(What::Trouble(None)).await?;
                }
                (progress.failures, progress.emptied) = (0, 0);
                self.answered(progress, records, asked, (hold, place), timer).await
            }
            Err(error) => {
                drop((hold, place));
                self.failed(progress, error).await.map(|()| false)
            }
        }
    }

    fn start(&self) -> Start {
        self.numbering.position.clone().map_or(Start::TrimHorizon, Start::After)
    }

    async fn answered(
        &mut self,
        progress: &mut Progress,
        records: Records,
        asked: Timestamp,
        hold: (Hold, OwnedSemaphorePermit),
        timer: Instant,
    ) -> Result<bool, Closed> {
        let count = records.records.len();
        let mut ended = records.next.is_none();
        let mut page = match self.page(records.records) {
            Ok(page) => page,
            Err(error) => {
                drop(hold);
                return self.failed(progress, error).await.map(|()| false);
            }
        };
        progress.iterator = records.next;
        progress.empty = if count == 0 { progress.empty + 1 } else { 0 };
        let caught_up = progress.empty >= self.settings.caught_up_reads;
        ended |= caught_up && self.replaced.load(Ordering::Relaxed);
        // A page is at most 1000 records or 1 MB: one that is half of that has more behind it.
        let full = count * 2 >= self.settings.page_records as usize || page.weight >= 1 << 19;
        if count > 0 || ended {
            page.ended = ended;
            let (mut memory, place) = hold;
            memory.shrink_to(page.weight);
            page.hold = Some((memory, place));
            self.send(What::Page(page)).await?;
        } else {
            drop(hold);
            if caught_up {
                self.send(What::CaughtUp(asked)).await?;
            }
        }
        if !ended {
            tokio::time::sleep_until(timer + self.pause(full, progress.empty)).await;
        }
        Ok(ended)
    }

    fn pause(&self, full: bool, empty: u32) -> Duration {
        if full {
            return Duration::from_millis(self.settings.busy_ms);
        }
        // Only answers beyond those that prove the tip slow the reader down.
        let beyond = empty.saturating_sub(self.settings.caught_up_reads).min(16);
        let grown = self.settings.idle_ms.saturating_mul(1 << beyond);
        Duration::from_millis(grown.min(self.settings.idle_max_ms))
    }

    /// Leaves the numbering as it was when a record can't be a change: the page will be read again.
    fn page(&mut self, records: Vec<StreamRecord>) -> Result<Page, StreamError> {
        let mut numbering = self.numbering.clone();
        let gap = match (&self.gap, records.first()) {
            (Some(gap), Some(first)) => Some(GapEntry { to: Some(first.sequence.clone()), ..gap.clone() }),
            _ => None,
        };
        let (mut events, mut weight, mut created) = (Vec::with_capacity(records.len()), 0, None);
        for record in records {
            created = Some(record.created);
            let change = numbering.assign(record)?;
            let (key, value) = (change.key.canonical(), codec::encode(&change));
            const FIXED: usize = 128;
            weight += key.as_bytes().len() + value.len() + FIXED;
            events.push(LogEvent { table: change.table, key, value });
        }
        if numbering.regressions > self.numbering.regressions {
            let risen = numbering.regressions - self.numbering.regressions;
            metrics::counter!(metric::ORDER_REGRESSIONS).increment(risen);
            tracing::error!(shard = %self.numbering.key.1, count = risen, "sequence numbers did not rise within their shard");
        }
        if gap.is_some() {
            self.gap = None;
        }
        self.numbering = numbering;
        Ok(Page { events, weight, created, gap, ..self.empty_page() })
    }

    fn empty_page(&self) -> Page {
        let (position, version) = (self.numbering.position.clone(), self.numbering.version);
        Page { events: Vec::new(), position, version, created: None, ended: false, gap: None, weight: 0, hold: None }
    }

    async fn failed(&mut self, progress: &mut Progress, error: StreamError) -> Result<(), Closed> {
        metrics::counter!(metric::STREAM_ERRORS, "kind" => error.fault.label()).increment(1);
        progress.failures += 1;
        progress.empty = 0;
        match error.fault {
            Fault::Busy => {}
            Fault::IteratorExpired => progress.iterator = None,
            Fault::Trimmed => {
                progress.iterator = None;
                self.trimmed(progress, &error).await?;
            }
            Fault::NotFound => {
                progress.iterator = None;
                self.send(What::Missing).await?;
            }
            Fault::Refused | Fault::Malformed => progress.iterator = None,
        }
        let grave = matches!(error.fault, Fault::Refused | Fault::Malformed);
        if grave || progress.failures == TROUBLE {
            progress.failures = progress.failures.max(TROUBLE);
            let shard = &self.numbering.key.1;
            tracing::warn!(%shard, table = %self.numbering.table, %error, failures = progress.failures, "the shard is not read");
            let reason = format!("shard {shard} of table {} is not read: {error}", self.numbering.table);
            self.send(What::Trouble(Some(reason))).await?;
        }
        if error.fault == Fault::IteratorExpired && progress.failures < TROUBLE {
            return Ok(());
        }
        tokio::time::sleep(self.retry_pause(progress.failures - 1)).await;
        Ok(())
    }

    fn retry_pause(&self, attempt: u32) -> Duration {
        backoff(attempt, FIRST_PAUSE, self.settings.retry_max(), rand::random())
    }

    /// Records that the stream has dropped: they are a gap, and reading goes on at the oldest that it holds. Trimming
    /// may overtake that too; where it does again and again, nothing is left to be read.
    async fn trimmed(&mut self, progress: &mut Progress, error: &StreamError) -> Result<(), Closed> {
        let beginning = self.numbering.position.is_none();
        if beginning {
            progress.emptied += 1;
        }
        let ours = !beginning || self.clock.now().since(self.followed_since) >= lineage::RETENTION;
        if ours && !(beginning && self.gap.is_some()) {
            let entry = ShardEntry { position: self.numbering.position.clone(), ..self.entry.clone() };
            let gap = lineage::gap(&entry, GapCause::Trimmed, self.clock.now());
            tracing::error!(shard = %self.numbering.key.1, table = %self.numbering.table, from = ?gap.from, %error,
                "records were trimmed before they were read");
            self.numbering.position = None;
            self.send_gap(gap).await?;
        }
        if progress.emptied >= TROUBLE { self.send(What::Emptied).await } else { Ok(()) }
    }

    async fn send_gap(&mut self, gap: GapEntry) -> Result<(), Closed> {
        self.gap = Some(gap.clone());
        self.send(What::Page(Page { gap: Some(gap), ..self.empty_page() })).await
    }

    async fn ask_for_children(self) {
        for attempt in 0..CHILD_CALLS {
            match self.streams.children(&self.numbering.key.0, &self.numbering.key.1).await {
                Ok(children) if children.is_empty() => {}
                Ok(children) => {
                    // The pipeline may be gone, and then nobody asks.
                    self.send(What::Children(children)).await.ok();
                    return;
                }
                Err(error) => {
                    metrics::counter!(metric::STREAM_ERRORS, "kind" => error.fault.label()).increment(1);
                    tracing::debug!(shard = %self.numbering.key.1, %error, "asking for children failed");
                }
            }
            tokio::time::sleep(self.retry_pause(attempt).min(Duration::from_secs(1))).await;
        }
    }

    async fn send(&self, what: What) -> Result<(), Closed> {
        let read = Read { key: self.numbering.key.clone(), run: self.run, what };
        self.inbox.send(Message::Read(read)).await.map_err(|_| Closed)
    }
}
