//! `headwater rebuild` beside workers that run: killed and started again, refused where the new index differs, and by
//! definitions that the old index does not match.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::SystemClock;
use headwater_sink_search::opensearch::names;
use headwater_tests::faults::Role;
use headwater_tests::process::{Launch, Process};
use headwater_tests::workload::{Settings, Workload, seed_or};
use headwater_tests::writer::Writer;
use headwater_tests::{client, http, wait, workload};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use super::workers::Cluster;
use crate::stack::{BINARY, headwater};

/// Which of the workload's tables is rebuilt alone.
const TABLE: &str = "profiles";
/// Writes between two rests. DynamoDB Local gives times by the minute, so how far a stream is complete would be known once a
/// minute only if it never rested.
const BURST: usize = 80;
const REST: Duration = Duration::from_secs(2);

struct Rebuilds<'a> {
    cluster: &'a mut Cluster,
    folder: &'a Path,
    started: usize,
}

impl Rebuilds<'_> {
    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let settings = self.cluster.settings.to_str().unwrap();
        ["rebuild", "--settings", settings].iter().chain(more).map(|text| (*text).to_owned()).collect()
    }

    /// To its end; gives the exit code, what it answered, and what it said beside.
    async fn run(&self, more: &[&str]) -> (i32, Vec<Value>, String) {
        let arguments = self.arguments(&[more, &["--json"]].concat());
        let run = move || -> Output {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            headwater(&arguments, &BTreeMap::new())
        };
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let answers = String::from_utf8_lossy(&output.stdout);
        let answers = answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        (output.status.code().unwrap(), answers, said)
    }

    /// Started, and killed when `moment` has come, which is told what it has said.
    async fn killed_when<F>(&mut self, more: &[&str], what: &str, moment: impl Fn(String) -> F)
    where
        F: Future<Output = bool>,
    {
        self.started += 1;
        let launch = Launch {
            binary: BINARY.into(),
            arguments: self.arguments(more),
            environment: Vec::new(),
            status: SocketAddr::from(([127, 0, 0, 1], 0)),
            log: self.folder.join(format!("rebuild-{}.log", self.started)),
            patience: PATIENCE,
        };
        let process = Process::start(&launch).unwrap();
        let said = || std::fs::read_to_string(&launch.log).unwrap_or_default();
        wait::until(what, PATIENCE, async || if moment(said()).await { Ok(()) } else { Err(said()) }).await.unwrap();
        process.kill().await.unwrap();
    }

    fn server(&self) -> SocketAddr {
        http::address(&self.cluster.opensearch.urls[0]).unwrap()
    }

    fn alias(&self, table: &str) -> String {
        names::read_alias(&self.cluster.opensearch.prefix, table)
    }

    /// The table's indexes, and the aliases of each.
    async fn indexes(&self, table: &str) -> BTreeMap<String, Vec<String>> {
        let answer = http::get(self.server(), &format!("/{}-*/_alias", self.alias(table))).await.unwrap();
        let found: Value = serde_json::from_str(&answer.body).unwrap();
        let aliases = |found: &Value| found["aliases"].as_object().unwrap().keys().cloned().collect();
        found.as_object().unwrap().iter().map(|(index, found)| (index.clone(), aliases(found))).collect()
    }

    /// The index that is being built, or was when a rebuild was killed.
    async fn building(&self, table: &str) -> String {
        let indexes = self.indexes(table).await;
        let building = |(index, aliases): &(&String, &Vec<String>)| {
            aliases.iter().any(|alias| names::is_build_alias(alias, index))
        };
        indexes.iter().find(building).unwrap_or_else(|| panic!("{indexes:?}")).0.clone()
    }

    async fn only(&self, table: &str, index: &str) {
        assert_eq!(self.indexes(table).await.into_keys().collect::<Vec<_>>(), [index]);
    }
}

/// Asks the read alias all the time, as who searches does: it is always there and leads to one index.
async fn watch(server: SocketAddr, alias: String, enough: CancellationToken) -> usize {
    let mut asked = 0;
    while !enough.is_cancelled() {
        let answer = http::get(server, &format!("/_alias/{alias}")).await.unwrap();
        let found: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, found.as_object().unwrap().len()), (200, 1), "{found}");
        let answer = http::get(server, &format!("/{alias}/_count")).await.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        asked += 1;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    asked
}

