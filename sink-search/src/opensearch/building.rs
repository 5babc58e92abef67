//! An index that is built beside the one that serves, and the moment when it comes to serve.
//!
//! Promises that the index that serves is untouched before the one call that moves the table; that whoever builds can be
//! killed at any moment, and what is left is found by its alias and gone on with, or removed, by the next; that of two
//! who build at once one moves the table, and the other hears of it. Assumes that the index was compared with its source
//! before the move: nothing here does.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::definition::Entity;
use headwater_common::log::{ChangeLog, Extent, LogId, Offset};
use parking_lot::Mutex;
use reqwest::Method;
use serde_json::json;

use super::audit::audit;
use super::layout::Layout;
use super::making::{Making, Standing, Wanted};
use super::roles::{self, Known, Role};
use super::transport::Request;
use super::verdict::{Halt, Overall, error_of, overall};
use super::{Core, OpenSearch, OpenSearchIndex, Server, names, scan};
use crate::index::{IndexError, PartitionProgress, Progress, SearchIndex};
use crate::mapping::Mapping;

/// Calls that may be made for one move, each after the table's indexes were found to be others than before.
const TRIES: usize = 5;

/// An index that is being built. It does not serve: nobody finds it who does not hold this.
pub struct Building {
    core: Arc<Core>,
    build_alias: String,
    /// An earlier rebuild has begun it.
    pub resumed: bool,
    /// What serves meanwhile.
    pub serving: Option<String>,
    /// Partitions whose first records the log does not hold any more, and where they begin now.
    pub lost: BTreeMap<u16, Offset>,
    /// Where reading begins, and where the log ended when it was looked at.
    pub extents: Vec<Extent>,
}

/// What came of a move.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Indexes that served and stay, without any alias of the table's.
    pub kept: Vec<String>,
    pub removed: Vec<String>,
    /// Indexes that could not be removed, and why: the next rebuild removes them.
    pub left: Vec<(String, String)>,
}

impl OpenSearch {
    /// An index for the same table beside the one that serves, by these definitions: what an earlier rebuild left, as
    /// far as it can be gone on with and `anew` does not forbid it, or a new one. Everything else that earlier rebuilds
    /// left is removed.
    pub async fn build_beside(&self, entity: &Entity, log: &dyn ChangeLog, anew: bool) -> Result<Building, IndexError> {
        let (table, mapping, server) = (entity.table(), Mapping::of(entity), &self.server);
        let (id, extents) = self.log_of(&table, log).await?;
        let partitions = Some(extents.len() as u16);
        let wanted = Wanted { table: &table, mapping: &mapping, partitions };
        let known = server.indexes(&table).await?;
        let serving = server.serving(&wanted, &known).await?;
        let left = if anew { None } else { server.left(&wanted, &known, &id, &extents).await? };
        let resumed = left.is_some();
        let core = match left {
            Some(core) => core,
            None => server.begin(&wanted, &known).await?,
        };
        let lost = (0..).zip(&extents).filter(|(_, extent)| extent.start.0 > 0);
        let lost = lost.map(|(partition, extent)| (partition, extent.start)).collect();
        let build_alias = core.making.lock().write_alias.clone();
        core.sow(&id, &extents).await?;
        server.tidy(&known, &core.name).await?;
        Ok(Building { core, build_alias, resumed, serving, lost, extents })
    }
}

impl Building {
    /// The index's name.
    pub fn name(&self) -> &str {
        &self.core.name
    }

    /// To be filled and compared. Every use of it fails once the index serves or is removed.
    pub fn index(&self) -> Arc<dyn SearchIndex> {
        Arc::new(OpenSearchIndex { core: self.core.clone() })
    }

    /// Records that the index that serves holds and this one does not: a search after the move would not find them for
    /// a moment. None where the one that serves can't say what it holds, or was built from another log.
    pub async fn behind(&self) -> Result<u64, IndexError> {
        let (core, making) = (&self.core, self.core.look().await?);
        let Ok(Standing::Index { write_alias, .. }) = core.server.find(&core.table).await else { return Ok(0) };
        let layout = Layout::of(&core.mapping, core.server.knn);
        let theirs = Making { write_alias, layout, partitions: making.partitions, held: Mutex::default() };
        // Before ours: what it writes while ours is read is no delay of ours.
        let theirs = core.read_progress(&theirs).await;
        let mine = core.read_progress(&making).await?;
        let theirs = match theirs {
            Ok(theirs) if theirs.log == mine.log => theirs,
            _ => return Ok(0),
        };
        let next = |progress: &Progress, partition| progress.partitions.get(partition).map_or(0, |at| at.next.0);
        Ok(theirs.partitions.keys().map(|at| next(&theirs, at).saturating_sub(next(&mine, at))).sum())
    }

