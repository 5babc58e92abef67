//! The stages, put together from the parts that they run on: the same for one process and for a worker of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{Clock, SystemClock};
use headwater_common::definition::Entity;
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_ingest::Ingest;
use headwater_lake::maintain::Maintenance;
use headwater_sink_offline::{Lake, SinkOffline};
use headwater_sink_search::{SearchIndex, SinkSearch};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::settings::Settings;
use crate::{http, output, signals};

/// How long the status server may take over what it was asked before the stages ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

pub type Indexes = BTreeMap<TableName, Arc<dyn SearchIndex>>;

/// What runs in this process, and what it has in common.
pub struct Stages {
    pub entities: Vec<Entity>,
    pub health: Health,
    pub clock: Arc<dyn Clock>,
    /// Ends the stages; the status server goes on until they have ended.
    pub stop: CancellationToken,
    running: JoinSet<Result<(), Failure>>,
    status: Option<(CancellationToken, JoinHandle<Result<(), Failure>>)>,
}

impl Stages {
    pub fn new(entities: Vec<Entity>) -> Stages {
        Stages {
            entities,
            health: Health::default(),
            clock: Arc::new(SystemClock),
            stop: CancellationToken::new(),
            running: JoinSet::new(),
            status: None,
        }
    }

    /// `/livez`, `/readyz`, `/metrics` and `/status` of these stages.
    pub fn serve_status(&mut self, listener: TcpListener, metrics: Option<PrometheusHandle>) {
        let stop = CancellationToken::new();
        let serving = tokio::spawn(http::serve(listener, self.health.clone(), metrics, stop.clone()));
        self.status = Some((stop, serving));
    }

    pub fn tables(&self) -> Vec<TableName> {
        self.entities.iter().map(Entity::table).collect()
    }

    pub fn spawn(&mut self, work: impl Future<Output = Result<(), Failure>> + Send + 'static) {
        self.running.spawn(work);
    }

    pub fn ingest(
        &mut self,
        settings: &Settings,
        log: Arc<dyn ChangeLog>,
        streams: aws_sdk_dynamodbstreams::Client,
        tables_client: aws_sdk_dynamodb::Client,
    ) {
        let ingest = Ingest {
            streams,
            tables_client,
            tables: self.tables(),
            log,
            settings: settings.ingest.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
        };
        self.start("ingest", |stop| ingest.run(stop));
    }

    pub fn sink_offline(&mut self, settings: &Settings, log: Arc<dyn ChangeLog>, lake: Lake) {
        let offline = SinkOffline {
            log,
            lake,
            entities: self.entities.clone(),
            settings: settings.sink_offline.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
        };
        self.start("sink-offline", |stop| offline.run(stop));
    }

    pub fn sink_search(&mut self, settings: &Settings, log: Arc<dyn ChangeLog>, indexes: Indexes) {
        let search = SinkSearch {
            log,
            indexes,
            entities: self.entities.clone(),
            settings: settings.sink_search.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
        };
        self.start("sink-search", |stop| search.run(stop));
    }

    pub fn maintenance(&mut self, settings: &Settings, lake: Lake) {
        let maintenance = Maintenance {
            lake,
            entities: self.entities.clone(),
            settings: settings.maintenance.clone(),
            clock: self.clock.clone(),
            health: self.health.clone(),
        };
        self.start(headwater_lake::maintain::PART, |stop| maintenance.run(stop));
    }

    fn start<E, R>(&mut self, stage: &'static str, run: impl FnOnce(CancellationToken) -> R)
    where
        E: std::fmt::Display,
        R: Future<Output = Result<(), E>> + Send + 'static,
    {
        let running = run(self.stop.clone());
        self.running.spawn(async move {
            running.await.map_err(|error| Failure::failed(format!("{stage} can't go on: {error}")))
        });
    }

    /// Waits until a stage ends, which it does by itself only for what no retry can mend.
    pub async fn ended(&mut self) -> Failure {
        match self.running.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Ok(Ok(()))) | None => Failure::failed("a stage ended although nobody asked it to"),
            Some(Err(error)) => Failure::failed(format!("a stage broke off: {error}")),
        }
    }

    /// Runs until `signals` ask to stop or a stage ends, then drains within `deadline`. A second signal ends the wait at
    /// once, which loses nothing.
    pub async fn until_stopped(&mut self, signals: &mut signals::Stop, deadline: Duration) -> Result<(), Failure> {
        let ended = tokio::select! {
            biased;
            () = signals.asked() => Ok(()),
            failure = self.ended() => Err(failure),
        };
        ended.and(self.drain_unless_asked(signals, deadline).await)
    }

    pub async fn drain_unless_asked(&mut self, signals: &mut signals::Stop, deadline: Duration) -> Result<(), Failure> {
        output::note("draining; once more to stop at once");
        tokio::select! {
            biased;
            outcome = self.drain(deadline) => outcome,
            () = signals.asked() => Err(Failure::failed("stopped without draining; nothing is lost")),
        }
    }

    /// Stops taking in, and lets what was taken in reach its store.
    pub async fn drain(&mut self, deadline: Duration) -> Result<(), Failure> {
        self.stop.cancel();
        let ended = tokio::time::timeout(deadline, async {
            let mut first = Ok(());
            while let Some(ended) = self.running.join_next().await {
                let outcome = ended.unwrap_or_else(|error| Err(Failure::failed(format!("a stage broke off: {error}"))));
                first = first.and(outcome);
            }
            first
        });
        let outcome = ended.await.unwrap_or_else(|_| {
            Err(Failure::failed(
                "the drain did not end in time; nothing is lost, the next start goes on from what is durable",
            )
            .remedy("raise drain_ms"))
        });
        let served = match self.status.take() {
            Some((stop, mut serving)) => {
                stop.cancel();
                match tokio::time::timeout(LAST_ANSWERS, &mut serving).await {
                    Ok(served) => served.map_err(Failure::failed).and_then(|served| served),
                    // Somebody holds a connection and asks nothing.
                    Err(_) => {
                        serving.abort();
                        Ok(())
                    }
                }
            }
            None => Ok(()),
        };
        outcome.and(served)
    }
}
