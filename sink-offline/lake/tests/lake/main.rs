//! The lake kept and asked, against real files. History is written by the offline sink's own encoder and committer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod asking;
mod fixture;
mod folding;
mod keeping;
mod pipeline;
// The sink's tests use more of it.
#[allow(dead_code)]
#[path = "../../../tests/stage/place.rs"]
mod place;
mod store;