    /// Lets this index serve the table, by one call: the read alias leads to it, and it gets a write alias; whatever
    /// served before has neither, so that its writers go over. What served is removed unless it is to be kept.
    pub async fn take_over(&self, keep: bool) -> Result<Moved, IndexError> {
        let (core, server, name) = (&self.core, &self.core.server, self.name());
        let (alias, write_alias) = (server.read_alias(&core.table), names::write_alias(name, rand::random()));
        let (mut replaced, mut tries) = (Vec::new(), 0);
        // An answer may be lost, or that of a second try: what is, counts.
        while !self.serves(&write_alias).await {
            if tries == TRIES {
                return Err(core.unavailable("its aliases change all the time".to_owned()));
            }
            tries += 1;
            let known = server.indexes(&core.table).await?;
            let built = Role::Builds { build_alias: self.build_alias.clone() };
            if !known.iter().any(|known| known.name == name && known.role == built) {
                return Err(core.gone());
            }
            let actions;
            (actions, replaced) = roles::moves(&known, (name, &self.build_alias), &alias, &write_alias, keep);
            if let Err(error) = server.change_aliases(name, actions).await
                && !self.serves(&write_alias).await
            {
                return Err(error);
            }
        }
        let mut moved = Moved::default();
        for (index, kept) in replaced {
            match kept {
                true => moved.kept.push(index),
                false => match server.remove(&index).await {
                    Ok(()) => moved.removed.push(index),
                    Err(error) => moved.left.push((index, error.to_string())),
                },
            }
        }
        Ok(moved)
    }

    async fn serves(&self, write_alias: &str) -> bool {
        let found = self.core.server.find(&self.core.table).await;
        matches!(found, Ok(Standing::Index { write_alias: found, .. }) if found == write_alias)
    }
}

impl Core {
    /// Whether the log can still continue what is there.
    async fn goes_on(&self, log: &LogId, extents: &[Extent]) -> Result<bool, IndexError> {
        let making = self.making.lock().clone();
        let held = self.read_progress(&making).await?;
        let within = |(partition, extent): (u16, &Extent)| {
            held.partitions.get(&partition).is_some_and(|at| extent.start <= at.next && at.next <= extent.end)
        };
        let nothing = held.log.is_none();
        Ok(nothing || (held.log.as_ref() == Some(log) && (0..).zip(extents).all(within)))
    }

    /// Notes where reading begins: at the log's start, wherever that is by now. What is there already stays.
    async fn sow(&self, log: &LogId, extents: &[Extent]) -> Result<(), IndexError> {
        let making = self.making.lock().clone();
        let begin = |extent: &Extent| PartitionProgress { next: extent.start, complete_until: None };
        let partitions = (0..).zip(extents).map(|(partition, extent)| (partition, begin(extent))).collect();
        let progress = Progress { log: Some(log.clone()), of: extents.len() as u16, partitions };
        self.write_progress(&making, &progress).await
    }
}

impl Server {
    /// What serves the table, which must not be another table's.
    async fn serving(&self, wanted: &Wanted<'_>, known: &[Known]) -> Result<Option<String>, IndexError> {
        let mut serving = known.iter().filter(|known| matches!(known.role, Role::Serves { .. }));
        let Some(first) = serving.next() else { return Ok(None) };
        let alias = self.read_alias(wanted.table);
        if serving.next().is_some() {
            let remedy = "leave it the one that is to be read";
            return Err(self.refused(&alias, "the alias leads to several indexes".to_owned(), remedy));
        }
        let meta = self.describe(&alias, &first.name).await?.meta();
        match meta.is_some_and(|meta| meta.table != wanted.table.as_str()) {
            true => Err(self.not_of(wanted.table, &first.name)),
            false => Ok(Some(first.name.clone())),
        }
    }

    /// What an earlier rebuild left and can be gone on with.
    async fn left(
        self: &Arc<Server>,
        wanted: &Wanted<'_>,
        known: &[Known],
        log: &LogId,
        extents: &[Extent],
    ) -> Result<Option<Arc<Core>>, IndexError> {
        for known in known.iter().rev() {
            let Role::Builds { build_alias } = &known.role else { continue };
            let reason = match self.other_than_wanted(wanted, &known.name, build_alias).await? {
                Some(reason) => reason,
                None => {
                    let core = self.built(wanted, &known.name, self.making(wanted, build_alias.clone()));
                    if core.goes_on(log, extents).await? {
                        return Ok(Some(core));
                    }
                    "the log can't continue it".to_owned()
                }
            };
            tracing::warn!(table = %wanted.table, index = known.name, reason, "what an earlier rebuild left is removed");
        }
        Ok(None)
    }

