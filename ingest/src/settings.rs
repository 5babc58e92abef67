//! The stage's settings, checked at start.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What an operator may set. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Carry the old image on the log too. Default: no.
    pub before_image: bool,
    /// Records asked for in one request, 1 to 1000. Default 1000.
    pub page_records: u32,
    /// Pause of a shard's reader after an answer that was not full. Default 200.
    pub idle_ms: u64,
    /// To this the pause grows while answers stay empty; raise it where requests cost money. Default 200.
    pub idle_max_ms: u64,
    /// Pause after a full answer. Default 0.
    pub busy_ms: u64,
    /// Empty answers in a row that prove a reader to be at the stream's tip: DynamoDB may give a few before it comes to
    /// data. Default 3.
    pub caught_up_reads: u32,
    /// A change may become visible in the stream this much later than it was made; completeness stays as far behind.
    /// Default 500.
    pub settle_ms: u64,
    /// A child shard may become visible this much later than its sibling; the parent holds completeness as long.
    /// Default 5000.
    pub split_settle_ms: u64,
    /// Pause between two listings of a stream's shards; a shard's end causes one at once. Default 10000.
    pub discovery_ms: u64,
    /// Pause between two completeness marks. Default 1000.
    pub mark_ms: u64,
    /// Records held at once, over all shards. Default 64 MiB.
    pub memory_bytes: usize,
    /// Records of one commit. Default 8 MiB.
    pub commit_bytes: usize,
    /// A request to the stream that takes longer is given up and repeated. Default 10000.
    pub request_timeout_ms: u64,
    /// The longest pause between two attempts. Default 10000.
    pub retry_max_ms: u64,
    /// What was read is committed within this time at shutdown; the rest is read again. Default 5000.
    pub drain_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            before_image: false,
            page_records: 1000,
            idle_ms: 200,
            idle_max_ms: 200,
            busy_ms: 0,
            caught_up_reads: 3,
            settle_ms: 500,
            split_settle_ms: 5_000,
            discovery_ms: 10_000,
            mark_ms: 1_000,
            memory_bytes: 64 << 20,
            commit_bytes: 8 << 20,
            request_timeout_ms: 10_000,
            retry_max_ms: 10_000,
            drain_ms: 5_000,
        }
    }
}

impl Settings {
    /// Names the field that can't be as it is.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("idle_ms", self.idle_ms),
            ("caught_up_reads", u64::from(self.caught_up_reads)),
            ("discovery_ms", self.discovery_ms),
            ("mark_ms", self.mark_ms),
            ("commit_bytes", self.commit_bytes as u64),
            ("request_timeout_ms", self.request_timeout_ms),
            ("retry_max_ms", self.retry_max_ms),
        ];
        if let Some((field, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{field} is 0: give at least 1"));
        }
        if !(1..=1000).contains(&self.page_records) {
            return Err(format!("page_records is {}: DynamoDB gives 1 to 1000", self.page_records));
        }
        if self.idle_max_ms < self.idle_ms {
            return Err(format!("idle_max_ms is {}, below idle_ms, which is {}", self.idle_max_ms, self.idle_ms));
        }
        const LEAST: usize = 8 << 20;
        if !(LEAST..=1 << 40).contains(&self.memory_bytes) {
            return Err(format!("memory_bytes is {}: give {LEAST} to 1 TiB", self.memory_bytes));
        }
        Ok(())
    }

    pub(crate) fn settle(&self) -> Duration {
        Duration::from_millis(self.settle_ms)
    }

    pub(crate) fn split_settle(&self) -> Duration {
        Duration::from_millis(self.split_settle_ms)
    }

    pub(crate) fn retry_max(&self) -> Duration {
        Duration::from_millis(self.retry_max_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound_and_a_bad_field_is_named() {
        assert_eq!(Settings::default().check(), Ok(()));
        for (bad, field) in [
            (Settings { page_records: 1001, ..Settings::default() }, "page_records"),
            (Settings { idle_ms: 0, ..Settings::default() }, "idle_ms"),
            (Settings { idle_max_ms: 1, ..Settings::default() }, "idle_max_ms"),
            (Settings { memory_bytes: 1, ..Settings::default() }, "memory_bytes"),
        ] {
            assert!(bad.check().unwrap_err().starts_with(field), "{field}");
        }
    }
}
