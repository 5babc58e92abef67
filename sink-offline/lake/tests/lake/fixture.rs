//! A table's history written flush by flush, and what it must amount to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use headwater_common::change::{Change, Op, ShardId, Source, StreamArn, TableName};
use headwater_common::clock::{Clock, ManualClock, Timestamp};
use headwater_common::definition::Entity;
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::log::{LogId, LogRecord, Offset, TablePartition};
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::value::Item;
use headwater_lake::LakeReader;
use headwater_lake::current::{self, Fold, Folded};
use headwater_sink_offline::Lake;
use headwater_sink_offline::commit::Committer;
use headwater_sink_offline::encode::Rows;
use headwater_sink_offline::file::data_file;
use headwater_sink_offline::plan::Plan;
use headwater_sink_offline::position::{Moves, Step};
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};
use tokio_util::sync::CancellationToken;

use crate::place::{Guard, Place};

pub const START: Timestamp = Timestamp::from_millis(1_767_225_600_000);

pub fn entity() -> Entity {
    entity_with(serde_json::json!([
        {"name": "delay", "type": "long"},
        {"name": "exact", "type": {"decimal": {"precision": 38, "scale": 2}}},
        {"name": "tailNumber", "type": "keyword"},
        {"name": "place", "type": "geo_point"},
    ]))
}

pub fn entity_with(features: serde_json::Value) -> Entity {
    serde_json::from_value(serde_json::json!({
        "entity": "aircraft",
        "key": {"partition": {"name": "tail", "type": "string"}},
        "event_time": "seen",
        "features": features,
    }))
    .unwrap()
}

pub fn table() -> TableName {
    TableName::new("aircraft")
}

