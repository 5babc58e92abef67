//! A flush until it is durable, and what the health board hears meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::change::TableName;
use headwater_common::clock::Clock;
use headwater_common::failure::Directive;
use headwater_common::health::Health;
use parking_lot::Mutex;

use crate::index::{Applied, Flush, IndexError, SearchIndex};
use crate::settings::Settings;

/// The stage's name on the health board.
pub(crate) const PART: &str = "sink-search";

/// What of it concerns the log and not a table; no table's name has a blank.
pub(crate) const LOG: &str = "the log";

/// Everything that keeps the stage from being ready, by what it concerns.
pub(crate) struct Standing {
    health: Health,
    clock: Arc<dyn Clock>,
    troubles: Mutex<BTreeMap<String, String>>,
}

impl Standing {
    pub fn new(health: Health, clock: Arc<dyn Clock>) -> Standing {
        let standing = Standing { health, clock, troubles: Mutex::default() };
        standing.trouble(LOG, "starting".to_owned());
        standing
    }

    /// Whether this is news.
    pub fn trouble(&self, what: &str, reason: String) -> bool {
        let mut troubles = self.troubles.lock();
        let news = troubles.get(what) != Some(&reason);
        self.health.not_ready(PART, &reason, self.clock.now());
        troubles.insert(what.to_owned(), reason);
        news
    }

    pub fn clear(&self, what: &str) {
        let mut troubles = self.troubles.lock();
        if troubles.remove(what).is_none() {
            return;
        }
        match troubles.values().next() {
            Some(reason) => self.health.not_ready(PART, reason, self.clock.now()),
            None => self.health.ready(PART, self.clock.now()),
        }
    }
}

/// Applies the flush again and again until it is in the index. What a person must mend is tried slowly, the rest with
/// a back-off. An index that is not the one that was begun with ends it: only its own progress says what it holds.
pub(crate) async fn until_durable(
    index: &dyn SearchIndex,
    table: &TableName,
    flush: Arc<Flush>,
    settings: &Settings,
    standing: &Standing,
) -> Result<Applied, IndexError> {
    let mut attempt = 0;
    loop {
        let error = match index.apply(flush.clone()).await {
            Ok(applied) => {
                if attempt > 0 {
                    tracing::info!(%table, attempt, "the search index takes changes again");
                }
                standing.clear(table.as_str());
                return Ok(applied);
            }
            Err(error) => error,
        };
        let pause = match error.directive() {
            Directive::Rebuild => return Err(error),
            Directive::Retry | Directive::Hold => settings.pause(attempt),
            Directive::DeadLetter | Directive::Abandon | Directive::Halt => settings.pause(u32::MAX),
        };
        if standing.trouble(table.as_str(), error.to_string()) {
            tracing::error!(%table, %error, operations = flush.operations.len(), "the search index takes no changes");
        }
        attempt += 1;
        tokio::time::sleep(pause).await;
    }
}
