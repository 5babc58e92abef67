//! Where reading begins: after what the index holds, and only in the log that it was built from.

use std::collections::BTreeMap;

use headwater_common::change::TableName;
use headwater_common::log::{Extent, LogId, Offset};

use crate::index::{PartitionProgress, Progress};

/// How an index is built again from the log.
const AGAIN: &str = "on OpenSearch with `headwater rebuild`, which tells what the log has lost; in a data folder by \
                     removing its `index` before the stack is started";

/// Why this index can't go on with this log. No repetition mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error(
        "the search index of {table} was built from log {held}, and this is log {found}: give the data folder that \
         belongs to it, or build the index again from this log: {AGAIN}"
    )]
    ForeignLog { table: TableName, held: String, found: String },
    #[error(
        "the search index of {table} holds partition {partition} up to offset {next}, and the log ends at {end}: the \
         log has lost records or was made anew; build the index again: {AGAIN}"
    )]
    PastTheEnd { table: TableName, partition: u16, next: Offset, end: Offset },
    #[error(
        "the search index of {table} needs partition {partition} from offset {next} on, and the log begins at {start}: \
         what lies between is lost to the index; on OpenSearch `headwater rebuild` builds another and tells what is \
         missing, else write the items again in a new data folder"
    )]
    Trimmed { table: TableName, partition: u16, next: Offset, start: Offset },
}

/// What is held of each of the log's partitions: the first offset to read, and how far it is complete.
pub(crate) fn points(
    table: &TableName,
    held: &Progress,
    log: &LogId,
    extents: &[Extent],
) -> Result<BTreeMap<u16, PartitionProgress>, Refusal> {
    if let Some(known) = held.log.as_ref().filter(|known| *known != log) {
        return Err(Refusal::ForeignLog { table: table.clone(), held: known.0.clone(), found: log.0.clone() });
    }
    let point = |(partition, extent): (u16, &Extent)| {
        let point = held.partitions.get(&partition).copied().unwrap_or_default();
        let (table, next) = (table.clone(), point.next);
        if next > extent.end {
            return Err(Refusal::PastTheEnd { table, partition, next, end: extent.end });
        }
        if next < extent.start {
            return Err(Refusal::Trimmed { table, partition, next, start: extent.start });
        }
        Ok((partition, point))
    };
    (0_u16..).zip(extents).map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(log: &str, next: u64) -> Progress {
        let point = PartitionProgress { next: Offset(next), complete_until: None };
        Progress { log: Some(LogId(log.into())), of: 1, partitions: [(0, point)].into() }
    }

    fn extents(start: u64, end: u64) -> [Extent; 1] {
        [Extent { start: Offset(start), end: Offset(end) }]
    }

    #[test]
    fn reading_goes_on_after_what_is_held_and_begins_at_the_start() {
        let table = TableName::new("t");
        let begun = points(&table, &held("a", 7), &LogId("a".into()), &extents(0, 7)).unwrap();
        assert_eq!(begun[&0].next, Offset(7));
        let fresh = points(&table, &Progress::default(), &LogId("a".into()), &extents(0, 7)).unwrap();
        assert_eq!(fresh[&0].next, Offset(0));
    }

    #[test]
    fn a_log_that_cannot_continue_the_index_is_refused() {
        let table = TableName::new("t");
        let log = LogId("a".into());
        let refused = |held, extents: [Extent; 1]| points(&table, &held, &log, &extents).unwrap_err();
        assert!(matches!(refused(held("b", 1), extents(0, 9)), Refusal::ForeignLog { .. }));
        assert!(matches!(refused(held("a", 10), extents(0, 9)), Refusal::PastTheEnd { .. }));
        assert!(matches!(refused(held("a", 4), extents(5, 9)), Refusal::Trimmed { .. }));
        assert!(matches!(refused(Progress::default(), extents(5, 9)), Refusal::Trimmed { .. }));
    }
}
