//! A server of the test's own, and definitions.

use std::net::SocketAddr;
use std::sync::Arc;

use headwater_common::clock::ManualClock;
use headwater_local_store::{LocalStore, Settings};
use headwater_sdk::{Entity, EntityStore, FeatureStore, Timestamp};
use tempfile::TempDir;

/// A running server with the tables of [`entities`] and a store on it. The clock stands at 1,000,000 ms.
pub struct Bench {
    pub store: FeatureStore,
    pub clock: Arc<ManualClock>,
    pub endpoint: String,
    server: LocalStore,
    _folder: TempDir,
}

impl Bench {
    pub async fn start() -> Bench {
        let bench = Bench::empty().await;
        bench.store.ensure_tables().await.unwrap();
        bench
    }

    /// Without tables.
    pub async fn empty() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = Settings { address, folder: folder.path().join("store"), ..Settings::default() };
        let server = LocalStore::start(settings).unwrap();
        let endpoint = server.endpoint();
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_000_000)));
        let store = FeatureStore::connect(Some(&endpoint), entities()).await.unwrap().with_clock(clock.clone());
        Bench { store, clock, endpoint, server, _folder: folder }
    }

    pub fn entity(&self, name: &str) -> EntityStore {
        self.store.entity(name).unwrap().consistent()
    }

    pub async fn stop(self) {
        self.server.shutdown().await.unwrap();
    }
}

/// `aircraft` by a text, `route` by a text and a number, `blob` by bytes and without event times.
pub fn entities() -> Vec<Entity> {
    let json = serde_json::json!([
        {
            "entity": "aircraft",
            "key": {"partition": {"name": "tail", "type": "string"}},
            "event_time": "at", "write_time": "written", "ttl": "expires",
            "features": [
                {"name": "delay", "type": "double"},
                {"name": "flights", "type": "long"},
                {"name": "writer", "type": "long"},
                {"name": "fare", "type": "decimal(38,0)"},
                {"name": "name", "type": "keyword"},
                {"name": "remark", "type": "text"},
                {"name": "active", "type": "bool"},
                {"name": "seen", "type": "timestamp"},
                {"name": "built", "type": "date"},
                {"name": "photo", "type": "binary"},
                {"name": "place", "type": "geo_point"},
                {"name": "profile", "type": "vector(3)"},
                {"name": "tags", "type": "keyword_set"},
                {"name": "levels", "type": "number_set"},
                {"name": "extra", "type": "json"},
            ],
        },
        {
            "entity": "route",
            "table": "routes",
            "key": {"partition": {"name": "from", "type": "string"}, "sort": {"name": "day", "type": "number"}},
            "event_time": "at",
            "features": [{"name": "delay", "type": "double"}, {"name": "payload", "type": "text"}],
        },
        {
            "entity": "blob",
            "key": {"partition": {"name": "id", "type": "binary"}},
            "features": [{"name": "size", "type": "long"}],
        },
    ]);
    serde_json::from_value(json).unwrap()
}

pub fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}
