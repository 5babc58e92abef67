//! `headwater search` on the embedded index and on OpenSearch: the same question has the same answer.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::key::ItemKey;
use headwater_common::order::Version;
use headwater_common::value::Item;
use headwater_sink_search::index::{Flush, Operation};
use headwater_sink_search::opensearch::{OpenSearch, Settings, names};
use headwater_sink_search::{EmbeddedIndex, SearchIndex};
use headwater_tests::process::Process;
use headwater_tests::{attribute, client, http, run, servers};
use serde_json::{Value, json};

use crate::stack::{Dev, PATIENCE, SINKS, documents, headwater, now};

const ITEMS: i64 = 120;

fn entity() -> Entity {
    serde_json::from_value(json!({
        "entity": "flights", "key": {"partition": {"name": "id", "type": "string"}},
        "features": [
            {"name": "carrier", "type": "keyword"}, {"name": "remark", "type": "text"}, {"name": "seats", "type": "long"},
            {"name": "delay", "type": "double"}, {"name": "fare", "type": "decimal(38,2)"}, {"name": "late", "type": "bool"},
            {"name": "at", "type": "timestamp"}, {"name": "day", "type": "date"}, {"name": "place", "type": "geo_point"},
            {"name": "tags", "type": "keyword_set"},
        ],
    }))
    .unwrap()
}

/// Attributes that are there, that are not, and one that is of another type than it is declared.
fn item(at: i64) -> Item {
    let pick = |of: &[&str]| of[at as usize % of.len()].to_owned();
    let mut item = json!({
        "id": {"S": format!("f{at:03}")},
        "carrier": {"S": pick(&["UA", "AA", "AAL", "", "é"])},
        "remark": {"S": pick(&["Green light", "red", "— étage 12", "green-red"])},
        "seats": {"N": (at * 7 % 50 - 10).to_string()},
        "delay": {"N": pick(&["0", "-0.0", "1.5", "-2.25", "1e125", "0.1", "31"])},
        "fare": {"N": pick(&["1.25", "1.2", "123456789012345678901234567890123456.78", "-3"])},
        "late": {"BOOL": at % 3 == 0},
        "at": {"N": (1_357_000_000_000 + at * 3_600_000).to_string()},
        "day": {"S": format!("2013-01-{:02}", at % 28 + 1)},
        "place": {"M": {"lat": {"N": (at % 90).to_string()}, "lon": {"N": (at * 13 % 360 - 180).to_string()}}},
        "tags": {"SS": [pick(&["red", "blue"]), pick(&["new", "old", "rare"])]},
    });
    for (every, name) in [(4, "place"), (5, "tags"), (6, "delay"), (7, "remark")] {
        if at % every == 0 {
            item.as_object_mut().unwrap().remove(name);
        }
    }
    if at % 11 == 0 {
        item["seats"] = json!({"S": "many"});
    }
    Item::from_json(&item.to_string()).unwrap()
}

/// A stack that has all items in its index, some of them deleted again, and is stopped.
async fn stopped_stack(folder: &std::path::Path) -> Dev {
    let dev = Dev::new(folder, vec![entity()]);
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let client = client::at(&dev.endpoint);
    for at in 0..ITEMS {
        let put = client.put_item().table_name("flights").set_item(Some(attribute::to_sdk(&item(at))));
        put.send().await.unwrap();
    }
    for at in [3, 50] {
        let key = Item::from_json(&json!({"id": {"S": format!("f{at:03}")}}).to_string()).unwrap();
        client.delete_item().table_name("flights").set_key(Some(attribute::to_sdk(&key))).send().await.unwrap();
    }
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), now(), PATIENCE).await.unwrap();
    assert!(process.stop(PATIENCE).await.unwrap().success());
    dev
}

/// The same documents with the same progress on OpenSearch.
async fn copied(dev: &Dev, folder: &std::path::Path, settings: &Settings) {
    let index = EmbeddedIndex::open_read_only(&dev.data.join("index/flights"), &entity()).unwrap();
    let progress = index.progress().await.unwrap();
    let log = EmbeddedLog::open(&folder.join("log"), Layout { slots: 1, partitions: progress.of }).unwrap();
    let other = OpenSearch::connect(settings).await.unwrap().open(&entity(), &log).await.unwrap();
    let operation = |found: headwater_tests::observed::IndexDocument| {
        let item = found.item?;
        let key = ItemKey::of(&item, "id", None).unwrap().canonical();
        Some(Operation { key, version: Version::new(found.version as u64).unwrap(), body: Some(item) })
    };
    let operations = documents(&index, &entity().table()).await.into_iter().filter_map(operation).collect();
    other.apply(Arc::new(Flush { operations, progress })).await.unwrap();
}

