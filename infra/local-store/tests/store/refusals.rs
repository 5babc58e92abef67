use std::net::TcpListener;

use headwater_common::failure::Kind;
use headwater_local_store::{Error, LocalStore, Settings};
use tempfile::TempDir;

use crate::process::Process;
use crate::world::{World, settings_in};

#[tokio::test]
async fn an_address_in_use_is_refused_by_name_and_free_again_after_a_shutdown() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let folder = TempDir::new().unwrap();
    let settings = Settings { address, folder: folder.path().to_owned(), ..Settings::default() };
    let refused = LocalStore::start(settings.clone()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "address {address} is in use by another program: stop that program, or set another port (port 0 takes any \
             free one)"
        )
    );
    assert_eq!(refused.kind(), Kind::Operator);
    drop(other);
    for _ in 0..2 {
        let store = LocalStore::start(settings.clone()).unwrap();
        assert_eq!(store.address(), address);
        store.shutdown().await.unwrap();
    }
}

#[test]
fn a_folder_of_another_process_is_refused() {
    let folder = TempDir::new().unwrap();
    let process = Process::serving(folder.path());
    let settings = settings_in(folder.path(), Settings::default());
    let refused = LocalStore::start(settings.clone()).unwrap_err();
    assert!(matches!(&refused, Error::FolderInUse(named) if named == folder.path()), "{refused}");
    process.kill();
    LocalStore::start(settings).unwrap();
}

#[tokio::test]
async fn a_folder_of_another_store_of_this_process_is_refused() {
    let world = World::start();
    let refused = LocalStore::start(settings_in(world.folder.path(), Settings::default())).unwrap_err();
    assert!(matches!(refused, Error::FolderInUse(_)), "{refused}");
}

#[test]
fn a_setting_that_cannot_work_is_refused_by_name() {
    let refused = LocalStore::start(Settings { trim_interval_ms: 0, ..Settings::default() }).unwrap_err();
    assert_eq!(refused.to_string(), "local store settings: trim_interval_ms: must be greater than 0");
}
