//! Every metric's name, in one place: `headwater_<noun>_<unit>[_total]`.

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
/// From the producer's write to visibility in the sink. Labels `sink`, `table`.
pub const SINK_LAG: &str = "headwater_sink_lag_seconds";
/// Commits to the lake or the index. Labels `sink`, `table`.
pub const SINK_COMMITS: &str = "headwater_sink_commits_total";
/// Bulk requests that may be out at once to the search index.
pub const BULK_CONCURRENCY: &str = "headwater_search_bulk_concurrency";
/// Documents that were sent to the search index again.
pub const BULK_RETRIES: &str = "headwater_search_bulk_retries_total";
/// Bytes that a sink holds before they are visible. Label `sink`.
pub const SINK_BUFFER: &str = "headwater_sink_buffer_bytes";

/// Commits to the log on Kafka. Label `outcome`: committed, aborted, unknown (asked again), fenced.
pub const LOG_COMMITS: &str = "headwater_log_commits_total";
/// From the first record of a commit to its durability, in seconds.
pub const LOG_COMMIT_SECONDS: &str = "headwater_log_commit_seconds";
