//! What a query gives.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;

/// The rows of a query, at most as many as the settings allow.
#[derive(Clone, Debug)]
pub struct SqlAnswer {
    pub schema: SchemaRef,
    pub batches: Vec<RecordBatch>,
    /// There were more rows than the settings allow.
    pub truncated: bool,
    /// For each table asked: everything written before is in the answer. `None` where that is not known yet.
    pub as_of: BTreeMap<TableName, Option<Timestamp>>,
}

impl SqlAnswer {
    pub fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}
