//! One distinctive value on every way that values take: nothing that the command says of itself shows it.

use std::net::SocketAddr;
use std::path::Path;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use headwater_common::change::TableName;
#[cfg(feature = "kafka")]
use headwater_common::clock::SystemClock;
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::log::{ChangeLog, CommitBatch, LogEvent, Ownership};
use headwater_common::metric;
use headwater_sdk::{FeatureStore, ItemBuilder, Timestamp};
#[cfg(feature = "kafka")]
use headwater_tests::process::Launch;
use headwater_tests::process::Process;
use headwater_tests::{client, http, run, wait};

use crate::exposition::parse;
use crate::operations::label;
use crate::stack::{Dev, PATIENCE, SINKS, headwater};

/// Stands in texts and keys of items.
const TEXT: &str = "canarytext7q3v";
/// Stands in numbers of items.
const NUMBER: &str = "86753098675309";
/// Stands in settings that are secret.
const SECRET: &str = "canarysecret9z1w";

/// Every kind of feature, on a table of this name.
fn entity(table: &str) -> Entity {
    let entity: Entity = serde_json::from_str(
        r#"{"entity": "items", "event_time": "at", "write_time": "written", "ttl": "expires", "key": {
            "partition": {"name": "id", "type": "string"}, "sort": {"name": "part", "type": "binary"}}, "features": [
            {"name": "word", "type": "keyword"}, {"name": "text", "type": "text"}, {"name": "whole", "type": "long"},
            {"name": "double", "type": "double"}, {"name": "decimal", "type": "decimal(12,4)"},
            {"name": "flag", "type": "bool"}, {"name": "moment", "type": "timestamp"}, {"name": "day", "type": "date"},
            {"name": "bytes", "type": "binary"}, {"name": "place", "type": "geo_point"},
            {"name": "vector", "type": "vector(2)"}, {"name": "words", "type": "keyword_set"},
            {"name": "numbers", "type": "number_set"}, {"name": "json", "type": "json"}]}"#,
    )
    .unwrap();
    Entity { table: Some(table.to_owned()), ..entity }
}

/// Every form in which a value may come to light: as it is, as base64 at each of its three places, as hexadecimal, as a
/// list of bytes.
fn forms(value: &str) -> Vec<String> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let sextets = |shift: usize| {
        let bits = value.bytes().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).skip(shift);
        let bits: Vec<u8> = bits.collect();
        bits.chunks_exact(6)
            .map(|six| DIGITS[six.iter().fold(0, |all, bit| all << 1 | usize::from(*bit))] as char)
            .collect()
    };
    let list = |separator: &str| value.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(separator);
    let mut forms: Vec<String> = [0, 2, 4].into_iter().map(sextets).collect();
    forms.extend([value.to_owned(), value.bytes().map(|byte| format!("{byte:02x}")).collect(), list(", "), list(",")]);
    forms
}

/// Fails where `text` shows a canary, with what is around it.
fn silent(whose: &str, text: &str) {
    // Both alphabets of base64 count.
    let text = text.replace('+', "-").replace('/', "_");
    for canary in [TEXT, NUMBER, SECRET] {
        for form in forms(canary) {
            if let Some(at) = text.to_lowercase().find(&form.to_lowercase()) {
                let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
                panic!("{whose} shows {canary} as {form}: {}", text[line..].chars().take(2000).collect::<String>());
            }
        }
    }
}

fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.to_owned())
}

fn n(text: &str) -> AttributeValue {
    AttributeValue::N(text.to_owned())
}

/// Every feature as something else than what it is declared, and some beside them; each with a canary.
fn flips() -> Vec<AttributeValue> {
    vec![
        s(TEXT),
        n(NUMBER),
        n(&format!("0.{NUMBER}")),
        AttributeValue::B(Blob::new(TEXT)),
        AttributeValue::Ss(vec![TEXT.to_owned()]),
        AttributeValue::Ns(vec![NUMBER.to_owned()]),
        AttributeValue::L(vec![s(TEXT), n(NUMBER)]),
        AttributeValue::M([("lat".to_owned(), s(TEXT)), ("lon".to_owned(), n(NUMBER))].into()),
        s(&TEXT.repeat(4000)),
    ]
}

