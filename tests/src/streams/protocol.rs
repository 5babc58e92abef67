//! DynamoDB's JSON protocol: an operation in a header, a JSON body, errors by `__type`.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::state::{Call, Fault, Shard, State, Stream, Table};

type Answer = Result<Value, Fault>;

pub(super) fn router(state: Arc<Mutex<State>>) -> Router {
    Router::new().fallback(serve).with_state(state)
}

async fn serve(Shared(state): Shared<Arc<Mutex<State>>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let answer = match (Call::named(target), serde_json::from_slice(&body)) {
        (Some(call), Ok(request)) => answer(&mut state.lock(), call, &request),
        (None, _) => Err(Fault::code("UnknownOperationException")),
        (_, Err(_)) => Err(Fault::code("SerializationException")),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(Fault::Silence) => std::future::pending().await,
        Err(Fault::Answer { status, code, message }) => {
            let kind = format!("com.amazonaws.dynamodb.v20120810#{code}");
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, json!({ "__type": kind, "message": message }))
        }
    };
    (status, [(header::CONTENT_TYPE, "application/x-amz-json-1.0")], body.to_string()).into_response()
}

fn answer(state: &mut State, call: Call, request: &Value) -> Answer {
    if let Some(fault) = state.fault(call) {
        return Err(fault);
    }
    match call {
        Call::DescribeTable => describe_table(state, request),
        Call::ListStreams => list_streams(state, request),
        Call::DescribeStream => describe_stream(state, request),
        Call::GetShardIterator => get_shard_iterator(state, request),
        Call::GetRecords => get_records(state, request),
    }
}

fn not_found(what: &str) -> Fault {
    let message = format!("Requested resource not found: {what}");
    Fault::Answer { status: 400, code: "ResourceNotFoundException".to_owned(), message }
}

fn invalid(message: &str) -> Fault {
    Fault::Answer { status: 400, code: "ValidationException".to_owned(), message: message.to_owned() }
}

fn text<'a>(request: &'a Value, name: &str) -> &'a str {
    request[name].as_str().unwrap_or_default()
}

fn key_schema(table: &Table) -> Value {
    let mut schema = vec![json!({ "AttributeName": table.partition, "KeyType": "HASH" })];
    schema.extend(table.sort.iter().map(|name| json!({ "AttributeName": name, "KeyType": "RANGE" })));
    Value::Array(schema)
}

fn describe_table(state: &State, request: &Value) -> Answer {
    let name = text(request, "TableName");
    let table = state.tables.get(name).ok_or_else(|| not_found(&format!("Table: {name}")))?;
    let names = std::iter::once(&table.partition).chain(&table.sort);
    let definitions: Vec<Value> = names.map(|name| json!({ "AttributeName": name, "AttributeType": "S" })).collect();
    let mut description = json!({
        "TableName": name,
        "TableStatus": "ACTIVE",
        "KeySchema": key_schema(table),
        "AttributeDefinitions": definitions,
    });
    if let Some(stream) = table.streams.last() {
        description["LatestStreamArn"] = json!(stream.arn);
        description["LatestStreamLabel"] = json!(stream.label);
        if stream.enabled {
            description["StreamSpecification"] = json!({ "StreamEnabled": true, "StreamViewType": stream.view });
        }
    }
    Ok(json!({ "Table": description }))
}

fn list_streams(state: &State, request: &Value) -> Answer {
    let wanted = request["TableName"].as_str();
    let tables = state.tables.iter().filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    let streams = tables.flat_map(|(name, table)| table.streams.iter().map(move |stream| (name, stream)));
    let streams: Vec<Value> = streams
        .map(|(name, stream)| json!({ "StreamArn": stream.arn, "StreamLabel": stream.label, "TableName": name }))
        .collect();
    Ok(json!({ "Streams": streams }))
}

fn find<'a>(state: &'a mut State, arn: &str) -> Result<(&'a mut Stream, Value, String), Fault> {
    for (name, table) in &mut state.tables {
        let schema = key_schema(table);
        if let Some(stream) = table.streams.iter_mut().find(|stream| stream.arn == arn) {
            return Ok((stream, schema, name.clone()));
        }
    }
    Err(not_found(&format!("Stream: {arn}")))
}

