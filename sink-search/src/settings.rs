//! What the operator may set.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds that a change waits at most before it is made visible. Default 1000.
    pub flush_ms: u64,
    /// Bytes of one table's changes that are made visible without waiting. Default 8 MiB.
    pub flush_bytes: usize,
    /// Bytes of changes held for all tables; above it reading stops until there is room. Default 64 MiB.
    pub buffer_bytes: usize,
    /// Milliseconds between two notes of how far an idle table is complete. Default 60000.
    pub idle_complete_ms: u64,
    /// Milliseconds that a deleted item's tombstone is kept: longer than anything older may still come. Default 7 days.
    pub tombstone_retention_ms: u64,
    /// Milliseconds between two looks for tombstones past their retention. Default 10 minutes.
    pub purge_every_ms: u64,
    /// Milliseconds that the last flush may take after a request to stop. Default 20000.
    pub drain_ms: u64,
    /// Milliseconds before the first repetition of what failed. Default 200.
    pub retry_ms: u64,
    /// Milliseconds between repetitions at most. Default 30000.
    pub retry_cap_ms: u64,
    /// Bytes of memory of one table's index writer, 15 MB at least. Default 50 MB.
    pub writer_heap_bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            flush_ms: 1000,
            flush_bytes: 8 << 20,
            buffer_bytes: 64 << 20,
            idle_complete_ms: 60_000,
            tombstone_retention_ms: 7 * 24 * 3_600_000,
            purge_every_ms: 600_000,
            drain_ms: 20_000,
            retry_ms: 200,
            retry_cap_ms: 30_000,
            writer_heap_bytes: crate::embedded::DEFAULT_WRITER_HEAP,
        }
    }
}

impl Settings {
    /// Names the field that can't be.
    pub fn check(&self) -> Result<(), String> {
        let positive = [
            ("flush_ms", self.flush_ms),
            ("flush_bytes", self.flush_bytes as u64),
            ("idle_complete_ms", self.idle_complete_ms),
            ("purge_every_ms", self.purge_every_ms),
            ("retry_ms", self.retry_ms),
        ];
        for (name, value) in positive {
            if value == 0 {
                return Err(format!("{name} is 0: it is at least 1"));
            }
        }
        if self.buffer_bytes < self.flush_bytes {
            return Err(format!(
                "buffer_bytes is {}: it is at least flush_bytes, {}",
                self.buffer_bytes, self.flush_bytes
            ));
        }
        if self.retry_cap_ms < self.retry_ms {
            return Err(format!("retry_cap_ms is {}: it is at least retry_ms, {}", self.retry_cap_ms, self.retry_ms));
        }
        const LEAST: usize = 15_000_000;
        const MOST: usize = 4_000_000_000;
        if !(LEAST..=MOST).contains(&self.writer_heap_bytes) {
            return Err(format!("writer_heap_bytes is {}: it lies between {LEAST} and {MOST}", self.writer_heap_bytes));
        }
        Ok(())
    }

    pub(crate) fn flush_every(&self) -> Duration {
        Duration::from_millis(self.flush_ms)
    }

    /// The pause before attempt `attempt`, from 0, jittered.
    pub(crate) fn pause(&self, attempt: u32) -> Duration {
        let (base, cap) = (Duration::from_millis(self.retry_ms), Duration::from_millis(self.retry_cap_ms));
        headwater_common::failure::backoff(attempt, base, cap, rand::random())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_is_refused_by_its_name() {
        assert_eq!(Settings::default().check(), Ok(()));
        let refused = [
            Settings { flush_ms: 0, ..Settings::default() },
            Settings { buffer_bytes: 1, ..Settings::default() },
            Settings { retry_cap_ms: 1, ..Settings::default() },
            Settings { writer_heap_bytes: 1_000_000, ..Settings::default() },
        ];
        let names = ["flush_ms", "buffer_bytes", "retry_cap_ms", "writer_heap_bytes"];
        for (settings, name) in refused.iter().zip(names) {
            assert!(settings.check().unwrap_err().starts_with(name));
        }
        assert!(serde_json::from_str::<Settings>(r#"{"flsh_ms":1}"#).is_err());
    }
}