/// Puts, type flips of every feature, updates, and deletes of half of it.
async fn write(endpoint: &str, table: &str) {
    let (client, key) =
        (client::at(endpoint), |at: usize| (s(&format!("{TEXT}{at}")), AttributeValue::B(Blob::new(TEXT))));
    for (at, flip) in flips().into_iter().enumerate() {
        let (id, part) = key(at);
        let put = client.put_item().table_name(table).item("id", id.clone()).item("part", part.clone());
        let features = entity("items").features.iter().map(|feature| feature.name.clone()).collect::<Vec<_>>();
        let names = features.into_iter().chain(["at", "written", "expires", "stranger"].map(str::to_owned));
        // A large one goes into few attributes, because an item has at most 400 KB.
        let names = names.take(if matches!(&flip, AttributeValue::S(text) if text.len() > 1000) { 2 } else { 99 });
        let put = names.fold(put, |put, name| put.item(name, flip.clone()));
        put.send().await.unwrap();
        let update = client.update_item().table_name(table).key("id", id.clone()).key("part", part.clone());
        let update = update.update_expression("SET word = :w, whole = :n, #m = :w");
        let update = update.expression_attribute_names("#m", "moment").expression_attribute_values(":w", s(TEXT));
        update.expression_attribute_values(":n", n(NUMBER)).send().await.unwrap();
        if at % 2 == 0 {
            client.delete_item().table_name(table).key("id", id).key("part", part).send().await.unwrap();
        }
    }
}

/// What the SDK says of writes that it refuses, and the table of those that it does.
async fn refused_writes(endpoint: &str) {
    let store = FeatureStore::connect(Some(endpoint), vec![entity("items")]).await.unwrap();
    let items = store.entity("items").unwrap();
    let at = Timestamp::from_millis(1_700_000_000_000);
    let key = || ItemBuilder::new().set("id", TEXT).set("part", TEXT.as_bytes().to_vec());
    let mut texts = Vec::new();
    for feature in &entity("items").features {
        let wrong = key().set(feature.name.as_str(), if feature.name == "flag" { TEXT } else { NUMBER });
        texts.extend(items.put(wrong, at).await.err().map(|error| error.to_string()));
    }
    for built in [
        ItemBuilder::new().set("id", TEXT).set("part", TEXT),
        key().set("text", TEXT.repeat(40_000)),
        ItemBuilder::new().set("id", TEXT.repeat(200)).set("part", TEXT.as_bytes().to_vec()),
    ] {
        texts.push(items.put(built, at).await.unwrap_err().to_string());
    }
    assert!(texts.len() > 10, "most are refused: {texts:?}");
    silent("the SDK", &texts.join("\n"));
}