fn describe_stream(state: &mut State, request: &Value) -> Answer {
    let page = state.page_of_shards();
    let page = request["Limit"].as_u64().map_or(page, |limit| page.min(limit as usize));
    let (stream, schema, name) = find(state, text(request, "StreamArn"))?;
    let after = request["ExclusiveStartShardId"].as_str();
    let parent = request["ShardFilter"]["ShardId"].as_str();
    let first = match after {
        Some(after) => stream.shards.iter().position(|shard| shard.id == after).map_or(0, |at| at + 1),
        None => 0,
    };
    let visible: Vec<bool> = stream.shards.iter_mut().map(appears).collect();
    let mut shards = Vec::new();
    let mut last = None;
    for (shard, _) in stream.shards.iter().zip(visible).skip(first).filter(|(_, visible)| *visible) {
        if parent.is_some() && shard.parent.as_deref() != parent {
            continue;
        }
        if shards.len() == page {
            last = shards.last().map(|shard: &Value| shard["ShardId"].clone());
            break;
        }
        shards.push(described(shard));
    }
    let mut description = json!({
        "StreamArn": stream.arn,
        "StreamLabel": stream.label,
        "StreamStatus": if stream.enabled { "ENABLED" } else { "DISABLED" },
        "StreamViewType": stream.view,
        "TableName": name,
        "KeySchema": schema,
        "Shards": shards,
    });
    if let Some(last) = last {
        description["LastEvaluatedShardId"] = last;
    }
    Ok(json!({ "StreamDescription": description }))
}

fn appears(shard: &mut Shard) -> bool {
    let visible = shard.hidden == 0;
    shard.hidden = shard.hidden.saturating_sub(1);
    visible
}

fn described(shard: &Shard) -> Value {
    let mut range = json!({});
    if let Some(first) = shard.records.first() {
        range["StartingSequenceNumber"] = json!(first.sequence);
    }
    if let Some(last) = shard.records.last().filter(|_| shard.closed) {
        range["EndingSequenceNumber"] = json!(last.sequence);
    }
    let mut described = json!({ "ShardId": shard.id, "SequenceNumberRange": range });
    if let Some(parent) = &shard.parent {
        described["ParentShardId"] = json!(parent);
    }
    described
}

fn find_shard<'a>(stream: &'a mut Stream, id: &str) -> Result<&'a mut Shard, Fault> {
    stream.shards.iter_mut().find(|shard| shard.id == id).ok_or_else(|| not_found(&format!("Shard: {id}")))
}

fn trimmed() -> Fault {
    Fault::code("TrimmedDataAccessException")
}

fn get_shard_iterator(state: &mut State, request: &Value) -> Answer {
    let epoch = state.epoch;
    let arn = text(request, "StreamArn");
    let (stream, _, _) = find(state, arn)?;
    let shard = find_shard(stream, text(request, "ShardId"))?;
    let sequence = text(request, "SequenceNumber");
    let index = match text(request, "ShardIteratorType") {
        "TRIM_HORIZON" => shard.trimmed,
        "LATEST" => shard.records.len(),
        kind @ ("AT_SEQUENCE_NUMBER" | "AFTER_SEQUENCE_NUMBER") => {
            if !(21..=40).contains(&sequence.len()) {
                return Err(invalid("Value at 'sequenceNumber' failed to satisfy constraint"));
            }
            let after = kind == "AFTER_SEQUENCE_NUMBER";
            let before = |known: &str| if after { known <= sequence } else { known < sequence };
            shard.records.partition_point(|record| before(&record.sequence))
        }
        _ => return Err(invalid("Value at 'shardIteratorType' failed to satisfy constraint")),
    };
    if index < shard.trimmed {
        return Err(trimmed());
    }
    Ok(json!({ "ShardIterator": iterator(arn, &shard.id, index, epoch) }))
}

fn iterator(arn: &str, shard: &str, index: usize, epoch: u64) -> String {
    format!("{arn}|{shard}|{index}|{epoch}")
}

fn get_records(state: &mut State, request: &Value) -> Answer {
    let (epoch, page) = (state.epoch, state.page_records);
    let parts: Vec<&str> = text(request, "ShardIterator").split('|').collect();
    let [arn, shard, index, made] = parts[..] else { return Err(invalid("Invalid ShardIterator")) };
    let (Ok(index), Ok(made)) = (index.parse::<usize>(), made.parse::<u64>()) else {
        return Err(invalid("Invalid ShardIterator"));
    };
    if made != epoch {
        return Err(Fault::code("ExpiredIteratorException"));
    }
    let limit = request["Limit"].as_u64().unwrap_or(1000);
    if limit > 1000 {
        return Err(Fault::code("LimitExceededException"));
    }
    let (stream, _, _) = find(state, arn)?;
    let shard = find_shard(stream, shard)?;
    if shard.held {
        return Err(Fault::throttled());
    }
    if index < shard.trimmed {
        return Err(trimmed());
    }
    if shard.empty_answers > 0 {
        shard.empty_answers -= 1;
        return Ok(json!({ "Records": [], "NextShardIterator": iterator(arn, &shard.id, index, epoch) }));
    }
    let end = shard.records.len().min(index + page.min(limit as usize));
    let records: Vec<&Value> = shard.records[index.min(end)..end].iter().map(|record| &record.body).collect();
    let mut answer = json!({ "Records": records });
    if !(shard.closed && end == shard.records.len()) {
        answer["NextShardIterator"] = json!(iterator(arn, &shard.id, end, epoch));
    }
    Ok(answer)
}
