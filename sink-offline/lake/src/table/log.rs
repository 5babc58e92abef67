//! A table's log: its state, kept up to date commit by commit, and commits that are put if absent.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use headwater_sink_offline::delta::{self, Line};
use headwater_sink_offline::lake::TableLocation;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutOptions};

use super::checkpoint::{self, Hint};
use super::state::{DataFile, Keep, TableState};
use crate::error::Error;

/// Commits read at once while catching up.
const READ_AHEAD: usize = 16;
/// Attempts at a commit while others commit what does not touch it.
const ATTEMPTS: u32 = 100;

/// One table's log, with the state at the last version looked at.
pub struct TableLog {
    table: TableLocation,
    keep: Keep,
    state: Option<Arc<TableState>>,
}

/// The files that one commit added with new rows.
#[derive(Clone, Debug)]
pub struct Appended {
    pub version: i64,
    pub files: Vec<DataFile>,
}

impl TableLog {
    pub fn new(table: TableLocation, keep: Keep) -> TableLog {
        TableLog { table, keep, state: None }
    }

    pub fn table(&self) -> &TableLocation {
        &self.table
    }

    /// The state at the last refresh.
    pub fn state(&self) -> Option<&Arc<TableState>> {
        self.state.as_ref()
    }

    /// The table's newest state; `None` where there is no table yet.
    pub async fn refresh(&mut self) -> Result<Option<Arc<TableState>>, Error> {
        let known = self.advance().await? || !self.overtaken().await?;
        if !known {
            self.state = self.load().await?;
        }
        Ok(self.state.clone())
    }

    /// Reads the commits after the state's version; whether there was one.
    async fn advance(&mut self) -> Result<bool, Error> {
        let Some(state) = self.state.take() else { return Ok(false) };
        let from = state.version;
        // In place where nobody else holds the state.
        let mut state = Arc::unwrap_or_clone(state);
        let advanced = self.catch_up(&mut state).await;
        if advanced.is_ok() {
            self.state = Some(Arc::new(state));
        }
        advanced?;
        Ok(self.state.as_ref().is_some_and(|state| state.version > from))
    }

    /// Whether the log went on and the commits that led there are cleaned up.
    async fn overtaken(&self) -> Result<bool, Error> {
        let Some(state) = &self.state else { return Ok(true) };
        Ok(self.hint().await?.is_some_and(|hint| hint.version > state.version))
    }

    async fn load(&self) -> Result<Option<Arc<TableState>>, Error> {
        let mut state = match self.newest_checkpoint().await? {
            Some(hint) => checkpoint::read(&self.table, hint, self.keep).await?,
            None => TableState { version: -1, ..TableState::default() },
        };
        self.catch_up(&mut state).await?;
        Ok((state.version >= 0).then(|| Arc::new(state)))
    }

    async fn newest_checkpoint(&self) -> Result<Option<Hint>, Error> {
        if let Some(hint) = self.hint().await? {
            return Ok(Some(hint));
        }
        if self.commit(0).await?.is_some() {
            return Ok(None);
        }
        // Neither a hint nor a start: a table that was cleaned up, or none.
        let folder = Path::from("_delta_log");
        let mut listing = self.table.store.list(Some(&folder));
        let mut newest: Option<Hint> = None;
        while let Some(meta) = listing.try_next().await.map_err(|source| self.failed("listing the log", source))? {
            let hint = meta.location.filename().and_then(Hint::from_name);
            if hint.is_some_and(|hint| newest.is_none_or(|known| hint.version > known.version)) {
                newest = hint;
            }
        }
        Ok(newest)
    }

    /// `_last_checkpoint`, where there is one that can be read; it is a hint only.
    pub async fn hint(&self) -> Result<Option<Hint>, Error> {
        let body = self.get(&Path::from("_delta_log/_last_checkpoint")).await?;
        Ok(body.and_then(|body| serde_json::from_slice(&body).ok()))
    }

    async fn catch_up(&self, state: &mut TableState) -> Result<(), Error> {
        // One read tells an idle table; only a busy one is worth reading ahead.
        let Some(first) = self.commit(state.version + 1).await? else { return Ok(()) };
        self.apply(state, first)?;
        let next = state.version + 1;
        let mut commits =
            futures::stream::iter(next..).map(|version| async move { self.commit(version).await }).buffered(READ_AHEAD);
        while let Some(commit) = commits.next().await {
            match commit? {
                Some(lines) => self.apply(state, lines)?,
                None => break,
            }
        }
        Ok(())
    }

