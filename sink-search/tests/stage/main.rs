#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod conformance;
mod differential;
mod embedded;
mod generate;
mod halts;
mod naive;
mod opensearch;
mod pipeline;
mod proxy;
mod query_language;
mod rebuild;
mod scripted;
mod server_faults;
