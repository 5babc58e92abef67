//! An index that is built beside the one that serves: killed at every step, begun twice, moved under a running sink.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::Timestamp;
use headwater_common::definition::{Entity, FeatureType};
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, Extent, Offset};
use headwater_sink_search::index::*;
use headwater_sink_search::opensearch::{Moved, Settings, names};
use headwater_sink_search::query::{Search, parse};
use headwater_sink_search::{Building, OpenSearch, SearchIndex, SinkSearch};
use headwater_tests::over::Over;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;
use crate::conformance::{all, scan_all, within};
use crate::generate::{delete, entity, item, n, put};
use crate::pipeline::{self, clock, feed, run, table};
use crate::proxy::{Fate, Proxy};
use crate::scripted::ScriptedLog;
use crate::server_faults::{Model, changes, fed};

async fn beside(settings: &Settings, entity: &Entity, log: &dyn ChangeLog) -> Result<Building, IndexError> {
    OpenSearch::connect(settings).await?.build_beside(entity, log, false).await
}

fn log(folder: &Path) -> EmbeddedLog {
    EmbeddedLog::open(folder, Layout { slots: 1, partitions: 2 }).unwrap()
}

/// A log that begins at `start` in every of its partitions, and holds nothing.
fn beginning_at(folder: &Path, start: u64, partitions: usize) -> Over<ScriptedLog> {
    let mut log = ScriptedLog::over(Arc::new(log(folder)));
    log.extents = Some(vec![Extent { start: Offset(start), end: Offset(start) }; partitions]);
    log
}

fn other_definitions() -> Entity {
    let mut changed = entity();
    changed.features.iter_mut().find(|feature| feature.name == "delay").unwrap().feature_type = FeatureType::Long;
    changed
}

fn operations() -> Vec<Operation> {
    let one = |at: u64| put(item(&format!("k{at}"), "1", &[("delay", n("2"))]), at + 1);
    (0..5).map(one).chain([delete("k5", "1", 9)]).collect()
}

/// Everything of an empty log of two partitions.
async fn filled(log: &dyn ChangeLog) -> Arc<Flush> {
    let id = log.open_table(&table()).await.unwrap();
    let complete_until = Some(Timestamp::from_millis(7));
    let at = PartitionProgress { next: Offset(0), complete_until };
    let progress = Progress { log: Some(id), of: 2, partitions: [(0, at), (1, at)].into() };
    Arc::new(Flush { operations: operations(), progress })
}

/// The index that the table's read alias leads to, which has a write alias and no other.
fn serving(cluster: &Cluster) -> String {
    let (status, found) = cluster.call("GET", &format!("/_alias/{}", cluster.alias()), &Value::Null);
    assert_eq!(status, 200, "{found}");
    let found = found.as_object().unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    let (index, is) = found.iter().next().unwrap();
    assert_eq!(is["aliases"][cluster.alias()]["filter"], json!({ "term": { "_hw.live": true } }));
    let aliases = &cluster.indexes()[index];
    assert!(aliases.len() == 2 && aliases.iter().any(|alias| names::is_write_alias(alias, index)), "{aliases:?}");
    index.clone()
}

