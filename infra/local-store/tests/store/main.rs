//! The local store through the AWS SDK, over HTTP, on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod durability;
mod expiry;
mod full_disk;
mod items;
mod layout;
mod process;
mod refusals;
mod scheduling;
mod streams;
mod trimming;
mod world;
