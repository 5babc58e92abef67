//! Others at both ends: a plain boto3 writer, and the lake read by the `deltalake` package and by Polars.

use headwater_common::definition::Entity;
use headwater_tests::process::Process;
use headwater_tests::python::Python;
use headwater_tests::{client, run, table_scan};
use serde_json::Value;

use crate::stack::{Dev, PATIENCE, SINKS, headwater};

fn entity() -> Entity {
    serde_json::from_str(
        r#"{"entity": "items", "key": {"partition": {"name": "id", "type": "string"}}, "features": [
            {"name": "text", "type": "text"}, {"name": "whole", "type": "long"},
            {"name": "decimal", "type": "decimal(12,4)"}, {"name": "big", "type": "decimal(38,0)"},
            {"name": "flag", "type": "bool"}, {"name": "strings", "type": "keyword_set"}, {"name": "map", "type": "json"}]}"#,
    )
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_boto3_writes_is_read_by_deltalake_and_polars() {
    let python = Python::prepare().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::new(folder.path(), vec![entity()]);
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let written = python.run("writer.py", &[dev.endpoint.as_str(), "items", "id", "--count", "60"]).await.unwrap();
    let changes = ["puts", "updates", "deletes"].iter().map(|kind| written[kind].as_u64().unwrap()).sum::<u64>();
    let scan = table_scan::scan(&client::at(&dev.endpoint), &dev.entities).await.unwrap();
    assert_eq!(scan.len(), written["items"].as_object().unwrap().len());
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    // Beside the running stack, by the command.
    let data = dev.data.to_str().unwrap();
    let verified = headwater(&["verify", "--json", "--data", data], &[].into());
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
    let report: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(report["tables"][0]["table_items"], scan.len(), "{report}");
    process.stop(PATIENCE).await.unwrap();
    dev.fold().await;
    let lake = dev.lake();
    let made = std::fs::read_to_string(lake.join("items_history/_delta_log/00000000000000000000.json")).unwrap();
    assert!(made.contains(r#""headwater.partitions":"4""#), "readers know when all partitions have spoken: {made}");
    let read = python.run("readers.py", &[lake.to_str().unwrap(), "items"]).await.unwrap();
    assert_eq!(read["agree"], true, "{read}");
    for reader in ["deltalake", "polars"] {
        assert_eq!(read["history"][reader]["rows"].as_u64().unwrap(), changes, "{read}");
        assert_eq!(read["current"][reader]["rows"].as_u64().unwrap(), scan.len() as u64, "{read}");
    }
}
