#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod conformance;
mod differential;
mod embedded;
mod generate;
mod naive;
mod opensearch;
mod pipeline;
mod query_language;
mod scripted;
