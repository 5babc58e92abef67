//! OpenSearch as a search index: what every index promises, and what only a server can do wrong.

use std::sync::Arc;

use headwater_sink_search::index::*;
use headwater_sink_search::opensearch::{OpenSearch, Settings};
use headwater_sink_search::query::{MAX_LIMIT, Search};
use headwater_sink_search::{EmbeddedIndex, SearchIndex};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::conformance::{self, all, apply, progress, promises, scan_all};
use crate::differential;
use crate::generate::{delete, entity, item, n, put, random_item, random_query, random_sort, s};

macro_rules! conforms {
    ($($name:ident),* $(,)?) => {$(
        #[tokio::test]
        async fn $name() {
            let Some(cluster) = Cluster::given() else { return };
            conformance::$name(&cluster.open().await).await;
        }
    )*};
}

promises!(conforms);

#[test]
fn any_order_converges_to_the_newest() {
    let Some(cluster) = Cluster::given() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let remove = || cluster.call("DELETE", &format!("/{}?ignore_unavailable=true", cluster.index()), &Value::Null);
    conformance::any_order_converges_to_the_newest(|| {
        remove();
        Arc::new(runtime.block_on(cluster.open()))
    });
}

#[tokio::test]
async fn any_query_finds_what_its_definition_says() {
    let Some(cluster) = Cluster::given() else { return };
    differential::any_query_finds_what_its_definition_says(&cluster.open().await, 5, 400).await;
}

#[tokio::test]
async fn a_search_has_the_same_answer_as_on_the_embedded_index() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedIndex::open(folder.path(), &entity(), 15_000_000).unwrap();
    let opensearch = cluster.open().await;
    let mut rng = StdRng::seed_from_u64(11);
    for round in 1..=6_u64 {
        let mut operations: Vec<Operation> = (0..50).map(|at| put(random_item(&mut rng), round * 100 + at)).collect();
        operations.push(delete(&format!("k{round}"), "1", round * 100 + 90));
        let flush = Arc::new(Flush { operations, progress: progress(round, round as i64) });
        assert_eq!(embedded.apply(flush.clone()).await.unwrap(), opensearch.apply(flush).await.unwrap());
    }
    for round in 0..300 {
        let (query, sort) = (random_query(&mut rng, 3), random_sort(&mut rng));
        let (offset, limit) = if round % 2 == 0 { (round / 10, 7) } else { (0, MAX_LIMIT) };
        let search = Search { query, sort, offset, limit };
        let (one, other) = (embedded.search(&search).await.unwrap(), opensearch.search(&search).await.unwrap());
        assert_eq!(one, other, "{search:?}");
    }
    assert_eq!(scan_all(&embedded, 7).await, scan_all(&opensearch, 7).await);
}

/// As `headwater search` asks: texts of queries and orders, pages and counts.
#[tokio::test]
async fn the_same_query_text_gives_the_same_documents_in_the_same_order_on_both_indexes() {
    let Some(cluster) = Cluster::given() else { return };
    let folder = tempfile::tempdir().unwrap();
    let embedded = EmbeddedIndex::open(folder.path(), &entity(), 15_000_000).unwrap();
    let opensearch = cluster.open().await;
    let mut rng = StdRng::seed_from_u64(23);
    for round in 1..=4_u64 {
        let mut operations: Vec<Operation> = (0..60).map(|at| put(random_item(&mut rng), round * 100 + at)).collect();
        operations.push(delete(&format!("k{round}"), "1", round * 100 + 90));
        let flush = Arc::new(Flush { operations, progress: progress(round, round as i64) });
        assert_eq!(embedded.apply(flush.clone()).await.unwrap(), opensearch.apply(flush).await.unwrap());
    }
    let queries = [
        "carrier = \"UA\"",
        "carrier in (\"UA\", \"AA\", \"é\")",
        "carrier prefix \"A\"",
        "id prefix \"k1\"",
        "count >= 7",
        "count >= -1 and count < 9007199254740993",
        "delay > 0 and delay <= 1.5",
        "price = 1.25",
        "price > 123456789012345678901234567890123456.78",
        "flag = true",
        "at >= \"2013-01-01T10:00:00Z\"",
        "day < \"2013-01-02\"",
        "name : \"green\"",
        "not (carrier = \"UA\") and (flag = true or count = 0)",
        "exists(place) and not exists(carrier)",
        "tags = \"red\"",
        "distance(place, 40.64, -73.78) < 500km",
        "distance(place, 0, 0) <= 8000km and carrier prefix \"\"",
        "",
    ];
    let sorts = ["", "count desc", "carrier, delay desc", "price", "distance(place, 40.64, -73.78)", "at desc, day"];
    let mut found = 0;
    for (at, text) in queries.iter().enumerate() {
        let query = headwater_sink_search::query::parse(text, opensearch.mapping()).unwrap();
        for (turn, sort) in sorts.iter().enumerate() {
            let sort = headwater_sink_search::query::parse_sort(sort, opensearch.mapping()).unwrap();
            // The whole, a page of it, and the count alone.
            for (offset, limit) in [(0, 1000), ((at + turn) % 5, 7), (0, 0)] {
                let search = Search { query: query.clone(), sort: sort.clone(), offset, limit };
                let (one, other) = (embedded.search(&search).await.unwrap(), opensearch.search(&search).await.unwrap());
                assert_eq!(one, other, "{text} sorted by {:?}", search.sort);
                found += usize::from(one.total > 0 && one.total < 150 && limit == 0 && turn == 0);
            }
        }
    }
    assert!(found > queries.len() / 2, "only {found} queries tell documents apart");
}

