//! The change log: one conformance suite for every implementation, and kills of a process that writes to one.

// Everything here is a test; clippy's own allowance covers only functions that are marked so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod embedded;
mod full_disk;
mod kills;
#[path = "../../../tests/src/small_disk.rs"]
mod small_disk;
