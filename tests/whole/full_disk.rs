//! A disk that fills up under the whole stack: writes stop, readiness goes off, and when there is room it goes on by
//! itself, with nothing lost.

use std::path::Path;
use std::time::Duration;

use headwater_tests::http;
use headwater_tests::process::Process;
use headwater_tests::small_disk::SmallDisk;
use headwater_tests::workload::{Settings, Workload, seed_or};
use headwater_tests::{check::Expected, client, run, skip, wait, writer::Writer};

use crate::stack::{Dev, PATIENCE, SINKS, now};

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_the_stack_loudly_and_room_lets_it_go_on() {
    let Some(disk) = SmallDisk::mount(400) else {
        return skip::skipped("mounting a small file system needs root");
    };
    let logs = tempfile::tempdir().unwrap();
    let workload = Workload::new(Settings { seed: seed_or(5), large_share: 0.0, ..Settings::default() });
    let mut dev = Dev::new(disk.path(), workload.entities.clone());
    dev.launch.log = logs.path().join("log.txt");
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let writer = Writer::new(
        client::at(&dev.endpoint),
        workload.clone(),
        std::sync::Arc::new(headwater_common::clock::SystemClock),
    );
    let mut progress = writer.progress();
    let writing = tokio::spawn(async move { writer.write(3000).await });
    progress.wait_for(|made| *made > 500).await.unwrap();
    let ballast = disk.path().join("ballast");
    fill(&ballast);
    let address = dev.launch.status;
    wait::until("readiness off", PATIENCE, async || match http::get(address, "/readyz").await {
        Ok(answer) if answer.status == 503 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .unwrap();
    std::fs::remove_file(&ballast).unwrap();
    let written = writing.await.unwrap().unwrap();
    process.wait_for("/readyz").await.unwrap();
    let scan = run::scan(&dev.endpoint, &workload).await.unwrap();
    run::wait_complete(address, &SINKS, &dev.tables(), now(), PATIENCE).await.unwrap();
    assert!(process.stop(Duration::from_secs(60)).await.unwrap().success());
    dev.fold().await;
    let index = dev.index().await;
    let observed = run::collect_lake(scan, &dev.lake(), &dev.tables(), Some(index)).unwrap();
    run::verdict(&workload, &written.history, 0, &observed, &Expected::writes(500)).unwrap();
}

/// Takes all the room there is.
fn fill(path: &Path) {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).unwrap();
    let block = vec![0; 1 << 20];
    while file.write_all(&block).is_ok() {}
    while file.write_all(&block[..512]).is_ok() {}
}