    fn apply(&self, state: &mut TableState, lines: Vec<Line>) -> Result<(), Error> {
        for line in lines {
            let applied = state.apply(line, self.keep);
            applied.map_err(|reason| Error::Unsupported { table: self.table.name.clone(), reason })?;
        }
        state.version += 1;
        Ok(())
    }

    async fn commit(&self, version: i64) -> Result<Option<Vec<Line>>, Error> {
        let Some(body) = self.get(&commit_path(version)).await? else { return Ok(None) };
        let damaged = |reason: String| Error::Damaged { table: self.table.name.clone(), version, reason };
        delta::lines(&body).collect::<Result<_, _>>().map(Some).map_err(|error| damaged(error.to_string()))
    }

    async fn get(&self, path: &Path) -> Result<Option<bytes::Bytes>, Error> {
        match self.table.store.get(path).await {
            Ok(found) => {
                found.bytes().await.map(Some).map_err(|source| self.failed(&format!("reading {path}"), source))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(source) => Err(self.failed(&format!("reading {path}"), source)),
        }
    }

    /// What the commits after `after` up to `until` appended, oldest first. [`Error::Gone`] where the log does not say
    /// any more, or where rows were removed: then only the table as a whole tells.
    pub async fn appended(&self, after: i64, until: i64) -> Result<Vec<Appended>, Error> {
        let mut appended = Vec::new();
        let mut commits = futures::stream::iter(after + 1..=until)
            .map(|version| async move { (version, self.commit(version).await) })
            .buffered(READ_AHEAD);
        while let Some((version, lines)) = commits.next().await {
            let gone = || Error::Gone { table: self.table.name.clone(), version };
            let lines = lines?.ok_or_else(gone)?;
            if lines.iter().filter_map(|line| line.remove.as_ref()).any(|remove| remove.data_change) {
                return Err(gone());
            }
            let adds = lines.into_iter().filter_map(|line| line.add).filter(|add| add.data_change);
            appended.push(Appended { version, files: adds.map(|add| DataFile::of(add, self.keep)).collect() });
        }
        Ok(appended)
    }

    /// Commits `lines` at the next free version. `still` is asked for the state that the commit would follow, and refuses
    /// with the name of what it rests on and was changed; `landed` tells in a state whether this commit is in it, for
    /// when the store's answer was lost.
    pub async fn append(
        &mut self,
        lines: &[Line],
        still: impl Fn(Option<&TableState>) -> Result<(), &'static str>,
        landed: impl Fn(&TableState) -> bool,
    ) -> Result<i64, Error> {
        let body = bytes::Bytes::from(delta::body(lines).map_err(|error| self.schema(&error.to_string()))?);
        for _ in 0..ATTEMPTS {
            let conflict = |what| Error::Conflict { table: self.table.name.clone(), what };
            still(self.state.as_deref()).map_err(conflict)?;
            let version = self.state.as_ref().map_or(0, |state| state.version + 1);
            let create = PutOptions::from(PutMode::Create);
            let put = self.table.store.put_opts(&commit_path(version), body.clone().into(), create).await;
            let Err(source) = put else {
                self.take_in(lines)?;
                return Ok(version);
            };
            // Whatever the answer was, the log knows.
            match self.refresh().await {
                Ok(Some(state)) if landed(&state) => return Ok(state.version),
                Ok(_) if matches!(source, object_store::Error::AlreadyExists { .. }) => continue,
                _ => return Err(self.failed(&format!("committing version {version}"), source)),
            }
        }
        Err(Error::Conflict { table: self.table.name.clone(), what: "the log, at every attempt," })
    }

    /// The commit that this side just made, without reading it.
    fn take_in(&mut self, lines: &[Line]) -> Result<(), Error> {
        let none = || TableState { version: -1, ..TableState::default() };
        let mut state = self.state.take().map_or_else(none, Arc::unwrap_or_clone);
        self.apply(&mut state, lines.to_vec())?;
        self.state = Some(Arc::new(state));
        Ok(())
    }

    pub(crate) fn failed(&self, action: &str, source: object_store::Error) -> Error {
        Error::Store { table: self.table.name.clone(), action: action.to_owned(), source }
    }

    fn schema(&self, reason: &str) -> Error {
        Error::Schema { table: self.table.name.clone(), reason: reason.to_owned() }
    }
}

/// Of a version that there can be: there is none before 0.
pub fn commit_path(version: i64) -> Path {
    delta::commit_path(version.unsigned_abs())
}

/// The version of a commit's file.
pub fn commit_version(name: &str) -> Option<i64> {
    name.strip_suffix(".json").filter(|digits| digits.len() == 20)?.parse().ok()
}
