//! How the lake is kept.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::current;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Milliseconds between two folds of history into current, at least. Default 30000.
    pub fold_ms: u64,
    /// Percent of the time that folding may take: after a long fold the next one waits longer. Default 20.
    pub fold_percent: u64,
    /// How current is laid out and how much is folded at once.
    pub current: current::Settings,
    /// Commits after which a table gets a checkpoint. Default 100.
    pub checkpoint_commits: i64,
    /// Milliseconds between two clean-ups of log and files. Default 600000 (10 minutes).
    pub clean_ms: u64,
    /// Milliseconds for which files that history does not need any more are kept, and files that were never committed;
    /// as long as the longest read. Default 604800000 (7 days).
    pub history_retention_ms: u64,
    /// The same for current, whose files are replaced with every fold. Default 3600000 (1 hour).
    pub current_retention_ms: u64,
    /// Milliseconds for which versions of history stay readable. Default 604800000 (7 days).
    pub log_retention_ms: u64,
    /// Milliseconds before the first retry. Default 500.
    pub retry_base_ms: u64,
    /// Milliseconds between retries at the most. Default 60000.
    pub retry_cap_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            fold_ms: 30_000,
            fold_percent: 20,
            current: current::Settings::default(),
            checkpoint_commits: 100,
            clean_ms: 600_000,
            history_retention_ms: 7 * DAY_MS,
            current_retention_ms: HOUR_MS,
            log_retention_ms: 7 * DAY_MS,
            retry_base_ms: 500,
            retry_cap_ms: 60_000,
        }
    }
}

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        // A writer that stands still for long must still find the commits that it missed, and its file.
        let least = [
            ("fold_ms", self.fold_ms, 100),
            ("clean_ms", self.clean_ms, 1000),
            ("history_retention_ms", self.history_retention_ms, HOUR_MS),
            ("current_retention_ms", self.current_retention_ms, 60_000),
            ("log_retention_ms", self.log_retention_ms, 2 * HOUR_MS),
            ("retry_base_ms", self.retry_base_ms, 1),
            ("retry_cap_ms", self.retry_cap_ms, self.retry_base_ms),
        ];
        for (name, value, least) in least {
            if value < least {
                return Err(format!("{name} is {value}: give at least {least}"));
            }
        }
        if !(1..=100).contains(&self.fold_percent) {
            return Err(format!("fold_percent is {}: give 1 to 100", self.fold_percent));
        }
        if self.checkpoint_commits < 1 {
            return Err(format!("checkpoint_commits is {}: give at least 1", self.checkpoint_commits));
        }
        self.current.check().map_err(|reason| format!("current.{reason}"))
    }

    /// How long the next fold waits after one that took `took`.
    pub fn fold_after(&self, took: Duration) -> Duration {
        let share = u32::try_from(self.fold_percent.clamp(1, 100)).unwrap_or(100);
        let rest = took * (100 - share) / share;
        rest.max(Duration::from_millis(self.fold_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_can_not_work_is_refused_by_name() {
        assert_eq!(Settings::default().check(), Ok(()));
        let bad = Settings { current: current::Settings { buckets: 0, ..Default::default() }, ..Settings::default() };
        assert!(bad.check().unwrap_err().starts_with("current.buckets"));
        let bad = Settings { log_retention_ms: 1, ..Settings::default() };
        assert!(bad.check().unwrap_err().starts_with("log_retention_ms"));
    }

    #[test]
    fn folding_takes_its_share_of_the_time_and_no_more() {
        let settings = Settings { fold_ms: 1000, fold_percent: 20, ..Settings::default() };
        assert_eq!(settings.fold_after(Duration::from_millis(10)), Duration::from_secs(1));
        assert_eq!(settings.fold_after(Duration::from_secs(10)), Duration::from_secs(40));
    }
}
