//! The index on OpenSearch: one index for each table, shared by any number of workers.
//!
//! Promises what [`crate::index`] asks, with OpenSearch's own means: external versions decide what is newer; a delete is
//! a document, since OpenSearch forgets a delete's version; a flush is acknowledged from the translog, then made visible
//! by a refresh, and only then its progress is written, into the same index. Between two of these steps a crash costs a
//! repetition without effect.
//!
//! Assumes that nobody else writes to the index. Refuses an index of other definitions, of another table or log, and
//! anything that an operator must mend, with the remedy; goes on by itself when it is mended.
//!
//! [`names`], [`layout`], [`audit`], [`document`], [`dsl`], [`verdict`] and [`concurrency`] decide and are pure;
//! [`transport`] and [`sign`] speak HTTP; [`bulk`], [`progress`], [`making`], [`search`] and [`scan`] do.

mod audit;
mod bulk;
pub mod concurrency;
mod document;
mod dsl;
mod gate;
mod layout;
mod making;
pub mod names;
mod progress;
mod scan;
mod search;
pub mod settings;
mod sign;
mod transport;
pub mod verdict;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::definition::Entity;
use headwater_common::log::ChangeLog;
use headwater_common::order::Version;
use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use self::bulk::Settled;
use self::gate::Gate;
use self::making::Making;
pub use self::settings::Settings;
use self::transport::{Reply, Request, Transport, Trouble};
use self::verdict::{Halt, Overall, error_of, named, overall};
use crate::index::{Applied, Flush, IndexError, Outcome, Progress, Scanned, SearchError, SearchIndex, coalesce};
use crate::mapping::Mapping;
use crate::query::{Answer, Search};

/// Documents whose versions are asked for at once.
const VERSIONS_AT_ONCE: usize = 5_000;

/// A cluster, with one limit for all that is written to it.
#[derive(Clone)]
pub struct OpenSearch {
    server: Arc<Server>,
}

pub(crate) struct Server {
    settings: Settings,
    transport: Transport,
    gate: Gate,
    knn: bool,
}

/// One table's index on OpenSearch.
#[derive(Clone)]
pub struct OpenSearchIndex {
    core: Arc<Core>,
}

struct Core {
    server: Arc<Server>,
    table: TableName,
    /// The alias that the table is read through.
    alias: String,
    mapping: Mapping,
    /// False where it was opened for reading only.
    writes: bool,
    making: Mutex<Arc<Making>>,
    item_size: scan::ItemSize,
}

impl OpenSearch {
    /// Asks the server what it is. Settings that can't be are refused by name.
    pub async fn connect(settings: &Settings) -> Result<OpenSearch, IndexError> {
        let place = settings.urls.first().cloned().unwrap_or_default();
        let refused = |reason: String| IndexError::Refused {
            place: place.clone(),
            reason,
            remedy: "mend the settings".to_owned(),
        };
        settings.check().map_err(refused)?;
        let transport = Transport::connect(settings).await.map_err(refused)?;
        let gate = Gate::new(settings.min_concurrency, settings.max_concurrency);
        let mut server = Server { settings: settings.clone(), transport, gate, knn: false };
        server.knn = settings.knn && server.has_knn().await?;
        Ok(OpenSearch { server: Arc::new(server) })
    }

    /// Opens the entity's index for writing, and makes it where there is none. Fields that the definitions have and the
    /// index has not are added to it; a field of another type is refused.
    pub async fn open(&self, entity: &Entity, log: &dyn ChangeLog) -> Result<OpenSearchIndex, IndexError> {
        let (table, mapping) = (entity.table(), Mapping::of(entity));
        if let Some(making) = self.server.take(&table, &mapping, true).await? {
            return Ok(self.index(table, mapping, making, true));
        }
        // An index that can't be built whole is not begun: its searches would answer as if it were.
        let failed = |error| self.server.refused("", format!("its log can't be read: {error}"), "mend the log");
        log.open_table(&table).await.map_err(failed)?;
        let extents = log.extents(&table).await.map_err(failed)?;
        if let Some(extent) = extents.iter().find(|extent| extent.start.0 > 0) {
            let reason = format!("there is no index of {table}, and its log begins at offset {} only", extent.start);
            let remedy = "restore the index from a snapshot, or write the items again";
            return Err(self.server.refused(&self.server.read_alias(&table), reason, remedy));
        }
        self.server.make(&table, &mapping).await?;
        match self.server.take(&table, &mapping, true).await? {
            Some(making) => Ok(self.index(table, mapping, making, true)),
            None => Err(self.server.unavailable(&self.server.read_alias(&table), "it was removed at once".to_owned())),
        }
    }

