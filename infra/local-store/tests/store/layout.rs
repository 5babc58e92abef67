//! The additions to dynoxide's file.

use dynoxide::Database;
use headwater_local_store::{Error, LocalStore, Settings};
use tempfile::TempDir;

use crate::world::{World, create_table, put, settings_in};

const FILE: &str = "headwater-local-store.sqlite";
const INDEX: &str = "headwater_stream_order";

#[tokio::test]
async fn the_statement_that_dynoxide_runs_at_every_write_uses_the_index() {
    let mut world = World::start();
    create_table(&world.client(), "planned").await;
    put(&world.client(), "planned", "a", "1").await;
    world.stop().await;
    let connection = rusqlite::Connection::open(world.folder.path().join(FILE)).unwrap();
    let plan = || -> String {
        connection
            .query_row(
                "EXPLAIN QUERY PLAN SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records \
                 WHERE table_name = ?1",
                ["planned"],
                |row| row.get(3),
            )
            .unwrap()
    };
    assert!(plan().contains(INDEX), "{}", plan());
    connection.execute_batch(&format!("DROP INDEX {INDEX}")).unwrap();
    assert!(!plan().contains(INDEX));
}

#[tokio::test]
async fn an_index_that_was_dropped_is_made_again_at_the_next_start() {
    let mut world = World::start();
    world.stop().await;
    let file = world.folder.path().join(FILE);
    rusqlite::Connection::open(&file).unwrap().execute_batch(&format!("DROP INDEX {INDEX}")).unwrap();
    let store = LocalStore::start(settings_in(world.folder.path(), Settings::default())).unwrap();
    let connection = rusqlite::Connection::open(&file).unwrap();
    let found: u32 =
        connection.query_row("SELECT COUNT(*) FROM sqlite_master WHERE name = ?1", [INDEX], |row| row.get(0)).unwrap();
    assert_eq!(found, 1);
    store.shutdown().await.unwrap();
}

#[test]
fn a_file_of_another_layout_is_refused_with_what_is_missing() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(FILE);
    drop(Database::new(file.to_str().unwrap()).unwrap());
    let renamed = "ALTER TABLE _stream_records RENAME COLUMN created_at TO made_at";
    rusqlite::Connection::open(&file).unwrap().execute_batch(renamed).unwrap();
    let refused = LocalStore::start(settings_in(folder.path(), Settings::default())).unwrap_err();
    assert!(
        matches!(&refused, Error::Layout { what, .. }
            if what == "column created_at of table _stream_records is missing"),
        "{refused}"
    );
}

#[test]
fn a_file_that_is_no_database_is_refused_with_its_path() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join(FILE);
    std::fs::write(&file, "not a database, whatever its name says\n".repeat(100)).unwrap();
    let refused = LocalStore::start(settings_in(folder.path(), Settings::default())).unwrap_err();
    assert!(refused.to_string().contains(file.to_str().unwrap()), "{refused}");
}
