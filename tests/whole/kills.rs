//! SIGKILL at random moments of a run, then every promise.
//!
//! `HEADWATER_KILLS` sets how many kills and `HEADWATER_WRITES` how many writes; `HEADWATER_TEST_SEED` runs one again.

use headwater_tests::chaos::Kills;
use headwater_tests::check::Expected;
use headwater_tests::process::Process;
use headwater_tests::run;
use headwater_tests::workload::{Settings, Workload, seed_or};

use crate::stack::{Dev, PATIENCE, SINKS};

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().map_or(default, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_that_is_killed_keeps_every_promise() {
    let count = number("HEADWATER_KILLS", 20);
    let writes = number("HEADWATER_WRITES", count * 200);
    let seed = seed_or(u64::from(std::process::id()));
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload::new(Settings { seed, ..Settings::default() });
    let dev = Dev::new(folder.path(), workload.entities.clone());
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let kills = Kills { seed, count, while_starting: 0.25 };
    let (written, process) =
        run::write_under_kills(&dev.launch, process, &dev.endpoint, &workload, writes, &kills).await.unwrap();
    let scan = run::scan(&dev.endpoint, &workload).await.unwrap();
    run::wait_complete(dev.launch.status, &SINKS, &dev.tables(), crate::stack::now(), PATIENCE).await.unwrap();
    assert!(process.stop(PATIENCE).await.unwrap().success(), "the drain failed");
    dev.fold().await;
    let index = dev.index().await;
    let observed = run::collect_lake(scan, &dev.lake(), &dev.tables(), Some(index)).unwrap();
    let expected = Expected::writes(writes / 2).kills(count);
    println!("seed {seed}: {count} kills, {:?}, {} rows of history", written.history.tally(), observed.history.len());
    if let Err(report) = run::verdict(&workload, &written.history, count, &observed, &expected) {
        let kept = folder.keep();
        panic!("{report}\nthe run is kept in {}", kept.display());
    }
}
