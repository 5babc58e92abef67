//! The tables that a query sees: `<table>_history`, `<table>_current`, and `<table>`, which is current with the tail of
//! history folded in while it is read.

use std::sync::Arc;

use arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::error::DataFusionError;
use datafusion::prelude::{DataFrame, SessionContext, ident};
use headwater_sink_offline::delta::Metadata;
use headwater_sink_offline::schema;

use super::changed::unchanged;
use super::provider::{FilesTable, ScanFile, whole};
use super::snapshot::Snapshot;
use crate::current::{arrow_schema, current_metadata, file_schema};
use crate::error::Error;
use crate::newest::{Newest, selection};
use crate::table::state::TableState;

#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    #[error(transparent)]
    Lake(#[from] Error),
    #[error(transparent)]
    Engine(#[from] DataFusionError),
}

impl Snapshot {
    pub fn history_table(&self) -> Result<Arc<dyn TableProvider>, ViewError> {
        let metadata = self.metadata(&self.history)?;
        let schema = arrow_schema(metadata).map_err(|reason| self.refused(reason))?;
        let files = whole(self.history.files.values());
        Ok(Arc::new(FilesTable::new(&self.history_at, &schema, &metadata.partition_columns, files)?))
    }

    /// As the last fold left it; without rows where there is none.
    pub fn current_table(&self) -> Result<Arc<dyn TableProvider>, ViewError> {
        let metadata = self.current_columns()?;
        let schema = arrow_schema(&metadata).map_err(|reason| self.refused(reason))?;
        let files = self.current.iter().flat_map(|current| current.files.values());
        Ok(Arc::new(FilesTable::new(&self.current_at, &schema, &metadata.partition_columns, whole(files))?))
    }

    /// One row for each item that lives at the snapshot.
    pub async fn live_table(&self, engine: &SessionContext) -> Result<Arc<dyn TableProvider>, ViewError> {
        let metadata = self.current_columns()?;
        let schema = file_schema(&metadata).map_err(|reason| self.refused(reason))?;
        let columns = || schema.fields().iter().map(|field| ident(field.name())).collect::<Vec<_>>();
        let current = engine.read_table(self.current_table()?)?.select(columns())?;
        let newest = self.newest().await?;
        let live = match newest.by_key.is_empty() {
            true => current,
            false => {
                let tail = self.tail_rows(engine, &schema, &newest)?.select(columns())?;
                let changed = newest.by_key.into_keys().collect();
                current.filter(unchanged(ident(schema::KEY), changed))?.union(tail)?
            }
        };
        Ok(Arc::new(ViewTable::new(live.into_unoptimized_plan(), None)))
    }

    /// The rows of live items in the tail, read where they lie.
    fn tail_rows(&self, engine: &SessionContext, schema: &Schema, newest: &Newest) -> Result<DataFrame, ViewError> {
        let rows = newest.live_rows();
        let scans = newest.files.iter().zip(&rows).filter(|(_, rows)| !rows.is_empty()).map(|(file, rows)| {
            let rows = selection(rows.iter().map(|(row, _)| *row), file.rows());
            ScanFile { file: file.file.clone(), rows: Some(rows) }
        });
        let table = FilesTable::new(&self.history_at, schema, &[], scans.collect())?;
        Ok(engine.read_table(Arc::new(table))?)
    }

    /// Current's columns, with those that history got since.
    fn current_columns(&self) -> Result<Metadata, ViewError> {
        let source = self.metadata(&self.history)?;
        let old = self.current.as_deref().and_then(|current| current.metadata.as_ref());
        let metadata = current_metadata(source, old, &self.current_at.name, Default::default(), 0);
        Ok(metadata.map_err(|reason| self.refused(reason))?)
    }

    fn metadata<'a>(&self, state: &'a TableState) -> Result<&'a Metadata, Error> {
        state.metadata.as_ref().ok_or_else(|| self.refused("its log has no metadata".to_owned()))
    }

    fn refused(&self, reason: String) -> Error {
        Error::Schema { table: self.history_at.name.clone(), reason }
    }
}
