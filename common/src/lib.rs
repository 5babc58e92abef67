//! The contract between the stages: the change event, the order, the log and its ledger.
//!
//! Depends on no stage. Everything here but [`embedded`], [`health`], and the reading of files in [`definition`] and
//! [`settings`] is pure: no SDK, no I/O, no clock but [`clock`].

pub mod attribute;
pub mod canonical;
pub mod change;
pub mod clock;
pub mod codec;
pub mod completeness;
pub mod definition;
pub mod embedded;
pub mod failure;
pub mod health;
pub mod key;
pub mod ledger;
pub mod log;
pub mod metric;
pub mod nearest;
pub mod number;
pub mod order;
pub mod progress;
pub mod secret;
pub mod settings;
pub mod typed;
pub mod value;
mod yaml;
