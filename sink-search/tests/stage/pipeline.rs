use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use headwater_common::change::{Change, Op, ShardId, Source, StreamArn, TableName};
use headwater_common::clock::{Clock, ManualClock, SystemClock, Timestamp};
use headwater_common::codec;
use headwater_common::completeness::Mark;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::key::ItemKey;
use headwater_common::ledger::Slot;
use headwater_common::log::{ChangeLog, CommitBatch, LogEvent, LogId, Membership, Offset, Ownership, SlotWriter};
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::progress::{SinkProgress, TableProgress};
use headwater_common::value::Item;
use headwater_sink_search::index::*;
use headwater_sink_search::start::Refusal;
use headwater_sink_search::{Error, SearchIndex, Settings, SinkSearch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::conformance::{all, scan_all, within};
use crate::embedded::open;
use crate::generate::{entity, item, key, n, s};
use crate::scripted::{ScriptedIndex, ScriptedLog};

pub fn table() -> TableName {
    entity().table()
}

pub fn settings() -> Settings {
    Settings { flush_ms: 20, idle_complete_ms: 20, retry_ms: 1, retry_cap_ms: 20, ..Settings::default() }
}

/// A log with one slot, and the right to write it.
pub struct Feed {
    pub log: Arc<EmbeddedLog>,
    _member: Box<dyn Membership>,
    writer: Box<dyn SlotWriter>,
}

pub async fn feed(folder: &Path) -> Feed {
    let log = Arc::new(EmbeddedLog::open(folder, Layout { slots: 1, partitions: 2 }).unwrap());
    log.open_table(&table()).await.unwrap();
    let mut member = log.join().await.unwrap();
    let Ownership::Acquired(writer) = within(member.changed()).await.unwrap() else { panic!("no slot") };
    Feed { log, _member: member, writer }
}

impl Feed {
    pub async fn write(&mut self, changes: Vec<(Item, u64, bool)>) {
        let event = |(item, version, live): (Item, u64, bool)| {
            let key = ItemKey::of(&item, "id", Some("seq")).unwrap();
            let change = Change {
                table: table(),
                key: key.clone(),
                op: if live { Op::Modify } else { Op::Delete },
                version: Version::new(version).unwrap(),
                created: Timestamp::EPOCH,
                after: live.then_some(item),
                before: None,
                changed: None,
                source: Source {
                    stream: StreamArn::new("arn"),
                    generation: 1,
                    shard: ShardId::new("shard"),
                    sequence: SequenceNumber::parse("1").unwrap(),
                    event_id: String::new(),
                    identity: None,
                },
            };
            LogEvent { table: table(), key: key.canonical(), value: codec::encode(&change) }
        };
        self.commit(changes.into_iter().map(event).collect()).await;
    }

    async fn commit(&mut self, events: Vec<LogEvent>) {
        let _ = self.writer.commit(CommitBatch { events, ..CommitBatch::default() }).await.unwrap();
    }

    pub async fn mark(&self, until: i64) {
        let mark = Mark { of: 1, slots: [(Slot(0), Timestamp::from_millis(until))].into() };
        self.log.mark(&table(), &mark).await.unwrap();
    }
}

pub struct Running {
    pub health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

pub fn run(log: Arc<dyn ChangeLog>, index: Arc<dyn SearchIndex>, settings: Settings, clock: Arc<dyn Clock>) -> Running {
    let (health, shutdown) = (Health::default(), CancellationToken::new());
    let indexes = BTreeMap::from([(table(), index)]);
    let sink = SinkSearch { log, indexes, entities: vec![entity()], settings, clock, health: health.clone() };
    Running { health, task: tokio::spawn(sink.run(shutdown.clone())), shutdown }
}

impl Running {
    pub fn progress(&self) -> TableProgress {
        let status = self.health.status().remove("sink-search");
        let published: SinkProgress = status.map(|json| serde_json::from_value(json).unwrap()).unwrap_or_default();
        published.tables.get(&table()).cloned().unwrap_or_default()
    }

    pub async fn until(&self, what: impl Fn(&TableProgress) -> bool) -> TableProgress {
        within(async {
            loop {
                let progress = self.progress();
                if what(&progress) {
                    return progress;
                }
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await
    }

    pub async fn complete_until(&self, millis: i64) -> TableProgress {
        self.until(|progress| progress.complete_until >= Some(Timestamp::from_millis(millis))).await
    }

    /// Why it is not ready, or an empty text.
    pub fn trouble(&self) -> String {
        let parts = self.health.parts();
        parts.get("sink-search").filter(|part| !part.ready).map(|part| part.reason.clone()).unwrap_or_default()
    }

    /// Until it is ready, or is not and says so.
    pub async fn until_trouble(&self, what: &str) {
        within(async {
            while if what.is_empty() { !self.trouble().is_empty() } else { !self.trouble().contains(what) } {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        within(self.task).await.unwrap().unwrap();
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_become_searchable_and_the_table_complete() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(10_000)));
    let running = run(feed.log.clone(), index.clone(), settings(), clock);
    let written = ("written", n("9900"));
    feed.write((0..50).map(|id| (item(&format!("k{id}"), "1", std::slice::from_ref(&written)), 1, true)).collect())
        .await;
    feed.write(vec![(item("k0", "1", &[]), 2, false), (item("k1", "1", &[("count", s("flip"))]), 2, true)]).await;
    feed.mark(5000).await;
    let progress = running.complete_until(5000).await;
    assert_eq!((progress.applied, progress.dead_letters, progress.lag.count), (52, 0, 50));
    assert_eq!(progress.lag.max, 100);
    let answer = all(&*index).await;
    assert_eq!((answer.total, answer.as_of), (49, Some(Timestamp::from_millis(5000))));
    running.until(|progress| progress.behind == 0).await;
    assert!(running.health.is_ready());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_and_a_repeated_log_changes_nothing() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    for round in 1..4_u64 {
        let index = Arc::new(open(folder.path()));
        let running = run(feed.log.clone(), index.clone(), settings(), clock());
        feed.write((0..10).map(|id| (item(&format!("k{id}"), "1", &[]), round, id != 3)).collect()).await;
        feed.mark(round as i64).await;
        let progress = running.complete_until(round as i64).await;
        assert_eq!(progress.applied, 10, "nothing is read twice");
        assert_eq!(all(&*index).await.total, 9);
        running.stop().await;
        drop(index);
    }
    // The same log from its beginning, into an index that holds all of it.
    let index = Arc::new(open(folder.path()));
    let before = scan_all(&*index, 100).await;
    let mut forgetful = ScriptedIndex::over(index.clone());
    forgetful.forgets = true;
    let running = run(feed.log.clone(), Arc::new(forgetful), settings(), clock());
    running.until(|progress| progress.applied == 30).await;
    running.stop().await;
    assert_eq!(scan_all(&*index, 100).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_decoded_is_counted_and_left_out() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let running = run(feed.log.clone(), index.clone(), settings(), clock());
    let bad = LogEvent { table: table(), key: key(&item("bad", "1", &[])), value: bytes::Bytes::from_static(b"{") };
    feed.commit(vec![bad]).await;
    feed.write(vec![(item("good", "1", &[]), 1, true)]).await;
    feed.mark(7).await;
    let progress = running.complete_until(7).await;
    assert_eq!((progress.applied, progress.dead_letters), (1, 1));
    assert_eq!(all(&*index).await.total, 1);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_to_stop_makes_visible_what_was_read() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let never = Settings { flush_ms: 3_600_000, idle_complete_ms: 3_600_000, ..settings() };
    feed.write((0..10).map(|id| (item(&format!("k{id}"), "1", &[]), 1, true)).collect()).await;
    let watched = Arc::new(ScriptedLog::over(feed.log.clone()));
    let taken = watched.taken.clone();
    let running = run(watched, index.clone(), never, clock());
    within(async {
        while taken.load(Ordering::SeqCst) < 10 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(all(&*index).await.total, 0, "nothing was due");
    running.stop().await;
    assert_eq!(all(&*index).await.total, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_the_index_was_not_built_from_is_refused_with_the_remedy() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let feed = feed(log.path()).await;
    let id = feed.log.open_table(&table()).await.unwrap();
    let index = Arc::new(open(folder.path()));
    let hold = |log: LogId, next| {
        let reached = PartitionProgress { next: Offset(next), complete_until: None };
        let progress = Progress { log: Some(log), of: 2, partitions: [(0, reached)].into() };
        Arc::new(Flush { operations: vec![], progress })
    };
    index.apply(hold(id, 5)).await.unwrap();
    let running = run(feed.log.clone(), index.clone(), settings(), clock());
    let refused = within(running.task).await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::PastTheEnd { next: Offset(5), .. })), "{refused}");
    index.apply(hold(LogId("another".into()), 5)).await.unwrap();
    let running = run(feed.log.clone(), index, settings(), clock());
    let health = running.health.clone();
    let refused = within(running.task).await.unwrap().unwrap_err();
    assert!(matches!(refused, Error::Refused(Refusal::ForeignLog { .. })), "{refused}");
    assert!(refused.to_string().contains("`headwater rebuild`"), "{refused}");
    assert!(!health.is_ready());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_and_tables_that_cannot_be_end_the_stage_at_once() {
    let log = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let running = run(feed.log.clone(), index, Settings { flush_ms: 0, ..settings() }, clock());
    let refused = within(running.task).await.unwrap().unwrap_err();
    assert_eq!(refused.to_string(), "sink_search.flush_ms is 0: it is at least 1");
    let sink = SinkSearch {
        log: feed.log.clone(),
        indexes: BTreeMap::new(),
        entities: vec![entity()],
        settings: settings(),
        clock: clock(),
        health: Health::default(),
    };
    let refused = within(sink.run(CancellationToken::new())).await.unwrap_err();
    assert!(matches!(refused, Error::NoIndex(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_holds_the_stage_until_there_is_room() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(ScriptedIndex::over(Arc::new(open(folder.path()))));
    index.full.store(true, Ordering::SeqCst);
    let running = run(feed.log.clone(), index.clone(), settings(), clock());
    feed.write((0..10).map(|id| (item(&format!("k{id}"), "1", &[]), 1, true)).collect()).await;
    feed.mark(3).await;
    within(async {
        while index.refused.load(Ordering::SeqCst) < 3 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let reason = running.health.parts()["sink-search"].reason.clone();
    assert!(!running.health.is_ready() && reason.contains("no space left"), "{reason}");
    assert_eq!(running.progress().applied, 0);
    index.full.store(false, Ordering::SeqCst);
    assert_eq!(running.complete_until(3).await.applied, 10);
    within(async {
        while !running.health.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(all(&*index).await.total, 10);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_stops_while_the_buffers_are_full_and_loses_nothing() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(ScriptedIndex::over(Arc::new(open(folder.path()))));
    index.full.store(true, Ordering::SeqCst);
    let scripted = Arc::new(ScriptedLog::over(feed.log.clone()));
    let (taken, pauses) = (scripted.taken.clone(), scripted.pauses.clone());
    let small = Settings { flush_bytes: 50_000, buffer_bytes: 200_000, ..settings() };
    let running = run(scripted, index.clone(), small, clock());
    let big = s(&"x".repeat(40_000));
    for round in 0..40 {
        feed.write(
            (0..5).map(|id| (item(&format!("k{round}-{id}"), "1", &[("name", big.clone())]), 1, true)).collect(),
        )
        .await;
    }
    feed.mark(1).await;
    within(async {
        while pauses.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(taken.load(Ordering::SeqCst) < 200, "all was read in spite of the budget");
    index.full.store(false, Ordering::SeqCst);
    assert_eq!(running.complete_until(1).await.applied, 200);
    assert_eq!(all(&*index).await.total, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_go_when_they_are_older_than_anything_that_may_come() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let second = |second: i64| Version::floor(Timestamp::from_millis(second * 1000)).get();
    let clock = Arc::new(ManualClock::at(Timestamp::from_millis(10_000_000)));
    let keep = Settings { tombstone_retention_ms: 1_000_000, purge_every_ms: 5, ..settings() };
    let running = run(feed.log.clone(), index.clone(), keep, clock);
    feed.write(vec![(item("old", "1", &[]), second(1), false), (item("new", "1", &[]), second(1500), false)]).await;
    // The clock says that both are old; what the index is complete up to says that it may still need them.
    feed.mark(1_000_000).await;
    running.complete_until(1_000_000).await;
    assert_eq!(scan_all(&*index, 10).await.len(), 2);
    feed.mark(2_000_000).await;
    within(async {
        while scan_all(&*index, 10).await.len() != 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(scan_all(&*index, 10).await[0].version.get(), second(1500));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_away_is_not_written_and_what_stays_is_read_again() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let scripted = Arc::new(ScriptedLog::over(feed.log.clone()));
    let items: Vec<Item> = (0..20).map(|id| item(&format!("k{id}"), "1", &[])).collect();
    let stays = items.iter().filter(|item| key(item).partition(2) == 1).count();
    assert!(stays > 0 && stays < 20);
    feed.write(items.into_iter().map(|item| (item, 1, true)).collect()).await;
    let never = Settings { flush_ms: 3_600_000, idle_complete_ms: 3_600_000, ..settings() };
    let running = run(scripted.clone(), index.clone(), never, clock());
    within(async {
        while scripted.taken.load(Ordering::SeqCst) < 20 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    within(scripted.revoke(vec![0])).await;
    within(async {
        while scripted.taken.load(Ordering::SeqCst) < 20 + stays {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.stop().await;
    let written = scan_all(&*index, 100).await;
    assert_eq!(written.len(), stays, "only what stayed was written");
    assert!(!index.progress().await.unwrap().partitions.contains_key(&0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_fails_for_a_while_is_read_on_and_nothing_counts_twice() {
    let (log, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut feed = feed(log.path()).await;
    let index = Arc::new(open(folder.path()));
    let scripted = Arc::new(ScriptedLog::over(feed.log.clone()));
    let running = run(scripted.clone(), index.clone(), settings(), clock());
    for round in 1..=3_u64 {
        feed.write((0..10).map(|id| (item(&format!("k{id}"), "1", &[]), round, true)).collect()).await;
        feed.mark(round as i64).await;
        assert_eq!(running.complete_until(round as i64).await.applied, round * 10);
        scripted.fail();
    }
    within(async {
        while !running.health.is_ready() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    running.stop().await;
    assert_eq!(all(&*index).await.total, 10);
}