    /// Opens the entity's index for searching, whoever writes it.
    pub async fn open_read_only(&self, entity: &Entity) -> Result<OpenSearchIndex, IndexError> {
        let (table, mapping) = (entity.table(), Mapping::of(entity));
        match self.server.take(&table, &mapping, false).await? {
            Some(making) => Ok(self.index(table, mapping, making, false)),
            None => Err(IndexError::Missing { place: self.server.place(&self.server.read_alias(&table)) }),
        }
    }

    fn index(&self, table: TableName, mapping: Mapping, making: Making, writes: bool) -> OpenSearchIndex {
        let alias = self.server.read_alias(&table);
        let (making, item_size) = (Mutex::new(Arc::new(making)), scan::ItemSize::default());
        let server = self.server.clone();
        OpenSearchIndex { core: Arc::new(Core { server, table, alias, mapping, writes, making, item_size }) }
    }
}

impl OpenSearchIndex {
    pub fn mapping(&self) -> &Mapping {
        &self.core.mapping
    }

    fn making(&self) -> Arc<Making> {
        self.core.making.lock().clone()
    }

    fn writable(&self) -> Result<(), IndexError> {
        let place = || self.core.server.place(&self.core.alias);
        if self.core.writes { Ok(()) } else { Err(IndexError::ReadOnly { place: place() }) }
    }
}

#[async_trait]
impl SearchIndex for OpenSearchIndex {
    async fn apply(&self, flush: Arc<Flush>) -> Result<Applied, IndexError> {
        self.writable()?;
        let (core, making) = (&self.core, self.making());
        let (winners, outcomes) = coalesce(&flush.operations);
        let mut applied = Applied { outcomes, mismatches: 0 };
        if !winners.is_empty() {
            let settled = core.write(&making, &flush, winners).await?;
            core.refresh(&making).await?;
            core.count(&making, &flush, settled, &mut applied).await?;
        }
        core.write_progress(&making, &flush.progress).await?;
        Ok(applied)
    }

    async fn progress(&self) -> Result<Progress, IndexError> {
        let making = self.core.look().await?;
        self.core.read_progress(&making).await
    }