/// A change of the item `key`; without attributes a deletion.
pub fn change(key: &str, version: u64, attributes: Option<&str>) -> Change {
    let after = attributes.map(|attributes| {
        let comma = if attributes.is_empty() { "" } else { "," };
        Item::from_json(&format!(r#"{{"tail":{{"S":"{key}"}}{comma}{attributes}}}"#)).unwrap()
    });
    Change {
        table: table(),
        key: ItemKey { partition: ("tail".into(), KeyValue::S(key.into())), sort: None },
        op: if after.is_some() { Op::Modify } else { Op::Delete },
        version: Version::new(version).unwrap(),
        created: START,
        after,
        before: None,
        changed: Some(vec!["delay".into()]),
        source: Source {
            stream: StreamArn::new("arn"),
            generation: 1,
            shard: ShardId::new("shard-1"),
            sequence: SequenceNumber::parse(&version.to_string()).unwrap(),
            event_id: format!("e{version}"),
            identity: None,
        },
    }
}

pub fn put(key: &str, version: u64) -> Change {
    change(key, version, Some(&format!(r#""delay":{{"N":"{version}"}}"#)))
}

pub fn delete(key: &str, version: u64) -> Change {
    change(key, version, None)
}

/// The live items by key text: version and item.
pub type Live = BTreeMap<String, (i64, String)>;

/// The newest of each key by version, without deletions: what every way to ask must give.
pub fn naive(changes: &[Change]) -> Live {
    let mut newest: BTreeMap<String, &Change> = BTreeMap::new();
    for change in changes {
        let known = newest.entry(change.key.canonical().to_text()).or_insert(change);
        if change.version > known.version {
            *known = change;
        }
    }
    let live = newest
        .into_iter()
        .filter_map(|(key, change)| Some((key, (change.version.as_i64(), change.after.as_ref()?.to_json()))));
    live.collect()
}

/// One table's lake.
pub struct Fixture {
    pub lake: Lake,
    pub entity: Entity,
    pub clock: Arc<ManualClock>,
    committer: Committer,
    plan: Arc<Plan>,
    last: Option<Offset>,
    /// Everything written so far.
    pub written: Vec<Change>,
    _guard: Option<Guard>,
}

impl Fixture {
    pub async fn new(place: &Place) -> Fixture {
        let (lake, guard) = place.open();
        let mut fixture = Fixture::on(lake, entity()).await;
        fixture._guard = Some(guard);
        fixture
    }

    pub async fn on(lake: Lake, entity: Entity) -> Fixture {
        let (clock, plan) = (Arc::new(ManualClock::at(START)), Arc::new(Plan::of(&entity).unwrap()));
        let committer = open(&lake, &plan, &clock).await;
        Fixture { lake, entity, clock, committer, plan, last: None, written: Vec::new(), _guard: None }
    }

    /// The sink starts again with another definition.
    pub async fn redefine(&mut self, entity: Entity) {
        self.plan = Arc::new(Plan::of(&entity).unwrap());
        self.committer = open(&self.lake, &self.plan, &self.clock).await;
        self.entity = entity;
    }

    /// One commit of these changes, a second after the one before.
    pub async fn flush(&mut self, changes: &[Change]) {
        self.flush_with(changes, 0).await;
    }

    /// The same with some dead letters before them.
    pub async fn flush_with(&mut self, changes: &[Change], dead: usize) {
        self.clock.advance(Duration::from_secs(1));
        let mut rows = Rows::new(Arc::clone(&self.plan));
        let before = self.last;
        let mut next = || {
            let offset = self.last.map_or(Offset(0), Offset::next);
            self.last = Some(offset);
            offset
        };
        for _ in 0..dead {
            let at = TablePartition { table: table(), partition: 0 };
            let record = LogRecord { at, offset: next(), key: None, value: "no envelope".into() };
            rows.push_dead_letter(&record, "not an envelope");
        }
        for change in changes {
            rows.push(0, next(), change);
        }
        let now = self.clock.now();
        let step = Step { before, last: self.last.unwrap() };
        let moves = Moves { steps: BTreeMap::from([(0, step)]), complete: BTreeMap::from([(0, now)]) };
        let file = data_file(&rows.finish().stamped(now).unwrap(), 1, now).unwrap();
        let at = self.lake.history(&table());
        at.store.put(&Path::from(file.add.path.as_str()), PutPayload::from_bytes(file.bytes)).await.unwrap();
        self.committer.commit(&moves, Some(&file.add), &*self.clock).await.unwrap();
        self.written.extend_from_slice(changes);
    }

    pub fn fold_with(&self, settings: current::Settings) -> Fold {
        Fold::new(&self.lake, &table(), settings, Duration::from_secs(3600))
    }

    pub async fn fold(&self) -> Folded {
        let mut fold = self.fold_with(small());
        fold.catch_up(self.clock.now(), &CancellationToken::new()).await.unwrap()
    }

    pub fn reader(&self) -> LakeReader {
        LakeReader::open(self.lake.clone(), std::slice::from_ref(&self.entity))
    }

    pub async fn live(&self) -> Live {
        live(&self.reader()).await
    }

    /// What `<table>_current` holds, by SQL.
    pub async fn current(&self) -> Live {
        let answer = self.reader().sql("SELECT _key, _version, item FROM aircraft_current").await.unwrap();
        let row = |row: &serde_json::Value| (text(&row["_key"]), (long(&row["_version"]), text(&row["item"])));
        let current: Live = rows(&answer).iter().map(row).collect();
        assert_eq!(current.len(), answer.rows(), "a key is there once");
        current
    }
}

/// Few buckets and files of the least size, so that small tables have several.
pub fn small() -> current::Settings {
    current::Settings { buckets: 3, ..current::Settings::default() }
}

async fn open(lake: &Lake, plan: &Arc<Plan>, clock: &Arc<ManualClock>) -> Committer {
    Committer::open(lake.history(&table()), Arc::clone(plan), LogId("log".into()), &**clock).await.unwrap()
}

pub async fn live(reader: &LakeReader) -> Live {
    let rows = reader.live_rows(&table()).await.unwrap().try_collect::<Vec<_>>().await.unwrap();
    let count = rows.len();
    let live: Live = rows.into_iter().map(|row| (row.key, (row.version, row.item))).collect();
    assert_eq!(live.len(), count, "a key is live once");
    live
}

pub fn rows(answer: &headwater_lake::query::SqlAnswer) -> Vec<serde_json::Value> {
    let mut out = Vec::new();
    headwater_lake::output::json_lines(&answer.batches, &mut out).unwrap();
    String::from_utf8(out).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn long(value: &serde_json::Value) -> i64 {
    value.as_i64().unwrap()
}
