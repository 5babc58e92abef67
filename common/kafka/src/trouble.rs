//! What is wrong with the brokers, on the board that readiness is read from.
//!
//! The stages show the errors that they get. What the client mends by itself never reaches them, and is shown here for as
//! long as it lasts.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::clock::Clock;
use headwater_common::health::Health;
use headwater_common::log::LogError;
use parking_lot::Mutex;

/// The name of the log on the board.
pub(crate) const PART: &str = "kafka";

pub(crate) struct Troubles {
    health: Health,
    clock: Arc<dyn Clock>,
    known: Mutex<BTreeMap<String, String>>,
}

impl Troubles {
    pub(crate) fn new(health: Health, clock: Arc<dyn Clock>) -> Troubles {
        health.ready(PART, clock.now());
        Troubles { health, clock, known: Mutex::default() }
    }

    /// Logged once, when it begins.
    pub(crate) fn begins(&self, what: &str, reason: String) {
        let mut known = self.known.lock();
        if known.insert(what.to_owned(), reason.clone()).is_none() {
            tracing::warn!(%what, %reason, "trouble with the change log on kafka");
        }
        self.health.not_ready(PART, &reason, self.clock.now());
    }

    pub(crate) fn ends(&self, what: &str) {
        let mut known = self.known.lock();
        if known.remove(what).is_none() {
            return;
        }
        tracing::info!(%what, "the change log on kafka is well again");
        match known.values().next() {
            Some(reason) => self.health.not_ready(PART, reason, self.clock.now()),
            None => self.health.ready(PART, self.clock.now()),
        }
    }

    /// Something was answered: the brokers are there.
    pub(crate) fn brokers_answer(&self) {
        self.ends(BROKERS);
    }

    /// Why the brokers do not answer, if the client said so.
    pub(crate) fn brokers(&self) -> Option<String> {
        self.known.lock().get(BROKERS).cloned()
    }

    /// The error with why the brokers do not answer, if that is known.
    pub(crate) fn explain(&self, error: LogError) -> LogError {
        match (error, self.brokers()) {
            (LogError::Unavailable(what), Some(reason)) => LogError::Unavailable(format!("{what}: {reason}")),
            (error, _) => error,
        }
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.clock
    }
}

pub(crate) const BROKERS: &str = "brokers";

#[cfg(test)]
mod tests {
    use headwater_common::clock::SystemClock;

    use super::*;

    #[test]
    fn the_log_is_ready_again_when_the_last_trouble_has_ended() {
        let health = Health::default();
        let troubles = Troubles::new(health.clone(), Arc::new(SystemClock));
        troubles.begins(BROKERS, "none of 3 brokers answers".into());
        troubles.begins("slot/3", "slot 3 can't be taken".into());
        troubles.brokers_answer();
        assert_eq!(health.parts()[PART].reason, "slot 3 can't be taken");
        troubles.ends("slot/3");
        assert!(health.is_ready());
    }
}
