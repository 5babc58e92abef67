//! How a lake in a bucket is reached: S3, or a server that speaks its protocol.
//!
//! Promises conditional puts (`If-None-Match: *`), which a Delta commit rests on, a time-out on every request, and few
//! retries. Assumes that the server honours the condition atomically: AWS, MinIO and versitygw do, one that checks
//! first and writes then loses commits.

use std::time::Duration;

use headwater_common::secret::Secret;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, RetryConfig};
use serde::{Deserialize, Serialize};

use crate::credentials::AwsChain;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct S3 {
    /// URL of the server; none for AWS's own of the region. Default none.
    pub endpoint: Option<String>,
    /// Region; none for `AWS_REGION`, then `AWS_DEFAULT_REGION`, then us-east-1. Default none.
    pub region: Option<String>,
    /// Access key; none for AWS's credential chain (environment, profile, web identity, container, instance). Default none.
    pub access_key: Option<String>,
    /// The access key's secret. Default none.
    pub secret_key: Option<Secret>,
    /// Whether an endpoint without TLS may be used. Default false.
    pub allow_http: bool,
    /// Whether the bucket is part of the host's name rather than of the path. Default false.
    pub virtual_hosted: bool,
    /// Milliseconds that one request may take, its answer's body among it. Default 30000.
    pub timeout_ms: u64,
    /// Milliseconds that a connection may take. Default 5000.
    pub connect_timeout_ms: u64,
    /// Retries of one request after errors that pass, beside those of the stage. Default 3.
    pub max_retries: usize,
    /// Milliseconds between a request's retries at the most. Default 2000.
    pub retry_cap_ms: u64,
}

impl Default for S3 {
    fn default() -> Self {
        S3 {
            endpoint: None,
            region: None,
            access_key: None,
            secret_key: None,
            allow_http: false,
            virtual_hosted: false,
            timeout_ms: 30_000,
            connect_timeout_ms: 5_000,
            max_retries: 3,
            retry_cap_ms: 2_000,
        }
    }
}

/// Milliseconds before the first retry.
const RETRY_BASE: Duration = Duration::from_millis(100);
const DEFAULT_REGION: &str = "us-east-1";

impl S3 {
    pub fn check(&self) -> Result<(), String> {
        if self.access_key.is_some() != self.secret_key.is_some() {
            return Err("access_key and secret_key go together: give both, or none for AWS's credential chain".into());
        }
        match self.endpoint.as_deref().map(url::Url::parse) {
            Some(Err(error)) => return Err(format!("endpoint is no URL: {error}")),
            Some(Ok(url)) if !["http", "https"].contains(&url.scheme()) => {
                return Err(format!("endpoint begins with {}: give a URL of http or https", url.scheme()));
            }
            Some(Ok(url)) if url.scheme() == "http" && !self.allow_http => {
                return Err("endpoint has no TLS: give a URL of https, or set allow_http".into());
            }
            Some(Ok(_)) | None => {}
        }
        for (name, millis) in [
            ("timeout_ms", self.timeout_ms),
            ("connect_timeout_ms", self.connect_timeout_ms),
            ("retry_cap_ms", self.retry_cap_ms),
        ] {
            if millis == 0 {
                return Err(format!("{name} is 0: give at least 1 millisecond"));
            }
        }
        Ok(())
    }

    /// The whole bucket as a store. Asks nothing of the server yet.
    pub(crate) fn bucket(&self, name: &str) -> object_store::Result<AmazonS3> {
        let time = Duration::from_millis;
        let client = ClientOptions::new()
            .with_timeout(time(self.timeout_ms))
            .with_connect_timeout(time(self.connect_timeout_ms))
            .with_allow_http(self.allow_http);
        let cap = time(self.retry_cap_ms);
        let backoff = BackoffConfig { init_backoff: RETRY_BASE.min(cap), max_backoff: cap, ..BackoffConfig::default() };
        // No retry begins when one request's time is over: the stage's own, which looks at the table first, takes its place.
        let retry = RetryConfig { backoff, max_retries: self.max_retries, retry_timeout: time(self.timeout_ms) };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(name)
            .with_region(self.region())
            .with_client_options(client)
            .with_retry(retry)
            .with_virtual_hosted_style_request(self.virtual_hosted)
            .with_conditional_put(S3ConditionalPut::ETagMatch);
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        builder = match (&self.access_key, &self.secret_key) {
            (Some(access_key), Some(secret_key)) => {
                builder.with_access_key_id(access_key).with_secret_access_key(secret_key.expose())
            }
            _ => builder.with_credentials(std::sync::Arc::new(AwsChain::default())),
        };
        builder.build()
    }

    fn region(&self) -> String {
        let of_environment = || ["AWS_REGION", "AWS_DEFAULT_REGION"].iter().find_map(|name| std::env::var(name).ok());
        self.region.clone().or_else(of_environment).unwrap_or_else(|| DEFAULT_REGION.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_can_not_work_are_refused_by_name() {
        assert_eq!(S3::default().check(), Ok(()));
        let half = S3 { access_key: Some("key".into()), ..S3::default() };
        assert!(half.check().unwrap_err().starts_with("access_key and secret_key"));
        let endpoint = |url: &str| S3 { endpoint: Some(url.into()), ..S3::default() };
        for (url, wanted) in
            [("no url", "endpoint is no URL"), ("ftp://x", "endpoint begins"), ("http://x", "endpoint has no TLS")]
        {
            let refused = endpoint(url).check().unwrap_err();
            assert!(refused.starts_with(wanted), "{refused}");
        }
        assert_eq!(S3 { allow_http: true, ..endpoint("http://x") }.check(), Ok(()));
        let refused = S3 { timeout_ms: 0, ..S3::default() }.check().unwrap_err();
        assert!(refused.starts_with("timeout_ms"), "{refused}");
    }

    #[test]
    fn a_secret_is_never_printed() {
        let secret = "keep-this-quiet";
        let s3 = S3 { access_key: Some("key".into()), secret_key: Some(Secret::new(secret)), ..S3::default() };
        assert!(!format!("{s3:?}").contains(secret));
        assert!(!serde_json::to_string(&s3).unwrap().contains(secret));
    }
}
