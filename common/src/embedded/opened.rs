//! The open folder: the database, its key spaces, and what is known of each partition.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use fjall::config::BlockSizePolicy;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

use super::Layout;
use super::append::split;
use crate::change::TableName;
use crate::failure::is_disk_full;
use crate::log::{Extent, LogError, LogId, LogRecord, Offset, TablePartition};

/// The folder's format; another one is refused.
const FORMAT: &str = "1";
/// Unwritten bytes that one key space may hold. There is one for each partition of each table.
const MEMTABLE_BYTES: u64 = 4 << 20;
/// Bytes of a block of records. They are read one after another, so a block holds many: each costs a call to the file
/// system, a checksum and a place in the cache.
const BLOCK_BYTES: u32 = 32 << 10;
/// Reads follow the writes, so what they need is mostly still in memory.
const CACHE_BYTES: u64 = 16 << 20;
/// The journal's smallest bound.
const JOURNAL_BYTES: u64 = 64 << 20;

pub(super) struct Opened {
    pub(super) db: Database,
    place: String,
    pub(super) layout: Layout,
    pub(super) meta: Keyspace,
    pub(super) ledger: Keyspace,
    pub(super) progress: Keyspace,
    tables: Mutex<BTreeMap<TableName, Arc<TableLog>>>,
    /// Set by the first failed write: the database refuses every further one until it is opened again.
    broken: AtomicBool,
}

pub(super) struct TableLog {
    pub(super) id: LogId,
    pub(super) partitions: Vec<PartitionLog>,
}

pub(super) struct PartitionLog {
    pub(super) records: Keyspace,
    /// The offset after the last durable record.
    pub(super) end: AtomicU64,
}

