//! The embedded store and ingest: the stream's retention never overtakes its reader.

use aws_sdk_dynamodb::types::AttributeValue;
use headwater_common::definition::Entity;
use headwater_tests::process::{self, Process};
use headwater_tests::{client, run, wait};
use serde_json::Value;

use crate::stack::{Dev, PATIENCE, SINKS, headwater};

fn entity() -> Entity {
    serde_json::from_str(
        r#"{"entity": "items", "key": {"partition": {"name": "id", "type": "string"}}, "features": [
            {"name": "text", "type": "text"}]}"#,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ingest_has_not_read_outlives_the_retention_of_the_embedded_stream() {
    const ITEMS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::new(folder.path(), vec![entity()]);
    dev.launch.environment.push(("HEADWATER_STORE__STREAM_RETENTION_MS".into(), "1".into()));
    let mut slow = dev.launch.clone();
    let minute = ["HEADWATER_INGEST__IDLE_MS", "HEADWATER_INGEST__IDLE_MAX_MS"];
    slow.environment.extend(minute.map(|name| (name.to_owned(), "60000".to_owned())));

    let mut process = Process::start(&slow).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let reading = async || {
        let status = process::status(slow.status).await.map_err(|error| error.to_string())?;
        let ingest = &status["status"]["ingest"];
        if ingest.to_string().contains(r#""shards_open":1"#) { Ok(()) } else { Err(status.to_string()) }
    };
    wait::until("the first look at the stream", PATIENCE, reading).await.unwrap();
    let table = client::at(&dev.endpoint);
    for item in 0..ITEMS {
        let put = table.put_item().table_name("items").item("id", AttributeValue::S(format!("i{item}")));
        put.send().await.unwrap();
    }
    process.kill().await.unwrap();

    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    let counted = headwater(
        &["sql", "select count(*) as n from items_history", "--json", "--data", dev.data.to_str().unwrap()],
        &[].into(),
    );
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    let counted: Value = serde_json::from_slice(&counted.stdout).unwrap();
    assert_eq!(counted["n"], ITEMS);
    process.stop(PATIENCE).await.unwrap();
}
