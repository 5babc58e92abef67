use std::sync::{Arc, Mutex};

use headwater_local_store::{LocalStore, Settings};
use tempfile::TempDir;

use crate::process::Process;
use crate::world::{World, client, create_table, get, put, s, settings_in, until};

const WRITERS: usize = 8;

#[tokio::test]
async fn every_acknowledged_write_outlives_a_killed_process() {
    let folder = TempDir::new().unwrap();
    let process = Process::serving(folder.path());
    create_table(&client(&process.endpoint), "killed").await;
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, acknowledged) = (client(&process.endpoint), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                for number in 0.. {
                    let key = format!("{writer}-{number}");
                    if client.put_item().table_name("killed").item("k", s(&key)).send().await.is_err() {
                        return;
                    }
                    acknowledged.lock().unwrap().push(key);
                }
            })
        })
        .collect();
    until("the writes", async || (acknowledged.lock().unwrap().len() > 500).then_some(())).await;
    process.kill();
    for writer in writers {
        writer.await.unwrap();
    }
    let store = LocalStore::start(settings_in(folder.path(), Settings::default())).unwrap();
    let client = client(&store.endpoint());
    let acknowledged = acknowledged.lock().unwrap().clone();
    for key in &acknowledged {
        assert!(get(&client, "killed", key).await.is_some(), "{key} was acknowledged and is lost");
    }
    let in_stream = crate::world::records(&store.endpoint(), "killed").await.len();
    assert!((acknowledged.len()..=acknowledged.len() + WRITERS).contains(&in_stream), "{in_stream} records");
    store.shutdown().await.unwrap();
}

#[tokio::test]
async fn items_and_streams_outlive_a_shutdown() {
    let mut world = World::start();
    create_table(&world.client(), "kept").await;
    put(&world.client(), "kept", "a", "1").await;
    let before = world.records("kept").await;
    world.restart().await;
    assert_eq!(get(&world.client(), "kept", "a").await.unwrap()["v"], s("1"));
    assert_eq!(world.records("kept").await, before);
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_a_client_that_sends_half_a_request() {
    let settings = Settings { drain_ms: 50, ..Settings::default() };
    let mut world = World::start_in(settings, headwater_local_store::Environment::default());
    let mut half = tokio::net::TcpStream::connect(world.store().address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut half, b"POST / HTTP/1.1\r\ncontent-length: 10\r\n\r\n12").await.unwrap();
    world.restart().await;
    create_table(&world.client(), "after").await;
}

/// The log's file grows past the 1000 pages after which SQLite would write it back within a commit.
#[tokio::test]
async fn commits_leave_the_writing_back_to_the_housekeeping() {
    const PAGES_BY_THEMSELVES: u64 = 1000 * 4096;
    let world = World::start();
    create_table(&world.client(), "large").await;
    let log = world.folder.path().join("headwater-local-store.sqlite-wal");
    let size = || std::fs::metadata(&log).unwrap().len();
    let mut written = 0;
    while size() < 2 * PAGES_BY_THEMSELVES {
        assert!(written < 1000, "{} bytes after {written} items", size());
        put(&world.client(), "large", &format!("{}", written % 4), &"x".repeat(100_000)).await;
        written += 1;
    }
}
