//! How AWS clients are set up: for AWS from the environment, for a server on this machine from its address alone.

use std::net::IpAddr;
use std::time::Duration;

use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::meta::region::ProvideRegion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::Builder;

/// Attempts of one call, and the pauses between them.
const MAX_ATTEMPTS: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long one attempt and one call with all its attempts may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// The set-up that all AWS clients share: standard retries (8 attempts), 10 s for an attempt, 60 s for a call.
///
/// Without an endpoint, or with an `https` one, credentials and region come from the environment as for any AWS
/// program. An `http` endpoint gets a client without TLS; one on this machine also fixed credentials, no look at
/// profiles, and the region `us-east-1` where the environment names none.
pub async fn sdk_config(endpoint: Option<&str>) -> SdkConfig {
    let retries = RetryConfig::standard()
        .with_max_attempts(MAX_ATTEMPTS)
        .with_initial_backoff(FIRST_PAUSE)
        .with_max_backoff(LONGEST_PAUSE);
    let timeouts =
        TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_TIMEOUT).operation_timeout(CALL_TIMEOUT).build();
    if let Some(endpoint) = endpoint.filter(|endpoint| is_local(endpoint)) {
        let region = EnvironmentVariableRegionProvider::new().region().await;
        let credentials = Credentials::from_keys("local", "local", None);
        return SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(region.unwrap_or_else(|| Region::from_static("us-east-1")))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(endpoint)
            .http_client(Builder::new().build_http())
            .retry_config(retries)
            .timeout_config(timeouts)
            .build();
    }
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).retry_config(retries).timeout_config(timeouts);
    if let Some(endpoint) = endpoint {
        loader = loader.endpoint_url(endpoint);
        if host(endpoint).is_some_and(|(scheme, _)| scheme == "http") {
            loader = loader.http_client(Builder::new().build_http());
        }
    }
    loader.load().await
}

/// The scheme and host of `scheme://host[:port][/path]`.
pub(crate) fn host(endpoint: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = endpoint.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split_once(']')?.0,
        None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
    };
    (matches!(scheme, "http" | "https") && !host.is_empty() && !host.contains('@')).then_some((scheme, host))
}

/// Whether an endpoint is a plain server on this machine.
fn is_local(endpoint: &str) -> bool {
    host(endpoint).is_some_and(|(scheme, host)| {
        let loopback = host.parse::<IpAddr>().map_or(host == "localhost", |address| address.is_loopback());
        scheme == "http" && loopback
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_servers_on_this_machine_are_local() {
        for endpoint in ["http://127.0.0.1:8000", "http://localhost:8000/", "http://[::1]:8000", "http://localhost"] {
            assert!(is_local(endpoint), "{endpoint}");
        }
        for endpoint in [
            "https://127.0.0.1:8000",
            "http://dynamodb:8000",
            "https://dynamodb.eu-west-2.amazonaws.com",
            "http://localhost.example.org",
            "http://10.0.0.1:8000",
        ] {
            assert!(!is_local(endpoint), "{endpoint}");
        }
        for endpoint in ["localhost:8000", "ftp://localhost", "http://", ""] {
            assert_eq!(host(endpoint), None, "{endpoint}");
        }
    }
}
