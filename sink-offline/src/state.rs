//! A table's state as far as a writer needs it: its newest version, its metadata, its `txn` versions. No list of files,
//! so its size does not grow with the table.
//!
//! Loaded once from the last checkpoint and the commits after it, afterwards advanced commit by commit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use headwater_common::clock::Timestamp;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde::Deserialize;

use crate::checkpoint::checkpoint_lines;
use crate::delta::{Line, Metadata, Protocol, commit_path, lines};
use crate::error::Error;
use crate::lake::TableLocation;
use crate::position::{Txns, is_ours};

/// Commits that are read at once while a table is opened.
const PARALLEL_READS: usize = 16;

#[derive(Clone, Debug)]
pub struct TableState {
    pub version: u64,
    pub protocol: Protocol,
    pub metadata: Metadata,
    pub txns: Txns,
    /// When the newest commit says that it was made.
    pub last_commit: Timestamp,
}

impl TableState {
    /// Takes in the commit after [`TableState::version`].
    pub fn advance(&mut self, commit: impl IntoIterator<Item = Line>) {
        for line in commit {
            note(&line, &mut self.txns, &mut self.last_commit);
            self.protocol = line.protocol.unwrap_or(self.protocol);
            if let Some(metadata) = line.meta_data {
                self.metadata = metadata;
            }
        }
        self.version += 1;
    }
}

fn note(line: &Line, txns: &mut Txns, last_commit: &mut Timestamp) {
    if let Some(txn) = line.txn.as_ref().filter(|txn| is_ours(&txn.app_id)) {
        txns.insert(txn.app_id.clone(), txn.version);
    }
    if let Some(at) = line.commit_info.as_ref().and_then(|info| info.timestamp) {
        *last_commit = Timestamp::from_millis(at).max(*last_commit);
    }
}

/// The table's newest state, or `None` where there is no table yet.
pub async fn load(location: &TableLocation) -> Result<Option<TableState>, Error> {
    let hint = last_checkpoint(location).await?;
    let mut listing = list(location, hint).await?;
    if hint.is_some() && listing.checkpoint().is_none() {
        // The hint is wrong or out of date: it is only a hint.
        listing = list(location, None).await?;
    }
    let corrupt = |reason: String| Error::Corrupt { place: location.to_string(), reason };
    let (mut replay, base) = match listing.checkpoint() {
        Some((version, parts)) => (read_checkpoint(location, parts).await?, Some(version)),
        None if listing.commits.is_empty() => return Ok(None),
        None => (Replay::default(), None),
    };
    let first = base.map_or(0, |base| base + 1);
    let commits: Vec<u64> = listing.commits.iter().copied().filter(|version| *version >= first).collect();
    if let Some(hole) = (first..).zip(&commits).find_map(|(wanted, found)| (wanted != *found).then_some(wanted)) {
        return Err(corrupt(format!("version {hole} is missing from the log")));
    }
    let version = commits.last().copied().or(base).unwrap_or_default();
    let reads = commits.into_iter().map(|version| async move { require_commit(location, version).await });
    let mut bodies = futures::stream::iter(reads).buffered(PARALLEL_READS);
    while let Some(body) = bodies.try_next().await? {
        replay.take(&body).map_err(|error| corrupt(format!("a commit is not JSON: {error}")))?;
    }
    replay.finish(version).map(Some).ok_or_else(|| corrupt("the log has no metadata or no protocol".into()))
}

