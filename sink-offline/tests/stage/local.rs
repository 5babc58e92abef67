//! The lake in a local folder.

use std::sync::Arc;

use headwater_sink_offline::Lake;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions};

use crate::fixture::*;

#[tokio::test]
async fn a_local_lake_is_written_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = TestLog::new();
    // A name that a URL must escape.
    let lake = Lake::local(&folder.path().join("my lake")).unwrap();
    log.write_and_mark(0..50).await;
    let sink = Sink::start(&log, &lake, simple(), quick());
    sink.complete(50).await;
    sink.stop().await.unwrap();
    assert_exactly_once(&lake, 0..50, "in a folder").await;
    let plain = deltalake::open_table(lake.history(&table()).url).await.unwrap();
    assert_eq!(plain.snapshot().unwrap().log_data().num_files(), history(&lake).await.len());
    let staged = std::fs::read_dir(folder.path().join("my lake/.staging")).unwrap().count();
    assert_eq!(staged, 0, "nothing is left aside");
}

/// GIVEN many who make one file at once WHEN each puts it if absent THEN one does, and its bytes are whole.
#[tokio::test]
async fn a_file_is_made_once_and_whole() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::local(folder.path()).unwrap();
    let store = lake.table("t").store;
    let path = Path::from("_delta_log/1.json");
    let mut puts = tokio::task::JoinSet::new();
    for n in 0..16_u8 {
        let (store, path) = (store.clone(), path.clone());
        let bytes = vec![n; 100_000];
        puts.spawn(async move { store.put_opts(&path, bytes.into(), PutOptions::from(PutMode::Create)).await });
    }
    let answers = puts.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert!(
        answers
            .iter()
            .flat_map(|answer| answer.as_ref().err())
            .all(|error| matches!(error, object_store::Error::AlreadyExists { .. }))
    );
    let bytes = store.get(&path).await.unwrap().bytes().await.unwrap();
    assert!(bytes.len() == 100_000 && bytes.iter().all(|byte| *byte == bytes[0]));
    store.put(&path, vec![7; 3].into()).await.unwrap();
    assert_eq!(store.get(&path).await.unwrap().bytes().await.unwrap(), vec![7; 3]);
    let store: Arc<dyn object_store::ObjectStore> = store;
    let mut upload = store.put_multipart(&Path::from("big")).await.unwrap();
    upload.put_part(vec![1; 10].into()).await.unwrap();
    upload.complete().await.unwrap();
    assert_eq!(store.head(&Path::from("big")).await.unwrap().size, 10);
}

#[tokio::test]
async fn a_folder_that_can_not_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let refused = Lake::local(&file.join("lake")).unwrap_err().to_string();
    assert!(refused.contains("file/lake"), "{refused}");
}
