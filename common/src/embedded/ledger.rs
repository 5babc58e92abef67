//! Follows the embedded ledger by comparing it with what was given before; it has hundreds of entries, not millions.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::store::Store;
use crate::ledger::LedgerKey;
use crate::log::{LedgerReader, LedgerUpdate, LogError};

pub(super) struct EmbeddedLedgerReader {
    store: Arc<Store>,
    published: watch::Receiver<u64>,
    given: BTreeMap<Vec<u8>, Vec<u8>>,
    caught_up: bool,
}

impl EmbeddedLedgerReader {
    pub(super) fn new(store: Arc<Store>) -> EmbeddedLedgerReader {
        let published = store.ledger_published();
        EmbeddedLedgerReader { store, published, given: BTreeMap::new(), caught_up: false }
    }

    fn differences(&mut self) -> Result<Vec<LedgerUpdate>, LogError> {
        let held = self.store.ledger()?;
        let mut updates = Vec::new();
        for (key, json) in held.iter().filter(|(key, json)| self.given.get(*key) != Some(json)) {
            let entry = serde_json::from_slice(json).map_err(|error| {
                self.store.corrupt(format!("ledger entry {}: {error}", String::from_utf8_lossy(key)))
            })?;
            updates.push(LedgerUpdate::Entry(Box::new(entry)));
        }
        let gone = self.given.keys().filter(|key| !held.contains_key(*key));
        updates.extend(gone.map(|key| LedgerUpdate::Forgotten(LedgerKey(String::from_utf8_lossy(key).into_owned()))));
        self.given = held;
        Ok(updates)
    }
}

#[async_trait]
impl LedgerReader for EmbeddedLedgerReader {
    async fn next(&mut self) -> Result<Vec<LedgerUpdate>, LogError> {
        loop {
            // Seen before it is read: what is published in between wakes the next round.
            self.published.borrow_and_update();
            let mut updates = self.differences()?;
            if !self.caught_up {
                self.caught_up = true;
                updates.push(LedgerUpdate::CaughtUp);
            }
            if !updates.is_empty() {
                return Ok(updates);
            }
            if self.published.changed().await.is_err() {
                return Err(LogError::Unavailable("the log is closed".into()));
            }
        }
    }
}