/// The body of a commit, or `None` where there is none of this version.
pub async fn read_commit(location: &TableLocation, version: u64) -> Result<Option<Bytes>, Error> {
    match get(location, &commit_path(version)).await {
        Ok(body) => Ok(Some(body)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(Error::store(format!("{location} version {version}"), error)),
    }
}

async fn require_commit(location: &TableLocation, version: u64) -> Result<Bytes, Error> {
    let place = || format!("{location} version {version}");
    get(location, &commit_path(version)).await.map_err(|error| Error::store(place(), error))
}

async fn get(location: &TableLocation, path: &Path) -> object_store::Result<Bytes> {
    location.store.get(path).await?.bytes().await
}

#[derive(Default)]
struct Replay {
    protocol: Option<Protocol>,
    metadata: Option<Metadata>,
    txns: Txns,
    last_commit: Timestamp,
}

impl Replay {
    fn take(&mut self, body: &[u8]) -> Result<(), serde_json::Error> {
        for line in lines(body) {
            let line = line?;
            note(&line, &mut self.txns, &mut self.last_commit);
            self.protocol = line.protocol.or(self.protocol);
            self.metadata = line.meta_data.or(self.metadata.take());
        }
        Ok(())
    }

    fn finish(self, version: u64) -> Option<TableState> {
        Some(TableState {
            version,
            protocol: self.protocol?,
            metadata: self.metadata?,
            txns: self.txns,
            last_commit: self.last_commit,
        })
    }
}

#[derive(Deserialize)]
struct LastCheckpoint {
    version: u64,
}

async fn last_checkpoint(location: &TableLocation) -> Result<Option<u64>, Error> {
    match get(location, &Path::from("_delta_log/_last_checkpoint")).await {
        Ok(body) => Ok(serde_json::from_slice::<LastCheckpoint>(&body).ok().map(|hint| hint.version)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(Error::store(format!("{location} last checkpoint"), error)),
    }
}

#[derive(Default)]
struct Listing {
    commits: BTreeSet<u64>,
    /// By version: how many parts it has, and those found.
    checkpoints: BTreeMap<u64, (usize, Vec<Path>)>,
}

impl Listing {
    /// The newest checkpoint of which every part is there.
    fn checkpoint(&self) -> Option<(u64, &[Path])> {
        let whole = self.checkpoints.iter().rev().find(|(_, (parts, found))| *parts == found.len());
        whole.map(|(version, (_, found))| (*version, found.as_slice()))
    }

    /// Takes in a file of the log: `<version>.json`, `<version>.checkpoint.parquet`, or
    /// `<version>.checkpoint.<part>.<parts>.parquet`. Others don't matter to a plain table.
    fn take(&mut self, path: Path) {
        let Some(name) = path.filename().map(str::to_owned) else { return };
        let mut words = name.split('.');
        let Some(version) = words.next().filter(|word| word.len() == 20).and_then(|word| word.parse().ok()) else {
            return;
        };
        let parts = match words.collect::<Vec<_>>()[..] {
            ["json"] => {
                self.commits.insert(version);
                return;
            }
            ["checkpoint", "parquet"] => 1,
            ["checkpoint", _, parts, "parquet"] => match parts.parse() {
                Ok(parts) => parts,
                Err(_) => return,
            },
            _ => return,
        };
        let (known, found) = self.checkpoints.entry(version).or_insert((parts, Vec::new()));
        if *known != parts {
            // Two checkpoints of one version: either is whole by itself, the single file is the simpler.
            if parts > 1 {
                return;
            }
            found.clear();
            *known = parts;
        }
        found.push(path);
    }
}

async fn list(location: &TableLocation, from: Option<u64>) -> Result<Listing, Error> {
    let prefix = Path::from("_delta_log");
    let files = match from {
        Some(version) => {
            location.store.list_with_offset(Some(&prefix), &Path::from(format!("_delta_log/{version:020}")))
        }
        None => location.store.list(Some(&prefix)),
    };
    let mut listing = Listing::default();
    let mut files = files.map_err(|error| Error::store(format!("{location} log"), error));
    while let Some(file) = files.try_next().await? {
        listing.take(file.location);
    }
    Ok(listing)
}

/// Reads the three columns that matter; those of the files are never fetched.
async fn read_checkpoint(location: &TableLocation, parts: &[Path]) -> Result<Replay, Error> {
    let mut replay = Replay::default();
    for part in parts {
        let place = || format!("{location} checkpoint {part}");
        let lines = checkpoint_lines(location.store.clone(), part).await.map_err(|error| match error {
            parquet::errors::ParquetError::External(source) => {
                Error::store(place(), object_store::Error::Generic { store: "lake", source })
            }
            other => Error::Corrupt { place: place(), reason: other.to_string() },
        })?;
        let damaged = |error: serde_json::Error| Error::Corrupt { place: place(), reason: error.to_string() };
        replay.take(&lines).map_err(damaged)?;
    }
    Ok(replay)
}