impl Opened {
    pub(super) fn open(folder: &Path, layout: Layout) -> Result<Opened, LogError> {
        let place = folder.display().to_string();
        let failed = |error| store_error(&place, error);
        let db = Database::builder(folder)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES)
            .worker_threads(1)
            .open()
            .map_err(failed)?;
        let space = |name: &str| db.keyspace(name, options).map_err(failed);
        let (meta, ledger, progress) = (space("meta")?, space("ledger")?, space("progress")?);
        let opened = Opened {
            db,
            layout,
            meta,
            ledger,
            progress,
            tables: Mutex::default(),
            broken: AtomicBool::new(false),
            place,
        };
        opened.settle("format", FORMAT)?;
        opened.settle("slots", &layout.slots.to_string())?;
        opened.settle("partitions", &layout.partitions.to_string())?;
        Ok(opened)
    }

    /// Writes what the log was made with, or refuses to open it with anything else.
    fn settle(&self, name: &str, wanted: &str) -> Result<(), LogError> {
        match self.meta.get(name).map_err(|error| self.failed(error))? {
            Some(found) if *found == *wanted.as_bytes() => Ok(()),
            Some(found) => Err(LogError::Misconfigured(format!(
                "the change log in {} was made with {name} {}, the settings say {wanted}: set {name} back, or give another data folder",
                self.place,
                String::from_utf8_lossy(&found),
            ))),
            None => {
                self.meta.insert(name, wanted).map_err(|error| self.failed(error))?;
                self.db.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))
            }
        }
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Acquire)
    }

    pub(super) fn failed(&self, error: fjall::Error) -> LogError {
        if matches!(error, fjall::Error::Io(_) | fjall::Error::Poisoned | fjall::Error::Storage(_)) {
            self.broken.store(true, Ordering::Release);
        }
        store_error(&self.place, error)
    }

    pub(super) fn corrupt(&self, reason: String) -> LogError {
        LogError::Corrupt { place: self.place.clone(), reason }
    }

    pub(super) fn table(&self, name: &TableName) -> Result<Arc<TableLog>, LogError> {
        let mut tables = self.tables.lock();
        if let Some(table) = tables.get(name) {
            return Ok(table.clone());
        }
        let table = Arc::new(self.open_table(name)?);
        tables.insert(name.clone(), table.clone());
        Ok(table)
    }

    pub(super) fn known_tables(&self) -> Vec<(TableName, Arc<TableLog>)> {
        self.tables.lock().iter().map(|(name, table)| (name.clone(), table.clone())).collect()
    }

    fn open_table(&self, name: &TableName) -> Result<TableLog, LogError> {
        let key = format!("log-id/{name}");
        let id = match self.meta.get(&key).map_err(|error| self.failed(error))? {
            Some(id) => String::from_utf8_lossy(&id).into_owned(),
            None => {
                let id = uuid::Uuid::new_v4().to_string();
                self.meta.insert(&key, &id).map_err(|error| self.failed(error))?;
                self.db.persist(PersistMode::SyncAll).map_err(|error| self.failed(error))?;
                id
            }
        };
        let partitions =
            (0..self.layout.partitions).map(|at| self.open_partition(name, at)).collect::<Result<_, _>>()?;
        Ok(TableLog { id: LogId(id), partitions })
    }

    fn open_partition(&self, table: &TableName, partition: u16) -> Result<PartitionLog, LogError> {
        let name = format!("events.{table}.{partition}");
        let options = || options().data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES));
        let records = self.db.keyspace(&name, options).map_err(|error| self.failed(error))?;
        let end = match records.last_key_value() {
            Some(last) => self.offset(&last.key().map_err(|error| self.failed(error))?)?.0 + 1,
            None => 0,
        };
        Ok(PartitionLog { records, end: AtomicU64::new(end) })
    }

    pub(super) fn offset(&self, key: &[u8]) -> Result<Offset, LogError> {
        let bytes = key.try_into().map_err(|_| self.corrupt("a record's key is no offset".into()))?;
        Ok(Offset(u64::from_be_bytes(bytes)))
    }

    pub(super) fn extent(&self, partition: &PartitionLog) -> Result<Extent, LogError> {
        let end = Offset(partition.end.load(Ordering::Acquire));
        let start = match partition.records.first_key_value() {
            Some(first) => self.offset(&first.key().map_err(|error| self.failed(error))?)?,
            None => end,
        };
        Ok(Extent { start, end })
    }

    /// Records from `from` on, up to about `budget` bytes but at least one.
    pub(super) fn read(&self, at: &TablePartition, from: Offset, budget: usize) -> Result<Vec<LogRecord>, LogError> {
        let table = self.table(&at.table)?;
        let Some(log) = table.partitions.get(usize::from(at.partition)) else { return Ok(Vec::new()) };
        let end = log.end.load(Ordering::Acquire);
        let mut records = Vec::new();
        let mut bytes = 0;
        for pair in log.records.range(from.0.to_be_bytes()..end.to_be_bytes()) {
            let (key, stored) = pair.into_inner().map_err(|error| self.failed(error))?;
            bytes += stored.len();
            let (key_bytes, value) =
                split(&Bytes::from(stored)).ok_or_else(|| self.corrupt(format!("a record of {at} is cut short")))?;
            records.push(LogRecord { at: at.clone(), offset: self.offset(&key)?, key: key_bytes, value });
            if bytes >= budget {
                break;
            }
        }
        Ok(records)
    }
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn store_error(place: &str, error: fjall::Error) -> LogError {
    let place = place.to_owned();
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) if is_disk_full(&error) => {
            LogError::Full { place }
        }
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            LogError::Unavailable(format!("{place}: {error}"))
        }
        fjall::Error::Poisoned if has_no_room(&place) => LogError::Full { place },
        fjall::Error::Poisoned => LogError::Unavailable(format!("{place}: an earlier write failed")),
        fjall::Error::Locked => LogError::Misconfigured(format!(
            "the change log in {place} is in use by another process: stop it, or give another data folder"
        )),
        other => LogError::Corrupt { place, reason: other.to_string() },
    }
}

/// Whether a small file does not fit: after a failed write in the background the database says only that one failed.
fn has_no_room(place: &str) -> bool {
    let probe = Path::new(place).join("room.probe");
    let written = std::fs::write(&probe, vec![1; 1 << 16]);
    let removed = std::fs::remove_file(&probe);
    [written, removed].into_iter().any(|outcome| outcome.is_err_and(|error| is_disk_full(&error)))
}
