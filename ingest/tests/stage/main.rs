//! The stage against a scripted stream, the embedded server and DynamoDB Local.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod commits;
mod completeness;
mod dynamodb_local;
mod embedded_store;
mod errors;
mod gaps;
mod kafka;
mod lineage;
mod ownership;
mod stage;
mod trees;
mod trouble;
