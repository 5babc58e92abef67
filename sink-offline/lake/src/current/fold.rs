//! Folding history into current: which steps, and the commit of each.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_sink_offline::delta::{CommitInfo, Line, Metadata, Protocol};
use headwater_sink_offline::lake::Lake;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::bucket::Buckets;
use super::columns::{BUCKETS_PROPERTY, SOURCE_PROPERTY, buckets_of, current_metadata, file_schema};
use super::settings::Settings;
use super::step::Step;
use super::work::Work;
use crate::error::Error;
use crate::table::log::{Appended, TableLog};
use crate::table::parquet_file::{OpenFile, open};
use crate::table::state::{DataFile, Keep, TableState};

/// What a fold did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Folded {
    /// The version of history that current goes up to now; -1 where there is no history.
    pub until: i64,
    /// Files of history that were read.
    pub files: usize,
    /// Keys that changed.
    pub keys: usize,
    /// Files of current that were written.
    pub written: usize,
    pub rebuilt: bool,
}

/// Keeps one `<table>_current`.
pub struct Fold {
    history: TableLog,
    current: TableLog,
    settings: Settings,
    /// How long files that a fold replaced are kept, for the table's properties.
    retention: Duration,
}

impl Fold {
    pub fn new(lake: &Lake, table: &TableName, settings: Settings, retention: Duration) -> Fold {
        let log = |location| TableLog::new(location, Keep::Bounds);
        Fold { history: log(lake.history(table)), current: log(lake.current(table)), settings, retention }
    }

    /// The versions of history and of current that were seen last.
    pub fn versions(&self) -> (Option<i64>, Option<i64>) {
        let version = |log: &TableLog| log.state().map(|state| state.version);
        (version(&self.history), version(&self.current))
    }

    /// Folds what history has and current has not, in steps. Ends between two steps when `stop` is cancelled.
    pub async fn catch_up(&mut self, now: Timestamp, stop: &CancellationToken) -> Result<Folded, Error> {
        let Some(history) = self.history.refresh().await? else { return Ok(Folded { until: -1, ..Folded::default() }) };
        let source = history.metadata.clone().ok_or_else(|| self.refused("its log has no metadata"))?;
        let mut work = self.begin(&source, now).await?;
        let from = work.from;
        let mut folded = Folded { until: from, ..Folded::default() };
        let same_history = work.source() == Some(&source.id) && from <= history.version;
        if same_history && from == history.version {
            return Ok(folded);
        }
        let appended = match same_history {
            true => self.history.appended(from, history.version).await,
            false => Err(Error::Gone { table: self.history.table().name.clone(), version: from }),
        };
        let done = match appended {
            Ok(appended) => {
                let tail: HashSet<&str> =
                    appended.iter().flat_map(|commit| &commit.files).map(|file| file.path.as_str()).collect();
                let before: Vec<&DataFile> =
                    history.files.values().filter(|file| !tail.contains(file.path.as_str())).collect();
                self.follow(&mut work, &appended, before, &mut folded, stop).await
            }
            Err(error) => Err(error),
        };
        match done {
            Err(error) if error.is_missing_file() => {
                tracing::info!(table = %self.current.table().name, reason = %error, "rebuilding from the whole history");
                work.start_over(&source.id);
                self.rebuild(work, &history, folded, stop).await
            }
            done => done.map(|()| folded),
        }
    }

