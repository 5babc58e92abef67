//! One table's turn: fold, checkpoints, and now and then the clean-up.

use std::time::Duration;

use delta_kernel::snapshot::Snapshot;
use futures::{StreamExt, TryStreamExt};
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_sink_offline::lake::{Lake, TableLocation};
use object_store::path::Path;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::clean::{LogFile, expired};
use super::settings::Settings;
use super::vacuum::{Found, unreferenced};
use crate::current::{Fold, Folded};
use crate::error::Error;
use crate::table::log::TableLog;
use crate::table::state::Keep;

/// What a turn did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub folded: Folded,
    /// Versions that got a checkpoint: of history, of current.
    pub checkpoints: Vec<i64>,
    /// Files of the logs that were deleted.
    pub log_files_deleted: usize,
    /// Data files that were deleted.
    pub files_deleted: usize,
}

/// Keeps one table.
pub struct Upkeep {
    table: TableName,
    history: TableLocation,
    current: TableLocation,
    settings: Settings,
    fold: Fold,
    cleaned: Option<Timestamp>,
}

impl Upkeep {
    pub fn new(lake: &Lake, table: &TableName, settings: &Settings) -> Upkeep {
        let retention = Duration::from_millis(settings.current_retention_ms);
        Upkeep {
            table: table.clone(),
            history: lake.history(table),
            current: lake.current(table),
            settings: settings.clone(),
            fold: Fold::new(lake, table, settings.current.clone(), retention),
            cleaned: None,
        }
    }

    pub fn table(&self) -> &TableName {
        &self.table
    }

    /// Folds, writes checkpoints that are due, and cleans up where `clean` or the settings say so.
    pub async fn turn(&mut self, now: Timestamp, clean: bool, stop: &CancellationToken) -> Result<Report, Error> {
        let mut report = Report { folded: self.fold.catch_up(now, stop).await?, ..Report::default() };
        let (history, current) = self.fold.versions();
        let Some(history) = history else { return Ok(report) };
        report.checkpoints.extend(self.checkpoint(&self.history, history).await?);
        if let Some(current) = current {
            report.checkpoints.extend(self.checkpoint(&self.current, current).await?);
        }
        let every = Duration::from_millis(self.settings.clean_ms);
        if clean || self.cleaned.is_none_or(|cleaned| now.since(cleaned) >= every) {
            self.clean(now, &mut report).await?;
            self.cleaned = Some(now);
        }
        Ok(report)
    }

    /// Writes a checkpoint of `version` where the last one is long ago.
    async fn checkpoint(&self, table: &TableLocation, version: i64) -> Result<Option<i64>, Error> {
        let last = TableLog::new(table.clone(), Keep::Bounds).hint().await?;
        let since = version - last.map_or(-1, |hint| hint.version);
        if since < self.settings.checkpoint_commits {
            return Ok(None);
        }
        write_checkpoint(table, version).await?;
        tracing::info!(table = table.name, version, "checkpoint written");
        Ok(Some(version))
    }

    async fn clean(&mut self, now: Timestamp, report: &mut Report) -> Result<(), Error> {
        let span = Duration::from_millis;
        let settings = &self.settings;
        let current_before = now.minus(span(settings.current_retention_ms));
        let log_before = now.minus(span(settings.log_retention_ms));
        let folded = report.folded.until;
        report.log_files_deleted += clean_log(&self.history, log_before, folded).await?;
        report.log_files_deleted += clean_log(&self.current, current_before, i64::MAX).await?;
        report.files_deleted += vacuum(&self.history, now.minus(span(settings.history_retention_ms))).await?;
        report.files_deleted += vacuum(&self.current, current_before).await?;
        if report.files_deleted + report.log_files_deleted > 0 {
            let (files, log_files) = (report.files_deleted, report.log_files_deleted);
            tracing::info!(table = %self.table, files, log_files, "cleaned up");
        }
        Ok(())
    }
}

/// By the kernel that delta-rs is built on: what it writes, every engine reads. It goes over the log in batches; the list
/// of files is never in memory as a whole.
async fn write_checkpoint(table: &TableLocation, version: i64) -> Result<(), Error> {
    let failed = |source: deltalake::DeltaTableError| Error::Delta { table: table.name.clone(), source: source.into() };
    let delta = table.delta().map_err(failed)?;
    let engine = delta.log_store().engine(None);
    let (url, version) = (table.url.clone(), u64::try_from(version).unwrap_or_default());
    // The kernel waits for its requests on the thread that calls it.
    let written = tokio::task::spawn_blocking(move || {
        let snapshot = Snapshot::builder_for(url).at_version(version).build(engine.as_ref())?;
        snapshot.checkpoint(engine.as_ref(), None).map(|_| ())
    });
    let written = written.await.map_err(|error| failed(deltalake::DeltaTableError::generic(error.to_string())))?;
    written.map_err(|error| failed(error.into()))
}

/// Deletes what [`expired`] names.
async fn clean_log(table: &TableLocation, before: Timestamp, needed_from: i64) -> Result<usize, Error> {
    let files = list(table, Some(&Path::from("_delta_log"))).await?;
    let files: Vec<_> = files.into_iter().map(|Found { path, written }| LogFile { path, written }).collect();
    delete(table, expired(&files, before, needed_from)).await
}

/// Deletes what [`unreferenced`] names.
async fn vacuum(table: &TableLocation, before: Timestamp) -> Result<usize, Error> {
    // The listing first: whatever was committed until the state is read counts.
    let found = list(table, None).await?;
    let Some(state) = TableLog::new(table.clone(), Keep::Removals).refresh().await? else { return Ok(0) };
    delete(table, unreferenced(&found, &state, before)).await
}

async fn list(table: &TableLocation, prefix: Option<&Path>) -> Result<Vec<Found>, Error> {
    let found = table.store.list(prefix).map_ok(|meta| Found {
        written: Timestamp::from_millis(meta.last_modified.timestamp_millis()),
        path: meta.location,
    });
    let failed = |source| Error::Store { table: table.name.clone(), action: "listing files".to_owned(), source };
    found.try_collect().await.map_err(failed)
}

async fn delete(table: &TableLocation, paths: Vec<Path>) -> Result<usize, Error> {
    let count = paths.len();
    let mut deleted = table.store.delete_stream(futures::stream::iter(paths.into_iter().map(Ok)).boxed());
    while let Some(result) = deleted.next().await {
        match result {
            // Gone already is as good.
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(source) => {
                return Err(Error::Store { table: table.name.clone(), action: "deleting files".to_owned(), source });
            }
        }
    }
    Ok(count)
}
