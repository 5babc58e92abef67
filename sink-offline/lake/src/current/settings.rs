//! How current is laid out and how much is folded at once.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Buckets of a `<table>_current` that is made anew; an existing one keeps its number. Default 16.
    pub buckets: u16,
    /// Changes folded with one commit, unless one commit of history has more; each key among them takes about 100 bytes.
    /// Default 500000.
    pub step_rows: u64,
    /// Bytes of changed items held at once, before compression, about. Default 33554432 (32 MiB).
    pub step_bytes: u64,
    /// Bytes at which a file of a bucket is ended. Default 16777216 (16 MiB).
    pub file_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { buckets: 16, step_rows: 500_000, step_bytes: 32 << 20, file_bytes: 16 << 20 }
    }
}

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        if !(1..=4096).contains(&self.buckets) {
            return Err(format!("buckets is {}, it must be 1 to 4096", self.buckets));
        }
        for (name, value) in [("step_rows", self.step_rows), ("step_bytes", self.step_bytes)] {
            if value == 0 {
                return Err(format!("{name} is 0, it must be at least 1"));
            }
        }
        if !(1 << 16..=1 << 30).contains(&self.file_bytes) {
            return Err(format!("file_bytes is {}, it must be 65536 to 1073741824", self.file_bytes));
        }
        Ok(())
    }
}
