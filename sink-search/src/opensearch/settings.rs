//! What the operator may set of OpenSearch.

use std::time::Duration;

use headwater_common::secret::Secret;
use serde::{Deserialize, Serialize};

/// Times in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Addresses of the cluster's nodes or of what stands before them, `http://` or `https://`. The next one is taken
    /// when one does not answer. Default `http://127.0.0.1:9200`.
    pub urls: Vec<String>,
    /// Name for basic authentication; empty for none. Default empty.
    pub username: String,
    /// Password for basic authentication. Default empty.
    pub password: Secret,
    /// PEM file with the authorities that the server's certificate is checked against, beside the system's. Default none.
    pub ca_file: Option<String>,
    /// Sign requests as AWS asks (SigV4), with the credentials of AWS's default chain. Default none.
    pub aws: Option<Aws>,
    /// What the names of indexes and aliases begin with; lower case. Default `headwater`.
    pub prefix: String,
    /// Primary shards of an index that is made. Default 1.
    pub shards: u16,
    /// Replicas of each shard of an index that is made. Default 1.
    pub replicas: u16,
    /// Milliseconds between the index's own refreshes; 0 leaves them to the sink, which refreshes after each flush.
    /// Default 0.
    pub refresh_interval_ms: u64,
    /// Map `vector` features for k-NN search where the server can. Default true.
    pub knn: bool,
    /// Bytes of one bulk request, about. Default 4 MiB.
    pub bulk_bytes: usize,
    /// Bulk requests at once at least, however slow the server is. Default 1.
    pub min_concurrency: usize,
    /// Bulk requests at once at most, over all tables. Default 8.
    pub max_concurrency: usize,
    /// How often what passes by itself is tried again before the whole flush is. Default 6.
    pub retries: u32,
    /// Milliseconds before the first repetition. Default 100.
    pub retry_ms: u64,
    /// Milliseconds between repetitions at most. Default 5000.
    pub retry_cap_ms: u64,
    /// Milliseconds to wait for a connection. Default 5000.
    pub connect_timeout_ms: u64,
    /// Milliseconds to wait for an answer. Default 60000.
    pub request_timeout_ms: u64,
}

/// Where AWS is told that the request goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Aws {
    /// Such as `eu-central-1`.
    pub region: String,
    /// `es` for OpenSearch Service, `aoss` for OpenSearch Serverless. Default `es`.
    #[serde(default)]
    pub service: Service,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    #[default]
    Es,
    Aoss,
}

impl Service {
    pub fn name(self) -> &'static str {
        match self {
            Service::Es => "es",
            Service::Aoss => "aoss",
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            urls: vec!["http://127.0.0.1:9200".to_owned()],
            username: String::new(),
            password: Secret::default(),
            ca_file: None,
            aws: None,
            prefix: "headwater".to_owned(),
            shards: 1,
            replicas: 1,
            refresh_interval_ms: 0,
            knn: true,
            bulk_bytes: 4 << 20,
            min_concurrency: 1,
            max_concurrency: 8,
            retries: 6,
            retry_ms: 100,
            retry_cap_ms: 5_000,
            connect_timeout_ms: 5_000,
            request_timeout_ms: 60_000,
        }
    }
}