const QUERIES: [&str; 17] = [
    "carrier = \"UA\"",
    "carrier in (\"AA\", \"é\")",
    "carrier prefix \"A\"",
    "id prefix \"f01\"",
    "seats >= 7 and seats < 31",
    "delay > 0 and delay <= 31",
    "fare = 1.25",
    "fare > 123456789012345678901234567890123456.77",
    "late = true",
    "at >= \"2013-01-03T10:00:00Z\"",
    "day < \"2013-01-05\"",
    "remark : \"GREEN\"",
    "not (carrier = \"UA\") and (late = true or seats = 0)",
    "exists(place) and not exists(tags)",
    "tags = \"rare\"",
    "distance(place, 40.64, -73.78) < 5000km",
    "distance(place, 0, 0) <= 8000km and carrier prefix \"\"",
];

const SORTS: [&str; 5] =
    ["seats desc", "carrier, delay desc", "distance(place, 40.64, -73.78)", "fare", "at desc, day"];

/// GIVEN the same items in the embedded index and on OpenSearch WHEN `headwater search` asks either the same THEN the
/// answers are the same: documents, their order, their versions, the page, the count, as of when, and the errors.
#[tokio::test(flavor = "multi_thread")]
async fn the_same_search_has_the_same_answer_on_either_index() {
    let Some(url) = servers::opensearch() else { return };
    let folder = tempfile::tempdir().unwrap();
    let dev = stopped_stack(folder.path()).await;
    let prefix = format!("equal-{}-{}", std::process::id(), now().as_millis());
    let settings = Settings { urls: vec![url.clone()], prefix: prefix.clone(), replicas: 0, ..Settings::default() };
    copied(&dev, folder.path(), &settings).await;
    let file = folder.path().join("servers.yaml");
    let servers = json!({
        "definitions": folder.path().join("features"), "lake": {"place": folder.path().join("lake")},
        "opensearch": {"urls": [url], "prefix": prefix, "replicas": 0},
    });
    std::fs::write(&file, servers.to_string()).unwrap();
    let ask = |place: [&str; 2], arguments: &[&str]| {
        let output = headwater(&[&["search", "flights", "--json"], arguments, &place].concat(), &BTreeMap::new());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    };
    let both = |arguments: &[&str]| {
        let embedded = ask(["--data", dev.data.to_str().unwrap()], arguments);
        assert_eq!(embedded, ask(["--settings", file.to_str().unwrap()], arguments), "{arguments:?}");
        embedded
    };
    let last = |answer: &str| serde_json::from_str::<Value>(answer.lines().last().unwrap()).unwrap();
    for (at, query) in QUERIES.iter().enumerate() {
        let offset = (at % 4).to_string();
        let (code, page, said) = both(&[query, "--sort", SORTS[at % SORTS.len()], "--limit", "9", "--offset", &offset]);
        assert_eq!(code, 0, "{query}: {said}");
        let (_, count, _) = both(&[query, "--count"]);
        let total = last(&count)["total"].as_u64().unwrap();
        assert!(total > 0 && total < ITEMS as u64 - 2, "{query} tells no documents apart: {total}");
        assert_eq!(last(&page)["total"], total);
        let hits = (total as usize).saturating_sub(at % 4).min(9);
        assert_eq!(page.lines().count(), hits + 1, "{query}");
        assert!(last(&page)["as_of"].is_string());
    }
    for sort in SORTS {
        let (code, all, _) = both(&["--sort", sort, "--limit", "1000"]);
        assert_eq!((code, all.lines().count()), (0, ITEMS as usize - 2 + 1), "{sort}");
    }
    for wrong in [["seets > 3", "--count"], ["seats > \"x\"", "--count"], ["late > true", "--count"]] {
        let (code, _, said) = both(&wrong);
        assert_eq!(code, 2, "{wrong:?}: {said}");
    }
    let address = http::address(&settings.urls[0]).unwrap();
    http::delete(address, &format!("/{}", names::index(&prefix, "flights", 1))).await.unwrap();
}