fn partition(at: u16, next: u64, complete: i64) -> Progress {
    let mut progress = progress(next, complete);
    progress.of = 2;
    progress.partitions = [(at, progress.partitions[&0])].into();
    progress
}

async fn apply_at(
    index: &dyn SearchIndex,
    operations: Vec<Operation>,
    progress: Progress,
) -> Result<Applied, IndexError> {
    index.apply(Arc::new(Flush { operations, progress })).await
}

#[tokio::test]
async fn workers_write_their_own_partitions_and_a_zombie_moves_none_back() {
    let Some(cluster) = Cluster::given() else { return };
    let (one, other) = (cluster.open().await, cluster.open().await);
    apply_at(&one, vec![put(item("a", "1", &[]), 1)], partition(0, 10, 100)).await.unwrap();
    apply_at(&other, vec![put(item("b", "1", &[]), 1)], partition(1, 7, 70)).await.unwrap();
    let both = one.progress().await.unwrap();
    assert_eq!(both.partitions.values().map(|reached| reached.next.0).collect::<Vec<_>>(), [10, 7]);
    assert_eq!(all(&one).await.as_of.map(|moment| moment.as_millis()), Some(70), "the slower of both");
    // Partition 0 goes to the other worker, and the first one wakes up with an older flush.
    apply_at(&other, vec![delete("a", "1", 5)], partition(0, 20, 200)).await.unwrap();
    let outcome = apply_at(&one, vec![put(item("a", "1", &[]), 4)], partition(0, 15, 150)).await.unwrap();
    assert_eq!(outcome.outcomes, [Outcome::Superseded]);
    for index in [&one, &other] {
        let progress = index.progress().await.unwrap();
        assert_eq!(progress.partitions[&0], partition(0, 20, 200).partitions[&0]);
        assert_eq!(all(index).await.total, 1, "the delete sticks");
    }
}

#[tokio::test]
async fn workers_that_open_at_once_share_one_index() {
    let Some(cluster) = Cluster::given() else { return };
    let (one, two, three) = tokio::join!(cluster.open(), cluster.open(), cluster.open());
    for (at, index) in [&one, &two, &three].into_iter().enumerate() {
        apply(index, vec![put(item(&at.to_string(), "1", &[]), 1)]).await;
    }
    assert_eq!(all(&one).await.total, 3);
}

#[tokio::test]
async fn a_flood_block_holds_a_flush_and_it_goes_on_when_it_is_lifted() {
    let Some(cluster) = Cluster::given() else { return };
    let index = cluster.open().await;
    apply_at(&index, vec![put(item("a", "1", &[]), 1)], progress(1, 1)).await.unwrap();
    let settings = format!("/{}/_settings", cluster.index());
    cluster.call("PUT", &settings, &json!({ "index.blocks.read_only_allow_delete": true }));
    let flush = Arc::new(Flush { operations: vec![put(item("b", "1", &[]), 1)], progress: progress(2, 2) });
    let held = index.apply(flush.clone()).await.unwrap_err();
    assert!(matches!(held, IndexError::Full { .. }), "{held}");
    assert_eq!(index.progress().await.unwrap(), progress(1, 1), "progress waits for the documents");
    // Under the block OpenSearch takes no other setting than its removal.
    cluster.call("PUT", &settings, &json!({ "index.blocks.read_only_allow_delete": null }));
    cluster.call("PUT", &settings, &json!({ "index.blocks.write": true }));
    let held = index.apply(flush.clone()).await.unwrap_err();
    assert!(held.to_string().contains("set index.blocks.write"), "{held}");
    cluster.call("PUT", &settings, &json!({ "index.blocks.write": null }));
    assert_eq!(index.apply(flush).await.unwrap().outcomes, [Outcome::Applied]);
    assert_eq!((all(&index).await.total, index.progress().await.unwrap()), (2, progress(2, 2)));
}

