//! What goes wrong between the sink and OpenSearch, and what is in the index afterwards: every change once, at its
//! newest version, deletes still dead, and never progress ahead of the data.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::log::Offset;
use headwater_common::value::Item;
use headwater_sink_search::SearchIndex;
use headwater_sink_search::index::*;
use headwater_sink_search::opensearch::{OpenSearchIndex, Settings};
use headwater_tests::servers::control;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::conformance::{all, progress, scan_all};
use crate::generate::{delete, entity, item, n, put, s};
use crate::pipeline::{self, clock, feed, run};
use crate::proxy::{Asked, Fate, Proxy};

/// The newest version of each key, and whether it is alive.
#[derive(Default)]
pub struct Model(BTreeMap<String, (u64, bool)>);

impl Model {
    pub fn take(&mut self, operations: &[Operation]) {
        for operation in operations {
            let known = self.0.entry(operation.key.to_text()).or_default();
            *known = (*known).max((operation.version.get(), operation.body.is_some()));
        }
    }

    pub async fn compare(&self, index: &dyn SearchIndex, after: &str) {
        let scanned = scan_all(index, 1000).await.into_iter();
        let read: BTreeMap<_, _> =
            scanned.map(|entry| (entry.key, (entry.version.get(), entry.item.is_some()))).collect();
        assert_eq!(read, self.0, "after {after}");
        let live = self.0.values().filter(|(_, live)| *live).count() as u64;
        assert_eq!(all(index).await.total, live, "after {after}");
    }
}

/// A round's changes: puts, deletes, one key twice, and an old put of an item that the last round deleted.
fn plan(round: u64) -> Vec<(String, u64, bool)> {
    let key = |at: u64| format!("k{}", at % 11);
    vec![
        (key(round), round * 10 + 1, true),
        (key(round + 1), round * 10 + 2, true),
        (key(round + 5), round * 10 + 3, false),
        (key(round + 1), round * 10 + 4, true),
        (key(round + 4), round * 10 - 9, true),
        (format!("gone {round}"), round * 10 + 5, false),
    ]
}

fn body(id: &str, version: u64) -> Item {
    item(id, "1", &[("count", n(&version.to_string())), ("name", s("red one"))])
}

pub fn changes(round: u64) -> Vec<Operation> {
    let operation = |(id, version, live): (String, u64, bool)| match live {
        true => put(body(&id, version), version),
        false => delete(&id, "1", version),
    };
    plan(round).into_iter().map(operation).collect()
}

/// The same, as a feed writes them.
pub fn fed(round: u64) -> Vec<(Item, u64, bool)> {
    let step = |(id, version, live): (String, u64, bool)| {
        (if live { body(&id, version) } else { item(&id, "1", &[]) }, version, live)
    };
    plan(round).into_iter().map(step).collect()
}

fn flush(round: u64) -> Arc<Flush> {
    Arc::new(Flush { operations: changes(round), progress: progress(round, round as i64 * 1000) })
}

/// What was read after the progress that says that so many rounds are in the index.
fn holds(rounds: u64, scanned: Vec<Scanned>) {
    let held: BTreeMap<_, _> = scanned.into_iter().map(|entry| (entry.key, entry.version)).collect();
    for operation in (1..=rounds).flat_map(changes) {
        let version = held.get(&operation.key.to_text());
        assert!(version >= Some(&operation.version), "progress {rounds} is ahead of {operation:?}: {version:?}");
    }
}

struct Faulty {
    proxy: Proxy,
    /// Through the proxy.
    index: OpenSearchIndex,
    direct: OpenSearchIndex,
    cluster: Cluster,
}

impl Faulty {
    async fn given(change: impl Fn(Settings) -> Settings) -> Option<Faulty> {
        let cluster = Cluster::given()?;
        let proxy = Proxy::start(&cluster.url).await;
        let direct = cluster.open().await;
        let urls = vec![format!("http://{}", proxy.address)];
        let settings = change(Settings { urls, retries: 2, retry_ms: 1, retry_cap_ms: 5, ..cluster.settings() });
        let index = cluster.open_with(&settings, &entity()).await.unwrap();
        Some(Faulty { proxy, index, direct, cluster })
    }

