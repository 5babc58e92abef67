//! The offline sink on a real log and real Delta tables, read back by delta-rs and Parquet.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod columns;
mod conflicts;
mod delivery;
mod evolution;
mod faults;
mod fixture;
mod local;
mod members;
mod place;
mod s3;
mod stores;
mod workers;