impl Settings {
    /// Names the field that can't be.
    pub fn check(&self) -> Result<(), String> {
        if self.urls.is_empty() {
            return Err("urls is empty: give at least one address".to_owned());
        }
        for (at, url) in self.urls.iter().enumerate() {
            check_url(url).map_err(|reason| format!("urls[{at}] {reason}"))?;
        }
        let prefix = self.prefix.as_bytes();
        let legal = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(byte);
        if !prefix.first().is_some_and(u8::is_ascii_alphanumeric) || !prefix.iter().all(legal) || prefix.len() > 64 {
            return Err(format!(
                "prefix is {:?}: it is 1 to 64 of a-z, 0-9, -, _ and ., and begins with a letter or a digit",
                self.prefix
            ));
        }
        if self.aws.is_some() && !self.username.is_empty() {
            return Err("aws and username are both set: requests are signed, or have a name and a password".to_owned());
        }
        if self.aws.as_ref().is_some_and(|aws| aws.region.is_empty()) {
            return Err("aws.region is empty: it is such as eu-central-1".to_owned());
        }
        let positive = [
            ("shards", u64::from(self.shards)),
            ("min_concurrency", self.min_concurrency as u64),
            ("retry_ms", self.retry_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("request_timeout_ms", self.request_timeout_ms),
        ];
        if let Some((name, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{name} is 0: it is at least 1"));
        }
        let at_least = [
            ("max_concurrency", self.max_concurrency as u64, "min_concurrency", self.min_concurrency as u64),
            ("retry_cap_ms", self.retry_cap_ms, "retry_ms", self.retry_ms),
        ];
        if let Some((name, value, least, bound)) = at_least.iter().find(|(_, value, _, bound)| value < bound) {
            return Err(format!("{name} is {value}: it is at least {least}, {bound}"));
        }
        const BULK: std::ops::RangeInclusive<usize> = 1 << 10..=90 << 20;
        if !BULK.contains(&self.bulk_bytes) {
            let (least, most) = (BULK.start(), BULK.end());
            return Err(format!("bulk_bytes is {}: it lies between {least} and {most}", self.bulk_bytes));
        }
        Ok(())
    }

    /// The pause before attempt `attempt`, from 0, jittered.
    pub(super) fn pause(&self, attempt: u32) -> Duration {
        let (base, cap) = (Duration::from_millis(self.retry_ms), Duration::from_millis(self.retry_cap_ms));
        headwater_common::failure::backoff(attempt, base, cap, rand::random())
    }
}

/// The address's own text may hold a secret, so it is not repeated.
fn check_url(url: &str) -> Result<(), &'static str> {
    let parsed = reqwest::Url::parse(url).map_err(|_| "is no URL: it is such as https://search.example.org:9200")?;
    if !matches!(parsed.scheme(), "http" | "https") || parsed.host_str().is_none() {
        return Err("is neither http:// nor https:// with a host");
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err("holds a name or a password: set username and password instead");
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err("holds a query or a fragment: give the address alone");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_cannot_be_is_refused_by_its_name() {
        let good = Settings::default();
        assert_eq!(good.check(), Ok(()));
        let urls = |url: &str| Settings { urls: vec![url.into()], ..Settings::default() };
        let aws = Some(Aws { region: "x".into(), service: Service::Es });
        let refused = [
            (Settings { urls: vec![], ..good.clone() }, "urls"),
            (urls("127.0.0.1:9200"), "urls[0]"),
            (urls("https://name:canary@host"), "urls[0]"),
            (urls("ftp://host"), "urls[0]"),
            (Settings { prefix: "Upper".into(), ..good.clone() }, "prefix"),
            (Settings { prefix: "-x".into(), ..good.clone() }, "prefix"),
            (Settings { shards: 0, ..good.clone() }, "shards"),
            (Settings { max_concurrency: 0, ..good.clone() }, "max_concurrency"),
            (Settings { retry_cap_ms: 1, ..good.clone() }, "retry_cap_ms"),
            (Settings { bulk_bytes: 1, ..good.clone() }, "bulk_bytes"),
            (Settings { aws, username: "n".into(), ..good.clone() }, "aws and username"),
        ];
        for (settings, name) in refused {
            let refusal = settings.check().unwrap_err();
            assert!(refusal.starts_with(name), "{refusal}");
            assert!(!refusal.contains("canary"), "{refusal}");
        }
        assert!(serde_json::from_str::<Settings>(r#"{"url":"x"}"#).is_err());
    }

    #[test]
    fn a_password_is_read_and_never_printed() {
        let settings: Settings = serde_json::from_str(r#"{"username":"n","password":"canary"}"#).unwrap();
        let printed = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
        assert!(!printed.contains("canary"), "{printed}");
        assert_eq!(settings.password.expose(), "canary");
    }
}
