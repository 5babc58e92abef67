//! How current is laid out and how much is folded at once.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Buckets of a `<table>_current` that is made anew; an existing one keeps its number. Default 16.
    pub buckets: u16,
    /// Changes folded at once, in bytes before compression; memory follows it. Default 48 MiB.
    pub step_bytes: u64,
    /// Bytes at which a file of a bucket is ended. Default 16 MiB.
    pub file_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { buckets: 16, step_bytes: 48 << 20, file_bytes: 16 << 20 }
    }
}

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        if !(1..=4096).contains(&self.buckets) {
            return Err(format!("buckets is {}, it must be 1 to 4096", self.buckets));
        }
        if self.step_bytes == 0 {
            return Err("step_bytes is 0, it must be at least 1".to_owned());
        }
        if !(1 << 16..=1 << 30).contains(&self.file_bytes) {
            return Err(format!("file_bytes is {}, it must be 65536 to 1073741824", self.file_bytes));
        }
        Ok(())
    }
}
