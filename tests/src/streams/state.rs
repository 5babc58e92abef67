//! What the server knows, and what a test may change of it. A name that a test made up ends the test.

use std::collections::BTreeMap;

use headwater_common::clock::{Clock, SystemClock};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value, json};

/// An operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    DescribeTable,
    DescribeStream,
    ListStreams,
    GetShardIterator,
    GetRecords,
}

impl Call {
    pub(super) fn named(target: &str) -> Option<Call> {
        Some(match target {
            "DynamoDB_20120810.DescribeTable" => Call::DescribeTable,
            "DynamoDBStreams_20120810.DescribeStream" => Call::DescribeStream,
            "DynamoDBStreams_20120810.ListStreams" => Call::ListStreams,
            "DynamoDBStreams_20120810.GetShardIterator" => Call::GetShardIterator,
            "DynamoDBStreams_20120810.GetRecords" => Call::GetRecords,
            _ => return None,
        })
    }
}

/// How a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error that the service answers.
    Answer { status: u16, code: String, message: String },
    /// The connection stays open without an answer.
    Silence,
}

impl Fault {
    pub fn code(code: &str) -> Fault {
        Fault::Answer { status: 400, code: code.to_owned(), message: "as the script says".to_owned() }
    }

    pub fn status(status: u16, code: &str) -> Fault {
        Fault::Answer { status, code: code.to_owned(), message: "as the script says".to_owned() }
    }

    pub fn throttled() -> Fault {
        Fault::code("ThrottlingException")
    }
}

/// A change of one item. Keys are the table's partition key, and after a `/` its sort key.
#[derive(Clone, Debug)]
pub struct Write {
    key: String,
    attributes: Option<Map<String, Value>>,
    expiry: bool,
    created: Option<i64>,
}

impl Write {
    /// `attributes`: DynamoDB JSON without the key.
    ///
    /// # Panics
    /// If it is none.
    #[allow(clippy::expect_used)] // a test's own text
    pub fn put(key: &str, attributes: &str) -> Write {
        let attributes = serde_json::from_str(attributes).expect("attributes as DynamoDB JSON");
        Write { key: key.to_owned(), attributes: Some(attributes), expiry: false, created: None }
    }

    pub fn delete(key: &str) -> Write {
        Write { key: key.to_owned(), attributes: None, expiry: false, created: None }
    }

    /// A removal by the time to live.
    pub fn expire(key: &str) -> Write {
        Write { expiry: true, ..Write::delete(key) }
    }

    /// Seconds since the epoch; now without it.
    pub fn created(self, seconds: i64) -> Write {
        Write { created: Some(seconds), ..self }
    }
}

pub(super) struct State {
    pub tables: BTreeMap<String, Table>,
    pub epoch: u64,
    pub faults: Vec<(Call, u32, Fault)>,
    pub throttled_share: f64,
    pub page_records: usize,
    pub page_shards: usize,
    pub partial_share: f64,
    pub calls: BTreeMap<Call, u64>,
    random: SmallRng,
    /// Hands out sequence numbers, shard ids and stream labels.
    count: u64,
}

pub(super) struct Table {
    pub partition: String,
    pub sort: Option<String>,
    /// The last is the table's own.
    pub streams: Vec<Stream>,
    items: BTreeMap<String, Map<String, Value>>,
}

pub(super) struct Stream {
    pub arn: String,
    pub label: String,
    pub enabled: bool,
    pub view: String,
    pub shards: Vec<Shard>,
}

pub(super) struct Shard {
    pub id: String,
    pub parent: Option<String>,
    pub records: Vec<Record>,
    pub closed: bool,
    pub held: bool,
    /// How many of the records are gone.
    pub trimmed: usize,
    pub empty_answers: u32,
    /// Descriptions that will not show it.
    pub hidden: u32,
}

pub(super) struct Record {
    pub sequence: String,
    pub body: Value,
}

impl Shard {
    pub(super) fn trim(&mut self, sequence: &str) {
        self.trimmed = self.records.partition_point(|record| *record.sequence <= *sequence);
    }
}

// A name that the script does not know is a mistake in the test.
#[allow(clippy::expect_used)]
impl State {
    pub(super) fn new() -> State {
        State {
            tables: BTreeMap::new(),
            epoch: 0,
            faults: Vec::new(),
            throttled_share: 0.0,
            page_records: 1000,
            page_shards: 100,
            partial_share: 0.0,
            calls: BTreeMap::new(),
            random: SmallRng::seed_from_u64(7),
            count: 0,
        }
    }

    /// Shards that this page of a description may hold.
    pub(super) fn page_of_shards(&mut self) -> usize {
        let partial = self.partial_share > 0.0 && self.random.random_bool(self.partial_share.min(1.0));
        if partial { self.random.random_range(1..=self.page_shards) } else { self.page_shards }
    }

