//! Workers on real servers: killed, paused, drained, their servers taken away, and then every promise.
//!
//! `HEADWATER_EVENTS` sets how many faults; `HEADWATER_TEST_SEED` runs a plan again. The servers are those whose
//! addresses the environment gives (`infra/servers/up`). What a failed run left is kept: settings, the workers' logs,
//! what was written.

mod flow;
mod rebuild;
mod recoveries;
mod strike;
mod workers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::SystemClock;
use headwater_tests::check::Expected;
use headwater_tests::error::Error;
use headwater_tests::faults::{Planned, plan};
use headwater_tests::history::History;
use headwater_tests::probe::Probes;
use headwater_tests::workload::{Settings, Workload, seed_or};
use headwater_tests::writer::Writer;
use headwater_tests::{client, run};
use tokio_util::sync::CancellationToken;

use recoveries::Recoveries;
use strike::strike_along;
use workers::{Cluster, PARTITIONS};

/// Far more than a run can make; the faults end it.
const WRITES: usize = 10_000_000;
/// Keeps the load steady and the run small enough to check every change of it.
const PAUSE: Duration = Duration::from_millis(80);
/// What has not come back by then never does: a busy machine takes a minute and more to start a server.
const PATIENCE: Duration = Duration::from_secs(300);
/// Acknowledged writes that there must be for each fault.
const WRITES_EACH: usize = 20;

fn events() -> usize {
    std::env::var("HEADWATER_EVENTS").ok().map_or(13, |text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_killed_paused_and_cut_off_keep_every_promise() {
    let seed = seed_or(u64::from(std::process::id()));
    let folder = tempfile::tempdir().unwrap();
    let workload = Workload::new(Settings { seed, ..Settings::default() });
    let Some(mut cluster) = Cluster::prepare(folder.path(), workload.entities.clone()).await else { return };
    let planned = plan(seed, events());
    if let Err(reason) = hold_to_the_promises(&mut cluster, &workload, &planned, folder.path()).await {
        let lake = cluster.lake_folder().display().to_string();
        panic!(
            "HEADWATER_TEST_SEED={seed}: {reason}\nthe run is kept in {}, its lake in {lake}",
            folder.keep().display()
        );
    }
    cluster.remove().await;
}

async fn hold_to_the_promises(
    cluster: &mut Cluster,
    workload: &Workload,
    planned: &[Planned],
    folder: &Path,
) -> Result<(), String> {
    let told = |error: Error| error.to_string();
    cluster.start().await.map_err(told)?;
    let (history, recoveries) = write_under_faults(cluster, workload, planned).await;
    history.save(&folder.join("writes.jsonl")).map_err(told)?;
    let recoveries = recoveries.map_err(told)?;
    let scan = run::scan(&cluster.endpoint, workload).await.map_err(told)?;
    cluster.complete_past(crate::stack::now()).await.map_err(told)?;
    cluster.verified().await.map_err(told)?;
    cluster.stop().await.map_err(told)?;
    cluster.fold().await;
    let index = cluster.index_documents().await;
    let observed = run::collect_lake(scan, cluster.lake_folder(), &cluster.tables(), Some(index)).map_err(told)?;
    let (seed, rows) = (workload.settings.seed, observed.history.len());
    println!("seed {seed}: {} faults, {:?}, {rows} rows of history", planned.len(), history.tally());
    println!("{recoveries}");
    let expected = Expected::writes(planned.len() * WRITES_EACH).kills(planned.len());
    run::verdict(workload, &history, recoveries.count(), &observed, &expected)
}

/// Everything that was written, the probes too, and how each fault was survived.
async fn write_under_faults(
    cluster: &mut Cluster,
    workload: &Workload,
    planned: &[Planned],
) -> (History, Result<Recoveries, Error>) {
    let mut writer = Writer::new(client::at(&cluster.endpoint), workload.clone(), Arc::new(SystemClock));
    let mut probes = Probes::new(writer.clone(), PARTITIONS);
    writer.pause = PAUSE;
    let stop = CancellationToken::new();
    let striking = async {
        let recoveries = strike_along(cluster, planned, writer.progress(), &mut probes).await;
        stop.cancel();
        recoveries
    };
    let (written, recoveries) = tokio::join!(writer.write_until(WRITES, &stop), striking);
    let (mut history, recoveries) = match written {
        Ok(written) => (written.history, recoveries),
        Err(error) => (History::default(), recoveries.and(Err(error))),
    };
    history.writes.extend(probes.into_writes());
    (history, recoveries)
}
