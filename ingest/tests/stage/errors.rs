//! Real errors of the SDK, told apart by their code.

use std::time::Duration;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::failure::Directive;
use headwater_common::order::SequenceNumber;
use headwater_ingest::streams::{ShardKey, Start, Streams};
use headwater_ingest::{AwsStreams, Fault, StreamError};
use headwater_tests::streams::{Call, Fault as Scripted, ScriptedStreams};

use crate::stage::{TABLE, streams_client};

const TIMEOUT: Duration = Duration::from_millis(400);

fn adapter(endpoint: &str) -> AwsStreams {
    AwsStreams::new(&streams_client(endpoint), &headwater_tests::client::at(endpoint), TIMEOUT)
}

async fn server() -> (ScriptedStreams, AwsStreams, ShardKey) {
    let server = ScriptedStreams::start().await.unwrap();
    server.create_table(TABLE, "id", None);
    let shard = server.open_shard(TABLE, None);
    let (adapter, key) = (adapter(&server.endpoint()), (StreamArn::new(server.stream_arn(TABLE)), ShardId::new(shard)));
    (server, adapter, key)
}

async fn records(adapter: &AwsStreams, key: &ShardKey) -> StreamError {
    let iterator = adapter.iterator(key, &Start::TrimHorizon).await.unwrap();
    adapter.records(&iterator, 1000).await.unwrap_err()
}

#[tokio::test]
async fn each_code_has_its_meaning() {
    let (server, adapter, key) = server().await;
    for (scripted, fault, directive) in [
        (Scripted::code("ExpiredIteratorException"), Fault::IteratorExpired, Directive::Rebuild),
        (Scripted::code("TrimmedDataAccessException"), Fault::Trimmed, Directive::Rebuild),
        (Scripted::code("ResourceNotFoundException"), Fault::NotFound, Directive::Rebuild),
        (Scripted::code("LimitExceededException"), Fault::Busy, Directive::Retry),
        (Scripted::code("ThrottlingException"), Fault::Busy, Directive::Retry),
        (Scripted::status(500, "InternalServerError"), Fault::Busy, Directive::Retry),
        (Scripted::status(503, "NeverHeardOf"), Fault::Busy, Directive::Retry),
        (Scripted::code("AccessDeniedException"), Fault::Refused, Directive::Halt),
        (Scripted::code("ValidationException"), Fault::Refused, Directive::Halt),
        (Scripted::code("ExpiredTokenException"), Fault::Refused, Directive::Halt),
        (Scripted::code("UnrecognizedClientException"), Fault::Refused, Directive::Halt),
    ] {
        server.fail_next(Call::GetRecords, 1, scripted.clone());
        let error = records(&adapter, &key).await;
        assert_eq!((error.fault, error.fault.kind().directive()), (fault, directive), "{scripted:?}: {error}");
        assert!(error.to_string().starts_with("GetRecords: "), "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_does_not_come_and_a_server_that_is_not_there_pass() {
    let (server, adapter, key) = server().await;
    server.fail_next(Call::GetRecords, 1, Scripted::Silence);
    assert_eq!(records(&adapter, &key).await.fault, Fault::Busy);
    let endpoint = server.endpoint();
    drop(server);
    let gone = async || match self::adapter(&endpoint).table(&TableName::new(TABLE)).await {
        Err(error) => Ok(error),
        Ok(stream) => Err(format!("{stream:?}")),
    };
    let error = headwater_tests::wait::until("a refused connection", Duration::from_secs(10), gone).await.unwrap();
    assert_eq!(error.fault, Fault::Busy, "{error}");
    assert!(error.reason.len() > "dispatch failure".len(), "the cause is told: {error}");
}

#[tokio::test]
async fn a_call_is_made_once_since_the_reader_repeats_it() {
    let (server, adapter, key) = server().await;
    server.fail_next(Call::GetRecords, 1, Scripted::throttled());
    assert_eq!(records(&adapter, &key).await.fault, Fault::Busy);
    assert_eq!(server.calls(Call::GetRecords), 1);
}

#[tokio::test]
async fn places_that_are_gone_are_told_apart() {
    let (server, adapter, key) = server().await;
    let write = |value: &str| headwater_tests::streams::Write::put(value, "{}");
    let first = server.write(TABLE, key.1.as_str(), write("a"));
    let second = server.write(TABLE, key.1.as_str(), write("b"));
    let after = |sequence: &str| Start::After(SequenceNumber::parse(sequence).unwrap());
    server.trim(TABLE, key.1.as_str(), &second);
    let error = adapter.iterator(&key, &after(&first)).await.unwrap_err();
    assert_eq!(error.fault, Fault::Trimmed);
    let unknown = (key.0.clone(), ShardId::new("shardId-none"));
    assert_eq!(adapter.iterator(&unknown, &Start::TrimHorizon).await.unwrap_err().fault, Fault::NotFound);
    let iterator = adapter.iterator(&key, &after(&second)).await.unwrap();
    server.expire_iterators();
    assert_eq!(adapter.records(&iterator, 10).await.unwrap_err().fault, Fault::IteratorExpired);
}

#[tokio::test]
async fn a_description_comes_in_pages_and_children_are_filtered() {
    let (server, adapter, key) = server().await;
    let (left, right) = server.split(TABLE, key.1.as_str());
    server.page_shards(2);
    let first = adapter.describe(&key.0, None).await.unwrap();
    assert_eq!((first.shards.len(), first.keys.unwrap().partition.as_str()), (2, "id"));
    let second = adapter.describe(&key.0, first.next.as_ref()).await.unwrap();
    assert_eq!((second.shards[0].id.as_str(), second.next), (right.as_str(), None));
    let children = adapter.children(&key.0, &key.1).await.unwrap();
    let children: Vec<&str> = children.iter().map(|child| child.id.as_str()).collect();
    assert_eq!(children, [left.as_str(), right.as_str()]);
}
