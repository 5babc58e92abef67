//! A DynamoDB client for servers on this machine, and the tables of a workload.

use std::time::Duration;

use aws_credential_types::Credentials;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{Config, Region};
use aws_sdk_dynamodb::error::DisplayErrorContext;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType as SdkKeyType, ScalarAttributeType,
    StreamSpecification, StreamViewType, TimeToLiveSpecification,
};
use aws_smithy_types::retry::RetryConfig;
use headwater_common::definition::{Entity, KeyAttribute, KeyDefinition, KeyType};

use crate::error::Error;

/// Never retries: each attempt must be a write of its own, whose outcome is recorded.
pub fn at(endpoint: &str) -> Client {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(20))
        .build();
    let config = Config::builder()
        .behavior_version_latest()
        .endpoint_url(endpoint)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::from_keys("test", "test", None))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    Client::from_conf(config)
}

/// Of a table whose key is one string, and of which nothing else is said.
pub fn keyed(table: &str, key: &str) -> Entity {
    Entity {
        entity: table.to_owned(),
        table: None,
        description: String::new(),
        owner: String::new(),
        alert: String::new(),
        key: KeyDefinition { partition: KeyAttribute { name: key.to_owned(), key_type: KeyType::String }, sort: None },
        event_time: None,
        write_time: None,
        ttl: None,
        features: Vec::new(),
    }
}

/// Makes the entity's table with its stream and time to live, unless it is there.
pub async fn ensure_table(client: &Client, entity: &Entity) -> Result<(), Error> {
    let table = entity.table();
    let failed =
        |error: &dyn std::error::Error| Error::server(format!("making the table {table}"), DisplayErrorContext(error));
    let (partition, sort) = (&entity.key.partition, entity.key.sort.as_ref());
    let mut request = client
        .create_table()
        .table_name(table.as_str())
        .billing_mode(BillingMode::PayPerRequest)
        .stream_specification(
            StreamSpecification::builder()
                .stream_enabled(true)
                .stream_view_type(StreamViewType::NewAndOldImages)
                .build()
                .map_err(|error| failed(&error))?,
        )
        .attribute_definitions(definition(partition).map_err(|error| failed(&error))?)
        .key_schema(element(partition, SdkKeyType::Hash).map_err(|error| failed(&error))?);
    if let Some(sort) = sort {
        request = request
            .attribute_definitions(definition(sort).map_err(|error| failed(&error))?)
            .key_schema(element(sort, SdkKeyType::Range).map_err(|error| failed(&error))?);
    }
    match request.send().await {
        Ok(_) => {}
        Err(error) if error.as_service_error().is_some_and(|error| error.is_resource_in_use_exception()) => {
            return Ok(());
        }
        Err(error) => return Err(failed(&error)),
    }
    let Some(ttl) = &entity.ttl else { return Ok(()) };
    let specification = TimeToLiveSpecification::builder().enabled(true).attribute_name(ttl).build();
    let specification = specification.map_err(|error| failed(&error))?;
    let enabled =
        client.update_time_to_live().table_name(table.as_str()).time_to_live_specification(specification).send().await;
    enabled.map(|_| ()).map_err(|error| failed(&error))
}

fn definition(key: &KeyAttribute) -> Result<AttributeDefinition, aws_smithy_types::error::operation::BuildError> {
    let scalar = match key.key_type {
        KeyType::String => ScalarAttributeType::S,
        KeyType::Number => ScalarAttributeType::N,
        KeyType::Binary => ScalarAttributeType::B,
    };
    AttributeDefinition::builder().attribute_name(&key.name).attribute_type(scalar).build()
}

fn element(
    key: &KeyAttribute,
    role: SdkKeyType,
) -> Result<KeySchemaElement, aws_smithy_types::error::operation::BuildError> {
    KeySchemaElement::builder().attribute_name(&key.name).key_type(role).build()
}
