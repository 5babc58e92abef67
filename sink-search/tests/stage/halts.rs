//! What an operator must mend on the server: the sink says what it is, is not ready, holds its progress, and goes on by
//! itself afterwards.

use std::sync::Arc;

use headwater_common::failure::Kind;
use headwater_sink_search::opensearch::{OpenSearch, OpenSearchIndex, Settings};
use serde_json::{Value, json};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use crate::cluster::Cluster;
use crate::conformance::{all, apply};
use crate::generate::{entity, item, put};
use crate::pipeline::{clock, feed, run, settings};
use crate::proxy::{Asked, Fate, Proxy};

/// Runs the sink, lets `halt` happen between two changes, and `mend` once the sink names `cause`.
async fn holds_and_goes_on(index: OpenSearchIndex, halt: impl Fn(), cause: &[&str], mend: impl Fn()) {
    let folder = tempfile::tempdir().unwrap();
    let mut feed = feed(folder.path()).await;
    let index = Arc::new(index);
    let running = run(feed.log.clone(), index.clone(), settings(), clock());
    feed.write(vec![(item("before", "1", &[]), 1, true)]).await;
    feed.mark(1).await;
    running.complete_until(1).await;
    running.until_trouble("").await;
    halt();
    feed.write(vec![(item("meanwhile", "1", &[]), 2, true)]).await;
    feed.mark(2).await;
    running.until_trouble(cause[0]).await;
    let said = running.trouble();
    assert!(cause.iter().all(|part| said.contains(part)), "{said}");
    assert!(!running.health.is_ready());
    let progress = running.progress();
    assert_eq!((progress.applied, progress.dead_letters), (1, 0), "nothing is lost and nothing is counted");
    mend();
    running.complete_until(2).await;
    running.until_trouble("").await;
    assert_eq!(all(&*index).await.total, 2);
    running.stop().await;
}

