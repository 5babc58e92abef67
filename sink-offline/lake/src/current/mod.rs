//! `<table>_current`: one row for each live item, folded out of history by rewriting the buckets that changed.
//!
//! Promises that a fold happens as a whole or not at all, and once: one commit removes the old files of the changed
//! buckets, adds the new ones and moves the `txn` that says up to which version of history the table goes. A deletion is
//! no row; [`crate::newest`] keeps it from being undone. Memory is bounded by the changes of one step and one batch of
//! one bucket. Assumes that nobody else folds the same table: who does so meanwhile is noticed, and one of the two drops
//! its work.

mod bucket;
mod columns;
mod fold;
mod merge;
mod settings;
mod step;
mod work;

pub use columns::{BUCKET, BUCKETS_PROPERTY, SOURCE_PROPERTY, arrow_schema, current_metadata, file_schema};
pub use fold::{Fold, Folded};
pub use settings::Settings;

/// The `txn` of `<table>_current` whose version is the version of history that it contains.
pub const SOURCE: &str = "headwater/current";

use crate::table::state::TableState;

/// The version of history up to which `current` goes; -1 for none.
pub fn source_version(current: Option<&TableState>) -> i64 {
    current.and_then(|state| state.txn(SOURCE)).unwrap_or(-1)
}
