//! Real servers for tests, by the addresses that `infra/servers/up` exports.
//!
//! A test that needs one asks here and ends where it gets none, which it says; with `REQUIRE_SERVERS=1` it fails instead.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::error::Error;
use crate::http;
use crate::skip::skipped;

/// DynamoDB Local.
#[derive(Clone, Debug)]
pub struct DynamoDb {
    pub endpoint: String,
    /// Where it is told to roll shards and to let time pass.
    pub control: String,
}

#[derive(Clone)]
pub struct S3 {
    pub endpoint: String,
    pub access_key: String,
    pub secret_key: String,
    pub bucket: String,
    pub region: String,
}

impl S3 {
    /// A worker's settings of the lake in this folder of the bucket.
    pub fn lake(&self, folder: &str) -> Value {
        json!({"place": format!("s3://{}/{folder}", self.bucket), "s3": {
            "endpoint": self.endpoint, "region": self.region, "access_key": self.access_key,
            "secret_key": self.secret_key, "allow_http": true,
        }})
    }
}

/// The bootstrap servers of Kafka.
pub fn kafka() -> Option<String> {
    address("KAFKA_BOOTSTRAP")
}

/// The folder of Kafka's packages, to start a broker that one test owns.
pub fn kafka_packages() -> Option<String> {
    address("KAFKA_JARS")
}

pub fn dynamodb() -> Option<DynamoDb> {
    Some(DynamoDb { endpoint: address("DYNAMODB_ENDPOINT")?, control: address("DYNAMODB_CONTROL")? })
}

/// The URL of OpenSearch.
pub fn opensearch() -> Option<String> {
    address("OPENSEARCH_URL")
}

pub fn s3() -> Option<S3> {
    Some(S3 {
        endpoint: address("S3_ENDPOINT")?,
        access_key: address("S3_ACCESS_KEY")?,
        secret_key: address("S3_SECRET_KEY")?,
        bucket: address("S3_BUCKET")?,
        region: std::env::var("S3_REGION").unwrap_or_else(|_| "us-east-1".to_owned()),
    })
}

#[allow(clippy::panic)] // the end of a test that must not be skipped
fn address(variable: &str) -> Option<String> {
    if let Some(value) = std::env::var(variable).ok().filter(|value| !value.is_empty()) {
        return Some(value);
    }
    let required = std::env::var("REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    let reason = format!("{variable} is not set (start them with infra/servers/up)");
    if required {
        panic!("REQUIRE_SERVERS is 1 and {reason}");
    }
    skipped(&reason);
    None
}

impl DynamoDb {
    /// Closes every open shard of every table and opens one child of each.
    pub async fn roll(&self) -> Result<(), Error> {
        self.tell("/roll").await
    }

    /// Every record, shard and iterator of every table is older by `span`: past 15 minutes iterators are expired, past
    /// 4 hours shards are rolled, past 24 hours records are gone. Other tests on this server see it too.
    pub async fn age(&self, span: Duration) -> Result<(), Error> {
        self.tell(&format!("/age?{}", span.as_millis())).await
    }

    async fn tell(&self, path: &str) -> Result<(), Error> {
        let fault = |reason: String| Error::server(format!("{}{path}", self.control), reason);
        let address =
            http::address(&self.control).map_err(|error| fault(format!("DYNAMODB_CONTROL is no address: {error}")))?;
        let response = http::post(address, path).await?;
        if response.status == 200 { Ok(()) } else { Err(fault(format!("{}: {}", response.status, response.body))) }
    }
}

/// Runs `infra/servers/server NAME WHAT` on the servers whose addresses the tests were given. Gives what it prints.
pub async fn control(name: &str, what: &str) -> Result<String, Error> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/servers/server");
    let output = Command::new(&script).args([name, what]).output().await;
    let output = output.map_err(|error| Error::file(&script, error))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let reason = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    Err(Error::process(format!("infra/servers/server {name} {what}"), reason))
}
