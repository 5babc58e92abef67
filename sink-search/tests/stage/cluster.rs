//! An OpenSearch index for one test, on the server that the tests are given, and removed after it.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use headwater_common::definition::Entity;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_sink_search::opensearch::{OpenSearch, OpenSearchIndex, Settings};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use serde_json::Value;

use crate::generate::entity;

/// The names that one test uses, on a server that others use too.
pub struct Cluster {
    pub url: String,
    pub prefix: String,
    _server: Use,
}

/// Tests share the server, but for those that kill it.
static SERVER: RwLock<()> = RwLock::new(());

enum Use {
    Shared { _held: RwLockReadGuard<'static, ()> },
    Alone { _held: RwLockWriteGuard<'static, ()> },
}

impl Cluster {
    /// At most one in a test: it waits for the tests that use the server alone.
    pub fn given() -> Option<Cluster> {
        Cluster::with(|| Use::Shared { _held: SERVER.read() })
    }

    /// No other test uses the server as long as it lasts.
    pub fn alone() -> Option<Cluster> {
        Cluster::with(|| Use::Alone { _held: SERVER.write() })
    }

    fn with(server: impl Fn() -> Use) -> Option<Cluster> {
        let url = headwater_tests::servers::opensearch()?;
        Some(Cluster { url, prefix: format!("test-{}", uuid::Uuid::new_v4().simple()), _server: server() })
    }

    pub fn settings(&self) -> Settings {
        Settings {
            urls: vec![self.url.clone()],
            prefix: self.prefix.clone(),
            replicas: 0,
            retry_ms: 10,
            retry_cap_ms: 2000,
            retries: 10,
            ..Settings::default()
        }
    }

    pub async fn open(&self) -> OpenSearchIndex {
        self.open_with(&self.settings(), &entity()).await.unwrap()
    }

    pub async fn open_with(
        &self,
        settings: &Settings,
        entity: &Entity,
    ) -> Result<OpenSearchIndex, headwater_sink_search::index::IndexError> {
        let folder = tempfile::tempdir().unwrap();
        let log = EmbeddedLog::open(folder.path(), Layout { slots: 1, partitions: 2 }).unwrap();
        OpenSearch::connect(settings).await?.open(entity, &log).await
    }

    /// The table's first index.
    pub fn index(&self) -> String {
        self.generation(1)
    }

    pub fn generation(&self, generation: u32) -> String {
        format!("{}-thing-{generation:06}", self.prefix)
    }

    /// The table's indexes, and the aliases of each.
    pub fn indexes(&self) -> BTreeMap<String, Vec<String>> {
        let (status, found) = self.call("GET", &format!("/{}-*/_alias", self.prefix), &Value::Null);
        assert_eq!(status, 200, "{found}");
        let aliases = |found: &Value| found["aliases"].as_object().unwrap().keys().cloned().collect();
        found.as_object().unwrap().iter().map(|(index, found)| (index.clone(), aliases(found))).collect()
    }

    pub fn alias(&self) -> String {
        format!("{}-thing", self.prefix)
    }

    /// What an operator would do by hand, again while the server is short of memory. Gives the status and the answer.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        (0..1000).map(|_| self.once(method, path, body)).find(|(status, _)| *status != 429).expect("an answer")
    }

    fn once(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in self.indexes().keys() {
            self.call("DELETE", &format!("/{index}?ignore_unavailable=true"), &Value::Null);
        }
    }
}
