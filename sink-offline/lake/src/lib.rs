//! Reading and upkeep of the lake: `<table>_current`, checkpoints, clean-up, SQL.
//!
//! Pure: `current::columns`, `current::merge`, `table::state`, `query::{prune, statement}`, [`output`]. The rest
//! reads and writes through the lake's object store. The change stream never waits for anything here.

pub mod current;
pub mod error;
pub mod maintain;
mod newest;
pub mod output;
pub mod query;
pub mod table;

pub use error::Error;
pub use maintain::Maintenance;
pub use query::LakeReader;