    fn next(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    pub(super) fn create_table(&mut self, table: &str, partition: &str, sort: Option<&str>) {
        let (partition, sort) = (partition.to_owned(), sort.map(str::to_owned));
        self.tables.insert(table.to_owned(), Table { partition, sort, streams: Vec::new(), items: BTreeMap::new() });
        self.replace_stream(table);
    }

    pub(super) fn replace_stream(&mut self, table: &str) -> String {
        self.disable_stream(table);
        let label = format!("2026-01-01T00:00:00.{:03}", self.next());
        let arn = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{table}/stream/{label}");
        let view = "NEW_AND_OLD_IMAGES".to_owned();
        let stream = Stream { arn: arn.clone(), label, enabled: true, view, shards: Vec::new() };
        self.table(table).streams.push(stream);
        arn
    }

    pub(super) fn disable_stream(&mut self, table: &str) {
        for stream in &mut self.table(table).streams {
            stream.enabled = false;
            stream.shards.iter_mut().for_each(|shard| shard.closed = true);
        }
    }

    pub(super) fn drop_old_streams(&mut self, table: &str) {
        let streams = &mut self.table(table).streams;
        streams.drain(..streams.len() - 1);
    }

    pub(super) fn open_shard(&mut self, table: &str, parent: Option<&str>, hidden: u32) -> String {
        let count = self.next();
        let id = format!("shardId-{:020}-{count:08x}", 1_700_000_000_000 + count);
        self.stream(table).shards.push(Shard {
            id: id.clone(),
            parent: parent.map(str::to_owned),
            records: Vec::new(),
            closed: false,
            held: false,
            trimmed: 0,
            empty_answers: 0,
            hidden,
        });
        id
    }

    pub(super) fn write(&mut self, table: &str, shard: &str, write: Write) -> String {
        let count = self.next();
        // Rises by value, and its width is DynamoDB's least.
        let sequence = (100_000_000_000_000_000_000_u128 + u128::from(count) * 7).to_string();
        let created = write.created.unwrap_or_else(|| SystemClock.now().as_millis() / 1000);
        let owner = self.table(table);
        let keys = owner.keys(&write.key);
        let after = write.attributes.map(|attributes| {
            let mut item = keys.clone();
            item.extend(attributes);
            item
        });
        let before = match &after {
            Some(item) => owner.items.insert(write.key.clone(), item.clone()),
            None => owner.items.remove(&write.key),
        };
        let name = match (&before, &after) {
            (None, Some(_)) => "INSERT",
            (Some(_), Some(_)) => "MODIFY",
            (_, None) => "REMOVE",
        };
        let view = self.stream(table).view.clone();
        let mut dynamodb = json!({
            "Keys": keys,
            "SequenceNumber": sequence,
            "SizeBytes": 1,
            "StreamViewType": view,
            "ApproximateCreationDateTime": created,
        });
        if let Some(after) = after.filter(|_| view.starts_with("NEW")) {
            dynamodb["NewImage"] = Value::Object(after);
        }
        if let Some(before) = before.filter(|_| view.contains("OLD")) {
            dynamodb["OldImage"] = Value::Object(before);
        }
        let mut body = json!({
            "eventID": format!("{count:032x}"),
            "eventName": name,
            "eventVersion": "1.1",
            "eventSource": "aws:dynamodb",
            "awsRegion": "us-east-1",
            "dynamodb": dynamodb,
        });
        if write.expiry {
            body["userIdentity"] = json!({ "Type": "Service", "PrincipalId": "dynamodb.amazonaws.com" });
        }
        self.shard(table, shard).records.push(Record { sequence: sequence.clone(), body });
        sequence
    }

    pub(super) fn table(&mut self, table: &str) -> &mut Table {
        self.tables.get_mut(table).expect("a table of this script")
    }

    /// The table's own stream.
    pub(super) fn stream(&mut self, table: &str) -> &mut Stream {
        self.table(table).streams.last_mut().expect("a table with a stream")
    }

    /// A shard of any of the table's streams.
    pub(super) fn shard(&mut self, table: &str, shard: &str) -> &mut Shard {
        let mut shards = self.table(table).streams.iter_mut().flat_map(|stream| &mut stream.shards);
        shards.find(|known| known.id == shard).expect("a shard of this script")
    }

    /// How this call fails, if it does.
    pub(super) fn fault(&mut self, call: Call) -> Option<Fault> {
        *self.calls.entry(call).or_default() += 1;
        if let Some(at) = self.faults.iter().position(|(scripted, _, _)| *scripted == call) {
            let (_, count, fault) = &mut self.faults[at];
            let fault = fault.clone();
            *count -= 1;
            if *count == 0 {
                self.faults.remove(at);
            }
            return Some(fault);
        }
        let throttled = self.throttled_share > 0.0 && self.random.random_bool(self.throttled_share.min(1.0));
        throttled.then(Fault::throttled)
    }
}

impl Table {
    fn keys(&self, key: &str) -> Map<String, Value> {
        let (partition, sort) = key.split_once('/').unwrap_or((key, ""));
        let mut keys = Map::from_iter([(self.partition.clone(), json!({ "S": partition }))]);
        if let Some(name) = &self.sort {
            keys.insert(name.clone(), json!({ "S": sort }));
        }
        keys
    }
}
