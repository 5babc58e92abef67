//! Readers whose positions are in a change log's ledger.

use std::collections::BTreeSet;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::ledger::{Ledger, ShardEntry, ShardStatus};
use headwater_common::log::{ChangeLog, LedgerUpdate, LogError};
use parking_lot::RwLock;
use tokio_util::sync::CancellationToken;

use crate::environment::{Needs, Readers};

const BEFORE_NEXT_ATTEMPT: Duration = Duration::from_secs(1);

/// Keeps what the log has not taken in yet of the tables that it follows. Until the ledger was read to its end, that
/// is everything; what is known here lags behind the ledger, so that too much is kept and never too little.
#[derive(Debug)]
pub struct LedgerReaders {
    tables: BTreeSet<TableName>,
    ledger: RwLock<Option<Ledger>>,
}

impl LedgerReaders {
    /// Of every other table age alone decides.
    pub fn of(tables: impl IntoIterator<Item = TableName>) -> LedgerReaders {
        LedgerReaders { tables: tables.into_iter().collect(), ledger: RwLock::new(None) }
    }

    /// Follows the ledger until `stop`. A log that does not answer is asked again.
    pub async fn follow(&self, log: &dyn ChangeLog, stop: &CancellationToken) {
        while let Some(error) = stop.run_until_cancelled(self.read(log)).await {
            tracing::warn!(%error, "what is read of the streams is not known now, so that nothing more is trimmed");
            if stop.run_until_cancelled(tokio::time::sleep(BEFORE_NEXT_ATTEMPT)).await.is_none() {
                return;
            }
        }
    }

    /// Ends with an error alone.
    async fn read(&self, log: &dyn ChangeLog) -> LogError {
        let mut reader = match log.ledger().await {
            Ok(reader) => reader,
            Err(error) => return error,
        };
        let mut beginning = Some(Ledger::default());
        loop {
            let updates = match reader.next().await {
                Ok(updates) => updates,
                Err(error) => return error,
            };
            let mut known = self.ledger.write();
            for update in updates {
                let ledger = beginning.as_mut().or(known.as_mut());
                match (update, ledger) {
                    (LedgerUpdate::Entry(entry), Some(ledger)) => ledger.apply(*entry),
                    (LedgerUpdate::Forgotten(key), Some(ledger)) => ledger.forget(&key),
                    (LedgerUpdate::CaughtUp, _) => {
                        if let Some(whole) = beginning.take() {
                            *known = Some(whole);
                        }
                    }
                    (_, None) => {}
                }
            }
        }
    }
}

impl Readers for LedgerReaders {
    fn needs(&self, table: &TableName) -> Needs {
        if !self.tables.contains(table) {
            return Needs::Nothing;
        }
        self.ledger.read().as_ref().map_or(Needs::Everything, |ledger| unread(ledger, table))
    }
}

/// What lies behind the open shard that was read least far. A table without one has not been taken up yet.
fn unread(ledger: &Ledger, table: &TableName) -> Needs {
    let open = |entry: &&ShardEntry| entry.table == *table && entry.status == ShardStatus::Open;
    let positions: Option<Vec<_>> = ledger.shards.values().filter(open).map(|entry| entry.position.as_ref()).collect();
    let least = positions.and_then(|positions| positions.into_iter().min().cloned());
    least.map_or(Needs::Everything, Needs::After)
}

#[cfg(test)]
mod tests {
    use super::*;
    use headwater_common::change::{ShardId, StreamArn};
    use headwater_common::clock::Timestamp;
    use headwater_common::ledger::LedgerEntry;
    use headwater_common::order::{SequenceNumber, Version};

    fn shard(id: &str, status: ShardStatus, position: Option<&str>) -> LedgerEntry {
        LedgerEntry::Shard(ShardEntry {
            table: TableName::new("t"),
            stream: StreamArn::new("arn"),
            generation: 1,
            shard: ShardId::new(id),
            parents: Vec::new(),
            status,
            position: position.map(|position| SequenceNumber::parse(position).unwrap()),
            last_version: Version::ZERO,
            complete_until: Timestamp::EPOCH,
            since: Timestamp::EPOCH,
        })
    }

    fn needs(entries: &[LedgerEntry]) -> Needs {
        let readers = LedgerReaders::of([TableName::new("t")]);
        let mut ledger = Ledger::default();
        entries.iter().for_each(|entry| ledger.apply(entry.clone()));
        *readers.ledger.write() = Some(ledger);
        assert_eq!(readers.needs(&TableName::new("nobody's")), Needs::Nothing);
        readers.needs(&TableName::new("t"))
    }

    #[test]
    fn a_ledger_that_was_not_read_yet_needs_everything() {
        assert_eq!(LedgerReaders::of([TableName::new("t")]).needs(&TableName::new("t")), Needs::Everything);
    }

    #[test]
    fn what_lies_behind_the_slowest_open_shard_is_needed() {
        let after = |position: &str| Needs::After(SequenceNumber::parse(position).unwrap());
        assert_eq!(needs(&[]), Needs::Everything, "a table that was not taken up");
        assert_eq!(needs(&[shard("a", ShardStatus::Open, None)]), Needs::Everything);
        let read = [shard("a", ShardStatus::Open, Some("20")), shard("b", ShardStatus::Open, Some("9"))];
        assert_eq!(needs(&read), after("9"));
        let ended = [shard("a", ShardStatus::Finished, Some("2")), shard("b", ShardStatus::Open, Some("9"))];
        assert_eq!(needs(&ended), after("9"));
        let unread = [shard("a", ShardStatus::Open, Some("20")), shard("b", ShardStatus::Open, None)];
        assert_eq!(needs(&unread), Needs::Everything);
    }
}
