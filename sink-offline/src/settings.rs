//! How the stage is run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds that a change waits at most for others to share its commit. Default 10000.
    pub flush_ms: u64,
    /// Bytes of rows that make a commit before that time. Default 67108864 (64 MiB).
    pub flush_bytes: usize,
    /// Bytes that all tables together may hold, each an equal share; a table that holds its share is not read on until
    /// it has committed. Default 268435456 (256 MiB).
    pub memory_bytes: usize,
    /// Milliseconds after which a table without changes commits how far it is complete. Default 60000.
    pub idle_complete_ms: u64,
    /// Milliseconds that a stop may take to commit what is held. Default 10000.
    pub drain_ms: u64,
    /// Milliseconds before the first retry. Default 200.
    pub retry_base_ms: u64,
    /// Milliseconds between retries at the most. Default 10000.
    pub retry_cap_ms: u64,
    /// Milliseconds between retries where a person must act first. Default 30000.
    pub halt_retry_ms: u64,
    /// zstd's level of the data files, 1 to 22. Default 1.
    pub zstd_level: i32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            flush_ms: 10_000,
            flush_bytes: 64 << 20,
            memory_bytes: 256 << 20,
            idle_complete_ms: 60_000,
            drain_ms: 10_000,
            retry_base_ms: 200,
            retry_cap_ms: 10_000,
            halt_retry_ms: 30_000,
            zstd_level: 1,
        }
    }
}

/// A column's text must stay below 2 GiB, and rows are counted about.
const MAX_FLUSH_BYTES: usize = 1 << 30;
const MIN_BYTES: usize = 1 << 16;

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        for (name, millis) in [
            ("flush_ms", self.flush_ms),
            ("idle_complete_ms", self.idle_complete_ms),
            ("retry_base_ms", self.retry_base_ms),
            ("retry_cap_ms", self.retry_cap_ms),
            ("halt_retry_ms", self.halt_retry_ms),
        ] {
            if millis == 0 {
                return Err(format!("{name} is 0: give at least 1 millisecond"));
            }
        }
        if !(MIN_BYTES..=MAX_FLUSH_BYTES).contains(&self.flush_bytes) {
            return Err(format!("flush_bytes is {}: give {MIN_BYTES} to {MAX_FLUSH_BYTES}", self.flush_bytes));
        }
        if self.memory_bytes < MIN_BYTES {
            return Err(format!("memory_bytes is {}: give at least {MIN_BYTES}", self.memory_bytes));
        }
        if self.retry_cap_ms < self.retry_base_ms {
            return Err(format!("retry_cap_ms is {}, below retry_base_ms {}", self.retry_cap_ms, self.retry_base_ms));
        }
        if !(1..=22).contains(&self.zstd_level) {
            return Err(format!("zstd_level is {}: give 1 to 22", self.zstd_level));
        }
        Ok(())
    }

    /// Bytes that one of `tables` may hold.
    pub fn share(&self, tables: usize) -> usize {
        self.memory_bytes / tables.max(1)
    }

    /// Bytes of rows at which one of `tables` commits: at most half its share, so that it gathers while it commits.
    pub fn flush_at(&self, tables: usize) -> usize {
        self.flush_bytes.min(self.share(tables) / 2)
    }

    pub fn flush_after(&self) -> Duration {
        Duration::from_millis(self.flush_ms)
    }

    pub fn idle_complete_after(&self) -> Duration {
        Duration::from_millis(self.idle_complete_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_can_not_work_is_refused_by_name() {
        assert_eq!(Settings::default().check(), Ok(()));
        for (settings, name) in [
            (Settings { flush_ms: 0, ..Settings::default() }, "flush_ms"),
            (Settings { flush_bytes: 1, ..Settings::default() }, "flush_bytes"),
            (Settings { memory_bytes: 1, ..Settings::default() }, "memory_bytes"),
            (Settings { retry_cap_ms: 1, ..Settings::default() }, "retry_cap_ms"),
            (Settings { zstd_level: 23, ..Settings::default() }, "zstd_level"),
        ] {
            assert!(settings.check().unwrap_err().starts_with(name));
        }
    }
}
