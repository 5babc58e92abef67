//! What `/livez`, `/readyz` and `/status` say: each part of the process speaks for itself here.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::RwLock;
use serde::Serialize;

use crate::clock::Timestamp;

/// A shared board on which parts of the process say whether they are ready, and publish their state.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<RwLock<Board>>);

#[derive(Debug, Default)]
struct Board {
    parts: BTreeMap<String, Part>,
    status: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    pub ready: bool,
    /// Why not, and the remedy; empty when ready.
    pub reason: String,
    pub since: Timestamp,
}

impl Health {
    /// A part that has not spoken is not ready once it was named here.
    pub fn expect(&self, part: &str, now: Timestamp) {
        self.set(part, false, "starting", now);
    }

    pub fn ready(&self, part: &str, now: Timestamp) {
        self.set(part, true, "", now);
    }

    pub fn not_ready(&self, part: &str, reason: &str, now: Timestamp) {
        self.set(part, false, reason, now);
    }

    fn set(&self, part: &str, ready: bool, reason: &str, now: Timestamp) {
        let mut board = self.0.write();
        let unchanged = board.parts.get(part).is_some_and(|known| known.ready == ready && known.reason == reason);
        if !unchanged {
            board.parts.insert(part.to_owned(), Part { ready, reason: reason.to_owned(), since: now });
        }
    }

    pub fn is_ready(&self) -> bool {
        self.0.read().parts.values().all(|part| part.ready)
    }

    pub fn parts(&self) -> BTreeMap<String, Part> {
        self.0.read().parts.clone()
    }

    /// Publishes a part's state for `/status`: ids, counts and positions, never values of items.
    pub fn publish(&self, part: &str, state: &impl Serialize) {
        if let Ok(state) = serde_json::to_value(state) {
            self.0.write().status.insert(part.to_owned(), state);
        }
    }

    pub fn status(&self) -> BTreeMap<String, serde_json::Value> {
        self.0.read().status.clone()
    }
}
