//! The stage against a scripted stream and the embedded log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod completeness;
mod embedded_store;
mod errors;
mod gaps;
mod lineage;
mod ownership;
mod stage;
mod trouble;
