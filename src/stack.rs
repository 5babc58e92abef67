//! The whole stack in one process: table store, ingest, log, lake, index, maintenance and the status server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{Clock, SystemClock};
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_common::progress::SinkProgress;
use headwater_ingest::Ingest;
use headwater_lake::maintain::Maintenance;
use headwater_local_store::LocalStore;
use headwater_sdk::FeatureStore;
use headwater_sink_offline::{Lake, SinkOffline};
use headwater_sink_search::{EmbeddedIndex, SearchIndex, SinkSearch};
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::folder::{DataFolder, FolderLock, Running};
use crate::http;
use crate::settings::Settings;

pub const SINKS: [&str; 2] = ["sink-offline", "sink-search"];

/// Runs until it is drained. Dropped without that, the next start goes on from what is durable.
pub struct Stack {
    pub running: Running,
    pub entities: Vec<Entity>,
    pub health: Health,
    pub features: FeatureStore,
    lock: FolderLock,
    store: LocalStore,
    stages: JoinSet<Result<(), Failure>>,
    /// Producers and stages stop first, the status server last.
    stop: CancellationToken,
    stop_status: CancellationToken,
    drain: Duration,
}

impl Stack {
    pub async fn start(
        lock: FolderLock,
        settings: &Settings,
        entities: Vec<Entity>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Stack, Failure> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let health = Health::default();
        let listener = http::bind(settings.http.address, "http.address").await?;
        let http = listener.local_addr().map_err(Failure::environment)?;
        let store = start_store(&lock, settings).await?;
        lock.record_entities(&entities)?;
        let running = Running { pid: std::process::id(), store: store.address(), http };
        lock.record_running(&running)?;
        let features = FeatureStore::connect(Some(&store.endpoint()), entities.clone())
            .await
            .map_err(|error| Failure::failed(format!("can't reach the table store: {error}")))?;
        features.ensure_tables().await.map_err(Failure::environment)?;
        let mut stack = Stack {
            running,
            entities,
            health,
            features,
            lock,
            store,
            stages: JoinSet::new(),
            stop: CancellationToken::new(),
            stop_status: CancellationToken::new(),
            drain: Duration::from_millis(settings.drain_ms),
        };
        let (board, stop) = (stack.health.clone(), stack.stop_status.clone());
        stack.stages.spawn(http::serve(listener, board, metrics, stop));
        stack.start_stages(settings, clock).await?;
        Ok(stack)
    }

    async fn start_stages(&mut self, settings: &Settings, clock: Arc<dyn Clock>) -> Result<(), Failure> {
        let folder = self.lock.folder().clone();
        let layout = Layout { slots: settings.log.slots, partitions: settings.log.partitions };
        let log = EmbeddedLog::open(&folder.log(), layout)
            .map_err(|error| Failure::environment(error).at(folder.log().display()))?;
        self.stages.spawn(trim(
            log.clone(),
            Duration::from_millis(settings.log.retention_ms),
            clock.clone(),
            self.stop.clone(),
        ));
        let log: Arc<dyn ChangeLog> = Arc::new(log);
        let indexes = open_indexes(&folder, &self.entities, settings, &*log).await?;
        let lake =
            Lake::local(&folder.lake()).map_err(|error| Failure::environment(error).at(folder.lake().display()))?;
        let now = clock.now();
        for part in ["ingest", "sink-offline", "sink-search"] {
            self.health.expect(part, now);
        }
        let ingest = Ingest {
            streams: aws_sdk_dynamodbstreams::Client::new(
                &headwater_sdk::sdk_config(Some(&self.store.endpoint())).await,
            ),
            tables_client: self.features.client().clone(),
            tables: self.tables(),
            log: log.clone(),
            settings: settings.ingest.clone(),
            clock: clock.clone(),
            health: self.health.clone(),
        };
        let offline = SinkOffline {
            log: log.clone(),
            lake: lake.clone(),
            entities: self.entities.clone(),
            settings: settings.sink_offline.clone(),
            clock: clock.clone(),
            health: self.health.clone(),
        };
        let search = SinkSearch {
            log,
            indexes,
            entities: self.entities.clone(),
            settings: settings.sink_search.clone(),
            clock: clock.clone(),
            health: self.health.clone(),
        };
        let maintenance = Maintenance {
            lake,
            entities: self.entities.clone(),
            settings: settings.maintenance.clone(),
            clock,
            health: self.health.clone(),
        };
        let stop = self.stop.clone();
        self.stages.spawn(named("maintenance", maintenance.run(stop.clone())));
        self.stages.spawn(named("ingest", ingest.run(stop.clone())));
        self.stages.spawn(named("sink-offline", offline.run(stop.clone())));
        self.stages.spawn(named("sink-search", search.run(stop.clone())));
        Ok(())
    }

