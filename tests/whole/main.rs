//! The real binary, whole: killed, filled up, asked wrong, written to and read by others.

// Everything here is a test; clippy's own allowance covers only functions that are marked so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[cfg(feature = "kafka")]
mod backlog;
mod canary;
mod cluster;
mod commands;
mod confined;
mod deployment;
mod equal_answers;
mod exposition;
mod full_disk;
mod kills;
mod layers;
mod operations;
mod others;
mod stack;
mod unread;
