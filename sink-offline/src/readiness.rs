//! Whether the stage is ready: every table is open and nothing of it is in trouble.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::clock::Timestamp;
use headwater_common::health::Health;
use parking_lot::Mutex;

/// The stage's name on the board of health.
pub const PART: &str = "sink-offline";

/// Shared by the loop and its tasks.
#[derive(Clone)]
pub(crate) struct Readiness {
    health: Health,
    troubles: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Readiness {
    pub(crate) fn new(health: Health) -> Readiness {
        Readiness { health, troubles: Arc::default() }
    }

    /// `of` is a table's name, or "log".
    pub(crate) fn trouble(&self, of: &str, reason: impl Into<String>, now: Timestamp) {
        let mut troubles = self.troubles.lock();
        troubles.insert(of.to_owned(), reason.into());
        self.say(&troubles, now);
    }

    pub(crate) fn well(&self, of: &str, now: Timestamp) {
        let mut troubles = self.troubles.lock();
        troubles.remove(of);
        self.say(&troubles, now);
    }

    fn say(&self, troubles: &BTreeMap<String, String>, now: Timestamp) {
        if troubles.is_empty() {
            return self.health.ready(PART, now);
        }
        let reasons: Vec<String> = troubles.iter().map(|(of, reason)| format!("{of}: {reason}")).collect();
        self.health.not_ready(PART, &reasons.join("; "), now);
    }
}
