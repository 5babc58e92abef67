#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod conformance;
mod differential;
mod embedded;
mod generate;
mod naive;
mod pipeline;
mod query_language;
mod scripted;
