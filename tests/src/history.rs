//! What the writers did, and what the server said to it.
//!
//! The writes of one key stand in the order in which its one writer made them. An outcome is *acknowledged*, *failed*
//! (the server refused, nothing changed) or *unknown* (no answer: it may or may not have happened).

use std::collections::BTreeSet;
use std::fmt;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::definition::Entity;
use headwater_common::key::ItemKey;
use headwater_common::value::{Item, Value};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::Error;

/// The attribute by which every stored item names the write that made it.
pub const WRITE_ID: &str = "write_id";
/// The attribute with the time of the write, in epoch milliseconds.
pub const WRITTEN_AT: &str = "written_at";
/// The attribute with DynamoDB's time to live, in epoch seconds.
pub const EXPIRES: &str = "expires";

/// A time to live below this (the year 2065) may have passed; the workload's others lie far above.
const MAY_EXPIRE_BELOW: f64 = 3e9;

/// Unique over a whole run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WriteId(pub String);

impl WriteId {
    /// The write that made this item, as the item says.
    pub fn of(item: &Item) -> Option<WriteId> {
        item.get(WRITE_ID).and_then(Value::as_str).map(|text| WriteId(text.to_owned()))
    }
}

impl fmt::Display for WriteId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One item of one table; `text` is the lake's `_key`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    pub table: TableName,
    pub text: String,
}

impl Key {
    /// The key of an item in `entity`'s table; `None` where it lacks a key attribute.
    pub fn of(entity: &Entity, item: &Item) -> Option<Key> {
        let sort = entity.key.sort.as_ref().map(|sort| sort.name.as_str());
        let key = ItemKey::of(item, &entity.key.partition.name, sort)?;
        Some(Key { table: entity.table(), text: key.canonical().to_text() })
    }

    /// The id of this item's document in the index: the key's text, or a digest of a long one.
    pub fn document_id(&self) -> String {
        const LONGEST_ID: usize = 512;
        match BASE64URL.decode(&self.text) {
            Ok(bytes) if self.text.len() > LONGEST_ID => format!("#{}", BASE64URL.encode(Sha256::digest(bytes))),
            _ => self.text.clone(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.table, self.text)
    }
}

/// Whether DynamoDB's time to live may delete this item by itself.
pub fn may_expire(item: &Item) -> bool {
    matches!(item.get(EXPIRES), Some(Value::N(seconds)) if seconds.to_f64() < MAY_EXPIRE_BELOW)
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Action {
    Put(Item),
    /// Sets some attributes and takes others away; makes the item where there is none.
    Update {
        set: Item,
        remove: Vec<String>,
    },
    Delete,
}

/// What a write is meant to exercise; a run counts them, so that an empty one does not pass for a good one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trait {
    Put,
    Update,
    Delete,
    Reinsert,
    Expiring,
    TypeFlip,
    Large,
    HotKey,
    LongKey,
    BigNumber,
    RespelledKey,
}

/// One write that a workload asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub id: WriteId,
    pub key: Key,
    /// The key attributes, as this write spells them.
    pub key_item: Item,
    pub action: Action,
    /// Seconds from the time of the write to the item's time to live; negative has passed.
    pub expires_in: Option<i64>,
    pub traits: BTreeSet<Trait>,
}

impl Intent {
    /// Sets what only the moment of the write can say.
    pub fn stamped(mut self, now: Timestamp) -> Intent {
        let expires_in = self.expires_in;
        let stamp = |item: &mut Item| {
            item.0.insert(WRITTEN_AT.into(), Value::N(now.as_millis().into()));
            if let Some(seconds) = expires_in {
                item.0.insert(EXPIRES.into(), Value::N((now.as_millis() / 1000 + seconds).into()));
            }
        };
        match &mut self.action {
            Action::Put(item) => stamp(item),
            Action::Update { set, .. } => stamp(set),
            Action::Delete => {}
        }
        self
    }
}

/// The item that was there when a write took effect, as the server told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Before {
    NotTold,
    Absent,
    /// `None`: an item that no writer of ours made.
    Present(Option<WriteId>),
}

/// What a consistent read found after an unknown outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    NotRead,
    Absent,
    Present(Box<Item>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Acknowledged {
        before: Before,
        /// The whole item after an update.
        after: Option<Item>,
    },
    Failed {
        error: String,
    },
    Unknown {
        error: String,
        found: Found,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Write {
    pub intent: Intent,
    pub outcome: Outcome,
}

/// Every write of a run, in order for each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub writes: Vec<Write>,
}

/// What a history holds, for the report and against empty runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    pub acknowledged: usize,
    pub failed: usize,
    pub unknown: usize,
    /// Acknowledged writes by trait.
    pub traits: std::collections::BTreeMap<Trait, usize>,
}

impl History {
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for write in &self.writes {
            match &write.outcome {
                Outcome::Acknowledged { .. } => {
                    tally.acknowledged += 1;
                    for kind in &write.intent.traits {
                        *tally.traits.entry(*kind).or_default() += 1;
                    }
                }
                Outcome::Failed { .. } => tally.failed += 1,
                Outcome::Unknown { .. } => tally.unknown += 1,
            }
        }
        tally
    }

    /// One JSON object a line, for looking into a failed run.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let file = std::fs::File::create(path).map_err(|error| Error::file(path, error))?;
        let mut out = std::io::BufWriter::new(file);
        for write in &self.writes {
            serde_json::to_writer(&mut out, write).map_err(|error| Error::file(path, error.into()))?;
            out.write_all(b"\n").map_err(|error| Error::file(path, error))?;
        }
        out.flush().map_err(|error| Error::file(path, error))
    }

    pub fn load(path: &Path) -> Result<History, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::file(path, error))?;
        let writes = text.lines().map(serde_json::from_str).collect::<Result<_, _>>();
        Ok(History { writes: writes.map_err(|error| Error::file(path, error.into()))? })
    }
}
