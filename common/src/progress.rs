//! What a sink says of its progress: how far it is complete, what it has made visible, and how late.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::change::TableName;
use crate::clock::Timestamp;

/// What each sink publishes to [`crate::health::Health`] under its own name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkProgress {
    pub tables: BTreeMap<TableName, TableProgress>,
}

/// One table in one sink, counted since the process started but for `complete_until`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TableProgress {
    /// Everything written before is in the sink, durably. Milliseconds since the epoch.
    pub complete_until: Option<Timestamp>,
    /// Changes made visible.
    pub applied: u64,
    /// Records on the log that are not in the sink yet, marks among them.
    pub behind: u64,
    /// Records that could not be decoded.
    pub dead_letters: u64,
    /// From the producer's write time to visibility.
    pub lag: LagSummary,
}

/// Milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LagSummary {
    pub count: u64,
    pub p50: u64,
    pub p99: u64,
    pub max: u64,
}

/// Lags as a histogram of three significant digits, up to an hour; later ones count as an hour.
#[derive(Clone, Debug)]
pub struct Lag(Option<Histogram<u64>>);

const HOUR_MS: u64 = 3_600_000;

impl Default for Lag {
    fn default() -> Self {
        // The bounds are constants that the histogram accepts.
        Lag(Histogram::new_with_bounds(1, HOUR_MS, 3).ok())
    }
}

impl Lag {
    pub fn record(&mut self, lag: Duration) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(u64::try_from(lag.as_millis()).unwrap_or(HOUR_MS));
        }
    }

    pub fn summary(&self) -> LagSummary {
        self.0.as_ref().map_or_else(LagSummary::default, |histogram| LagSummary {
            count: histogram.len(),
            p50: histogram.value_at_quantile(0.5),
            p99: histogram.value_at_quantile(0.99),
            max: histogram.max(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lags_are_summed_up_as_quantiles_and_a_late_one_is_kept() {
        let mut lag = Lag::default();
        assert_eq!(lag.summary(), LagSummary::default());
        for ms in 1..=100 {
            lag.record(Duration::from_millis(ms));
        }
        lag.record(Duration::from_secs(100_000));
        let summary = lag.summary();
        assert_eq!((summary.count, summary.p50), (101, 51));
        assert!(summary.max >= HOUR_MS);
    }
}