#[tokio::test]
async fn a_lost_alias_is_noticed_and_an_index_that_was_made_anew_is_not_taken_for_the_old_one() {
    let Some(cluster) = Cluster::given() else { return };
    let index = cluster.open().await;
    apply_at(&index, vec![put(item("a", "1", &[]), 1)], progress(1, 1)).await.unwrap();
    let alias = format!("/{}/_alias/{}", cluster.index(), cluster.alias());
    cluster.call("DELETE", &alias, &Value::Null);
    let flush = Arc::new(Flush { operations: vec![put(item("b", "1", &[]), 1)], progress: progress(2, 2) });
    let missing = index.apply(flush.clone()).await.unwrap_err();
    assert!(missing.to_string().contains("put the alias back"), "{missing}");
    let refused = cluster.open_with(&cluster.settings(), &entity()).await.err().unwrap();
    assert!(refused.to_string().contains("does not lead to it"), "{refused}");
    cluster.call("PUT", &alias, &json!({ "filter": { "term": { "_hw.live": true } } }));
    index.apply(flush.clone()).await.unwrap();

    cluster.call("DELETE", &format!("/{}", cluster.index()), &Value::Null);
    let gone = index.apply(flush.clone()).await.unwrap_err();
    assert!(matches!(gone, IndexError::Refused { .. }), "{gone}");
    assert!(index.progress().await.is_err());
    let anew = cluster.open().await;
    let replaced = index.apply(flush).await.unwrap_err();
    assert!(matches!(replaced, IndexError::Replaced { .. }), "{replaced}");
    assert_eq!(all(&anew).await.total, 0, "nothing of the old progress is in the new index");
    assert_eq!(index.progress().await.unwrap(), Progress::default(), "everything is read again");
    apply_at(&index, vec![put(item("a", "1", &[]), 1)], progress(1, 1)).await.unwrap();
    assert_eq!(all(&anew).await.total, 1);
}

#[tokio::test]
async fn new_features_are_added_and_a_changed_type_is_refused_with_the_difference() {
    let Some(cluster) = Cluster::given() else { return };
    let mut smaller = entity();
    smaller.features.retain(|feature| feature.name != "delay");
    let settings = cluster.settings();
    let old = cluster.open_with(&settings, &smaller).await.unwrap();
    apply(&old, vec![put(item("a", "1", &[("delay", n("1"))]), 1)]).await;
    let index = cluster.open().await;
    apply(&index, vec![put(item("b", "1", &[("delay", n("2"))]), 1)]).await;
    apply(&old, vec![put(item("c", "1", &[("carrier", s("UA"))]), 1)]).await;
    let query = headwater_sink_search::query::parse("delay >= 0", index.mapping()).unwrap();
    assert_eq!(index.search(&Search { query, ..Search::default() }).await.unwrap().total, 1, "what was written since");
    let mut changed = entity();
    changed.features.iter_mut().find(|feature| feature.name == "delay").unwrap().feature_type =
        headwater_common::definition::FeatureType::Long;
    let refused = cluster.open_with(&settings, &changed).await.err().unwrap();
    assert!(refused.to_string().contains("`delay` was double and is long"), "{refused}");
    assert_eq!(all(&index).await.total, 3);
    let reader = OpenSearch::connect(&settings).await.unwrap().open_read_only(&entity()).await.unwrap();
    assert_eq!(all(&reader).await.total, 3);
    assert!(matches!(reader.apply(Arc::default()).await.unwrap_err(), IndexError::ReadOnly { .. }));
}

#[tokio::test]
async fn pages_beyond_the_servers_window_have_no_gaps() {
    let Some(cluster) = Cluster::given() else { return };
    let settings = Settings { bulk_bytes: 200_000, ..cluster.settings() };
    let index = cluster.open_with(&settings, &entity()).await.unwrap();
    let one = |id: u64| put(item(&format!("k{id:05}"), "1", &[("count", n(&(id % 7).to_string()))]), 1);
    apply(&index, (0..12_000).map(one).collect()).await;
    let sort = vec![headwater_sink_search::query::Sort {
        by: headwater_sink_search::query::SortBy::Field("count".into()),
        descending: true,
    }];
    let page = |offset, limit| Search { sort: sort.clone(), offset, limit, ..Search::default() };
    let deep = index.search(&page(10_990, 1_100)).await.unwrap();
    assert_eq!((deep.total, deep.hits.len()), (12_000, 1_010));
    let first = index.search(&page(2_000, 8_990)).await.unwrap();
    let near = index.search(&page(0, 2_000)).await.unwrap();
    let mut keys: Vec<_> = [near, first, deep].iter().flat_map(|page| page.hits.clone()).map(|hit| hit.item).collect();
    assert_eq!(keys.len(), 12_000);
    keys.sort_by_key(|item| item.to_json());
    keys.dedup();
    assert_eq!(keys.len(), 12_000);
    assert_eq!(scan_all(&index, 5_000).await.len(), 12_000);
}
