//! One table at one moment: history, current, and the tail of history that current does not hold yet.

use std::sync::Arc;

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_sink_offline::lake::{Lake, TableLocation};
use headwater_sink_offline::origin::Origin;
use headwater_sink_offline::position::complete_by_table;

use crate::current::{SOURCE_PROPERTY, source_version};
use crate::error::Error;
use crate::newest::Newest;
use crate::table::log::TableLog;
use crate::table::state::{DataFile, Keep, TableState};

/// The logs of one table, kept up to date between queries.
pub struct Logs {
    history: TableLog,
    current: TableLog,
}

/// What a query sees of one table, whatever is committed meanwhile.
#[derive(Clone)]
pub struct Snapshot {
    pub history_at: TableLocation,
    pub current_at: TableLocation,
    pub history: Arc<TableState>,
    /// `None` where it is not made yet, or made from another history.
    pub current: Option<Arc<TableState>>,
    /// Files of history after current, oldest first.
    pub tail: Vec<DataFile>,
}

impl Logs {
    pub fn new(lake: &Lake, table: &TableName) -> Logs {
        let log = |location| TableLog::new(location, Keep::Statistics);
        Logs { history: log(lake.history(table)), current: log(lake.current(table)) }
    }

    /// `None` where the table has no history yet.
    pub async fn snapshot(&mut self) -> Result<Option<Snapshot>, Error> {
        // In this order current is never ahead of the history seen.
        let current = self.current.refresh().await?;
        let Some(history) = self.history.refresh().await? else { return Ok(None) };
        let id = history.metadata.as_ref().map(|metadata| metadata.id.as_str());
        let current = current.filter(|current| {
            current.property(SOURCE_PROPERTY) == id && source_version(Some(current)) <= history.version
        });
        let from = source_version(current.as_deref());
        let (history_at, current_at) = (self.history.table().clone(), self.current.table().clone());
        let (current, tail) = match self.history.appended(from, history.version).await {
            Ok(appended) => (current, appended.into_iter().flat_map(|commit| commit.files).collect()),
            // The log does not say any more what was appended: then the whole history does.
            Err(Error::Gone { .. }) => (None, history.files.values().cloned().collect()),
            Err(error) => return Err(error),
        };
        Ok(Some(Snapshot { history_at, current_at, history, current, tail }))
    }
}

impl Snapshot {
    /// The newest changes of the tail, where current's rows are older.
    pub async fn newest(&self) -> Result<Newest, Error> {
        let mut newest = Newest::default();
        for file in &self.tail {
            newest.read(&self.history_at, file).await?;
        }
        let tail: std::collections::HashSet<&str> = self.tail.iter().map(|file| file.path.as_str()).collect();
        let before = self.history.files.values().filter(|file| !tail.contains(file.path.as_str()));
        newest.drop_overtaken(&self.history_at, before).await?;
        Ok(newest)
    }

    pub fn complete_until(&self) -> Option<Timestamp> {
        complete_until(&self.history)
    }
}

/// The smallest completeness over the partitions of the log that the table names; none while one of them has not spoken.
pub fn complete_until(history: &TableState) -> Option<Timestamp> {
    let origin = history.metadata.as_ref().map(Origin::of).unwrap_or_default();
    complete_by_table(&history.txns, &origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_complete_up_to_its_slowest_partition_once_all_have_spoken() {
        let mut history = TableState::default();
        assert_eq!(complete_until(&history), None);
        for (app, version) in [("a/0", 5), ("a/0/complete", 900), ("a/1", 2), ("a/1/complete", 700)] {
            history.txns.insert(format!("headwater/{app}"), version);
        }
        history.txns.insert("spark".into(), 1);
        assert_eq!(complete_until(&history), Some(Timestamp::from_millis(700)));
        history.txns.insert("headwater/a/2".into(), 1);
        assert_eq!(complete_until(&history), None);
    }
}
