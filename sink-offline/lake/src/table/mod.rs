//! Delta tables, read and committed to by their log alone.
//!
//! Promises a state that costs one read for each commit since the last one looked at, and commits that are put if absent.
//! Reads tables of reader version 1; refuses others rather than misread them. delta-rs is left for checkpoints.

pub mod checkpoint;
pub mod log;
pub mod parquet_file;
pub mod state;
