//! Questions to the lake: SQL, the history of one item, and what verification scans.
//!
//! Promises one consistent snapshot of each table for a whole query, and that nothing is written. Reads the lake's folder
//! alone, so it works beside a running stack and without one. Names are as they are defined: letter case matters.

mod answer;
mod changed;
mod error;
mod history;
mod known;
mod provider;
mod prune;
mod reader;
mod scan;
mod snapshot;
mod statement;
mod view;

pub use answer::SqlAnswer;
pub use error::{Position, QueryError};
pub use history::{AsOf, HistoryEntry};
pub use reader::{LakeReader, Settings};
pub use scan::LiveRow;
