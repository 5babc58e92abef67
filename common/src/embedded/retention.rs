//! How long records are kept: until they are older than the retention and every group has reported them.
//!
//! Age is known from notes "at this time the partition ended here", so that no record has to be read to be trimmed. The
//! last record of a partition is always kept, since the offsets go on from it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use fjall::PersistMode;

use super::opened::Opened;
use crate::change::TableName;
use crate::clock::Timestamp;
use crate::log::{LogError, Offset, TablePartition};

/// Records removed in one batch.
const STEP: usize = 4096;

pub(super) fn register(opened: &Opened, group: &str, tables: &[TableName]) -> Result<(), LogError> {
    for table in tables {
        for partition in 0..opened.layout.partitions {
            let key = progress_key(&TablePartition { table: table.clone(), partition }, group);
            if opened.progress.get(&key).map_err(|error| opened.failed(error))?.is_none() {
                opened.progress.insert(key, 0_u64.to_be_bytes()).map_err(|error| opened.failed(error))?;
            }
        }
    }
    opened.db.persist(PersistMode::SyncData).map_err(|error| opened.failed(error))
}

/// Not synced: after a crash a group counts as further behind than it is, which only keeps more.
pub(super) fn report(
    opened: &Opened,
    group: &str,
    progress: &BTreeMap<TablePartition, Offset>,
) -> Result<(), LogError> {
    for (at, next) in progress {
        opened.progress.insert(progress_key(at, group), next.0.to_be_bytes()).map_err(|error| opened.failed(error))?;
    }
    Ok(())
}

/// Notes where every partition ends at `now`, and removes what was there at `before`. Answers how many records went.
pub(super) fn trim(opened: &Opened, now: Timestamp, before: Timestamp) -> Result<u64, LogError> {
    let mut removed = 0;
    for (table, log) in opened.known_tables() {
        for (partition, records) in (0_u16..).zip(&log.partitions) {
            let at = TablePartition { table: table.clone(), partition };
            let end = records.end.load(Ordering::Acquire);
            let old = noted(opened, &at, before)?;
            opened.meta.insert(note_key(&at, now), end.to_be_bytes()).map_err(|error| opened.failed(error))?;
            let until = old.min(reported(opened, &at)?).min(end.saturating_sub(1));
            removed += remove(opened, &records.records, until)?;
        }
    }
    Ok(removed)
}

/// Where the partition ended at `before` or earlier; older notes go.
fn noted(opened: &Opened, at: &TablePartition, before: Timestamp) -> Result<u64, LogError> {
    let mut newest = 0;
    let mut passed: Option<Vec<u8>> = None;
    for pair in opened.meta.range(note_key(at, Timestamp::EPOCH)..=note_key(at, before)) {
        let (key, end) = pair.into_inner().map_err(|error| opened.failed(error))?;
        newest = number(opened, &end)?;
        if let Some(passed) = passed.replace(key.to_vec()) {
            opened.meta.remove(passed).map_err(|error| opened.failed(error))?;
        }
    }
    Ok(newest)
}

/// What every registered group has. Nothing where there is none: somebody may still come.
fn reported(opened: &Opened, at: &TablePartition) -> Result<u64, LogError> {
    let mut smallest: Option<u64> = None;
    for pair in opened.progress.prefix(progress_key(at, "")) {
        let (_, next) = pair.into_inner().map_err(|error| opened.failed(error))?;
        let next = number(opened, &next)?;
        smallest = Some(smallest.map_or(next, |known| known.min(next)));
    }
    Ok(smallest.unwrap_or(0))
}

fn remove(opened: &Opened, records: &fjall::Keyspace, until: u64) -> Result<u64, LogError> {
    let mut removed = 0;
    loop {
        let mut batch = opened.db.batch();
        let mut count = 0;
        for key in records.range(0_u64.to_be_bytes()..until.to_be_bytes()).take(STEP) {
            batch.remove(records, key.key().map_err(|error| opened.failed(error))?);
            count += 1;
        }
        if count == 0 {
            return Ok(removed);
        }
        batch.commit().map_err(|error| opened.failed(error))?;
        removed += count;
    }
}

fn progress_key(at: &TablePartition, group: &str) -> String {
    format!("{at}/{group}")
}

fn note_key(at: &TablePartition, moment: Timestamp) -> String {
    format!("end/{at}/{:020}", moment.as_millis().max(0))
}

fn number(opened: &Opened, bytes: &[u8]) -> Result<u64, LogError> {
    let bytes = bytes.try_into().map_err(|_| opened.corrupt("a position is not 8 bytes".into()))?;
    Ok(u64::from_be_bytes(bytes))
}
