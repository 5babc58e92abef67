//! What verification asks: every live row, how many there are, how far the table is complete.

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use datafusion::prelude::{DataFrame, ident};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_sink_offline::schema;

use super::error::QueryError;
use super::reader::LakeReader;

/// A live item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveRow {
    /// Canonical key bytes as base64url.
    pub key: String,
    pub version: i64,
    /// DynamoDB JSON.
    pub item: String,
}

impl LakeReader {
    /// Every live item of one snapshot, in no order, a batch at a time. The snapshot's files stay for as long as vacuum's
    /// retention.
    pub async fn live_rows(
        &self,
        table: &TableName,
    ) -> Result<BoxStream<'static, Result<LiveRow, QueryError>>, QueryError> {
        let memory = self.settings.memory_bytes;
        let failed = move |error| QueryError::of(error, memory);
        let columns = [schema::KEY, schema::VERSION, schema::ITEM].map(ident);
        let frame = self.live(table).await?.select(columns).map_err(failed)?;
        let batches = frame.execute_stream().await.map_err(failed)?;
        let rows = batches.map(move |batch| {
            let rows = rows_of(&batch.map_err(failed)?);
            let rows = rows.ok_or_else(|| QueryError::Failed("current has other columns".to_owned()))?;
            Ok::<_, QueryError>(futures::stream::iter(rows.into_iter().map(Ok)))
        });
        Ok(rows.try_flatten().boxed())
    }

    /// Live items.
    pub async fn row_count(&self, table: &TableName) -> Result<u64, QueryError> {
        let counted = self.live(table).await?.count().await;
        counted.map(|rows| rows as u64).map_err(|error| QueryError::of(error, self.settings.memory_bytes))
    }

    /// Rows of the history, dead letters among them; none where nothing was ever committed.
    pub async fn history_rows(&self, table: &TableName) -> Result<u64, QueryError> {
        self.entity(table)?;
        let snapshot = match self.snapshot(table).await {
            Ok(snapshot) => snapshot,
            Err(QueryError::Empty { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let engine = self.engine()?;
        let failed = |error| QueryError::of(error, self.settings.memory_bytes);
        let history = snapshot.history_table().map_err(|error| self.view_failed(error))?;
        let counted = engine.read_table(history).map_err(failed)?.count().await;
        counted.map(|rows| rows as u64).map_err(failed)
    }

    /// Everything written before is in the lake, durably; `None` where that is not known yet.
    pub async fn complete_until(&self, table: &TableName) -> Result<Option<Timestamp>, QueryError> {
        self.entity(table)?;
        match self.snapshot(table).await {
            Ok(snapshot) => Ok(snapshot.complete_until()),
            Err(QueryError::Empty { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn live(&self, table: &TableName) -> Result<DataFrame, QueryError> {
        self.entity(table)?;
        let engine = self.engine()?;
        let live = self.snapshot(table).await?.live_table(&engine).await;
        let live = live.map_err(|error| self.view_failed(error))?;
        engine.read_table(live).map_err(|error| QueryError::of(error, self.settings.memory_bytes))
    }
}

fn rows_of(batch: &RecordBatch) -> Option<Vec<LiveRow>> {
    let keys = batch.column_by_name(schema::KEY)?.as_string_opt::<i32>()?;
    let versions = batch.column_by_name(schema::VERSION)?.as_primitive_opt::<Int64Type>()?;
    let items = batch.column_by_name(schema::ITEM)?.as_string_opt::<i32>()?;
    let row = |row| LiveRow {
        key: keys.value(row).to_owned(),
        version: versions.value(row),
        item: items.value(row).to_owned(),
    };
    Some((0..batch.num_rows()).map(row).collect())
}
