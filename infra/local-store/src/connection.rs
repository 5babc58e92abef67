//! How connections to the store's file are set up, the server's own among them.
//!
//! dynoxide opens its connection itself and offers no way to tune it, so SQLite's own hook for new connections
//! (an "auto-extension") sets what must hold for every connection to a file of this name, and only for those:
//!
//! - `synchronous = NORMAL`: a commit is written to the write-ahead log without waiting for the disk. A killed process
//!   loses nothing that it acknowledged, since the operating system holds the written pages. A power cut or a crash of
//!   the operating system may lose the newest commits; the file stays consistent.
//! - a larger page cache and a limit on the file of the write-ahead log.
//!
//! Checkpoints are rarer, too: the pages that every write touches are written back once for many commits rather than once
//! for each few, and beside the server ([`write_back`]), which SQLite would otherwise let wait for the disk within a
//! commit. SQLite sets this one anew after its hook, so it is set again once the connection is open
//! ([`open_database`]).

use std::cell::Cell;
use std::path::Path;
use std::ptr::null_mut;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use dynoxide::{Database, DynoxideError};
use rusqlite::{Connection, ffi};

/// The name of the store's file in its folder, and what tells its connections from those of other SQLite users.
pub(crate) const FILE_NAME: &str = "headwater-local-store.sqlite";
/// Pages of the write-ahead log after which it begins anew as soon as all are written back: 64 MiB.
const RESTART_PAGES: i64 = 16_384;
/// Pages after which a commit writes them back by itself, should nobody else do: 256 MiB.
const CHECKPOINT_PAGES: std::ffi::c_int = 65_536;
/// Longer write-ahead logs are cut to this size after a checkpoint, bytes.
const WAL_LIMIT: u64 = 128 << 20;
/// How long the housekeeping waits for the server's write to end.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

static CACHE_KIB: AtomicI64 = AtomicI64::new(65_536);
static HOOK: OnceLock<bool> = OnceLock::new();

thread_local! {
    /// What this thread opened last of a store's file.
    static OPENED: Cell<*mut ffi::sqlite3> = const { Cell::new(null_mut()) };
}

/// Makes every connection to a store's file that this process opens from now on carry the settings above.
/// `cache_bytes` holds for the connections that are opened after the call, of whatever store.
pub(crate) fn tune_new_connections(cache_bytes: u64) -> bool {
    CACHE_KIB.store(i64::try_from(cache_bytes / 1024).unwrap_or(i64::MAX), Ordering::Relaxed);
    // SAFETY: `set_up` neither opens nor closes a connection, nor touches the list of auto-extensions.
    *HOOK.get_or_init(|| unsafe { rusqlite::auto_extension::register_auto_extension(set_up_raw) }.is_ok())
}

unsafe extern "C" fn set_up_raw(
    db: *mut ffi::sqlite3,
    message: *mut *mut std::ffi::c_char,
    _: *const ffi::sqlite3_api_routines,
) -> std::ffi::c_int {
    // SAFETY: SQLite hands a connection that is open and outlives the call.
    unsafe { rusqlite::auto_extension::init_auto_extension(db, message, set_up) }
}

fn set_up(connection: Connection) -> rusqlite::Result<()> {
    let ours = connection.path().is_some_and(|path| Path::new(path).ends_with(FILE_NAME));
    if ours {
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -CACHE_KIB.load(Ordering::Relaxed))?;
        connection.pragma_update(None, "journal_size_limit", WAL_LIMIT)?;
        // SAFETY: the handle is kept as a number here, and used by `open_database` alone, while it is open.
        OPENED.set(unsafe { connection.handle() });
    }
    Ok(())
}

/// Opens the server's connection, on which commits leave the writing back to [`write_back`].
pub(crate) fn open_database(name: &str) -> Result<Database, DynoxideError> {
    OPENED.set(null_mut());
    let database = Database::new(name)?;
    let opened = OPENED.replace(null_mut());
    if opened.is_null() {
        let reason = "it was opened without the hook for new connections";
        return Err(DynoxideError::InternalServerError(reason.to_owned()));
    }
    // SAFETY: `database` opened this connection on this thread a moment ago, still has it, and nobody else has
    // `database` yet.
    let code = unsafe { ffi::sqlite3_wal_autocheckpoint(opened, CHECKPOINT_PAGES) };
    match code {
        ffi::SQLITE_OK => Ok(database),
        code => Err(rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()),
    }
}

/// A connection beside the server's.
pub(crate) fn open(file: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(connection)
}

/// Writes the pages of the write-ahead log back to the file, without holding up the server. A long log begins anew, for
/// which the server's next write waits a few milliseconds; a server that never rests would let it grow for ever.
pub(crate) fn write_back(connection: &Connection) -> rusqlite::Result<()> {
    let pages = |mode| connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get::<_, i64>(1));
    if pages("PASSIVE")? >= RESTART_PAGES {
        pages("RESTART")?;
    }
    Ok(())
}

/// Makes the file, if it is new, with what can only be chosen before its first table: that freed pages can be given
/// back to the operating system in small steps.
pub(crate) fn create(file: &Path) -> rusqlite::Result<()> {
    let connection = open(file)?;
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_log_is_written_back_and_begins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE_NAME);
        create(&file).unwrap();
        let server = open(&file).unwrap();
        server.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        server.execute_batch("CREATE TABLE items (id INTEGER PRIMARY KEY, value BLOB)").unwrap();
        let write = |id: i64, bytes: usize| {
            server.execute("INSERT OR REPLACE INTO items VALUES (?1, ?2)", (id, vec![1_u8; bytes])).unwrap()
        };
        const ROW: usize = 1 << 20;
        for id in 0..RESTART_PAGES * 4096 / ROW as i64 + 1 {
            write(id, ROW);
        }
        let beside = open(&file).unwrap();
        let log = |connection: &Connection| {
            connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get::<_, i64>(1)).unwrap()
        };
        write_back(&beside).unwrap();
        write(0, 1);
        assert!(log(&beside) < 100, "the log goes on where it was");
        let rows: i64 = server.query_row("SELECT COUNT(*) FROM items", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, RESTART_PAGES * 4096 / ROW as i64 + 1);
    }
}