    async fn honest(&self) {
        let progress = self.direct.progress().await.unwrap();
        holds(progress.partitions.get(&0).map_or(0, |reached| reached.next.0), scan_all(&self.direct, 1000).await);
    }

    async fn until_applied(&self, flush: Arc<Flush>) -> Applied {
        for _ in 0..20 {
            match self.index.apply(flush.clone()).await {
                Ok(applied) => return applied,
                Err(error) => assert_eq!(error.kind(), headwater_common::failure::Kind::Transient, "{error}"),
            }
            self.honest().await;
        }
        panic!("it goes on failing");
    }
}

const NO_JSON: &str = "<html><body>502 Bad Gateway</body></html>";

fn passing(status: u16, kind: &str) -> String {
    json!({ "error": { "type": kind, "reason": "as told" }, "status": status }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_request_of_a_flush_may_fail_in_any_way_before_and_after_it_took_effect() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    let pressure = || passing(429, "es_rejected_execution_exception");
    let fates = [
        Fate::Answer(503, passing(503, "cluster_manager_not_discovered_exception")),
        Fate::Answer(429, pressure()),
        Fate::Answer(200, NO_JSON.into()),
        Fate::Answer(502, NO_JSON.into()),
        Fate::Reset,
        Fate::DoneAndAnswer(429, pressure()),
        Fate::DoneAndAnswer(504, NO_JSON.into()),
        Fate::DoneAndAnswer(200, NO_JSON.into()),
        Fate::DoneAndCut,
        Fate::DoneAndReset,
    ];
    let (mut model, mut round) = (Model::default(), 0);
    for fate in &fates {
        for nth in 0.. {
            round += 1;
            faulty.proxy.strike(nth, fate.clone());
            faulty.until_applied(flush(round)).await;
            model.take(&changes(round));
            let asked = faulty.proxy.asked();
            let struck = asked.get(nth).map(|asked| format!("{} {}", asked.method, asked.path));
            let after = format!("{fate:?} of {struck:?}");
            model.compare(&faulty.direct, &after).await;
            assert_eq!(faulty.direct.progress().await.unwrap(), progress(round, round as i64 * 1000), "{after}");
            if struck.is_none() {
                assert!(nth >= 4, "a flush is documents, a refresh, versions and progress: {asked:?}");
                break;
            }
        }
    }
}

/// The answers of single items, and what each means.
fn kinds() -> Vec<(u16, Value, Option<bool>)> {
    let cause = |kind: &str| json!({ "type": kind, "reason": "as told" });
    let nested = |kind: &str, cause: &str| json!({ "type": kind, "caused_by": { "type": cause } });
    // `None`: sent again. `Some(true)`: held against the document. `Some(false)`: a newer one is there.
    vec![
        (429, cause("rejected_execution_exception"), None),
        (503, cause("unavailable_shards_exception"), None),
        (500, cause("retry_on_primary_exception"), None),
        (400, nested("mapper_parsing_exception", "illegal_argument_exception"), Some(true)),
        (400, nested("illegal_argument_exception", "max_bytes_length_exceeded_exception"), Some(true)),
        (400, cause("document_parsing_exception"), Some(true)),
        (409, cause("version_conflict_engine_exception"), Some(false)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn items_are_judged_one_by_one_and_only_what_passes_is_sent_again() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    let kinds = kinds();
    let operations: Vec<Operation> =
        (0..10).map(|at| put(item(&format!("k{at}"), "1", &[("count", n("1"))]), 100 + at)).collect();
    // What the answer says is true: a newer version of the document in question is there.
    let newer = vec![put(item("k6", "1", &[]), 500)];
    faulty.direct.apply(Arc::new(Flush { operations: newer, progress: Progress::default() })).await.unwrap();
    let faults: BTreeMap<usize, Value> = kinds
        .iter()
        .enumerate()
        .map(|(at, (status, error, _))| (at, json!({ "status": status, "error": error })))
        .collect();
    faulty.proxy.strike(0, Fate::Items(faults));
    let applied = faulty.until_applied(Arc::new(Flush { operations, progress: progress(9, 9000) })).await;
    let bulks: Vec<Vec<u64>> =
        faulty.proxy.asked().iter().filter(|asked| asked.has_documents()).map(Asked::versions).collect();
    assert_eq!(bulks, [(100..110).collect::<Vec<u64>>(), vec![100, 101, 102]], "only those that pass");
    for (at, outcome) in applied.outcomes.iter().enumerate() {
        let right = match kinds.get(at).map(|(.., meaning)| meaning) {
            None | Some(None) => *outcome == Outcome::Applied,
            Some(Some(false)) => *outcome == Outcome::Superseded,
            Some(Some(true)) => matches!(outcome, Outcome::Rejected(reason) if reason.starts_with("status 400")),
        };
        assert!(right, "{at}: {outcome:?}");
    }
    assert_eq!(faulty.direct.progress().await.unwrap(), progress(9, 9000));
    assert_eq!(all(&faulty.direct).await.total, 7, "three were rejected");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_cannot_be_taken_is_no_loss_where_a_newer_one_is_there() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    let newer = Flush { operations: vec![delete("a", "1", 9)], progress: Progress::default() };
    faulty.direct.apply(Arc::new(newer)).await.unwrap();
    let poison = json!({ "status": 400, "error": { "type": "mapper_parsing_exception" } });
    faulty.proxy.strike(0, Fate::Items([(0, poison)].into()));
    let flush = Flush { operations: vec![put(item("a", "1", &[]), 8)], progress: progress(1, 1) };
    assert_eq!(faulty.until_applied(Arc::new(flush)).await.outcomes, [Outcome::Superseded]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_rejected_is_counted_as_a_dead_letter_and_holds_nothing_up() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    let poison = json!({ "status": 400, "error": { "type": "mapper_parsing_exception" } });
    faulty.proxy.rule(move |asked| match asked.has_documents() {
        true => {
            let held = asked.versions().iter().position(|version| *version == 2);
            held.map_or(Fate::Pass, |at| Fate::Items([(at, poison.clone())].into()))
        }
        false => Fate::Pass,
    });
    let folder = tempfile::tempdir().unwrap();
    let mut feed = feed(folder.path()).await;
    let running = run(feed.log.clone(), Arc::new(faulty.index.clone()), pipeline::settings(), clock());
    feed.write((1..=3).map(|version| (item(&format!("k{version}"), "1", &[]), version, true)).collect()).await;
    feed.mark(1).await;
    let progress = running.complete_until(1).await;
    assert_eq!((progress.applied, progress.dead_letters), (3, 1));
    assert_eq!(all(&faulty.direct).await.total, 2);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_is_refused_for_long_holds_the_progress_and_no_other_item() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    let refused = json!({ "status": 429, "error": { "type": "rejected_execution_exception" } });
    faulty.proxy.rule(move |asked| match asked.has_documents() {
        true => {
            let held = asked.versions().iter().position(|version| *version == 7);
            held.map_or(Fate::Pass, |at| Fate::Items([(at, refused.clone())].into()))
        }
        false => Fate::Pass,
    });
    let operations = vec![put(item("a", "1", &[]), 6), put(item("b", "1", &[]), 7), put(item("c", "1", &[]), 8)];
    let flush = Arc::new(Flush { operations, progress: progress(3, 3) });
    let held = faulty.index.apply(flush.clone()).await.unwrap_err();
    assert!(held.to_string().contains("status 429"), "{held}");
    assert_eq!(faulty.direct.progress().await.unwrap(), Progress::default(), "progress waits");
    faulty.proxy.rule(|_| Fate::Pass);
    let outcomes = faulty.index.apply(flush).await.unwrap().outcomes;
    assert_eq!(outcomes, [Outcome::Duplicate, Outcome::Applied, Outcome::Duplicate]);
    assert_eq!((all(&faulty.direct).await.total, faulty.direct.progress().await.unwrap()), (3, progress(3, 3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_split_until_it_fits_and_only_a_single_document_is_at_fault() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    const MOST: usize = 20_000;
    faulty.proxy.rule(|asked| match asked.is_bulk() && asked.body.len() > MOST {
        true => Fate::Answer(413, String::new()),
        false => Fate::Pass,
    });
    let sized = |at: u64| {
        let bytes = if at == 30 { 2 * MOST } else { 200 + (at as usize * 37) % 3000 };
        put(item(&format!("k{at}"), "1", &[("big", s(&"x".repeat(bytes)))]), at + 1)
    };
    let operations: Vec<Operation> = (0..100).map(sized).collect();
    let applied = faulty.until_applied(Arc::new(Flush { operations, progress: progress(1, 1) })).await;
    for (at, outcome) in applied.outcomes.iter().enumerate() {
        match at {
            30 => assert!(matches!(outcome, Outcome::Rejected(reason) if reason.contains("413")), "{outcome:?}"),
            _ => assert_eq!(*outcome, Outcome::Applied, "{at}"),
        }
    }
    assert_eq!((all(&faulty.direct).await.total, faulty.direct.progress().await.unwrap()), (99, progress(1, 1)));
    let largest = faulty.proxy.asked().iter().filter(|asked| asked.has_documents()).map(|a| a.versions().len()).max();
    assert_eq!(largest, Some(100), "it was one request at first");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_misses_an_item_settles_nothing() {
    let Some(faulty) = Faulty::given(|settings| settings).await else { return };
    let short = json!({ "errors": false, "items": [{ "index": { "status": 201 } }] }).to_string();
    faulty.proxy.strike(0, Fate::Answer(200, short));
    faulty.until_applied(flush(1)).await;
    let mut model = Model::default();
    model.take(&changes(1));
    model.compare(&faulty.direct, "a short answer").await;
    assert_eq!(faulty.direct.progress().await.unwrap().partitions[&0].next, Offset(1));
    drop(faulty.cluster);
}

/// Looks all the time, and holds what the index says against what it has. Gives how often it could look.
async fn watch(index: Arc<OpenSearchIndex>, enough: CancellationToken) -> usize {
    let mut looks = 0;
    while !enough.is_cancelled() {
        // In this order: the documents are read after the progress that speaks of them.
        if let Ok(progress) = index.progress().await
            && let Ok(scanned) = index.scan(None, 1000).await
        {
            holds(progress.complete_until().map_or(0, |until| until.as_millis() as u64), scanned);
            looks += 1;
        }
        tokio::task::yield_now().await;
    }
    looks
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_it_applies_and_comes_back_has_every_change_once() {
    let Some(cluster) = Cluster::alone() else { return };
    let proxy = Proxy::start(&cluster.url).await;
    let direct = Arc::new(cluster.open().await);
    let settings = Settings { urls: vec![format!("http://{}", proxy.address)], retries: 1, ..cluster.settings() };
    let index = Arc::new(cluster.open_with(&settings, &entity()).await.unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut feed = feed(folder.path()).await;
    let running = run(feed.log.clone(), index, pipeline::settings(), clock());
    let enough = CancellationToken::new();
    let watching = tokio::spawn(watch(direct.clone(), enough.clone()));
    let (mut model, mut round) = (Model::default(), 0);
    // Before the documents are visible, and before they are even sent.
    for moment in ["/_refresh", "/_bulk"] {
        let mut killed = false;
        proxy.rule(move |asked| {
            if asked.path.contains(moment) && !killed && asked.number > 20 {
                killed = true;
                let kill = || tokio::runtime::Handle::current().block_on(control("opensearch", "kill"));
                tokio::task::block_in_place(kill).unwrap();
            }
            Fate::Pass
        });
        while !running.trouble().contains("does not answer") {
            round += 1;
            feed.write(fed(round)).await;
            feed.mark(round as i64).await;
            model.take(&changes(round));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        control("opensearch", "start").await.unwrap();
        running.complete_until(round as i64).await;
        running.until_trouble("").await;
        model.compare(&*direct, moment).await;
    }
    enough.cancel();
    assert!(watching.await.unwrap() > 0);
    running.stop().await;
}
