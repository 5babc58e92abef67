//! Change log → search index: the newest value of every item, found by what it holds.
//!
//! Promises P2, P3 and P6 by versions and tombstones in the index itself ([`index`]), whatever the log repeats.
//! Assumes nothing of the log but its order within a partition. Refuses a log that the index was not built from.
//!
//! [`mapping`], [`query`], [`exact`], [`geo`] and [`buffer`] are pure; [`index`] is the seam, behind which are
//! [`embedded`] on tantivy and [`opensearch`]; [`pipeline`] moves records from the log into the index.

pub mod buffer;
pub mod embedded;
pub mod exact;
pub mod geo;
mod hit;
pub mod index;
pub mod mapping;
pub mod opensearch;
pub mod pipeline;
pub mod query;
mod session;
pub mod settings;
pub mod start;
mod table;
mod words;
mod write;

pub use embedded::EmbeddedIndex;
pub use index::SearchIndex;
pub use opensearch::{Building, OpenSearch, OpenSearchIndex};
pub use pipeline::{Error, SinkSearch};
pub use settings::Settings;
