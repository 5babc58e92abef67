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

#[cfg(test)]
mod tests {
    use super::*;

    const EARLY: Timestamp = Timestamp::from_millis(1_000);
    const LATE: Timestamp = Timestamp::from_millis(2_000);

    #[test]
    fn a_process_is_ready_when_every_expected_part_is() {
        let health = Health::default();
        health.expect("ingest", EARLY);
        health.expect("sink-search", EARLY);
        health.ready("ingest", EARLY);
        assert!(!health.is_ready());
        health.ready("sink-search", LATE);
        assert!(health.is_ready());
        health.not_ready("ingest", "the table is gone; create it", LATE);
        assert!(!health.is_ready());
        let ingest = Part { ready: false, reason: "the table is gone; create it".into(), since: LATE };
        assert_eq!(health.parts()["ingest"], ingest);
    }

    #[test]
    fn since_is_when_the_state_began_and_not_when_it_was_last_said() {
        let health = Health::default();
        health.not_ready("ingest", "throttled", EARLY);
        health.not_ready("ingest", "throttled", LATE);
        assert_eq!(health.parts()["ingest"].since, EARLY);
        health.not_ready("ingest", "access denied", LATE);
        assert_eq!(health.parts()["ingest"].since, LATE);
    }

    #[test]
    fn clones_share_one_board() {
        let health = Health::default();
        health.clone().publish("ingest", &serde_json::json!({"shards": 3}));
        health.publish("ingest", &serde_json::json!({"shards": 4}));
        assert_eq!(health.status()["ingest"], serde_json::json!({"shards": 4}));
    }
}