    pub fn tables(&self) -> Vec<TableName> {
        self.entities.iter().map(Entity::table).collect()
    }

    pub fn progress(&self, sink: &str) -> SinkProgress {
        self.health.status().remove(sink).and_then(|state| serde_json::from_value(state).ok()).unwrap_or_default()
    }

    /// Waits until a stage ends, which it does by itself only for what no retry can mend.
    pub async fn stage_ended(&mut self) -> Failure {
        match self.stages.join_next().await {
            Some(Ok(Err(failure))) => failure,
            Some(Ok(Ok(()))) | None => Failure::failed("a stage ended although nobody asked it to"),
            Some(Err(error)) => Failure::failed(format!("a stage broke off: {error}")),
        }
    }

    /// Stops taking in, lets what was taken in reach the sinks, and closes the store.
    pub async fn drain(mut self) -> Result<(), Failure> {
        self.stop.cancel();
        self.stop_status.cancel();
        let mut first = None;
        let stages = async {
            while let Some(ended) = self.stages.join_next().await {
                let outcome = ended.unwrap_or_else(|error| Err(Failure::failed(format!("a stage broke off: {error}"))));
                first = first.take().or(outcome.err());
            }
        };
        let in_time = tokio::time::timeout(self.drain, stages).await.is_ok();
        let closed = self.store.shutdown().await;
        drop(self.lock);
        first = first.or(closed.err().map(|error| Failure::failed(format!("the table store did not close: {error}"))));
        match first {
            Some(failure) => Err(failure),
            None if !in_time => Err(Failure::failed(
                "the drain did not end in time; nothing is lost, the next start goes on from what is durable",
            )
            .remedy("raise drain_ms")),
            None => Ok(()),
        }
    }
}

async fn open_indexes(
    folder: &DataFolder,
    entities: &[Entity],
    settings: &Settings,
    log: &dyn ChangeLog,
) -> Result<BTreeMap<TableName, Arc<dyn SearchIndex>>, Failure> {
    let mut indexes: BTreeMap<TableName, Arc<dyn SearchIndex>> = BTreeMap::new();
    for entity in entities {
        let place = folder.index_of(&entity.table());
        let opened = EmbeddedIndex::open_or_rebuild(&place, entity, settings.sink_search.writer_heap_bytes, log).await;
        let index = opened.map_err(|error| Failure::environment(error).at(place.display()))?;
        indexes.insert(entity.table(), Arc::new(index));
    }
    Ok(indexes)
}

/// Keeps the change log from growing without end.
async fn trim(
    log: EmbeddedLog,
    retention: Duration,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    const EVERY: Duration = Duration::from_secs(60);
    while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
        match log.trim(clock.now(), retention).await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "trimmed the change log"),
            Err(error) => tracing::warn!(%error, "the change log was not trimmed, it is tried again"),
        }
    }
    Ok(())
}

async fn start_store(lock: &FolderLock, settings: &Settings) -> Result<LocalStore, Failure> {
    let store = headwater_local_store::Settings {
        address: settings.store.address,
        folder: lock.folder().store(),
        stream_retention_ms: settings.store.stream_retention_ms,
        ttl_sweep_ms: settings.store.ttl_sweep_ms,
        ..Default::default()
    };
    tokio::task::spawn_blocking(move || LocalStore::start(store))
        .await
        .map_err(Failure::failed)?
        .map_err(|error| Failure::environment(error).at("setting store.address, or the data folder"))
}

async fn named<E: std::fmt::Display>(
    stage: &'static str,
    run: impl Future<Output = Result<(), E>>,
) -> Result<(), Failure> {
    run.await.map_err(|error| Failure::failed(format!("{stage} can't go on: {error}")))
}
