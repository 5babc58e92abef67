//! The settings of the whole process: each part's own, gathered.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// One YAML file and `HEADWATER_…` environment variables; every field has a default that runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the table store, the log, the lake and the index live.
    pub data_folder: PathBuf,
    /// The feature definitions: a YAML file, or a folder of them.
    pub definitions: PathBuf,
    pub logs: Logs,
    pub http: Http,
    pub store: Store,
    pub log: Log,
    pub dynamodb: Dynamodb,
    #[cfg(feature = "kafka")]
    pub kafka: headwater_kafka::Settings,
    pub lake: LakePlace,
    pub opensearch: headwater_sink_search::opensearch::Settings,
    pub ingest: headwater_ingest::Settings,
    pub sink_offline: headwater_sink_offline::Settings,
    pub sink_search: headwater_sink_search::Settings,
    pub maintenance: headwater_lake::maintain::Settings,
    /// Milliseconds that a drain may take before the process ends anyway.
    pub drain_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            data_folder: "headwater-data".into(),
            definitions: "features".into(),
            logs: Logs::default(),
            http: Http::default(),
            store: Store::default(),
            log: Log::default(),
            dynamodb: Dynamodb::default(),
            #[cfg(feature = "kafka")]
            kafka: Default::default(),
            lake: LakePlace::default(),
            opensearch: Default::default(),
            ingest: headwater_ingest::Settings { memory_bytes: 16 << 20, ..Default::default() },
            // On one machine everybody waits for the newest, a commit is cheap, and all share the memory.
            sink_offline: headwater_sink_offline::Settings {
                flush_ms: 1000,
                idle_complete_ms: 1000,
                memory_bytes: 64 << 20,
                flush_bytes: 16 << 20,
                ..Default::default()
            },
            sink_search: headwater_sink_search::Settings {
                flush_ms: 1000,
                idle_complete_ms: 1000,
                buffer_bytes: 32 << 20,
                writer_heap_bytes: 20_000_000,
                ..Default::default()
            },
            maintenance: Default::default(),
            drain_ms: 30_000,
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Logs {
    /// `error`, `warn`, `info`, `debug`, `trace`, or directives as `tracing` reads them. No level alone shows values of
    /// items; directives that name a dependency may.
    pub level: String,
    /// `text` or `json`, on standard error.
    pub format: LogFormat,
}

impl Default for Logs {
    fn default() -> Self {
        Logs { level: "info".into(), format: LogFormat::Text }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// `/livez`, `/readyz`, `/metrics`, `/status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Port 0 takes any free one.
    pub address: SocketAddr,
}

impl Default for Http {
    fn default() -> Self {
        Http { address: (Ipv4Addr::LOCALHOST, 8001).into() }
    }
}

/// The embedded DynamoDB-compatible server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Port 0 takes any free one.
    pub address: SocketAddr,
    /// Milliseconds that stream records are kept, as DynamoDB keeps them 24 hours.
    pub stream_retention_ms: u64,
    /// Milliseconds between two sweeps for expired items.
    pub ttl_sweep_ms: u64,
}

impl Default for Store {
    fn default() -> Self {
        Store { address: (Ipv4Addr::LOCALHOST, 8000).into(), stream_retention_ms: 24 * 3_600_000, ttl_sweep_ms: 60_000 }
    }
}

/// The embedded change log. Its slots and partitions hold for the life of a data folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub slots: u16,
    pub partitions: u16,
    /// Milliseconds that records are kept after every sink has them, so that an index can be built again. Default 7 days.
    pub retention_ms: u64,
}

impl Default for Log {
    fn default() -> Self {
        let layout = headwater_common::embedded::Layout::default();
        Log { slots: layout.slots, partitions: layout.partitions, retention_ms: 7 * 24 * 3_600_000 }
    }
}

/// The tables that workers follow.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dynamodb {
    /// A URL; AWS itself where empty, with credentials and region from the environment.
    pub endpoint: String,
}

/// The lake that workers write.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LakePlace {
    /// `s3://bucket/prefix`, or a folder that all workers share. Where it is named, the stores lie on the servers of
    /// these settings and not in the data folder.
    pub place: String,
    pub s3: headwater_sink_offline::S3,
}

impl Settings {
    /// Whether the stores lie on servers rather than in a data folder: then the lake's place is named.
    pub fn names_servers(&self) -> bool {
        !self.lake.place.is_empty()
    }

    /// The file, then the environment over it; every value checked.
    pub fn load(file: Option<&Path>) -> Result<Settings, Failure> {
        let settings: Settings = headwater_common::settings::load(file, std::env::vars())
            .map_err(|error| Failure::usage(error).remedy("see `headwater config print` for every setting"))?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), Failure> {
        let refuse = |part: &str, cause: String| Failure::usage(cause).at(format!("setting {part}"));
        if self.log.slots == 0 || self.log.partitions == 0 {
            return Err(refuse("log", "slots and partitions are at least 1".into()));
        }
        #[cfg(feature = "kafka")]
        self.kafka.check().map_err(|cause| refuse("kafka", cause))?;
        self.opensearch.check().map_err(|cause| refuse("opensearch", cause))?;
        self.ingest.check().map_err(|cause| refuse("ingest", cause))?;
        self.sink_offline.check().map_err(|cause| refuse("sink_offline", cause))?;
        self.sink_search.check().map_err(|cause| refuse("sink_search", cause))?;
        self.maintenance.check().map_err(|cause| refuse("maintenance", cause))
    }
}
