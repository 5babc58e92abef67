//! Carries a plan of faults out, each when the last is mended, and times how long the flow took to come back.

use std::time::Duration;

use headwater_tests::error::Error;
use headwater_tests::faults::{Fault, Planned};
use headwater_tests::probe::Probes;
use headwater_tests::{servers, wait};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use super::PATIENCE;
use super::flow::Flow;
use super::recoveries::{Recoveries, Recovery};
use super::workers::Cluster;

/// Longer than a worker's session at Kafka, which is 6 s.
const LONGER_THAN_A_SESSION: Duration = Duration::from_secs(9);
const AWAY: Duration = Duration::from_secs(4);
/// Writes that have to be made between two faults.
const BETWEEN: u64 = 20;

pub async fn strike_along(
    cluster: &mut Cluster,
    planned: &[Planned],
    mut progress: watch::Receiver<u64>,
    probes: &mut Probes,
) -> Result<Recoveries, Error> {
    let mut flow = cluster.flow();
    let first = probes.write().await?;
    flow.arrival(&first, Instant::now()).await?;
    let mut recoveries = Recoveries::default();
    for fault in planned {
        let due = *progress.borrow_and_update() + BETWEEN;
        let reached = progress.wait_for(|made| *made >= due).await;
        reached.map_err(|_| Error::process("the writers", "they ended before a fault that was due"))?;
        // The moment is the fault that is injected, not something that is waited for.
        tokio::time::sleep(fault.delay).await;
        recoveries.note(survive(cluster, fault, probes, &mut flow).await?);
    }
    Ok(recoveries)
}

/// Strikes; a round of probes that is written at once times the return of the flow. When everything is whole again,
/// another one must pass.
async fn survive(
    cluster: &mut Cluster,
    planned: &Planned,
    probes: &mut Probes,
    flow: &mut Flow,
) -> Result<Recovery, Error> {
    let (tell, struck) = oneshot::channel();
    let carried = carry_out(cluster, planned, tell);
    let back = async {
        // A fault that failed to strike tells so itself.
        let Ok(struck) = struck.await else { return Ok(None) };
        let round = probes.write().await?;
        let writing = struck.elapsed();
        let back = flow.arrival(&round, struck).await?;
        Ok(Some((back, writing)))
    };
    let ((), back) = tokio::try_join!(carried, back)?;
    cluster.ready().await?;
    let round = probes.write().await?;
    let after = flow.arrival(&round, Instant::now()).await?;
    let (back, writing) = back.ok_or_else(|| Error::process(planned.fault.to_string(), "the fault never struck"))?;
    Ok(Recovery { fault: planned.fault, back, writing, after })
}

/// The whole fault, its end included. Says when it has struck.
async fn carry_out(cluster: &mut Cluster, planned: &Planned, struck: oneshot::Sender<Instant>) -> Result<(), Error> {
    let tell = || {
        // Nobody listens any more where the probes failed, which is told.
        struck.send(Instant::now()).ok();
    };
    match planned.fault {
        Fault::Kill(role) => {
            let at = cluster.victim(role, planned.which).await?;
            let victim = cluster.take(at);
            tell();
            victim.kill().await?;
            cluster.replace(at)
        }
        Fault::Pause(role) => {
            let at = cluster.victim(role, planned.which).await?;
            let victim = cluster.take(at);
            tell();
            victim.signal("STOP").await?;
            tokio::time::sleep(LONGER_THAN_A_SESSION).await;
            victim.signal("CONT").await?;
            cluster.put_back(at, victim);
            Ok(())
        }
        Fault::Drain(role) => {
            let at = cluster.victim(role, planned.which).await?;
            let victim = cluster.take(at);
            tell();
            let ended = victim.stop(PATIENCE).await?;
            if !ended.success() {
                return Err(Error::process(planned.fault.to_string(), ended));
            }
            cluster.replace(at)
        }
        Fault::Broker => away(&format!("kafka-{}", planned.which % cluster.brokers + 1), tell).await,
        Fault::Index => away("opensearch", tell).await,
        Fault::Bucket => away("s3", tell).await,
        Fault::Roll => {
            let before = cluster.shards_finished().await?;
            tell();
            cluster.dynamodb.roll().await?;
            let due = before + cluster.entities.len() as u64;
            wait::until("the rolled shards' ends", PATIENCE, async || match cluster.shards_finished().await {
                Ok(finished) if finished >= due => Ok(()),
                seen => Err(format!("{seen:?} finished, {due} are due")),
            })
            .await
        }
    }
}

/// SIGKILL, and after a while another process on the same data.
async fn away(server: &str, tell: impl FnOnce()) -> Result<(), Error> {
    let before = servers::control(server, "pid").await?;
    tell();
    servers::control(server, "kill").await?;
    tokio::time::sleep(AWAY).await;
    servers::control(server, "start").await?;
    if servers::control(server, "pid").await? == before {
        return Err(Error::process(server, "the same process is there after it was killed"));
    }
    Ok(())
}
