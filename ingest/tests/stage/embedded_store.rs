//! The same stage against the one-machine stack's own server, whose stream has one shard for ever.

use aws_sdk_dynamodb::types::AttributeValue;
use headwater_common::change::Op;
use headwater_local_store::{LocalStore, Settings};
use headwater_tests::client;
use tempfile::TempDir;

use crate::stage::{OnLog, Worker, log, now, read, settings, start};

const TABLE: &str = "routes";

async fn put(client: &aws_sdk_dynamodb::Client, id: usize, x: usize) {
    let put = client.put_item().table_name(TABLE).item("id", AttributeValue::S(format!("k{id}")));
    put.item("x", AttributeValue::S(x.to_string())).item("n", AttributeValue::N("1.50".into())).send().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_arrive_once_each_across_a_restart_and_completeness_passes_them() {
    let folder = TempDir::new().unwrap();
    let address = "127.0.0.1:0".parse().unwrap();
    let store =
        LocalStore::start(Settings { address, folder: folder.path().to_owned(), ..Settings::default() }).unwrap();
    let client = client::at(&store.endpoint());
    client::ensure_table(&client, &client::keyed(TABLE, "id")).await.unwrap();
    let (log, _log_folder) = log();
    let until = async |what: &str, worker: &Worker, wanted: &dyn Fn(&OnLog) -> bool| {
        let look = async || {
            let on_log = read(&log, TABLE).await;
            let seen = || format!("{} changes, {:?}", on_log.changes.len(), worker.health.parts());
            if wanted(&on_log) { Ok(on_log) } else { Err(seen()) }
        };
        headwater_tests::wait::until(what, std::time::Duration::from_secs(30), look).await.unwrap()
    };

    let worker = start(&store.endpoint(), TABLE, log.clone(), settings());
    for x in 0..100 {
        put(&client, x % 10, x).await;
    }
    worker.ready().await;
    until("the first writes", &worker, &|on_log| on_log.changes.len() >= 100).await;
    worker.kill().await;
    for id in 0..5 {
        let key = AttributeValue::S(format!("k{id}"));
        client.delete_item().table_name(TABLE).key("id", key).send().await.unwrap();
    }
    let written = now();
    let worker = start(&store.endpoint(), TABLE, log.clone(), settings());
    let on_log = until("completeness", &worker, &|on_log| on_log.complete_until() > Some(written)).await;
    assert_eq!(on_log.changes.len(), 105);
    on_log.assert_sound();
    assert!(on_log.changes[100..].iter().all(|change| change.op == Op::Delete));
    worker.ready().await;
    worker.stop().await;
    store.shutdown().await.unwrap();
}
