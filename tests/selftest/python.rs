use std::path::Path;

use headwater_common::value::Item;
use headwater_tests::history::Key;
use headwater_tests::python::Python;
use headwater_tests::workload::{Settings, Workload};
use headwater_tests::{client, table_scan};
use serde_json::json;

use crate::lake;
use crate::server::Server;

#[tokio::test]
async fn a_boto3_writer_says_what_the_table_then_holds() {
    let python = Python::prepare().await.unwrap();
    let server = Server::start().await;
    let workload = Workload::new(Settings::default());
    let profiles = workload.entities[0].clone();
    let client = client::at(&server.endpoint());
    client::ensure_table(&client, &profiles).await.unwrap();
    let report = python.run("writer.py", &[&server.endpoint(), "profiles", "profile", "--count", "30"]).await.unwrap();
    assert_eq!((&report["puts"], &report["updates"], &report["deletes"]), (&json!(30), &json!(6), &json!(3)));
    let scan = table_scan::scan(&client, std::slice::from_ref(&profiles)).await.unwrap();
    let written = report["items"].as_object().unwrap();
    assert_eq!(scan.len(), written.len());
    for item in written.values() {
        let item: Item = serde_json::from_value(item.clone()).unwrap();
        let found = &scan[&Key::of(&profiles, &item).unwrap()];
        assert_eq!(found.normalised(), item.normalised());
    }
}

#[tokio::test]
async fn deltalake_and_polars_read_the_same_rows() {
    let python = Python::prepare().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    lake::sample(folder.path()).await;
    let arguments = [folder.path(), Path::new("t"), Path::new("--rows")];
    let report = python.run("readers.py", &arguments).await.unwrap();
    assert_eq!(report["agree"], json!(true), "{report}");
    assert_eq!(report["history"]["deltalake"]["ops"], json!({"u": 2, "d": 1}));
    assert_eq!(report["history"]["polars"]["rows"], json!(3));
    assert_eq!(report["current"]["rows_as_read"][0]["item"], json!(r#"{"a":{"N":"1"}}"#));
    let missing = python.run("readers.py", &["/nowhere", "t"]).await.unwrap();
    assert_eq!(missing["history"], json!(null));
}