/// GIVEN a sink that runs WHEN a new index is built beside and moved to under its writes THEN it goes over by itself,
/// and the new index has the newest of everything; nobody finds the new one before, or the old one after.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_sink_goes_over_to_the_new_index_by_itself() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let mut feed = feed(folder.path()).await;
    let log = feed.log.clone();
    let server = OpenSearch::connect(&cluster.settings()).await.unwrap();
    let index = Arc::new(server.open(&entity(), &*log).await.unwrap());
    let running = run(log.clone(), index.clone(), pipeline::settings(), clock());
    let (mut model, mut round) = (Model::default(), 0);
    let mut write = async |rounds: u64, model: &mut Model| {
        for _ in 0..rounds {
            round += 1;
            feed.write(fed(round)).await;
            feed.mark(round as i64).await;
            model.take(&changes(round));
        }
        round as i64
    };
    let written = write(5, &mut model).await;
    running.complete_until(written).await;

    let building = server.build_beside(&entity(), &*log, false).await.unwrap();
    assert_eq!((building.serving.as_deref(), building.resumed), (Some(cluster.index().as_str()), false));
    let sink = SinkSearch {
        log,
        indexes: [(table(), building.index())].into(),
        entities: vec![entity()],
        settings: pipeline::settings(),
        clock: clock(),
        health: Health::default(),
    };
    let filling = tokio::spawn(async move { sink.run_as("rebuild", CancellationToken::new()).await });
    let written = write(5, &mut model).await;
    running.complete_until(written).await;
    within(async {
        let complete = Some(Timestamp::from_millis(written));
        while building.index().progress().await.unwrap().complete_until() < complete
            || building.behind().await.unwrap() > 0
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(serving(&cluster), cluster.index());
    model.compare(&*building.index(), "building").await;
    filling.abort();
    let moved = building.take_over(false).await.unwrap();
    assert_eq!(moved, Moved { removed: vec![cluster.index()], ..Moved::default() });
    assert_eq!(serving(&cluster), cluster.generation(2));
    assert_eq!(cluster.indexes().len(), 1);

    model.compare(&server.open_read_only(&entity()).await.unwrap(), "the move").await;
    let written = write(5, &mut model).await;
    running.complete_until(written).await;
    running.until_trouble("").await;
    model.compare(&*index, "the sink has gone over").await;
    running.stop().await;
    // Who has built it writes no more, and nothing that was under way came through an alias that is gone.
    let late = building.index().apply(Arc::new(Flush { operations: changes(1), ..Flush::default() })).await;
    assert!(late.unwrap_err().to_string().contains("another rebuild"));
    assert_eq!(cluster.indexes().keys().collect::<Vec<_>>(), [&cluster.generation(2)]);
}

/// Builds and moves, with whatever is between here and the server.
async fn rebuild(settings: &Settings, log: &dyn ChangeLog) -> Result<Moved, IndexError> {
    let building = beside(settings, &entity(), log).await?;
    building.index().apply(filled(log).await).await?;
    assert_eq!(building.behind().await?, 0);
    building.take_over(false).await
}

/// GIVEN an index that serves WHEN a rebuild ends after any of its requests, or in the middle of it THEN what serves is
/// whole, and the next rebuild ends well and leaves one index.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebuild_that_is_killed_at_any_request_leaves_what_serves_alone_and_nothing_without_a_name() {
    let Some(cluster) = Cluster::given() else { return };
    let (proxy, folder) = (Proxy::start(&cluster.url).await, tempfile::tempdir().unwrap());
    let log = log(folder.path());
    let urls = vec![format!("http://{}", proxy.address)];
    let faulty = Settings { urls, retries: 0, ..cluster.settings() };
    let server = OpenSearch::connect(&cluster.settings()).await.unwrap();
    server.open(&entity(), &log).await.unwrap().apply(filled(&log).await).await.unwrap();
    let mut resumed = 0;
    for last in [Fate::Reset, Fate::DoneAndReset] {
        for nth in 0.. {
            let before = serving(&cluster);
            let fate = last.clone();
            proxy.rule(move |asked| match asked.number.cmp(&nth) {
                std::cmp::Ordering::Less => Fate::Pass,
                std::cmp::Ordering::Equal => fate.clone(),
                std::cmp::Ordering::Greater => Fate::Reset,
            });
            let ended = rebuild(&faulty, &log).await;
            let asked = proxy.asked();
            let struck = asked.get(nth).map(|asked| format!("{last:?} of {} {}", asked.method, asked.path));
            let after = serving(&cluster);
            let reader = server.open_read_only(&entity()).await.unwrap();
            assert_eq!((all(&reader).await.total, scan_all(&reader, 100).await.len()), (5, 6), "{struck:?}");
            let moving = struck.as_ref().is_some_and(|struck| struck.contains("_aliases"));
            let over = asked[..nth.min(asked.len())].iter().any(|asked| asked.path == "/_aliases");
            assert!(before == after || over || moving, "{struck:?}: {before} and then {after}");
            for (index, aliases) in cluster.indexes() {
                let named = [names::retired_alias(&index), cluster.alias()];
                let builds = |alias: &String| names::is_build_alias(alias, &index) || named.contains(alias);
                assert!(aliases.iter().any(builds), "{struck:?}: {index} {aliases:?}");
            }

            let next = beside(&cluster.settings(), &entity(), &log).await.unwrap();
            resumed += usize::from(next.resumed);
            drop(next);
            rebuild(&cluster.settings(), &log).await.unwrap_or_else(|error| panic!("after {struck:?}: {error}"));
            assert_eq!(cluster.indexes().into_keys().collect::<Vec<_>>(), [serving(&cluster)], "after {struck:?}");
            let reader = server.open_read_only(&entity()).await.unwrap();
            assert_eq!((all(&reader).await.total, scan_all(&reader, 100).await.len()), (5, 6), "after {struck:?}");
            if struck.is_none() {
                ended.unwrap();
                assert!(nth > 10, "a rebuild is more than {nth} requests");
                break;
            }
        }
    }
    assert!(resumed > 4, "what was left is gone on with: {resumed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_rebuilds_one_moves_the_table_and_the_other_hears_of_it() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (log, settings) = (log(folder.path()), cluster.settings());
    drop(cluster.open().await);
    let hears = async |building: &Building| {
        let said = [
            building.index().progress().await.unwrap_err().to_string(),
            building.index().apply(filled(&log).await).await.unwrap_err().to_string(),
            building.take_over(false).await.unwrap_err().to_string(),
        ];
        for said in said {
            assert!(said.contains("another rebuild") && said.contains("one rebuild of a table"), "{said}");
        }
    };
    let (one, other) = (beside(&settings, &entity(), &log).await.unwrap(), beside(&settings, &entity(), &log).await);
    let other = other.unwrap();
    assert_eq!((one.name(), one.resumed, other.resumed), (other.name(), false, true));
    other.index().apply(filled(&log).await).await.unwrap();
    other.take_over(false).await.unwrap();
    hears(&one).await;
    assert_eq!(serving(&cluster), cluster.generation(2));

    // By other definitions the second begins anew, and the first can write no more.
    let first = beside(&settings, &entity(), &log).await.unwrap();
    first.index().apply(filled(&log).await).await.unwrap();
    let second = beside(&settings, &other_definitions(), &log).await.unwrap();
    assert_eq!((second.name(), second.resumed), (cluster.generation(4).as_str(), false));
    hears(&first).await;
    assert_eq!(serving(&cluster), cluster.generation(2));
    assert_eq!(cluster.indexes().into_keys().collect::<Vec<_>>(), [2, 4].map(|at| cluster.generation(at)));
    let anew = OpenSearch::connect(&settings).await.unwrap();
    let anew = anew.build_beside(&other_definitions(), &log, true).await.unwrap();
    assert_eq!((anew.name(), anew.resumed), (cluster.generation(5).as_str(), false), "as it was asked");
    hears(&second).await;
    anew.take_over(false).await.unwrap();
    assert_eq!(cluster.indexes().into_keys().collect::<Vec<_>>(), [cluster.generation(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_rebuild_left_is_gone_on_with_from_its_own_progress_unless_the_log_cannot_continue_it() {
    let Some(cluster) = Cluster::given() else { return };
    let (folder, another) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (log, settings) = (Arc::new(log(folder.path())), cluster.settings());
    drop(cluster.open().await);
    let left = beside(&settings, &entity(), &*log).await.unwrap();
    let filled = filled(&*log).await;
    left.index().apply(filled.clone()).await.unwrap();
    let again = beside(&settings, &entity(), &*log).await.unwrap();
    assert_eq!((again.name(), again.resumed), (left.name(), true));
    assert_eq!(again.index().progress().await.unwrap(), filled.progress);
    assert_eq!(all(&*again.index()).await.total, 5);

    let begun_anew = async |settings: &Settings, log: &dyn ChangeLog, generation| {
        let building = beside(settings, &entity(), log).await.unwrap();
        assert_eq!((building.name(), building.resumed), (cluster.generation(generation).as_str(), false));
        building.index().progress().await.unwrap()
    };
    let mut trimmed = ScriptedLog::over(log.clone());
    trimmed.extents = Some(vec![Extent { start: Offset(3), end: Offset(4) }; 2]);
    let begun = begun_anew(&settings, &trimmed, 3).await;
    assert!(begun.partitions.values().all(|at| at.next == Offset(3)), "{begun:?}");
    begun_anew(&settings, &self::log(another.path()), 4).await;
    begun_anew(&Settings { shards: 2, ..settings.clone() }, &*log, 5).await;
    assert_eq!(cluster.indexes().len(), 2, "{:?}", cluster.indexes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_the_definitions_do_not_match_any_more_is_built_by_the_new_ones_and_the_old_one_kept_if_asked() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (log, settings) = (log(folder.path()), cluster.settings());
    let old = cluster.open().await;
    old.apply(filled(&log).await).await.unwrap();
    let refused = cluster.open_with(&settings, &other_definitions()).await.err().unwrap().to_string();
    assert!(refused.contains("`delay` was double and is long") && refused.contains("`headwater rebuild`"), "{refused}");
    let building = beside(&settings, &other_definitions(), &log).await.unwrap();
    building.index().apply(filled(&log).await).await.unwrap();
    assert!(cluster.open_with(&settings, &other_definitions()).await.is_err(), "it does not serve yet");
    let moved = building.take_over(true).await.unwrap();
    assert_eq!(moved, Moved { kept: vec![cluster.index()], ..Moved::default() });
    let index = cluster.open_with(&settings, &other_definitions()).await.unwrap();
    let query = parse("delay >= 2 and delay < 9007199254740993", index.mapping()).unwrap();
    assert_eq!(index.search(&Search { query, ..Search::default() }).await.unwrap().total, 5);

    // A worker of the old definitions writes nothing, and says why.
    let flush = Arc::new(Flush { operations: operations(), ..Flush::default() });
    assert!(matches!(old.apply(flush).await.unwrap_err(), IndexError::Replaced { .. }));
    assert!(matches!(old.progress().await.unwrap_err(), IndexError::MappingChanged { .. }));
    assert_eq!(cluster.indexes()[&cluster.index()], [names::kept_alias(&cluster.index())]);
    let next = beside(&settings, &other_definitions(), &log).await.unwrap();
    assert_eq!(next.name(), cluster.generation(3));
    assert!(cluster.indexes().contains_key(&cluster.index()), "what is kept stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_serves_workers_wait_for_the_index_that_is_being_built() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = beginning_at(folder.path(), 5, 2);
    let server = OpenSearch::connect(&cluster.settings()).await.unwrap();
    let refused = server.open(&entity(), &log).await.err().unwrap().to_string();
    assert!(refused.contains("begins at offset 5 only") && refused.contains("`headwater rebuild`"), "{refused}");
    let building = server.build_beside(&entity(), &log, false).await.unwrap();
    assert_eq!(building.lost, BTreeMap::from([(0, Offset(5)), (1, Offset(5))]), "what the log has lost is told");
    let begun = building.index().progress().await.unwrap();
    assert!(begun.partitions.values().all(|at| at.next == Offset(5)) && begun.partitions.len() == 2, "{begun:?}");
    let waits = server.open(&entity(), &log).await.err().unwrap().to_string();
    assert!(waits.contains("is being built") && waits.contains(building.name()), "{waits}");
    building.take_over(false).await.unwrap();
    let index = server.open(&entity(), &log).await.unwrap();
    assert_eq!(index.progress().await.unwrap(), begun);
}

/// GIVEN an index whose read alias was lost WHEN it is rebuilt THEN the new one serves, nobody can write to the old one,
/// and it is kept: whoever took its alias away may have had a reason.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_lost_its_read_alias_is_replaced_and_kept() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let old = cluster.open().await;
    cluster.call("DELETE", &format!("/{}/_alias/{}", cluster.index(), cluster.alias()), &Value::Null);
    let refused = cluster.open_with(&cluster.settings(), &entity()).await.err().unwrap().to_string();
    assert!(refused.contains("does not lead to it") && refused.contains("`headwater rebuild`"), "{refused}");
    let moved = rebuild(&cluster.settings(), &log).await.unwrap();
    assert_eq!(moved, Moved { kept: vec![cluster.index()], ..Moved::default() });
    assert!(matches!(old.apply(filled(&log).await).await.unwrap_err(), IndexError::Replaced { .. }));
    assert_eq!(cluster.indexes()[&cluster.index()], [names::kept_alias(&cluster.index())]);
    assert_eq!(all(&cluster.open().await).await.total, 5);
}

/// GIVEN a search by who found the index before another came to serve WHEN it is asked THEN it answers from that one.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_after_the_move_is_answered_by_what_serves_now() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    drop(cluster.open().await);
    let server = OpenSearch::connect(&cluster.settings()).await.unwrap();
    let reader = server.open_read_only(&entity()).await.unwrap();
    assert_eq!((all(&reader).await.total, all(&reader).await.as_of), (0, None));
    rebuild(&cluster.settings(), &log).await.unwrap();
    assert_eq!((all(&reader).await.total, all(&reader).await.as_of), (5, Some(Timestamp::from_millis(7))));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_search_costs_one_request_for_progress_whichever_partitions_have_spoken() {
    let Some(cluster) = Cluster::given() else { return };
    let (proxy, folder) = (Proxy::start(&cluster.url).await, tempfile::tempdir().unwrap());
    const PARTITIONS: u16 = 300;
    let log = beginning_at(folder.path(), 0, usize::from(PARTITIONS));
    let direct = OpenSearch::connect(&cluster.settings()).await.unwrap().open(&entity(), &log).await.unwrap();
    let urls = vec![format!("http://{}", proxy.address)];
    let server = OpenSearch::connect(&Settings { urls, ..cluster.settings() }).await.unwrap();
    let id = log.open_table(&table()).await.unwrap();
    let spoken = |partitions: std::ops::Range<u16>| {
        let at = PartitionProgress { next: Offset(1), complete_until: Some(Timestamp::from_millis(9)) };
        let partitions = partitions.map(|partition| (partition, at)).collect();
        Arc::new(Flush { operations: vec![], progress: Progress { log: Some(id.clone()), of: PARTITIONS, partitions } })
    };
    for (range, as_of) in [(0..0, None), (299..300, None), (0..300, Some(Timestamp::from_millis(9)))] {
        direct.apply(spoken(range)).await.unwrap();
        let reader = server.open_read_only(&entity()).await.unwrap();
        for turn in 0..2 {
            proxy.rule(|_| Fate::Pass);
            let search = Search { limit: 10, ..Search::default() };
            assert_eq!(reader.search(&search).await.unwrap().as_of, as_of);
            let asked = proxy.asked();
            let paths: Vec<_> = asked.iter().map(|asked| asked.path.split('?').next().unwrap()).collect();
            let which = paths.iter().map(|path| path.rsplit('/').next().unwrap()).collect::<Vec<_>>();
            assert_eq!(which, ["_mget", "_search"], "turn {turn}: {paths:?}");
            let ids: Value = serde_json::from_str(&asked[0].body).unwrap();
            assert_eq!(ids["ids"].as_array().unwrap().len(), usize::from(PARTITIONS));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_that_was_not_looked_for_is_not_taken_for_none() {
    let Some(cluster) = Cluster::given() else { return };
    let proxy = Proxy::start(&cluster.url).await;
    let urls = vec![format!("http://{}", proxy.address)];
    let index = cluster.open_with(&Settings { urls, ..cluster.settings() }, &entity()).await.unwrap();
    let error = json!({ "type": "no_shard_available_action_exception", "reason": "canary" });
    let answer = json!({ "docs": [{ "_id": "@progress-0", "error": error }] }).to_string();
    proxy.rule(move |asked| match asked.path.contains("_mget") {
        true => Fate::Answer(200, answer.clone()),
        false => Fate::Pass,
    });
    let said = index.progress().await.unwrap_err().to_string();
    assert!(said.contains("no_shard_available_action_exception") && !said.contains("canary"), "{said}");
}