    async fn search(&self, search: &Search) -> Result<Answer, SearchError> {
        self.core.find(&self.making(), search).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Scanned>, IndexError> {
        self.core.read_in_order(&self.making(), after, limit).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, IndexError> {
        self.writable()?;
        self.core.remove_tombstones(&self.making(), before).await
    }
}

impl Core {
    /// Makes what was acknowledged visible to every search. The alias is named too, so that its loss is noticed.
    async fn refresh(&self, making: &Making) -> Result<(), IndexError> {
        #[derive(Deserialize)]
        struct Refreshed {
            #[serde(rename = "_shards")]
            shards: Shards,
        }
        #[derive(Deserialize)]
        struct Shards {
            failed: u32,
        }
        let path = format!("/{},{}/_refresh", self.alias, making.write_alias);
        let reply = self.ask(making, Request::new(Method::POST, &path)).await?;
        match self.parse::<Refreshed>(&reply.body)?.shards.failed {
            0 => Ok(()),
            failed => Err(self.unavailable(format!("{failed} shards did not refresh"))),
        }
    }

    /// Tells repetitions from what is superseded, and documents that can't be taken from those that need not be.
    async fn count(
        &self,
        making: &Making,
        flush: &Flush,
        settled: Vec<Settled>,
        applied: &mut Applied,
    ) -> Result<(), IndexError> {
        let in_question: Vec<String> = settled
            .iter()
            .filter(|settled| !matches!(settled.result, bulk::Result::Applied))
            .map(|settled| flush.operations[settled.at].key.document_id())
            .collect();
        let stored = self.versions(making, &in_question).await?;
        for Settled { at, mismatches, result } in settled {
            let operation = &flush.operations[at];
            let stored = || stored.get(&operation.key.document_id()).copied();
            applied.outcomes[at] = match result {
                bulk::Result::Applied => {
                    applied.mismatches += mismatches;
                    Outcome::Applied
                }
                bulk::Result::Conflict if stored() == Some(operation.version) => Outcome::Duplicate,
                bulk::Result::Conflict => Outcome::Superseded,
                bulk::Result::Poison(_) if stored().is_some_and(|stored| stored > operation.version) => {
                    Outcome::Superseded
                }
                bulk::Result::Poison(reason) => Outcome::Rejected(reason),
            };
        }
        Ok(())
    }

    async fn versions(&self, making: &Making, ids: &[String]) -> Result<HashMap<String, Version>, IndexError> {
        #[derive(Deserialize)]
        struct Documents {
            docs: Vec<Document>,
        }
        #[derive(Deserialize)]
        struct Document {
            #[serde(rename = "_id")]
            id: String,
            #[serde(rename = "_version")]
            version: Option<u64>,
        }
        let mut versions = HashMap::with_capacity(ids.len());
        let path = format!("/{}/_mget?_source=false&filter_path=docs._id,docs._version", making.write_alias);
        for ids in ids.chunks(VERSIONS_AT_ONCE) {
            let reply = self.ask(making, Request::json(Method::POST, &path, &json!({ "ids": ids }))).await?;
            let found = self.parse::<Documents>(&reply.body)?.docs.into_iter();
            versions.extend(found.filter_map(|found| Some((found.id, Version::new(found.version?)?))));
        }
        Ok(versions)
    }

    /// A request that is answered with success, or the error.
    async fn ask(&self, making: &Making, request: Request<'_>) -> Result<Reply, IndexError> {
        let reply = self.server.call(&self.alias, request).await?;
        if reply.status < 300 {
            return Ok(reply);
        }
        match overall(reply.status, &error_of(&reply.body)) {
            Overall::Halt(halt) => Err(self.halted(making, halt).await),
            _ => Err(self.unavailable(named(reply.status, &error_of(&reply.body)))),
        }
    }

    fn parse<T: DeserializeOwned>(&self, body: &[u8]) -> Result<T, IndexError> {
        serde_json::from_slice(body).map_err(|error| self.unavailable(format!("its answer can't be read: {error}")))
    }

    /// What a halting answer means: an index that is missing may have been made anew.
    async fn halted(&self, making: &Making, halt: Halt) -> IndexError {
        if halt == Halt::Missing
            && let Ok(making::Standing::Index { write_alias, .. }) = self.server.find(&self.table).await
            && write_alias != making.write_alias
        {
            return self.replaced();
        }
        self.server.halted(&self.alias, &halt)
    }

    fn replaced(&self) -> IndexError {
        IndexError::Replaced { place: self.server.place(&self.alias) }
    }

    fn refused(&self, reason: String, remedy: &str) -> IndexError {
        self.server.refused(&self.alias, reason, remedy)
    }

    fn unavailable(&self, reason: String) -> IndexError {
        self.server.unavailable(&self.alias, reason)
    }
}

impl Server {
    /// A request that is answered, whatever the answer is. A server that is short of memory or threads is asked again;
    /// nothing that is asked here does more the second time.
    async fn call(&self, name: &str, request: Request<'_>) -> Result<Reply, IndexError> {
        let mut attempt = 0;
        loop {
            let reply = self.transport.send(request.clone()).await.map_err(|trouble| match trouble {
                Trouble::Unanswered(reason) => self.unavailable(name, reason),
                Trouble::TooLarge => self.unavailable(name, "its answer is larger than is read".to_owned()),
                Trouble::Distrusted { reason, remedy } => self.refused(name, reason, remedy),
            })?;
            let passing = reply.status >= 300
                && matches!(
                    overall(reply.status, &error_of(&reply.body)),
                    Overall::Throttled(_) | Overall::Transient(_)
                );
            if !passing || attempt >= self.settings.retries {
                return Ok(reply);
            }
            tokio::time::sleep(self.settings.pause(attempt)).await;
            attempt += 1;
        }
    }

    fn judge(&self, name: &str, reply: &Reply) -> Result<(), IndexError> {
        match overall(reply.status, &error_of(&reply.body)) {
            Overall::Answered => Ok(()),
            Overall::Halt(halt) => Err(self.halted(name, &halt)),
            _ => Err(self.unavailable(name, named(reply.status, &error_of(&reply.body)))),
        }
    }

    fn expect<T: DeserializeOwned>(&self, name: &str, reply: &Reply) -> Result<T, IndexError> {
        self.judge(name, reply)?;
        let unread = |error| self.unavailable(name, format!("its answer can't be read: {error}"));
        serde_json::from_slice(&reply.body).map_err(unread)
    }

    fn halted(&self, name: &str, halt: &Halt) -> IndexError {
        match halt {
            Halt::DiskFull => IndexError::Full { place: self.place(name) },
            halt => self.refused(name, halt.reason(), halt.remedy()),
        }
    }

    fn refused(&self, name: &str, reason: String, remedy: &str) -> IndexError {
        IndexError::Refused { place: self.place(name), reason, remedy: remedy.to_owned() }
    }

    fn unavailable(&self, name: &str, reason: String) -> IndexError {
        IndexError::Unavailable { place: self.place(name), reason }
    }
}
