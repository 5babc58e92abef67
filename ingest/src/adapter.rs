//! [`Streams`] on the AWS SDK.

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_dynamodbstreams::types::{
    self as sdk, ShardFilter, ShardFilterType, ShardIteratorType, StreamDescription, StreamViewType,
};
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::order::SequenceNumber;

use crate::convert;
use crate::errors::{Fault, StreamError, classify};
use crate::streams::{
    KeySchema, ListedShard, Records, ShardIterator, ShardKey, SourceTable, Start, StreamPage, StreamStatus, Streams,
    ViewType,
};

/// The two services of DynamoDB: its streams, and its tables, which name their streams.
pub struct AwsStreams {
    streams: aws_sdk_dynamodbstreams::Client,
    tables: aws_sdk_dynamodb::Client,
}

impl AwsStreams {
    /// Takes the clients' region, endpoint and credentials. Repeating is the reader's: it knows what to repeat, and
    /// counts it; so the clients' own retries are switched off, and each attempt is given `timeout`.
    pub fn new(
        streams: &aws_sdk_dynamodbstreams::Client,
        tables: &aws_sdk_dynamodb::Client,
        timeout: Duration,
    ) -> AwsStreams {
        let timeouts = TimeoutConfig::builder().operation_timeout(timeout).connect_timeout(timeout / 2).build();
        let stream_settings =
            streams.config().to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts.clone());
        let table_settings =
            tables.config().to_builder().retry_config(RetryConfig::disabled()).timeout_config(timeouts);
        AwsStreams {
            streams: aws_sdk_dynamodbstreams::Client::from_conf(stream_settings.build()),
            tables: aws_sdk_dynamodb::Client::from_conf(table_settings.build()),
        }
    }
}

#[async_trait]
impl Streams for AwsStreams {
    async fn table(&self, table: &TableName) -> Result<SourceTable, StreamError> {
        let answer = self.tables.describe_table().table_name(table.as_str()).send().await;
        let answer = answer.map_err(|error| classify("DescribeTable", error))?;
        let Some(description) = answer.table else { return Err(incomplete("DescribeTable", "a table")) };
        // The last stream's ARN stays in the description after the stream was switched off.
        let enabled = description.stream_specification.is_some_and(|stream| stream.stream_enabled);
        let stream = description.latest_stream_arn.filter(|_| enabled).map(StreamArn::new);
        let elements = description.key_schema.unwrap_or_default().into_iter();
        let keys = key_schema(elements.map(|element| (element.attribute_name, element.key_type.as_str().to_owned())));
        keys.map(|keys| SourceTable { stream, keys }).ok_or_else(|| incomplete("DescribeTable", "keys"))
    }

    async fn describe(&self, stream: &StreamArn, after: Option<&ShardId>) -> Result<StreamPage, StreamError> {
        const CALL: &str = "DescribeStream";
        let request = self.streams.describe_stream().stream_arn(stream.as_str());
        let request = request.set_exclusive_start_shard_id(after.map(|shard| shard.as_str().to_owned()));
        let answer = request.send().await.map_err(|error| classify(CALL, error))?;
        page(answer.stream_description.ok_or_else(|| incomplete(CALL, "a description"))?)
    }

    async fn children(&self, stream: &StreamArn, parent: &ShardId) -> Result<Vec<ListedShard>, StreamError> {
        let filter = ShardFilter::builder().r#type(ShardFilterType::ChildShards).shard_id(parent.as_str()).build();
        let request = self.streams.describe_stream().stream_arn(stream.as_str()).shard_filter(filter);
        let answer = request.send().await.map_err(|error| classify("DescribeStream", error))?;
        let shards = answer.stream_description.and_then(|description| description.shards).unwrap_or_default();
        let shards = shards.into_iter().map(listed).collect::<Result<Vec<_>, _>>()?;
        // Some servers ignore the filter.
        Ok(shards.into_iter().filter(|shard| shard.parent.as_ref() == Some(parent)).collect())
    }

    async fn iterator(&self, shard: &ShardKey, start: &Start) -> Result<ShardIterator, StreamError> {
        const CALL: &str = "GetShardIterator";
        let (kind, sequence) = match start {
            Start::TrimHorizon => (ShardIteratorType::TrimHorizon, None),
            Start::After(sequence) => (ShardIteratorType::AfterSequenceNumber, Some(sequence.to_api().to_owned())),
        };
        let request = self.streams.get_shard_iterator().stream_arn(shard.0.as_str()).shard_id(shard.1.as_str());
        let request = request.shard_iterator_type(kind).set_sequence_number(sequence);
        let answer = request.send().await.map_err(|error| classify(CALL, error))?;
        answer.shard_iterator.map(ShardIterator).ok_or_else(|| incomplete(CALL, "an iterator"))
    }

    async fn records(&self, iterator: &ShardIterator, limit: u32) -> Result<Records, StreamError> {
        let limit = i32::try_from(limit).unwrap_or(1000);
        let request = self.streams.get_records().shard_iterator(&iterator.0).limit(limit);
        let answer = request.send().await.map_err(|error| classify("GetRecords", error))?;
        let records = answer.records.unwrap_or_default();
        let records = records.into_iter().map(convert::record).collect::<Result<_, _>>()?;
        Ok(Records { records, next: answer.next_shard_iterator.map(ShardIterator) })
    }
}

fn incomplete(call: &'static str, what: &str) -> StreamError {
    StreamError { fault: Fault::Busy, call, reason: format!("an answer without {what}") }
}

fn page(description: StreamDescription) -> Result<StreamPage, StreamError> {
    let elements = description.key_schema.unwrap_or_default().into_iter();
    let keys = key_schema(elements.map(|element| (element.attribute_name, element.key_type.as_str().to_owned())));
    let status = match description.stream_status {
        Some(sdk::StreamStatus::Disabled | sdk::StreamStatus::Disabling) => StreamStatus::Disabled,
        _ => StreamStatus::Enabled,
    };
    let view = match description.stream_view_type {
        Some(StreamViewType::NewImage) => ViewType::NewImage,
        Some(StreamViewType::NewAndOldImages) => ViewType::NewAndOldImages,
        other => ViewType::Unfit(other.map_or_else(String::new, |view| view.as_str().to_owned())),
    };
    let shards = description.shards.unwrap_or_default().into_iter().map(listed).collect::<Result<_, _>>()?;
    let next = description.last_evaluated_shard_id.filter(|shard| !shard.is_empty()).map(ShardId::new);
    Ok(StreamPage { status, view, keys, shards, next })
}

/// From names and DynamoDB's names of their roles; the two services have each its own type for them.
fn key_schema(elements: impl Iterator<Item = (String, String)>) -> Option<KeySchema> {
    let (mut partition, mut sort) = (None, None);
    for (name, role) in elements {
        match role.as_str() {
            "HASH" => partition = Some(name),
            "RANGE" => sort = Some(name),
            _ => {}
        }
    }
    Some(KeySchema { partition: partition?, sort })
}

fn listed(shard: sdk::Shard) -> Result<ListedShard, StreamError> {
    const CALL: &str = "DescribeStream";
    let id = shard.shard_id.map(ShardId::new).ok_or_else(|| incomplete(CALL, "a shard's id"))?;
    let first = shard.sequence_number_range.and_then(|range| range.starting_sequence_number);
    let first = first.and_then(|sequence| SequenceNumber::parse(&sequence).ok());
    Ok(ListedShard { id, parent: shard.parent_shard_id.map(ShardId::new), first })
}