/// Records that are no changes, each with a canary where something else has to be. Gives how many.
pub async fn write_rubbish(log: &dyn ChangeLog, table: &TableName) -> usize {
    let good = format!(
        r#"{{"v":1,"op":"u","ts_ms":1700000000000,"version":1825361100800000000,"key":[{{"name":"id","value":{{"S":"a"}}}},{{"name":"part","value":{{"B":"YQ=="}}}}],"after":{{"id":{{"S":"a"}},"part":{{"B":"YQ=="}},"whole":{{"N":"1"}}}},"source":{{"connector":"headwater","table":"{table}","stream":"arn","generation":1,"shard":"shardId-1","seq":"0000000000000000000100000000000000000005","event_id":"e1"}}}}"#
    );
    let swaps = [
        (r#""v":1"#, format!(r#""v":"{TEXT}""#)),
        (r#""v":1"#, format!(r#""v":{NUMBER}"#)),
        (r#""op":"u""#, format!(r#""op":"{TEXT}""#)),
        (r#""version":1825361100800000000"#, format!(r#""version":"{TEXT}""#)),
        (r#"{"S":"a"}"#, format!(r#"{{"{TEXT}":"a"}}"#)),
        (r#"{"S":"a"}"#, format!(r#"{{"S":{NUMBER}}}"#)),
        (r#"{"N":"1"}"#, format!(r#"{{"N":"{TEXT}"}}"#)),
        (r#"{"N":"1"}"#, format!(r#"{{"B":"{TEXT}"}}"#)),
        (r#""generation":1"#, format!(r#""generation":"{TEXT}""#)),
        (r#"{"v""#, format!(r#"{TEXT}{{"v""#)),
    ];
    let values: Vec<String> = swaps.into_iter().map(|(was, is)| good.replacen(was, &is, 1)).collect();
    let key = ItemKey { partition: ("id".into(), KeyValue::S(TEXT.into())), sort: None }.canonical();
    let event =
        |value: &String| LogEvent { table: table.clone(), key: key.clone(), value: value.clone().into_bytes().into() };
    let events: Vec<LogEvent> = values.iter().map(event).collect();
    log.open_table(table).await.unwrap();
    let mut member = log.join().await.unwrap();
    let mut writer = loop {
        let change = tokio::time::timeout(PATIENCE, member.changed()).await.expect("a slot").unwrap();
        if let Ownership::Acquired(writer) = change {
            break writer;
        }
    };
    let _durable = writer.commit(CommitBatch { events, ..CommitBatch::default() }).await.unwrap();
    drop(writer);
    member.leave().await.unwrap();
    values.len()
}

/// Waits until a sink's metric of dead letters has reached `count`, and listens meanwhile.
pub async fn dead_letters(status: SocketAddr, sink: &str, count: usize) {
    wait::until("the dead letters", PATIENCE, async || {
        let shown = http::get(status, "/metrics").await.map_err(|error| error.to_string())?.body;
        let families = parse(&shown)?;
        let counted =
            families.get(metric::DEAD_LETTERS).map(|family| family.values(&[("sink", sink)]).iter().sum::<f64>());
        if counted == Some(count as f64) { Ok(()) } else { Err(shown) }
    })
    .await
    .unwrap();
}

/// What a process answers of itself, and its log.
async fn listen(whose: &str, status: SocketAddr, log: &Path) {
    for path in ["/status", "/readyz", "/livez", "/metrics"] {
        silent(&format!("{whose}'s {path}"), &http::get(status, path).await.unwrap().body);
    }
    let log = std::fs::read_to_string(log).unwrap();
    // Upkeep that goes well has nothing to say.
    let talkative = log.contains("DEBUG headwater_") || whose == "maintain";
    assert!(talkative, "{whose} was not asked for its most talkative log: {log}");
    silent(&format!("{whose}'s log"), &log);
}

/// GIVEN a stack whose log is at `debug` WHEN the canary goes through writes, type flips, deletes, undecodable records
/// and a lake that takes nothing THEN neither log nor status nor metrics nor messages show it in any form.
#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_an_item_comes_to_light_in_one_process() {
    assert_eq!(forms("Man")[0], "TWFu", "the first of base64");
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::new(folder.path(), vec![entity("items")]);
    let secrets = [
        ("HEADWATER_LOGS__LEVEL", "debug"),
        ("HEADWATER_OPENSEARCH__USERNAME", "headwater"),
        ("HEADWATER_OPENSEARCH__PASSWORD", SECRET),
        ("HEADWATER_LAKE__S3__ACCESS_KEY", "key"),
        ("HEADWATER_LAKE__S3__SECRET_KEY", SECRET),
    ];
    dev.launch.environment.extend(secrets.map(|(name, value)| (name.to_owned(), value.to_owned())));
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    write(&dev.endpoint, "items").await;
    refused_writes(&dev.endpoint).await;
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    listen("the stack", dev.launch.status, &dev.launch.log).await;
    assert!(process.stop(PATIENCE).await.unwrap().success());

    let log = EmbeddedLog::open(&dev.data.join("log"), Layout::default()).unwrap();
    let rubbish = write_rubbish(&log, &dev.tables()[0]).await;
    drop(log);
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/livez").await.unwrap();
    for sink in SINKS {
        dead_letters(dev.launch.status, label(sink), rubbish).await;
    }
    // The lake's own trouble, with rows of the canary in its hands.
    let commits = dev.lake().join("items_history/_delta_log");
    std::fs::rename(&commits, folder.path().join("away")).unwrap();
    std::fs::write(&commits, "no folder").unwrap();
    write(&dev.endpoint, "items").await;
    wait::until("the lake's trouble", PATIENCE, async || {
        let answer = http::get(dev.launch.status, "/readyz").await.map_err(|error| error.to_string())?;
        if answer.status == 503 { Ok(()) } else { Err(answer.body) }
    })
    .await
    .unwrap();
    std::fs::remove_file(&commits).unwrap();
    std::fs::rename(folder.path().join("away"), &commits).unwrap();
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    listen("the stack", dev.launch.status, &dev.launch.log).await;
    let data = dev.data.to_str().unwrap();
    let found = headwater(&["search", "items", "", "--json", "--count", "--data", data], &[].into());
    assert!(found.status.success(), "{}", String::from_utf8_lossy(&found.stderr));
    assert!(process.stop(PATIENCE).await.unwrap().success());
}

/// A worker of the pipeline that `settings` describe.
#[cfg(feature = "kafka")]
fn worker(name: &str, folder: &Path, settings: &[(&str, String)]) -> Process {
    let status = SocketAddr::from(([127, 0, 0, 1], headwater_tests::process::free_port().unwrap()));
    let mut environment: Vec<(String, String)> =
        settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    environment.push(("HEADWATER_HTTP__ADDRESS".into(), status.to_string()));
    let launch = Launch {
        binary: crate::stack::BINARY.into(),
        arguments: vec![name.to_owned()],
        environment,
        status,
        log: folder.join(format!("{name}.log")),
        patience: PATIENCE,
    };
    Process::start(&launch).unwrap()
}

/// GIVEN the four workers on real servers with their logs at `debug` WHEN the canary goes through writes, type flips,
/// deletes and undecodable records THEN none of them shows it, nor the secrets of their settings.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn no_value_of_an_item_comes_to_light_in_workers() {
    use headwater_tests::servers;
    let (Some(kafka), Some(dynamodb)) = (servers::kafka(), servers::dynamodb()) else { return };
    let (Some(opensearch), Some(s3)) = (servers::opensearch(), servers::s3()) else { return };
    let folder = tempfile::tempdir().unwrap();
    let unique = format!("canary-{}-{}", std::process::id(), crate::stack::now().as_millis());
    let entity = entity(&unique);
    std::fs::write(folder.path().join("items.yaml"), headwater_tests::workload::yaml(&entity)).unwrap();
    client::ensure_table(&client::at(&dynamodb.endpoint), &entity).await.unwrap();
    let settings: Vec<(&str, String)> = vec![
        ("HEADWATER_LOGS__LEVEL", "debug".into()),
        ("HEADWATER_DEFINITIONS", folder.path().join("items.yaml").display().to_string()),
        ("HEADWATER_DYNAMODB__ENDPOINT", dynamodb.endpoint.clone()),
        ("HEADWATER_KAFKA__BOOTSTRAP", kafka.clone()),
        ("HEADWATER_KAFKA__PREFIX", unique.clone()),
        ("HEADWATER_KAFKA__SLOTS", "2".into()),
        ("HEADWATER_KAFKA__PARTITIONS", "2".into()),
        ("HEADWATER_KAFKA__REPLICATION", "1".into()),
        ("HEADWATER_KAFKA__MIN_INSYNC", "1".into()),
        ("HEADWATER_LAKE__PLACE", format!("s3://{}/{unique}", s3.bucket)),
        ("HEADWATER_LAKE__S3__ENDPOINT", s3.endpoint.clone()),
        ("HEADWATER_LAKE__S3__REGION", s3.region.clone()),
        ("HEADWATER_LAKE__S3__ALLOW_HTTP", "true".into()),
        ("HEADWATER_LAKE__S3__ACCESS_KEY", s3.access_key.clone()),
        ("HEADWATER_LAKE__S3__SECRET_KEY", s3.secret_key.clone()),
        ("HEADWATER_OPENSEARCH__URLS", format!("['{opensearch}']")),
        ("HEADWATER_OPENSEARCH__PREFIX", unique.clone()),
        ("HEADWATER_OPENSEARCH__REPLICAS", "0".into()),
        // The server has no users and lets everybody in.
        ("HEADWATER_OPENSEARCH__USERNAME", "headwater".into()),
        ("HEADWATER_OPENSEARCH__PASSWORD", SECRET.into()),
        ("HEADWATER_MAINTENANCE__FOLD_MS", "500".into()),
    ];
    let log = headwater_kafka::Settings {
        bootstrap: kafka,
        prefix: unique.clone(),
        slots: 2,
        partitions: 2,
        replication: 1,
        min_insync: 1,
        ..Default::default()
    };
    let health = headwater_common::health::Health::default();
    let log = headwater_kafka::KafkaLog::connect(&log, health, std::sync::Arc::new(SystemClock)).await.unwrap();
    let rubbish = write_rubbish(&log, &entity.table()).await;
    drop(log);
    let mut workers = ["ingest", "sink-offline", "sink-search", "maintain"]
        .map(|name| (name, worker(name, folder.path(), &settings)));
    for (_, process) in &mut workers {
        process.wait_for("/readyz").await.unwrap();
    }
    write(&dynamodb.endpoint, &unique).await;
    let written = crate::stack::now();
    for (name, process) in &workers {
        let Some(sink) = SINKS.iter().find(|sink| *sink == name) else { continue };
        run::wait_complete(process.address(), &[*sink], &[entity.table()], written, PATIENCE).await.unwrap();
        dead_letters(process.address(), label(sink), rubbish).await;
    }
    for (name, process) in workers {
        let log = folder.path().join(format!("{name}.log"));
        listen(name, process.address(), &log).await;
        assert!(!std::fs::read_to_string(&log).unwrap().contains(&s3.secret_key), "{name}");
        assert!(process.stop(PATIENCE).await.unwrap().success(), "{}", std::fs::read_to_string(&log).unwrap());
    }
}

/// GIVEN secrets in settings WHEN the settings are printed, or refused for another reason, or the secret itself stands
/// where it can't THEN no text shows it.
#[test]
fn no_secret_of_the_settings_is_printed() {
    let sasl = [
        ("HEADWATER_KAFKA__SECURITY__PROTOCOL", "sasl_ssl"),
        ("HEADWATER_KAFKA__SECURITY__USERNAME", "headwater"),
        ("HEADWATER_KAFKA__SECURITY__PASSWORD", SECRET),
        ("HEADWATER_KAFKA__SECURITY__KEY_PASSWORD", SECRET),
        ("HEADWATER_OPENSEARCH__USERNAME", "headwater"),
        ("HEADWATER_OPENSEARCH__PASSWORD", SECRET),
        ("HEADWATER_LAKE__S3__ACCESS_KEY", "key"),
        ("HEADWATER_LAKE__S3__SECRET_KEY", SECRET),
    ];
    for json in [true, false] {
        let arguments: &[&str] = if json { &["config", "print", "--json"] } else { &["config", "print"] };
        let printed = headwater(arguments, &sasl.into());
        let (text, fault) = (String::from_utf8_lossy(&printed.stdout), String::from_utf8_lossy(&printed.stderr));
        assert!(printed.status.success() && text.contains("sasl_ssl") && text.contains("***"), "{text}{fault}");
        silent("config print", &format!("{text}{fault}"));
    }
    let list = format!("[{SECRET}]");
    let map = format!("{{{SECRET}: {SECRET}}}");
    let url = format!("['https://headwater:{SECRET}@127.0.0.1']");
    let refused = [
        ("HEADWATER_KAFKA__SECURITY__PASSWORD", list.as_str()),
        ("HEADWATER_OPENSEARCH__PASSWORD", &list),
        ("HEADWATER_LAKE__S3__SECRET_KEY", &map),
        ("HEADWATER_OPENSEARCH__URLS", &url),
        ("HEADWATER_KAFKA__SLOTS", SECRET),
        ("HEADWATER_DRAIN_MS", SECRET),
        ("HEADWATER_KAFKA__SECURITY__OAUTH__CLIENT_SECRET", SECRET),
    ];
    for (name, value) in refused {
        let mut environment: std::collections::BTreeMap<_, _> = sasl.into();
        environment.insert(name, value);
        let printed = headwater(&["config", "print"], &environment);
        let fault = String::from_utf8_lossy(&printed.stderr);
        assert_eq!(printed.status.code(), Some(2), "{name}: {fault}");
        silent(name, &fault);
    }
}
