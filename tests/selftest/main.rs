//! The harness against real parts: an embedded DynamoDB-compatible server behind a proxy that cuts connections, Delta
//! tables made by the library that the product uses, and the Python readers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod kills;
mod lake;
mod python;
mod server;
mod writer;
