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
//! [`names`], [`roles`], [`layout`], [`audit`], [`document`], [`dsl`], [`verdict`] and [`concurrency`] decide and are
//! pure; [`transport`], [`server`] and [`sign`] speak HTTP; [`bulk`], [`progress`], [`making`], [`building`], [`search`]
//! and [`scan`] do.

mod audit;
mod building;
mod bulk;
pub mod concurrency;
mod document;
mod dsl;
mod gate;
mod layout;
mod making;
pub mod names;
mod progress;
mod roles;
mod scan;
mod search;
mod server;
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
use headwater_common::log::{ChangeLog, Extent, LogId};
use headwater_common::order::Version;
use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;

pub use self::building::{Building, Moved};
use self::bulk::Settled;
use self::gate::Gate;
use self::making::{Making, Wanted};
pub use self::settings::Settings;
use self::transport::{Reply, Request, Transport};
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
    /// The alias that the table is read through, or the index that is being built.
    name: String,
    /// It does not serve yet, and is never gone on from to another.
    building: bool,
    mapping: Mapping,
    /// Of the log; `None` where it was opened for reading only.
    partitions: Option<u16>,
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
        let (_, extents) = self.log_of(&table, log).await?;
        let partitions = Some(extents.len() as u16);
        let wanted = Wanted { table: &table, mapping: &mapping, partitions };
        if let Some(making) = self.server.take(&wanted).await? {
            return Ok(self.index(table, mapping, making, partitions));
        }
        let alias = self.server.read_alias(&table);
        // An index that can't be built whole is not begun: its searches would answer as if it were.
        if let Some(extent) = extents.iter().find(|extent| extent.start.0 > 0) {
            let reason = format!("there is no index of {table}, and its log begins at offset {} only", extent.start);
            let remedy = "restore the index from a snapshot, or build it with `headwater rebuild`, which tells what the \
                          log has lost";
            return Err(self.server.refused(&alias, reason, remedy));
        }
        self.server.make(&wanted).await?;
        match self.server.take(&wanted).await? {
            Some(making) => Ok(self.index(table, mapping, making, partitions)),
            None => Err(self.server.unavailable(&alias, "it was removed at once".to_owned())),
        }
    }

    /// Opens the entity's index for searching, whoever writes it.
    pub async fn open_read_only(&self, entity: &Entity) -> Result<OpenSearchIndex, IndexError> {
        let (table, mapping) = (entity.table(), Mapping::of(entity));
        match self.server.take(&Wanted { table: &table, mapping: &mapping, partitions: None }).await? {
            Some(making) => Ok(self.index(table, mapping, making, None)),
            None => Err(IndexError::Missing { place: self.server.place(&self.server.read_alias(&table)) }),
        }
    }

    /// The table's log, which is made where there is none, and the extents of its partitions.
    async fn log_of(&self, table: &TableName, log: &dyn ChangeLog) -> Result<(LogId, Vec<Extent>), IndexError> {
        let failed = |error| self.server.refused("", format!("its log can't be read: {error}"), "mend the log");
        let id = log.open_table(table).await.map_err(failed)?;
        Ok((id, log.extents(table).await.map_err(failed)?))
    }

    fn index(&self, table: TableName, mapping: Mapping, making: Making, partitions: Option<u16>) -> OpenSearchIndex {
        let (server, name) = (self.server.clone(), self.server.read_alias(&table));
        let (making, item_size) = (Mutex::new(Arc::new(making)), scan::ItemSize::default());
        let core = Core { server, table, name, building: false, mapping, partitions, making, item_size };
        OpenSearchIndex { core: Arc::new(core) }
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
        let place = || self.core.server.place(&self.core.name);
        if self.core.partitions.is_some() { Ok(()) } else { Err(IndexError::ReadOnly { place: place() }) }
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
        match self.core.find(&self.making(), search).await {
            // Another index has come to serve since.
            Err(SearchError::Index(IndexError::Replaced { .. })) => {
                let making = self.core.look().await?;
                self.core.find(&making, search).await
            }
            answered => answered,
        }
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
        let path = match self.building {
            true => format!("/{}/_refresh", making.write_alias),
            false => format!("/{},{}/_refresh", self.name, making.write_alias),
        };
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
        let reply = self.server.call(&self.name, request).await?;
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
        if halt == Halt::Missing && self.building {
            return self.gone();
        }
        if halt == Halt::Missing
            && let Ok(making::Standing::Index { write_alias, .. }) = self.server.find(&self.table).await
            && write_alias != making.write_alias
        {
            return self.replaced();
        }
        self.server.halted(&self.name, &halt)
    }

    fn replaced(&self) -> IndexError {
        IndexError::Replaced { place: self.server.place(&self.name) }
    }

    fn refused(&self, reason: String, remedy: &str) -> IndexError {
        self.server.refused(&self.name, reason, remedy)
    }

    fn unavailable(&self, reason: String) -> IndexError {
        self.server.unavailable(&self.name, reason)
    }
}
