//! Which stream records may go, and their removal in small steps.
//!
//! Invariants: a table's newest record stays for as long as the table does, because the next sequence number is that of
//! the newest record plus one (and not below the clock in microseconds); records go from the oldest on, so what is left
//! is the stream's unbroken end; records that a reader needs stay.

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::order::SequenceNumber;
use rusqlite::{Connection, OptionalExtension, params};

use crate::environment::{Needs, Readers};

/// Records that one step deletes at most: the server waits for a step, so it is a few milliseconds long.
const STEP_RECORDS: usize = 256;
/// Pages that one step gives back at most.
const STEP_PAGES: u32 = 512;
/// Free pages that are kept for the next writes, whatever the size of the file.
const SPARE_PAGES: u64 = 4096;
/// dynoxide's public sequence number is the stored one plus this.
const PUBLIC_OFFSET: u128 = 100_000_000_000_000_000_000;

const NAMES: &str = "
    WITH RECURSIVE names (name) AS (
        SELECT MIN(table_name) FROM _stream_records
        UNION ALL
        SELECT (SELECT MIN(table_name) FROM _stream_records WHERE table_name > name) FROM names WHERE name IS NOT NULL
    )
    SELECT name, EXISTS (SELECT 1 FROM _tables WHERE table_name = name) FROM names WHERE name IS NOT NULL";
const OLDEST: &str = "
    SELECT CAST(sequence_number AS INTEGER), created_at FROM _stream_records WHERE table_name = ?1
    ORDER BY CAST(sequence_number AS INTEGER) LIMIT ?2";
const DELETE: &str = "DELETE FROM _stream_records WHERE table_name = ?1 AND CAST(sequence_number AS INTEGER) <= ?2";

/// A stream record as far as its age goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    /// As stored, without the public offset.
    sequence: i64,
    created: Timestamp,
}

/// Deletes the oldest records of one table that has some to delete. Returns how many; 0 when no table has.
pub(crate) fn step(connection: &Connection, before: Timestamp, readers: &dyn Readers) -> rusqlite::Result<usize> {
    for (name, exists) in names(connection)? {
        let deleted = if exists {
            let needs = readers.needs(&TableName::new(name.as_str()));
            trim(connection, &name, before, &needs)?
        } else {
            delete_orphans(connection, &name)?
        };
        if deleted > 0 {
            return Ok(deleted);
        }
    }
    Ok(0)
}

/// Gives free pages back to the operating system where they are a large part of the file. Returns how many.
pub(crate) fn give_back(connection: &Connection) -> rusqlite::Result<u64> {
    let count = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, u64>(0));
    let (free, all) = (count("freelist_count")?, count("page_count")?);
    let incremental = 2;
    if free <= SPARE_PAGES.max(all / 4) || count("auto_vacuum")? != incremental {
        return Ok(0);
    }
    connection.execute_batch(&format!("PRAGMA incremental_vacuum({STEP_PAGES})"))?;
    Ok(free.saturating_sub(count("freelist_count")?))
}

/// The tables that have stream records, and whether the table still exists.
fn names(connection: &Connection) -> rusqlite::Result<Vec<(String, bool)>> {
    connection.prepare_cached(NAMES)?.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn trim(connection: &Connection, table: &str, before: Timestamp, needs: &Needs) -> rusqlite::Result<usize> {
    // One more than may go, so that the last one seen is either too much for this step or the newest.
    let oldest = connection
        .prepare_cached(OLDEST)?
        .query_map(params![table, STEP_RECORDS + 1], |row| {
            let seconds: i64 = row.get(1)?;
            Ok(Record { sequence: row.get(0)?, created: Timestamp::from_millis(seconds.saturating_mul(1000)) })
        })?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    match last_to_go(&oldest, before, needs) {
        Some(sequence) => connection.prepare_cached(DELETE)?.execute(params![table, sequence]),
        None => Ok(0),
    }
}

/// Of a table's oldest records, in order, the last that may go; the last one seen always stays.
fn last_to_go(oldest: &[Record], before: Timestamp, needs: &Needs) -> Option<i64> {
    let read = match needs {
        Needs::Nothing => i64::MAX,
        Needs::After(sequence) => stored(sequence),
        Needs::Everything => return None,
    };
    let (_, candidates) = oldest.split_last()?;
    candidates
        .iter()
        .take_while(|record| record.created < before && record.sequence <= read)
        .last()
        .map(|record| record.sequence)
}

/// The stored form of a public sequence number; 0, below every record, for one that dynoxide cannot have given.
fn stored(sequence: &SequenceNumber) -> i64 {
    let public = sequence.padded().parse::<u128>().ok();
    public
        .and_then(|public| public.checked_sub(PUBLIC_OFFSET))
        .and_then(|stored| i64::try_from(stored).ok())
        .unwrap_or(0)
}

/// Deletes records of a table that is gone; one statement, so that a table created meanwhile keeps its own.
fn delete_orphans(connection: &Connection, table: &str) -> rusqlite::Result<usize> {
    let last = connection
        .prepare_cached(&format!(
            "SELECT MAX(sequence) FROM (SELECT CAST(sequence_number AS INTEGER) AS sequence \
             FROM _stream_records WHERE table_name = ?1 ORDER BY CAST(sequence_number AS INTEGER) LIMIT {STEP_RECORDS})"
        ))?
        .query_row(params![table], |row| row.get::<_, Option<i64>>(0))
        .optional()?
        .flatten();
    let orphaned = format!("{DELETE} AND NOT EXISTS (SELECT 1 FROM _tables WHERE table_name = ?1)");
    connection.prepare_cached(&orphaned)?.execute(params![table, last])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(created: &[i64]) -> Vec<Record> {
        (1..).zip(created).map(|(sequence, at)| Record { sequence, created: Timestamp::from_millis(*at) }).collect()
    }

    fn public(stored: u128) -> SequenceNumber {
        SequenceNumber::parse(&(PUBLIC_OFFSET + stored).to_string()).unwrap()
    }

    #[test]
    fn records_older_than_the_retention_go() {
        let before = Timestamp::from_millis(30);
        assert_eq!(last_to_go(&records(&[10, 20, 30, 40]), before, &Needs::Nothing), Some(2));
        assert_eq!(last_to_go(&records(&[30, 40]), before, &Needs::Nothing), None);
    }

    #[test]
    fn the_newest_record_stays_however_old_it_is() {
        let before = Timestamp::from_millis(1_000);
        assert_eq!(last_to_go(&records(&[10, 20]), before, &Needs::Nothing), Some(1));
        assert_eq!(last_to_go(&records(&[10]), before, &Needs::Nothing), None);
        assert_eq!(last_to_go(&[], before, &Needs::Nothing), None);
    }

    #[test]
    fn a_clock_that_stepped_back_makes_no_hole_in_the_stream() {
        assert_eq!(last_to_go(&records(&[10, 50, 20, 60]), Timestamp::from_millis(30), &Needs::Nothing), Some(1));
    }

    #[test]
    fn what_a_reader_has_not_read_stays() {
        let (all, before) = (records(&[10, 20, 30, 40]), Timestamp::from_millis(1_000));
        assert_eq!(last_to_go(&all, before, &Needs::After(public(2))), Some(2));
        assert_eq!(last_to_go(&all, before, &Needs::After(public(9))), Some(3));
        assert_eq!(last_to_go(&all, before, &Needs::Everything), None);
        let foreign = SequenceNumber::parse("12").unwrap();
        assert_eq!(last_to_go(&all, before, &Needs::After(foreign)), None, "a number of another server");
    }
}
