//! The whole stack in one process: on a data folder, with table store, log, lake and index of its own, or on servers.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::Clock;
use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::log::ChangeLog;
use headwater_common::progress::SinkProgress;
use headwater_local_store::{Environment, LedgerReaders, LocalStore};
use headwater_sdk::FeatureStore;
use headwater_sink_offline::Lake;
use headwater_sink_search::EmbeddedIndex;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::folder::{DataFolder, FolderLock, Running};
use crate::http;
use crate::servers::Servers;
use crate::settings::Settings;
use crate::signals;
use crate::stages::{Indexes, Stages};
use crate::stores::Stores;

pub const SINKS: [&str; 2] = ["sink-offline", "sink-search"];

/// Runs until it is drained. Dropped without that, the next start goes on from what is durable.
pub struct Stack {
    /// The table store's.
    pub endpoint: String,
    pub http: SocketAddr,
    pub features: FeatureStore,
    stages: Stages,
    drain: Duration,
    place: Place,
}

/// What the stack holds besides its stages.
enum Place {
    Folder { lock: FolderLock, store: LocalStore },
    Servers(Box<Settings>),
}

impl Stack {
    pub async fn in_folder(
        lock: FolderLock,
        settings: &Settings,
        entities: Vec<Entity>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Stack, Failure> {
        let mut stages = Stages::new(entities);
        let http = serve(&mut stages, settings, metrics).await?;
        let folder = lock.folder().clone();
        // The log is open before the store is: the store keeps what the log has not taken in, however old it is.
        let log = open_log(&folder, settings)?;
        let readers = Arc::new(LedgerReaders::of(stages.tables()));
        let around =
            Environment { clock: stages.clock.clone(), health: stages.health.clone(), readers: readers.clone() };
        let store = start_store(&lock, settings, around).await?;
        look_after(&mut stages, &log, readers, settings);
        let log: Arc<dyn ChangeLog> = Arc::new(log);
        lock.record_entities(&stages.entities)?;
        lock.record_running(&Running { pid: std::process::id(), store: store.address(), http })?;
        let features = FeatureStore::connect(Some(&store.endpoint()), stages.entities.clone())
            .await
            .map_err(|error| Failure::failed(format!("can't reach the table store: {error}")))?;
        features.ensure_tables().await.map_err(Failure::environment)?;
        let indexes = open_indexes(&folder, &stages.entities, settings, &*log).await?;
        let lake =
            Lake::local(&folder.lake()).map_err(|error| Failure::environment(error).at(folder.lake().display()))?;
        let streams = aws_sdk_dynamodbstreams::Client::new(&headwater_sdk::sdk_config(Some(&store.endpoint())).await);
        start(&mut stages, settings, Parts { log, lake, indexes, streams, features: features.clone() });
        Ok(Stack {
            endpoint: store.endpoint(),
            http,
            features,
            stages,
            drain: Duration::from_millis(settings.drain_ms),
            place: Place::Folder { lock, store },
        })
    }

    /// All stages in this process, on the servers of the settings. Workers of their own are for more than one.
    pub async fn on_servers(
        settings: &Settings,
        entities: Vec<Entity>,
        metrics: Option<PrometheusHandle>,
    ) -> Result<Stack, Failure> {
        let servers = Servers::named(settings).ok_or_else(|| {
            Failure::usage("the settings name no servers")
                .at("setting lake.place")
                .remedy("`infra/servers/up` starts them and writes a settings file; give it with --settings")
        })?;
        let mut stages = Stages::new(entities);
        let http = serve(&mut stages, settings, metrics).await?;
        let features = servers.features(stages.entities.clone()).await?;
        features.ensure_tables().await.map_err(Failure::environment)?;
        let log = servers.log(stages.health.clone()).await?;
        let indexes = servers.indexes(&stages.entities, &*log).await?;
        let parts =
            Parts { log, lake: servers.lake()?, indexes, streams: servers.streams().await, features: features.clone() };
        start(&mut stages, settings, parts);
        Ok(Stack {
            endpoint: servers.endpoint().unwrap_or("AWS DynamoDB").to_owned(),
            http,
            features,
            stages,
            drain: Duration::from_millis(settings.drain_ms),
            place: Place::Servers(Box::new(settings.clone())),
        })
    }

    pub fn entities(&self) -> &[Entity] {
        &self.stages.entities
    }

    /// The stores that this stack writes to, for reading.
    pub fn stores(&self) -> Result<Stores, Failure> {
        match &self.place {
            Place::Folder { lock, .. } => Ok(Stores::Folder(lock.folder().clone())),
            Place::Servers(settings) => Servers::named(settings)
                .map(|servers| Stores::Servers(Box::new(servers.with_entities(self.entities().to_vec()))))
                .ok_or_else(|| Failure::failed("the settings name no servers")),
        }
    }

    pub fn progress(&self, sink: &str) -> SinkProgress {
        let published = self.stages.health.status().remove(sink);
        published.and_then(|state| serde_json::from_value(state).ok()).unwrap_or_default()
    }

    /// Runs until Ctrl-C or SIGTERM, then drains.
    pub async fn until_stopped(mut self, signals: &mut signals::Stop) -> Result<(), Failure> {
        let outcome = self.stages.until_stopped(signals, self.drain).await;
        outcome.and(self.close().await)
    }

    /// Stops taking in, lets what was taken in reach the sinks, and closes the store.
    pub async fn drain(mut self) -> Result<(), Failure> {
        let outcome = self.stages.drain(self.drain).await;
        outcome.and(self.close().await)
    }

    async fn close(self) -> Result<(), Failure> {
        match self.place {
            Place::Folder { lock, store } => {
                let closed = store.shutdown().await;
                drop(lock);
                closed.map_err(|error| Failure::failed(format!("the table store did not close: {error}")))
            }
            Place::Servers(_) => Ok(()),
        }
    }
}

struct Parts {
    log: Arc<dyn ChangeLog>,
    lake: Lake,
    indexes: Indexes,
    streams: aws_sdk_dynamodbstreams::Client,
    features: FeatureStore,
}

fn start(stages: &mut Stages, settings: &Settings, parts: Parts) {
    stages.maintenance(settings, parts.lake.clone());
    stages.ingest(settings, parts.log.clone(), parts.streams, parts.features.client().clone());
    stages.sink_offline(settings, parts.log.clone(), parts.lake);
    stages.sink_search(settings, parts.log, parts.indexes);
}

async fn serve(
    stages: &mut Stages,
    settings: &Settings,
    metrics: Option<PrometheusHandle>,
) -> Result<SocketAddr, Failure> {
    let listener = http::bind(settings.http.address, "http.address").await?;
    let address = listener.local_addr().map_err(Failure::environment)?;
    // Before anybody can ask: a stack whose stages have not started is not ready.
    for part in ["ingest", "sink-offline", "sink-search"] {
        stages.health.expect(part, stages.clock.now());
    }
    stages.serve_status(listener, metrics);
    Ok(address)
}

fn open_log(folder: &DataFolder, settings: &Settings) -> Result<EmbeddedLog, Failure> {
    let layout = Layout { slots: settings.log.slots, partitions: settings.log.partitions };
    EmbeddedLog::open(&folder.log(), layout).map_err(|error| Failure::environment(error).at(folder.log().display()))
}

/// Trims the log, and tells the store what the log has taken in.
fn look_after(stages: &mut Stages, log: &EmbeddedLog, readers: Arc<LedgerReaders>, settings: &Settings) {
    let retention = Duration::from_millis(settings.log.retention_ms);
    stages.spawn(trim(log.clone(), retention, stages.clock.clone(), stages.stop.clone()));
    let (ledger, stop) = (log.clone(), stages.stop.clone());
    stages.spawn(async move {
        readers.follow(&ledger, &stop).await;
        Ok(())
    });
}

async fn open_indexes(
    folder: &DataFolder,
    entities: &[Entity],
    settings: &Settings,
    log: &dyn ChangeLog,
) -> Result<Indexes, Failure> {
    let mut indexes = Indexes::new();
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

async fn start_store(lock: &FolderLock, settings: &Settings, around: Environment) -> Result<LocalStore, Failure> {
    let store = headwater_local_store::Settings {
        address: settings.store.address,
        folder: lock.folder().store(),
        stream_retention_ms: settings.store.stream_retention_ms,
        ttl_sweep_ms: settings.store.ttl_sweep_ms,
        ..Default::default()
    };
    tokio::task::spawn_blocking(move || LocalStore::start_in(store, around))
        .await
        .map_err(Failure::failed)?
        .map_err(|error| Failure::environment(error).at("setting store.address, or the data folder"))
}
