//! What surrounds the store in its process.

use std::fmt;
use std::sync::Arc;

use headwater_common::change::TableName;
use headwater_common::clock::{Clock, SystemClock};
use headwater_common::health::Health;
use headwater_common::order::SequenceNumber;

/// Stream records that must stay, however old they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// None: age alone decides, as in DynamoDB.
    Nothing,
    /// Those above this sequence number.
    After(SequenceNumber),
    /// All of them.
    Everything,
}

/// Who reads the streams.
///
/// DynamoDB tells a reader that comes too late that its records were trimmed; dynoxide goes on with the oldest record
/// that is left. So a reader that may be away for longer than the retention must say here what it has not read yet,
/// or it loses those records unawares.
pub trait Readers: Send + Sync + 'static {
    fn needs(&self, table: &TableName) -> Needs;
}

/// Readers that keep up with the retention.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoReaders;

impl Readers for NoReaders {
    fn needs(&self, _: &TableName) -> Needs {
        Needs::Nothing
    }
}

/// The process around the store. The default stands alone.
#[derive(Clone)]
pub struct Environment {
    /// Decides how old a stream record is. The ages themselves, and what has expired, are from the machine's clock.
    pub clock: Arc<dyn Clock>,
    /// Where the store says whether it is ready, as [`crate::PART`].
    pub health: Health,
    pub readers: Arc<dyn Readers>,
}

impl Default for Environment {
    fn default() -> Environment {
        Environment { clock: Arc::new(SystemClock), health: Health::default(), readers: Arc::new(NoReaders) }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}
