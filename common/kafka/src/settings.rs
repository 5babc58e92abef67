//! What the Kafka log can be told. The defaults suit three brokers with their own defaults.

use serde::{Deserialize, Serialize};

use crate::security::Security;

/// The change log on Kafka.
///
/// A worker that dies is replaced after `session_timeout_ms`, plus one heartbeat until the others hear of it, plus the
/// start of its slots' transactions (about half a second): below 10 s with the defaults. Brokers refuse a session below
/// their `group.min.session.timeout.ms` (6000 unless they were told otherwise).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Brokers to ask first, `host:port`, separated by commas. Default `127.0.0.1:9092`.
    pub bootstrap: String,
    /// What the names of topics, groups and transactions begin with. Two pipelines on one cluster need two. Default
    /// `headwater`.
    pub prefix: String,
    /// Shares of the work that ingest workers divide among themselves: partitions of the ledger. At most this many
    /// workers ingest. Fixed when the ledger is made. Default 16.
    pub slots: u16,
    /// Partitions of each table's topic. Fixed when the topic is made, because the key decides the partition. Default 12.
    pub partitions: u16,
    /// Copies of every record, for topics that are made. Default 3.
    pub replication: u16,
    /// Copies that must be written before a commit counts. Default 2.
    pub min_insync: u16,
    /// How long changes stay in the log, in milliseconds. Default 604800000 (7 days).
    pub retention_ms: u64,
    /// The largest event, in bytes. An item of DynamoDB has at most 400 KB; two images of it as JSON, with binary as
    /// base64 or with many small values, may take several times as much. Default 8388608 (8 MiB).
    pub max_message_bytes: u32,
    /// How batches are compressed on their way and in the log. Default `lz4`.
    pub compression: Compression,
    /// A worker that is not heard of for this long is dead, in milliseconds. Default 6000.
    pub session_timeout_ms: u32,
    /// How often a worker says that it lives, and hears of the others, in milliseconds. Default 1000.
    pub heartbeat_ms: u32,
    /// How long a slot or partition that goes to another worker waits for what is under way, in milliseconds. Default
    /// 30000.
    pub revoke_timeout_ms: u32,
    /// How long the brokers hold a transaction open for a worker that is silent, in milliseconds. Readers wait behind
    /// an open one, unless the slot's next owner ends it before. Default 30000.
    pub transaction_timeout_ms: u32,
    /// How long one request to the brokers, and one attempt to commit, may take before it is said that they do not
    /// answer, in milliseconds. Default 10000.
    pub request_timeout_ms: u32,
    /// Bytes that a reader takes in advance of the sink; one record more may come on top. Default 16777216 (16 MiB).
    pub fetch_buffer_bytes: u32,
    /// Bytes of one slot's commit that may be under way at once. Default 16777216 (16 MiB).
    pub send_buffer_bytes: u32,
    /// How the brokers are reached. Default: in the clear, unauthenticated.
    pub security: Security,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    None,
    Gzip,
    #[default]
    Lz4,
}

impl Compression {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            bootstrap: "127.0.0.1:9092".into(),
            prefix: "headwater".into(),
            slots: 16,
            partitions: 12,
            replication: 3,
            min_insync: 2,
            retention_ms: 7 * 24 * 3600 * 1000,
            max_message_bytes: 8 << 20,
            compression: Compression::default(),
            session_timeout_ms: 6_000,
            heartbeat_ms: 1_000,
            revoke_timeout_ms: 30_000,
            transaction_timeout_ms: 30_000,
            request_timeout_ms: 10_000,
            fetch_buffer_bytes: 16 << 20,
            send_buffer_bytes: 16 << 20,
            security: Security::default(),
        }
    }
}

impl Settings {
    /// Refuses what can't work, with the field's name.
    pub fn check(&self) -> Result<(), String> {
        let least = |name: &str, value: u64, least: u64| {
            if value < least { Err(format!("{name}: {value} is less than {least}")) } else { Ok(()) }
        };
        if self.bootstrap.trim().is_empty() {
            return Err("bootstrap: name at least one broker as host:port".into());
        }
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if self.prefix.is_empty() || self.prefix.len() > 80 || !self.prefix.chars().all(legal) {
            return Err(format!("prefix: {:?} is not 1 to 80 of letters, digits, `.`, `_` and `-`", self.prefix));
        }
        least("slots", self.slots.into(), 1)?;
        least("partitions", self.partitions.into(), 1)?;
        least("replication", self.replication.into(), 1)?;
        least("min_insync", self.min_insync.into(), 1)?;
        if self.min_insync > self.replication {
            return Err(format!("min_insync: {} copies of {} can never be written", self.min_insync, self.replication));
        }
        least("retention_ms", self.retention_ms, 60_000)?;
        least("max_message_bytes", self.max_message_bytes.into(), 1 << 20)?;
        least("session_timeout_ms", self.session_timeout_ms.into(), 1_000)?;
        least("heartbeat_ms", self.heartbeat_ms.into(), 50)?;
        if self.heartbeat_ms > self.session_timeout_ms / 3 {
            let most = self.session_timeout_ms / 3;
            return Err(format!("heartbeat_ms: {} is more than {most}, a third of the session", self.heartbeat_ms));
        }
        least("revoke_timeout_ms", self.revoke_timeout_ms.into(), 100)?;
        least("transaction_timeout_ms", self.transaction_timeout_ms.into(), 1_000)?;
        least("request_timeout_ms", self.request_timeout_ms.into(), 1_000)?;
        let message = u64::from(self.max_message_bytes);
        least("fetch_buffer_bytes", self.fetch_buffer_bytes.into(), message)?;
        least("send_buffer_bytes", self.send_buffer_bytes.into(), message)?;
        self.security.check().map_err(|reason| format!("security.{reason}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_every_refusal_names_its_field() {
        Settings::default().check().unwrap();
        let refused = |settings: Settings| settings.check().unwrap_err();
        let base = Settings::default;
        assert!(refused(Settings { slots: 0, ..base() }).starts_with("slots"));
        assert!(refused(Settings { prefix: "a b".into(), ..base() }).starts_with("prefix"));
        assert!(refused(Settings { min_insync: 4, ..base() }).starts_with("min_insync"));
        assert!(refused(Settings { heartbeat_ms: 3_000, ..base() }).starts_with("heartbeat_ms"));
        assert!(refused(Settings { send_buffer_bytes: 1 << 20, ..base() }).starts_with("send_buffer_bytes"));
    }

    #[test]
    fn settings_are_read_from_yaml_names_and_secrets_do_not_come_out_again() {
        let json = r#"{"bootstrap":"b:1","security":{"protocol":"sasl_ssl","mechanism":"scram_sha_512",
            "username":"worker","password":"hunter2"}}"#;
        let settings: Settings = serde_json::from_str(json).unwrap();
        settings.check().unwrap();
        assert!(!format!("{settings:?}{}", serde_json::to_string(&settings).unwrap()).contains("hunter2"));
        assert!(serde_json::from_str::<Settings>(r#"{"bootstrab":"b:1"}"#).is_err());
    }
}
