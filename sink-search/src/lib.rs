//! Change log → search index: the newest value of every item, found by what it holds.
//!
//! Promises P2, P3 and P6 by versions and tombstones in the index itself ([`index`]), whatever the log repeats.
//! Assumes nothing of the log but its order within a partition. Refuses a log that the index was not built from.
//!
//! [`mapping`], [`query`], [`exact`], [`geo`] and [`buffer`] are pure; [`index`] is the seam; [`embedded`] is tantivy
//! behind it; [`pipeline`] moves records from the log into the index.

pub mod buffer;
pub mod embedded;
pub mod exact;
pub mod geo;
pub mod index;
pub mod mapping;
pub mod pipeline;
pub mod query;
mod session;
pub mod settings;
pub mod start;
mod table;
mod write;

pub use embedded::EmbeddedIndex;
pub use index::SearchIndex;
pub use pipeline::{Error, SinkSearch};
pub use settings::Settings;
