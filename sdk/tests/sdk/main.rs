//! The SDK against the embedded server, over HTTP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod batch;
mod failures;
mod newest;
mod reads;
mod relay;
mod support;
mod tables;
