//! What is added to dynoxide's file, and the check that the file is what the additions were written for.
//!
//! dynoxide asks `_stream_records` for a table's highest sequence number at every write, and has no index for it: the
//! cost of a write grows with the number of stream records. The index below answers that question, and the reading of
//! the stream, in logarithmic time.
//!
//! dynoxide never deletes a stream record, not even with its table, and finds them by the table's name alone: a table
//! that is created again, or whose stream is switched on again, would show the old records under its new stream. The
//! trigger deletes them in the transaction that begins the new stream.

use rusqlite::{Connection, OptionalExtension};

pub(crate) const INDEX: &str = "headwater_stream_order";

const ADDITIONS: &str = "
    CREATE INDEX IF NOT EXISTS headwater_stream_order
        ON _stream_records (table_name, CAST(sequence_number AS INTEGER), shard_id);
    CREATE TRIGGER IF NOT EXISTS headwater_stream_begun AFTER UPDATE OF stream_enabled ON _tables
        WHEN NEW.stream_enabled = 1 AND OLD.stream_enabled = 0
    BEGIN
        DELETE FROM _stream_records WHERE table_name = NEW.table_name;
    END;
";

/// The columns that the additions and the trimming rest on: table, column, declared type.
const COLUMNS: [(&str, &str, &str); 7] = [
    ("_tables", "table_name", "TEXT"),
    ("_tables", "stream_enabled", "INTEGER"),
    ("_stream_records", "id", "INTEGER"),
    ("_stream_records", "table_name", "TEXT"),
    ("_stream_records", "sequence_number", "TEXT"),
    ("_stream_records", "shard_id", "TEXT"),
    ("_stream_records", "created_at", "INTEGER"),
];

/// The statements of dynoxide that the index is for, as dynoxide writes them.
pub(crate) const INDEXED: [&str; 3] = [
    "SELECT COALESCE(MAX(CAST(sequence_number AS INTEGER)), 0) + 1 FROM _stream_records WHERE table_name = ?1",
    "SELECT event_name, keys_json, new_image, old_image, sequence_number, created_at, user_identity, event_id \
     FROM _stream_records WHERE table_name = ?1 AND shard_id = ?2 AND CAST(sequence_number AS INTEGER) > ?3 \
     ORDER BY CAST(sequence_number AS INTEGER) ASC LIMIT ?4",
    "SELECT MIN(CAST(sequence_number AS INTEGER)), MAX(CAST(sequence_number AS INTEGER)) FROM _stream_records \
     WHERE table_name = ?1 AND shard_id = ?2",
];

/// What about the file is not as expected, if anything.
pub(crate) fn unexpected(connection: &Connection) -> rusqlite::Result<Option<String>> {
    for (table, column, kind) in COLUMNS {
        let found: Option<String> = connection
            .query_row("SELECT type FROM pragma_table_info(?1) WHERE name = ?2", [table, column], |row| row.get(0))
            .optional()?;
        match found {
            None => return Ok(Some(format!("column {column} of table {table} is missing"))),
            Some(found) if found != kind => {
                return Ok(Some(format!("column {column} of table {table} has type {found} rather than {kind}")));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

/// Adds what is missing. Idempotent.
pub(crate) fn extend(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(&format!("BEGIN IMMEDIATE; {ADDITIONS} COMMIT;"))
}

/// The first of dynoxide's statements that would not use the index.
pub(crate) fn unindexed(connection: &Connection) -> rusqlite::Result<Option<&'static str>> {
    for statement in INDEXED {
        if !plan(connection, statement)?.iter().any(|step| step.contains(INDEX)) {
            return Ok(Some(statement));
        }
    }
    Ok(None)
}

pub(crate) fn plan(connection: &Connection, statement: &str) -> rusqlite::Result<Vec<String>> {
    let mut explain = connection.prepare(&format!("EXPLAIN QUERY PLAN {statement}"))?;
    let nothing = vec![rusqlite::types::Null; explain.parameter_count()];
    explain.query_map(rusqlite::params_from_iter(nothing), |row| row.get(3))?.collect()
}
