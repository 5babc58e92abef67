//! Rows that wait for their commit, as columns.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, TimestampMicrosecondArray};
use headwater_common::clock::Timestamp;

use crate::error::Error;
use crate::plan::Plan;
use crate::schema::{COMMIT_TS, UTC};

/// Rows that are whole but for the time of their commit.
#[derive(Clone, Default)]
pub struct Gathered {
    chunks: Vec<Chunk>,
    pub rows: usize,
    /// Bytes held, about.
    pub bytes: usize,
}

#[derive(Clone)]
struct Chunk {
    plan: Arc<Plan>,
    columns: Vec<ArrayRef>,
    rows: usize,
}

impl Gathered {
    pub(crate) fn new(plan: Arc<Plan>, columns: Vec<ArrayRef>, rows: usize, bytes: usize) -> Gathered {
        Gathered { chunks: vec![Chunk { plan, columns, rows }], rows, bytes }
    }

    pub fn append(&mut self, other: Gathered) {
        self.chunks.extend(other.chunks.into_iter().filter(|chunk| chunk.rows > 0));
        self.rows += other.rows;
        self.bytes += other.bytes;
    }

    /// The rows as known to the lake since `commit_ts`, in batches of one schema.
    pub fn stamped(&self, commit_ts: Timestamp) -> Result<Vec<RecordBatch>, Error> {
        self.chunks.iter().map(|chunk| chunk.stamped(commit_ts)).collect()
    }
}

impl Chunk {
    fn stamped(&self, commit_ts: Timestamp) -> Result<RecordBatch, Error> {
        let schema = self.plan.schema.file();
        let at = schema.index_of(COMMIT_TS).map_err(|error| Error::Encode(error.to_string()))?;
        let stamps = TimestampMicrosecondArray::from_value(commit_ts.as_micros(), self.rows).with_timezone(UTC);
        let mut columns = self.columns.clone();
        columns.insert(at, Arc::new(stamps));
        RecordBatch::try_new(schema.clone(), columns).map_err(|error| Error::Encode(error.to_string()))
    }
}
