#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod data;
mod features;
mod replay;
