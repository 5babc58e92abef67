//! A file system of a few megabytes, seen by the store's process alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::{BINARY, Process};
use crate::world::{client, create_table, get, put, s, until};

const MEGABYTES: usize = 24;

/// The store in a small file system, or `None` where no process may mount one.
fn serving_in_a_small_file_system(mount: &Path) -> Option<Process> {
    let script = format!(
        "mount -t tmpfs -o size={MEGABYTES}m tmpfs \"$1\" && \
         head -c 4194304 /dev/zero > \"$1/ballast\" && exec \"$0\" \"$1/store\" 127.0.0.1:0"
    );
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, BINARY]).arg(mount);
    Process::run(command)
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_room_lets_them_in_again_with_nothing_lost() {
    let folder = TempDir::new().unwrap();
    let Some(process) = serving_in_a_small_file_system(folder.path()) else {
        eprintln!("not tested: this machine lets no process mount a file system of its own");
        return;
    };
    let client = client(&process.endpoint);
    create_table(&client, "filled").await;
    let value = "x".repeat(100_000);
    let mut acknowledged = Vec::new();
    let refused = loop {
        let key = acknowledged.len().to_string();
        assert!(acknowledged.len() < MEGABYTES * 10, "the disk never filled");
        match client.put_item().table_name("filled").item("k", s(&key)).item("v", s(&value)).send().await {
            Ok(_) => acknowledged.push(key),
            Err(refused) => break refused,
        }
    };
    assert_eq!(refused.raw_response().map(|answer| answer.status().as_u16()), Some(500), "{refused:?}");
    for key in &acknowledged {
        assert!(get(&client, "filled", key).await.is_some(), "{key} was acknowledged and is lost");
    }
    let inside = PathBuf::from(format!("/proc/{}/root", process.id())).join(folder.path().strip_prefix("/").unwrap());
    std::fs::remove_file(inside.join("ballast")).unwrap();
    until("a write", async || client.put_item().table_name("filled").item("k", s("room")).send().await.ok()).await;
    put(&client, "filled", "more room", "1").await;
    let records = crate::world::records(&process.endpoint, "filled").await.len();
    assert_eq!(records, acknowledged.len() + 2, "one record for each acknowledged write");
}
