//! `headwater ingest`, `sink-offline`, `sink-search`, `maintain`: one stage for good, on the servers of the settings.
//!
//! As many of each as wanted: Kafka shares the work out. SIGTERM drains within `drain_ms`; a kill loses nothing.

use std::time::Duration;

use serde::Serialize;

use crate::Context;
use crate::failure::{Exit, Failure};
use crate::servers::Servers;
use crate::stages::Stages;
use crate::{http, signals, telemetry};

/// The pause between two attempts to reach the servers at the start.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Ingest,
    SinkOffline,
    SinkSearch,
    Maintain,
}

impl Role {
    /// The name of the stage on the board that `/readyz` and `/status` show.
    fn part(self) -> &'static str {
        match self {
            Role::Ingest => "ingest",
            Role::SinkOffline => "sink-offline",
            Role::SinkSearch => "sink-search",
            Role::Maintain => headwater_lake::maintain::PART,
        }
    }
}

#[derive(Serialize)]
struct Started {
    worker: &'static str,
    pid: u32,
    http: std::net::SocketAddr,
}

pub async fn run(context: Context, role: Role) -> Result<(), Failure> {
    let servers = Servers::named(&context.settings).ok_or_else(|| {
        Failure::usage("the settings name no servers for a worker to run on")
            .at("setting lake.place")
            .remedy("name them with --settings; on one machine `headwater dev` runs all stages in one process")
    })?;
    let mut stages = Stages::new(servers.entities()?);
    let metrics = telemetry::start_metrics()?;
    let listener = http::bind(context.settings.http.address, "http.address").await?;
    let address = listener.local_addr().map_err(Failure::environment)?;
    stages.health.expect(role.part(), stages.clock.now());
    stages.serve_status(listener, Some(metrics));
    let started = Started { worker: role.part(), pid: std::process::id(), http: address };
    context.format.answer(&started, || format!("{} · status http://{address}/status", role.part()))?;
    let mut signals = signals::Stop::listen()?;
    let deadline = Duration::from_millis(context.settings.drain_ms);
    let connected = tokio::select! {
        biased;
        () = signals.asked() => None,
        connected = start(&context, role, &servers, &mut stages) => Some(connected),
    };
    match connected {
        Some(Ok(())) => stages.until_stopped(&mut signals, deadline).await,
        Some(Err(failure)) => Err(failure),
        None => stages.drain(deadline).await,
    }
}

/// Connects until it succeeds: a server that is not there yet is no reason to end.
async fn start(context: &Context, role: Role, servers: &Servers, stages: &mut Stages) -> Result<(), Failure> {
    let mut said = String::new();
    loop {
        match connect(context, role, servers, stages).await {
            Err(failure) if failure.exit == Exit::Environment => {
                let reason = failure.to_string();
                if reason != said {
                    tracing::warn!(worker = role.part(), reason, "can't start yet, it is tried again");
                }
                stages.health.not_ready(role.part(), &reason, stages.clock.now());
                said = reason;
                tokio::time::sleep(PAUSE).await;
            }
            outcome => return outcome,
        }
    }
}

async fn connect(context: &Context, role: Role, servers: &Servers, stages: &mut Stages) -> Result<(), Failure> {
    let settings = &context.settings;
    match role {
        Role::Ingest => {
            let log = servers.log(stages.health.clone()).await?;
            let features = servers.features(stages.entities.clone()).await?;
            stages.ingest(settings, log, servers.streams().await, features.client().clone());
        }
        Role::SinkOffline => {
            let (log, lake) = (servers.log(stages.health.clone()).await?, servers.lake()?);
            stages.sink_offline(settings, log, lake);
        }
        Role::SinkSearch => {
            let log = servers.log(stages.health.clone()).await?;
            let indexes = servers.indexes(&stages.entities, &*log).await?;
            stages.sink_search(settings, log, indexes);
        }
        Role::Maintain => {
            let lake = servers.lake()?;
            stages.maintenance(settings, lake);
        }
    }
    Ok(())
}
