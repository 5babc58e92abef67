//! What the local store can be told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Settings of the local store. Unknown fields are refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where clients reach the server; port 0 takes any free port. Default `127.0.0.1:8000`. The server checks no
    /// signature, so an address that other machines reach gives every one of them the whole store.
    pub address: SocketAddr,
    /// The folder that holds the store's file; created if it is missing. Default `local-store`.
    pub folder: PathBuf,
    /// How long a stream keeps its records, milliseconds. Default 24 hours, as DynamoDB does.
    pub stream_retention_ms: u64,
    /// The pause between two looks for stream records that are older than that, milliseconds. Default one minute.
    pub trim_interval_ms: u64,
    /// The shortest pause between two sweeps for expired items, milliseconds. A sweep reads whole tables, so the pause
    /// grows with its length. Default ten seconds.
    pub ttl_sweep_ms: u64,
    /// How long requests under way may take to finish at shutdown, milliseconds. Default five seconds.
    pub drain_ms: u64,
    /// Memory that SQLite may keep pages in, bytes. Default 16 MiB.
    pub cache_bytes: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            folder: PathBuf::from("local-store"),
            stream_retention_ms: 24 * 60 * 60 * 1000,
            trim_interval_ms: 60_000,
            ttl_sweep_ms: 10_000,
            drain_ms: 5_000,
            cache_bytes: 16 << 20,
        }
    }
}

impl Settings {
    /// Names the first field whose value cannot work.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("stream_retention_ms", self.stream_retention_ms),
            ("trim_interval_ms", self.trim_interval_ms),
            ("ttl_sweep_ms", self.ttl_sweep_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name}: must be greater than 0"));
        }
        if self.folder.as_os_str().is_empty() {
            return Err("folder: must not be empty".to_owned());
        }
        if !(1 << 20..=1 << 40).contains(&self.cache_bytes) {
            return Err("cache_bytes: must be from 1048576 to 1099511627776".to_owned());
        }
        Ok(())
    }

    pub(crate) fn stream_retention(&self) -> Duration {
        Duration::from_millis(self.stream_retention_ms)
    }

    pub(crate) fn trim_interval(&self) -> Duration {
        Duration::from_millis(self.trim_interval_ms)
    }

    pub(crate) fn ttl_sweep(&self) -> Duration {
        Duration::from_millis(self.ttl_sweep_ms)
    }

    pub(crate) fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
}
