//! Change log → Delta: `<table>_history`, one row for each change, exactly once.
//!
//! Pure: [`schema`], [`plan`], [`delta`], [`origin`], [`position`], [`stats`], [`encode`], [`file`]. Adapters: [`lake`], [`local`], [`s3`],
//! [`state`], [`commit`]. The loop: [`pipeline`].

mod bucket;
mod buffer;
mod builders;
mod checkpoint;
mod column;
mod columns;
pub mod commit;
mod create;
mod credentials;
mod decode;
pub mod delta;
pub mod encode;
pub mod error;
pub mod file;
mod flush;
pub mod gathered;
pub mod lake;
pub mod local;
mod open;
pub mod origin;
pub mod pipeline;
pub mod plan;
pub mod position;
mod readiness;
pub mod s3;
pub mod schema;
pub mod settings;
mod stage;
pub mod state;
pub mod stats;
mod table;

pub use error::Error;
pub use lake::Lake;
pub use pipeline::SinkOffline;
pub use s3::S3;
pub use settings::Settings;
