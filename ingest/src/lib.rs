//! Follows the change streams of DynamoDB tables into the change log.
//!
//! Promises P1, P3, P7, P8 and the source's half of P2 and P10: every record of a stream is committed once, together
//! with the position behind it; a shard is read after its parents; what was lost unread is in the gap ledger before
//! anything after it is committed; a mark never claims what is unread. Assumes that the stream gives the records of one
//! shard in one order, and that the machine's clock is within the settle margin of DynamoDB's. Refuses streams without
//! new images.
//!
//! Reading order: [`lineage`] and [`completeness`] decide, [`streams`] says what is asked of a stream, `adapter`
//! asks it, `reader` reads one shard, `work` is what a worker has in hand, `pipeline` joins it all with the log.

mod adapter;
mod advance;
mod budget;
mod commit;
pub mod completeness;
mod convert;
mod discovery;
mod errors;
mod follower;
pub mod lineage;
mod marks;
mod ownership;
mod page;
mod pipeline;
mod reader;
mod record;
mod schedule;
mod settings;
mod status;
pub mod streams;
mod work;

pub use adapter::AwsStreams;
pub use errors::{Fault, StreamError};
pub use pipeline::{Error, Ingest};
pub use settings::Settings;
