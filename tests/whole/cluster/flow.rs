//! Waits until a round of probes has come through to the lake and to the index.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::value::Item;
use headwater_tests::error::Error;
use headwater_tests::history::{Key, WriteId};
use headwater_tests::lake::Tail;
use headwater_tests::observed::HistoryRow;
use headwater_tests::probe::Round;
use headwater_tests::{http, wait};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::PATIENCE;

/// The write that a key shows, and its version.
type Shown = BTreeMap<Key, (WriteId, i64)>;

pub struct Flow {
    lake: LakeRows,
    index: Aliases,
}

/// From a moment until each sink showed every write of a round.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    pub lake: Duration,
    pub index: Duration,
}

struct LakeRows {
    tails: Vec<Tail>,
    newest: Shown,
}

struct Aliases {
    server: SocketAddr,
    aliases: BTreeMap<TableName, String>,
}

impl Flow {
    pub fn new(lake: &Path, server: SocketAddr, aliases: BTreeMap<TableName, String>) -> Flow {
        let tails = aliases.keys().map(|table| Tail::of(lake, table)).collect();
        Flow { lake: LakeRows { tails, newest: Shown::new() }, index: Aliases { server, aliases } }
    }

    /// Waits until the lake's history and a search by the keys show the round's writes, both as the same versions.
    pub async fn arrival(&mut self, round: &Round, since: Instant) -> Result<Arrived, Error> {
        let lake = async {
            let rows = &mut self.lake;
            wait::until("the probes in the lake", PATIENCE, || std::future::ready(rows.show(round))).await?;
            Ok::<_, Error>(since.elapsed())
        };
        let index = async {
            let shown = wait::until("the probes in the index", PATIENCE, || self.index.show(round)).await?;
            Ok::<_, Error>((shown, since.elapsed()))
        };
        let (lake, (shown, index)) = tokio::try_join!(lake, index)?;
        for (key, version) in &shown {
            let held = &self.lake.newest[key];
            if held != version {
                return Err(Error::answer(
                    format!("the probe {key}"),
                    format!("{held:?} in the lake, {version:?} in the index"),
                ));
            }
        }
        Ok(Arrived { lake, index })
    }
}

impl Arrived {
    pub fn both(&self) -> Duration {
        self.lake.max(self.index)
    }
}

impl LakeRows {
    fn show(&mut self, round: &Round) -> Result<(), String> {
        for tail in &mut self.tails {
            while let Some(rows) = tail.next_commit().map_err(|error| error.to_string())? {
                self.newest.extend(rows.iter().filter(|row| round.0.contains_key(&row.key())).filter_map(shown_by));
            }
        }
        round.missing(|key| self.newest.get(key).map(|(id, _)| id))
    }
}

fn shown_by(row: &HistoryRow) -> Option<(Key, (WriteId, i64))> {
    let id = row.item.as_ref().and_then(WriteId::of)?;
    Some((row.key(), (id, row.version)))
}

impl Aliases {
    async fn show(&self, round: &Round) -> Result<Shown, String> {
        let mut shown = Shown::new();
        for (table, alias) in &self.aliases {
            let keys: BTreeMap<String, &Key> =
                round.0.keys().filter(|key| key.table == *table).map(|key| (key.document_id(), key)).collect();
            let ids: Vec<&String> = keys.keys().collect();
            let search = json!({"size": ids.len(), "query": {"ids": {"values": ids}}});
            let answer = http::post_json(self.server, &format!("/{alias}/_search"), &search).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status != 200 {
                return Err(format!("{}: {}", answer.status, answer.body));
            }
            let answer: Json = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
            for hit in answer["hits"]["hits"].as_array().into_iter().flatten() {
                let ours = &hit["_source"]["_hw"];
                let item: Item = serde_json::from_value(ours["item"].clone()).map_err(|error| error.to_string())?;
                let id = WriteId::of(&item).ok_or("a document without a write")?;
                let version = ours["version"].as_i64().ok_or("a document without a version")?;
                let key = hit["_id"].as_str().and_then(|id| keys.get(id)).ok_or("a document that was not asked for")?;
                shown.insert((*key).clone(), (id, version));
            }
        }
        round.missing(|key| shown.get(key).map(|(id, _)| id))?;
        Ok(shown)
    }
}