fn settings_of(cluster: &Cluster, settings: Value) {
    let (status, answer) = cluster.call("PUT", &format!("/{}/_settings", cluster.index()), &settings);
    assert_eq!(status, 200, "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_stage_block_halts_and_is_lifted() {
    let Some(cluster) = Cluster::given() else { return };
    let block = |on: Value| settings_of(&cluster, json!({ "index.blocks.read_only_allow_delete": on }));
    let cause = ["no space left", "goes on by itself"];
    holds_and_goes_on(cluster.open().await, || block(json!(true)), &cause, || block(Value::Null)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_block_halts_and_is_lifted() {
    let Some(cluster) = Cluster::given() else { return };
    let block = |on: Value| settings_of(&cluster, json!({ "index.blocks.write": on }));
    let cause = ["a block forbids writing", "set index.blocks.write"];
    holds_and_goes_on(cluster.open().await, || block(json!(true)), &cause, || block(Value::Null)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_alias_halts_and_is_put_back() {
    let Some(cluster) = Cluster::given() else { return };
    let alias = format!("/{}/_alias/{}", cluster.index(), cluster.alias());
    let lose = || assert_eq!(cluster.call("DELETE", &alias, &Value::Null).0, 200);
    let mend =
        || assert_eq!(cluster.call("PUT", &alias, &json!({ "filter": { "term": { "_hw.live": true } } })).0, 200);
    holds_and_goes_on(cluster.open().await, lose, &["alias is missing", "put the alias back"], mend).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_index_halts_and_is_opened() {
    let Some(cluster) = Cluster::given() else { return };
    let tell =
        |what: &str| assert_eq!(cluster.call("POST", &format!("/{}/{what}", cluster.index()), &Value::Null).0, 200);
    holds_and_goes_on(cluster.open().await, || tell("_close"), &["the index is closed", "open it"], || tell("_open"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sink_that_is_not_admitted_any_more_halts_until_it_is() {
    let Some(cluster) = Cluster::given() else { return };
    for status in [401, 403] {
        let proxy = Proxy::start(&cluster.url).await;
        let settings = Settings { urls: vec![format!("http://{}", proxy.address)], ..cluster.settings() };
        let index = cluster.open_with(&settings, &entity()).await.unwrap();
        let denied = json!({ "error": { "type": "security_exception", "reason": "no permissions" }, "status": status });
        let deny = || {
            let denied = denied.to_string();
            proxy.rule(move |_| Fate::Answer(status, denied.clone()));
        };
        let code = format!("status {status}");
        let cause = ["does not admit this worker", &code, "mend the name, the password, the role"];
        holds_and_goes_on(index, deny, &cause, || proxy.rule(|_| Fate::Pass)).await;
        cluster.call("DELETE", &format!("/{}", cluster.index()), &Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_whose_settings_would_break_the_promises_is_refused_until_they_are_mended() {
    let Some(cluster) = Cluster::given() else { return };
    let index = Arc::new(cluster.open().await);
    settings_of(&cluster, json!({ "index.translog.durability": "async" }));
    let folder = tempfile::tempdir().unwrap();
    let mut feed = feed(folder.path()).await;
    let running = run(feed.log.clone(), index.clone(), settings(), clock());
    feed.write(vec![(item("a", "1", &[]), 1, true)]).await;
    feed.mark(1).await;
    running.until_trouble("index.translog.durability is async").await;
    assert_eq!(running.progress().applied, 0);
    settings_of(&cluster, json!({ "index.translog.durability": "request" }));
    running.complete_until(1).await;
    running.until_trouble("").await;
    running.stop().await;
}

#[tokio::test]
async fn an_index_that_others_changed_or_made_is_refused_by_the_name_of_what_is_wrong() {
    let Some(cluster) = Cluster::given() else { return };
    drop(cluster.open().await);
    let (index, alias) = (cluster.index(), cluster.alias());
    let refused = async |what: &str, remedy: &str| {
        for error in [
            cluster.open_with(&cluster.settings(), &entity()).await.err().expect(what),
            OpenSearch::connect(&cluster.settings()).await.unwrap().open_read_only(&entity()).await.err().expect(what),
        ] {
            assert_eq!(error.kind(), Kind::Operator);
            let said = error.to_string();
            assert!(said.contains(what) && said.contains(remedy), "{said}");
        }
    };
    let filter = json!({ "filter": { "term": { "_hw.live": true } } });
    let call = |method: &str, path: &str, body: Value| {
        let (status, answer) = cluster.call(method, path, &body);
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    };
    let set = |settings: Value| settings_of(&cluster, settings);

    set(json!({ "index.translog.durability": "async" }));
    refused("index.translog.durability is async", "set index.translog.durability to request").await;
    set(json!({ "index.translog.durability": "request", "index.max_result_window": 100 }));
    refused("index.max_result_window is 100", "set index.max_result_window to null").await;
    set(json!({ "index.max_result_window": null }));
    call("PUT", &format!("/{index}/_mapping"), json!({ "dynamic": true }));
    refused("dynamic true and not strict", "set the mapping's dynamic to strict").await;
    call("PUT", &format!("/{index}/_mapping"), json!({ "dynamic": "strict" }));
    call("PUT", &format!("/{index}/_alias/{alias}"), json!({}));
    refused("is not filtered by _hw.live = true", "with the filter").await;
    call("PUT", &format!("/{index}/_alias/{alias}"), filter.clone());
    cluster.open_with(&cluster.settings(), &entity()).await.unwrap();

    // The same index, made by hand with one field of another type.
    let made = call("GET", &format!("/{index}"), Value::Null);
    let mut body = json!({ "mappings": made[&index]["mappings"], "aliases": made[&index]["aliases"] });
    body["settings"] = json!({ "index": { "number_of_replicas": 0, "knn": true } });
    body["mappings"]["properties"]["delay"]["properties"]["double"]["type"] = "float".into();
    call("DELETE", &format!("/{index}"), Value::Null);
    call("PUT", &format!("/{index}"), body);
    refused("field delay.double has type float and not double", "`headwater rebuild`").await;
}

/// With a certificate for localhost that openssl made once, for a hundred years, and an authority whose key is gone.
fn tls() -> TlsAcceptor {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stage/tls");
    let certificate = CertificateDer::from_pem_file(format!("{folder}/server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{folder}/server.key")).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

fn authority(name: &str) -> Option<String> {
    Some(format!("{}/tests/stage/tls/{name}.pem", env!("CARGO_MANIFEST_DIR")))
}

/// Admits `worker` with the password `canary`.
fn admits(asked: &Asked) -> Fate {
    // base64 of `worker:canary`
    let right = asked.head.lines().any(|line| line.eq_ignore_ascii_case("authorization: Basic d29ya2VyOmNhbmFyeQ=="));
    if right { Fate::Pass } else { Fate::Answer(401, "Unauthorized".into()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_with_a_name_and_a_password_the_index_is_as_without() {
    let Some(cluster) = Cluster::given() else { return };
    let proxy = Proxy::tls(&cluster.url, tls()).await;
    proxy.rule(admits);
    let right = Settings {
        urls: vec![format!("https://localhost:{}/", proxy.address.port())],
        username: "worker".into(),
        password: headwater_common::secret::Secret::new("canary"),
        ca_file: authority("authority"),
        ..cluster.settings()
    };
    let index = cluster.open_with(&right, &entity()).await.unwrap();
    apply(&index, (0..200).map(|at| put(item(&format!("k{at}"), "1", &[]), at + 1)).collect()).await;
    assert_eq!(all(&index).await.total, 200);

    let password = headwater_common::secret::Secret::new("canary-2");
    let refused = cluster.open_with(&Settings { password, ..right.clone() }, &entity()).await.err().unwrap();
    assert_eq!(refused.kind(), Kind::Operator);
    let said = refused.to_string();
    assert!(said.contains("does not admit this worker (status 401)") && said.contains("mend the name"), "{said}");
    assert!(!said.contains("canary"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_not_trusted_is_an_operators_matter_and_names_the_setting() {
    let Some(cluster) = Cluster::given() else { return };
    let proxy = Proxy::tls(&cluster.url, tls()).await;
    let port = proxy.address.port();
    let with = |urls: String, ca_file| Settings { urls: vec![urls], ca_file, knn: true, ..cluster.settings() };
    let refused = async |settings: Settings| {
        let error = OpenSearch::connect(&settings).await.err().unwrap();
        assert_eq!(error.kind(), Kind::Operator, "{error}");
        error.to_string()
    };
    let here = format!("https://localhost:{port}");
    for ca_file in [None, authority("stranger")] {
        let said = refused(with(here.clone(), ca_file)).await;
        assert!(said.contains("UnknownIssuer") && said.contains("set opensearch.ca_file to a PEM file"), "{said}");
    }
    let plain = cluster.url.replace("http://", "https://");
    let said = refused(with(plain, authority("authority"))).await;
    assert!(said.contains("write http:// in opensearch.urls"), "{said}");
    let said = refused(with(here.clone(), authority("none"))).await;
    assert!(said.contains("ca_file") && said.contains("none.pem"), "{said}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    let said = refused(with(here, Some(empty.path().to_str().unwrap().into()))).await;
    assert!(said.contains("holds no certificate"), "{said}");
    assert!(proxy.asked().is_empty(), "no request went to a server that is not trusted");
}