    /// Commit after commit of history, several to a step.
    async fn follow<'a>(
        &mut self,
        work: &mut Work,
        appended: &'a [Appended],
        mut before: Vec<&'a DataFile>,
        folded: &mut Folded,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let (mut step, mut rows, mut until) = (Vec::new(), 0, work.from);
        let mut read: Vec<&DataFile> = Vec::new();
        for commit in appended {
            let mut opened = Vec::new();
            for file in &commit.files {
                opened.push(open(self.history.table(), file).await?);
            }
            let more: u64 = opened.iter().map(|file| file.rows() as u64).sum();
            if rows + more > self.settings.step_rows && !step.is_empty() {
                self.step(work, std::mem::take(&mut step), &before, folded).await?;
                self.commit(work, until).await?;
                folded.until = until;
                before.append(&mut read);
                rows = 0;
                if stop.is_cancelled() {
                    return Ok(());
                }
            }
            step.append(&mut opened);
            read.extend(&commit.files);
            rows += more;
            until = commit.version;
        }
        self.step(work, step, &before, folded).await?;
        self.commit(work, until).await?;
        folded.until = until;
        Ok(())
    }

    /// From all files that history has now, committed as a whole.
    async fn rebuild(
        &mut self,
        mut work: Work,
        history: &Arc<TableState>,
        mut folded: Folded,
        stop: &CancellationToken,
    ) -> Result<Folded, Error> {
        folded.rebuilt = true;
        // Nearly in the order of versions, so that hardly a row has to be looked for in the files before.
        let mut files: Vec<&DataFile> = history.files.values().collect();
        files.sort_by_key(|file| file.versions.map_or(i64::MAX, |(_, most)| most));
        let (mut step, mut rows, mut before, mut read) = (Vec::new(), 0, Vec::new(), Vec::new());
        for file in files {
            if stop.is_cancelled() {
                return Ok(folded);
            }
            let opened = open(self.history.table(), file).await?;
            let more = opened.rows() as u64;
            if rows + more > self.settings.step_rows && !step.is_empty() {
                self.step(&mut work, std::mem::take(&mut step), &before, &mut folded).await?;
                before.append(&mut read);
                rows = 0;
            }
            step.push(opened);
            read.push(file);
            rows += more;
        }
        self.step(&mut work, step, &before, &mut folded).await?;
        self.commit(&mut work, history.version).await?;
        folded.until = history.version;
        Ok(folded)
    }

    /// Rewrites the buckets that `files` change, without a commit.
    async fn step(
        &self,
        work: &mut Work,
        files: Vec<OpenFile>,
        before: &[&DataFile],
        folded: &mut Folded,
    ) -> Result<(), Error> {
        if files.is_empty() {
            return Ok(());
        }
        folded.files += files.len();
        let schema = file_schema(&work.metadata).map_err(|reason| self.refused(&reason))?;
        let buckets = buckets_of(&work.metadata)
            .ok_or_else(|| self.refused(&format!("its property {BUCKETS_PROPERTY} is no number of buckets")))?;
        let step = Step { history: self.history.table(), schema: &schema, buckets };
        let mut reduced = step.reduce(files, before.iter().copied()).await?;
        let writer = Buckets {
            table: self.current.table(),
            schema: &schema,
            file_bytes: self.settings.file_bytes,
            now: work.now,
        };
        loop {
            let group = step.next(&mut reduced, self.settings.step_bytes).await?;
            if group.is_empty() {
                return Ok(());
            }
            for (bucket, incoming) in group {
                folded.keys += incoming.keys();
                let adds = writer.rewrite(bucket, work.files(bucket), incoming).await?;
                folded.written += adds.len();
                work.replace(bucket, adds);
            }
        }
    }

    /// Commits what the buckets shall consist of, as of version `until` of history.
    async fn commit(&mut self, work: &mut Work, until: i64) -> Result<(), Error> {
        self.current.append(&work.lines(until), |state| work.still(state), |state| work.landed(state, until)).await?;
        work.committed(self.current.state().map(AsRef::as_ref), until);
        Ok(())
    }

    /// The state to start from; makes the table where there is none.
    async fn begin(&mut self, source: &Metadata, now: Timestamp) -> Result<Work, Error> {
        if self.current.refresh().await?.is_none() {
            self.create(source, now).await?;
        }
        let state = self.current.refresh().await?.ok_or_else(|| self.refused("it can't be made"))?;
        Work::new(&state, source, &self.current.table().name, now).map_err(|reason| self.refused(&reason))
    }

    async fn create(&mut self, source: &Metadata, now: Timestamp) -> Result<(), Error> {
        let name = self.current.table().name.clone();
        let made = current_metadata(source, None, &name, self.properties(source), now.as_millis());
        let made = made.map_err(|reason| self.refused(&reason))?;
        let lines: [Line; 3] = [CommitInfo::of("CREATE TABLE", now).into(), Protocol::PLAIN.into(), made.into()];
        let absent = |state: Option<&TableState>| if state.is_none() { Ok(()) } else { Err("the table") };
        match self.current.append(&lines, absent, |_| false).await {
            // Somebody else made it.
            Err(Error::Conflict { .. }) => Ok(()),
            made => made.map(|_| ()),
        }
    }

    fn properties(&self, source: &Metadata) -> BTreeMap<String, Option<String>> {
        let retention = format!("interval {} seconds", self.retention.as_secs().max(1));
        [
            (BUCKETS_PROPERTY, self.settings.buckets.to_string()),
            (SOURCE_PROPERTY, source.id.clone()),
            ("delta.deletedFileRetentionDuration", retention.clone()),
            ("delta.logRetentionDuration", retention),
        ]
        .map(|(name, value)| (name.to_owned(), Some(value)))
        .into()
    }

    fn refused(&self, reason: &str) -> Error {
        Error::Schema { table: self.current.table().name.clone(), reason: reason.to_owned() }
    }
}