    /// In what the index is not as it would be made now.
    async fn other_than_wanted(
        &self,
        wanted: &Wanted<'_>,
        index: &str,
        build_alias: &str,
    ) -> Result<Option<String>, IndexError> {
        let (found, meta) = (self.describe(index, index).await?, self.meta(wanted));
        if found.meta().as_ref() != Some(&meta) {
            return Ok(Some("it was begun for other definitions".to_owned()));
        }
        let shards = found.settings.get("index.number_of_shards").and_then(serde_json::Value::as_str);
        if shards != Some(self.settings.shards.to_string().as_str()) {
            return Ok(Some("it was begun with another number of shards".to_owned()));
        }
        let layout = Layout::of(wanted.mapping, self.knn);
        let audited = audit(&found, &layout.mapping_json(wanted.mapping, &meta), None, build_alias);
        Ok(audited.err().map(|fault| fault.reason))
    }

    /// Makes a new index that only its build alias leads to.
    async fn begin(self: &Arc<Server>, wanted: &Wanted<'_>, known: &[Known]) -> Result<Arc<Core>, IndexError> {
        let index = names::index(&self.settings.prefix, wanted.table.as_str(), roles::next_generation(known));
        let build_alias = names::build_alias(&index, rand::random());
        if !self.put(wanted, &index, json!({ build_alias.clone(): {} })).await? {
            // A first try whose answer was lost may have made it.
            let ours = |known: &Known| known.role == Role::Builds { build_alias: build_alias.clone() };
            if !self.indexes(wanted.table).await?.iter().any(ours) {
                let reason = "another rebuild has just begun".to_owned();
                return Err(self.refused(&index, reason, "let one rebuild of a table run at a time"));
            }
        }
        Ok(self.built(wanted, &index, self.making(wanted, build_alias)))
    }

    fn making(&self, wanted: &Wanted<'_>, write_alias: String) -> Making {
        let (layout, partitions) = (Layout::of(wanted.mapping, self.knn), wanted.partitions.unwrap_or(0));
        Making { write_alias, layout, partitions, held: Mutex::default() }
    }

    fn built(self: &Arc<Server>, wanted: &Wanted<'_>, index: &str, making: Making) -> Arc<Core> {
        Arc::new(Core {
            server: self.clone(),
            table: wanted.table.clone(),
            name: index.to_owned(),
            building: true,
            mapping: wanted.mapping.clone(),
            partitions: wanted.partitions,
            making: Mutex::new(Arc::new(making)),
            item_size: scan::ItemSize::default(),
        })
    }

    /// Removes what earlier rebuilds left, but `except`. What is still built is retired first: if it has come to serve
    /// meanwhile it stays.
    async fn tidy(&self, known: &[Known], except: &str) -> Result<(), IndexError> {
        for known in known.iter().filter(|known| known.name != except) {
            let retired = match &known.role {
                Role::Retired => true,
                Role::Builds { build_alias } => {
                    self.change_aliases(&known.name, roles::retires(&known.name, build_alias)).await?
                }
                Role::Serves { .. } | Role::Kept | Role::Astray { .. } => false,
            };
            if retired {
                self.remove(&known.name).await?;
            }
        }
        Ok(())
    }

    /// All of the actions or none; false where an index or an alias that they take away is not there.
    async fn change_aliases(&self, name: &str, actions: Vec<serde_json::Value>) -> Result<bool, IndexError> {
        let request = Request::json(Method::POST, "/_aliases", &json!({ "actions": actions }));
        let reply = self.call(name, request).await?;
        match overall(reply.status, &error_of(&reply.body)) {
            Overall::Halt(Halt::Missing) => Ok(false),
            Overall::Halt(Halt::Other { status: 400, kind }) if kind == "illegal_argument_exception" => Ok(false),
            _ => self.judge(name, &reply).map(|()| true),
        }
    }

    /// Only what no alias of ours leads to any more. It may be gone already.
    async fn remove(&self, index: &str) -> Result<(), IndexError> {
        let path = format!("/{index}");
        let reply = self.call(index, Request::new(Method::DELETE, &path)).await?;
        if reply.status == 404 { Ok(()) } else { self.judge(index, &reply) }
    }
}
