//! Every metric's name, in one place: `headwater_<noun>_<unit>[_total]`.
//!
//! What is written over a name here is its help text there.

/// A metric as `/metrics` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    pub name: &'static str,
    pub help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ pub const $constant:ident: &str = $name:literal;)+) => {
        $($(#[doc = $help])+ pub const $constant: &str = $name;)+

        /// All of them.
        pub const ALL: &[Metric] = &[$(Metric { name: $name, help: concat!($($help),+) }),+];
    };
}

metrics! {
    /// Changes committed to the log. Label `table`.
    pub const INGEST_RECORDS: &str = "headwater_ingest_records_total";
    /// Seconds by which what is committed of a shard is behind the present. Labels `table`, `shard`.
    pub const INGEST_LAG: &str = "headwater_ingest_lag_seconds";
    /// Seconds until a shard's oldest unread record may be trimmed. Labels `table`, `shard`.
    pub const TIME_TO_TRIM: &str = "headwater_ingest_time_to_trim_seconds";
    /// Answers of the stream that were errors. Label `kind`.
    pub const STREAM_ERRORS: &str = "headwater_stream_errors_total";
    /// Ranges that were trimmed or skipped before they were read. Label `table`.
    pub const GAPS: &str = "headwater_gaps_total";
    /// Ranges in the gap ledger that are not repaired. Label `table`.
    pub const GAPS_OPEN: &str = "headwater_gaps_open";
    /// Proof counter, must stay 0: records whose sequence number did not rise within their shard.
    pub const ORDER_REGRESSIONS: &str = "headwater_order_regressions_total";
    /// Proof counter, must stay 0: shards read before their parents were finished.
    pub const CHILDREN_BEFORE_PARENTS: &str = "headwater_children_before_parents_total";

    /// Changes that a sink made visible. Labels `sink`, `table`.
    pub const SINK_CHANGES: &str = "headwater_sink_changes_total";
    /// Records that could not be decoded. Labels `sink`, `table`.
    pub const DEAD_LETTERS: &str = "headwater_dead_letters_total";
    /// Attributes whose type did not match their declaration. Labels `sink`, `table`.
    pub const TYPE_MISMATCHES: &str = "headwater_type_mismatches_total";
    /// The time up to which a sink is complete, in seconds since the epoch. Labels `sink`, `table`.
    pub const COMPLETE_UNTIL: &str = "headwater_sink_complete_until_seconds";
    /// Records in the log that are not visible in a sink yet. Labels `sink`, `table`.
    pub const SINK_BEHIND: &str = "headwater_sink_behind_records";
    /// Seconds from the producer's write to visibility in the sink. Labels `sink`, `table`.
    pub const SINK_LAG: &str = "headwater_sink_lag_seconds";
    /// Commits to the lake or the index. Labels `sink`, `table`.
    pub const SINK_COMMITS: &str = "headwater_sink_commits_total";
    /// Bulk requests that may be out at once to the search index.
    pub const BULK_CONCURRENCY: &str = "headwater_search_bulk_concurrency";
    /// Documents that were sent to the search index again.
    pub const BULK_RETRIES: &str = "headwater_search_bulk_retries_total";
    /// Bytes that a sink holds before they are visible. Label `sink`.
    pub const SINK_BUFFER: &str = "headwater_sink_buffer_bytes";
    /// Times that a sink left partitions unread because it held as much as its settings allow. Label `sink`.
    pub const SINK_PAUSES: &str = "headwater_sink_pauses_total";
    /// Partitions that a sink leaves unread until it has room. Label `sink`.
    pub const SINK_PAUSED: &str = "headwater_sink_paused_partitions";

    /// Commits to the log on Kafka. Label `outcome`: committed, aborted, unknown (asked again), fenced.
    pub const LOG_COMMITS: &str = "headwater_log_commits_total";
    /// Seconds from the first record of a commit to its durability.
    pub const LOG_COMMIT_SECONDS: &str = "headwater_log_commit_seconds";
}

/// Proof counters: they show a breach of a promise, so they stand at 0 from the start on and an alert sees the first.
pub const PROOFS: [&str; 2] = [ORDER_REGRESSIONS, CHILDREN_BEFORE_PARENTS];

/// Those that are counted into buckets of seconds, so that those of several workers can be added up.
pub const HISTOGRAMS: [&str; 2] = [SINK_LAG, LOG_COMMIT_SECONDS];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_form_and_its_help() {
        for Metric { name, help } in ALL {
            let rest = name.strip_prefix("headwater_").unwrap();
            assert!(rest.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
            assert!(help.trim().ends_with('.') && help.len() > 20, "{name}: {help}");
            assert_eq!(ALL.iter().filter(|other| other.name == *name).count(), 1, "{name} is there twice");
        }
        let known = |name| ALL.iter().any(|metric| metric.name == name);
        assert!(PROOFS.into_iter().all(|name| known(name) && name.ends_with("_total")));
        assert!(HISTOGRAMS.into_iter().all(|name| known(name) && name.ends_with("_seconds")));
    }
}