/// GIVEN workers that run, and writes that go on WHEN both tables are rebuilt, killed on the way and started again THEN
/// they move to the new indexes without a worker started anew, and table, lake and index are equal.
async fn moves_under_load(rebuilds: &mut Rebuilds<'_>, workload: &Workload) {
    let writer = Writer::new(client::at(&rebuilds.cluster.endpoint), workload.clone(), Arc::new(SystemClock));
    let (mut written, stop, enough) = (writer.progress(), CancellationToken::new(), CancellationToken::new());
    let writing = tokio::spawn({
        let stop = stop.clone();
        async move {
            while !stop.is_cancelled() {
                writer.write_until(BURST, &stop).await?;
                tokio::time::sleep(REST).await;
            }
            Ok::<_, headwater_tests::error::Error>(())
        }
    });
    written.wait_for(|written| *written > 200).await.unwrap();
    wait::until("an index of each table", PATIENCE, async || {
        let (one, other) = (rebuilds.indexes(TABLE).await, rebuilds.indexes("readings").await);
        if one.len() + other.len() == 2 { Ok(()) } else { Err(format!("{one:?} {other:?}")) }
    })
    .await
    .unwrap();
    let watching = tokio::spawn(watch(rebuilds.server(), rebuilds.alias(TABLE), enough.clone()));
    for words in ["", "building", "records read", "complete until"] {
        rebuilds.killed_when(&["--all"], words, |said| std::future::ready(said.contains(words))).await;
    }
    let (code, answers, said) = rebuilds.run(&["--all"]).await;
    assert_eq!(code, 0, "{answers:?} {said}");
    assert!(answers.len() == 2 && answers.iter().all(|answer| answer["moved"] == true), "{answers:?}");
    for answer in &answers {
        assert_eq!((answer["differences"].as_array().unwrap().len(), &answer["kept"]), (0, &serde_json::json!([])));
        rebuilds.only(answer["table"].as_str().unwrap(), answer["index"].as_str().unwrap()).await;
    }
    assert!(said.contains("\"read\":"), "progress is told: {said}");
    let so_far = *written.borrow();
    written.wait_for(|written| *written > so_far + 100).await.unwrap();
    stop.cancel();
    writing.await.unwrap().unwrap();
    rebuilds.cluster.complete_past(crate::stack::now()).await.unwrap();
    rebuilds.cluster.ready().await.unwrap();
    rebuilds.cluster.verified().await.unwrap();
    enough.cancel();
    assert!(watching.await.unwrap() > 10);
}

/// GIVEN a new index that lacks an item WHEN the rebuild compares it with the table THEN it names the key and moves
/// nothing, and another rebuild that begins anew ends well.
async fn refuses_an_index_that_differs(rebuilds: &mut Rebuilds<'_>) {
    // Without marks nothing is complete, so the rebuild waits with everything read.
    let ingest = rebuilds.cluster.of(Role::Ingest);
    for at in &ingest {
        assert!(rebuilds.cluster.take(*at).stop(PATIENCE).await.unwrap().success());
    }
    let (before, server, alias) = (rebuilds.indexes(TABLE).await, rebuilds.server(), rebuilds.alias(TABLE));
    let twice = 2 * live(server, alias.clone()).await;
    let everything = |_| {
        let both = live(server, format!("{alias}-0*"));
        async move { both.await == twice }
    };
    rebuilds.killed_when(&[TABLE], "an index with everything", everything).await;
    let building = rebuilds.building(TABLE).await;
    let found =
        http::get(server, &format!("/{building}/_search?size=1&q=_hw.live:true&_source=_hw.key")).await.unwrap();
    let found: Value = serde_json::from_str(&found.body).unwrap();
    let hit = &found["hits"]["hits"][0];
    let (id, key) = (hit["_id"].as_str().unwrap(), hit["_source"]["_hw"]["key"].as_str().unwrap());
    let deleted = http::delete(server, &format!("/{building}/_doc/{id}?refresh=true")).await.unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    for at in &ingest {
        rebuilds.cluster.replace(*at).unwrap();
    }
    rebuilds.cluster.ready().await.unwrap();
    let (code, answers, said) = rebuilds.run(&[TABLE]).await;
    assert_eq!((code, &answers[0]["moved"], &answers[0]["resumed"]), (1, &false.into(), &true.into()), "{said}");
    let differences = answers[0]["differences"].as_array().unwrap();
    assert_eq!(differences, &[serde_json::json!({ "key": key, "in_index": "missing" })]);
    assert!(said.contains("what served goes on") && said.contains("--anew"), "{said}");
    let mut left = rebuilds.indexes(TABLE).await;
    left.remove(&building);
    assert_eq!(left, before, "what serves is as it was");
    rebuilds.cluster.verified().await.unwrap();

    let (code, answers, said) = rebuilds.run(&[TABLE, "--anew", "--keep"]).await;
    assert_eq!((code, &answers[0]["resumed"]), (0, &false.into()), "{said}");
    let (old, new) = (before.keys().next().unwrap(), answers[0]["index"].as_str().unwrap());
    assert_eq!(answers[0]["kept"], serde_json::json!([old]));
    assert_eq!(
        rebuilds.indexes(TABLE).await.into_keys().collect::<Vec<_>>(),
        [old, new],
        "the one that differs is gone"
    );
    rebuilds.cluster.verified().await.unwrap();
}

