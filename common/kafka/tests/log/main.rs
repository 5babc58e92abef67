//! The change log on Kafka, on real brokers.

// Everything here is a test; clippy's own allowance covers only functions that are marked so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod conformance;
mod faults;
mod members;
mod pipeline;
mod security;
mod sinks;
mod topics;