/// Live items of these indexes together.
async fn live(server: SocketAddr, indexes: String) -> u64 {
    let answer = http::get(server, &format!("/{indexes}/_count?q=_hw.live:true")).await.unwrap();
    serde_json::from_str::<Value>(&answer.body).unwrap()["count"].as_u64().unwrap_or_default()
}

/// GIVEN definitions with another type WHEN the index is asked THEN it is refused with this command as the remedy; once
/// it is rebuilt searches are answered, workers of the old definitions say what is wrong, and those of the new go on.
async fn builds_by_new_definitions(rebuilds: &mut Rebuilds<'_>) {
    let search = |cluster: &Cluster| {
        let settings = cluster.settings.to_str().unwrap().to_owned();
        let output = headwater(&["search", TABLE, "score >= 0", "--settings", &settings], &BTreeMap::new());
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mut changed = rebuilds.cluster.entities.iter().find(|entity| entity.entity == TABLE).unwrap().clone();
    changed.features.iter_mut().find(|feature| feature.name == "score").unwrap().feature_type =
        headwater_common::definition::FeatureType::Decimal { precision: 38, scale: 10 };
    let file = rebuilds.folder.join("features").join(format!("{TABLE}.yaml"));
    std::fs::write(file, workload::yaml(&changed)).unwrap();
    let (code, said) = search(&*rebuilds.cluster);
    assert!(code == 3 && said.contains("`score` was double") && said.contains("`headwater rebuild`"), "{code} {said}");
    let (code, answers, said) = rebuilds.run(&[TABLE]).await;
    assert_eq!((code, &answers[0]["moved"]), (0, &true.into()), "{answers:?} {said}");
    assert_eq!(search(&*rebuilds.cluster).0, 0);
    let workers = rebuilds.cluster.of(Role::SinkSearch);
    for at in &workers {
        wait::until("the worker's word on the definitions", PATIENCE, async || {
            let answer =
                http::get(rebuilds.cluster.address(*at), "/readyz").await.map_err(|error| error.to_string())?;
            if answer.body.contains("other feature definitions") { Ok(()) } else { Err(answer.body) }
        })
        .await
        .unwrap();
    }
    for at in workers {
        assert!(rebuilds.cluster.take(at).stop(PATIENCE).await.unwrap().success());
        rebuilds.cluster.replace(at).unwrap();
    }
    rebuilds.cluster.ready().await.unwrap();
    rebuilds.cluster.verified().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_moves_to_an_index_that_was_built_beside_and_proven() {
    let seed = seed_or(u64::from(std::process::id()));
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload::new(Settings { seed, ..Settings::default() });
    let Some(mut cluster) = Cluster::prepare(folder.path(), workload.entities.clone()).await else { return };
    cluster.start().await.unwrap();
    let mut rebuilds = Rebuilds { cluster: &mut cluster, folder: folder.path(), started: 0 };
    moves_under_load(&mut rebuilds, &workload).await;
    refuses_an_index_that_differs(&mut rebuilds).await;
    builds_by_new_definitions(&mut rebuilds).await;
    cluster.stop().await.unwrap();
    cluster.remove().await;
}
