//! The store below the embedded log: key spaces, offsets, and the one lock under which commits are ordered.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{BufMut as _, Bytes, BytesMut};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::Layout;
use crate::change::TableName;
use crate::failure::is_disk_full;
use crate::ledger::Slot;
use crate::log::{CommitBatch, Durable, Extent, LogError, LogId, LogRecord, Offset, TablePartition};

/// The folder's format; another one is refused.
const FORMAT: &str = "1";

/// Which take-over of the slots a writer belongs to; only the last one may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence(u64);

pub(super) struct Store {
    db: Database,
    place: String,
    layout: Layout,
    meta: Keyspace,
    pub(super) ledger: Keyspace,
    progress: Keyspace,
    tables: Mutex<BTreeMap<TableName, Arc<TableLog>>>,
    /// Held from the choice of offsets to the sync, so that what is visible has no holes that fill up later.
    committing: Mutex<()>,
    fence: watch::Sender<Fence>,
    published: watch::Sender<u64>,
}

pub(super) struct TableLog {
    pub(super) id: LogId,
    pub(super) partitions: Vec<PartitionLog>,
}

pub(super) struct PartitionLog {
    records: Keyspace,
    /// The offset after the last durable record.
    end: AtomicU64,
}

impl Store {
    pub(super) fn open(folder: &Path, layout: Layout) -> Result<Store, LogError> {
        for (name, count) in [("slots", layout.slots), ("partitions", layout.partitions)] {
            if count == 0 {
                return Err(LogError::Misconfigured(format!("{name} is 0: a change log has at least one")));
            }
        }
        let place = folder.display().to_string();
        let failed = |error| store_error(&place, error);
        let db = Database::builder(folder).open().map_err(failed)?;
        let space = |name: &str| db.keyspace(name, KeyspaceCreateOptions::default).map_err(failed);
        let (meta, ledger, progress) = (space("meta")?, space("ledger")?, space("progress")?);
        let store = Store {
            db,
            layout,
            meta,
            ledger,
            progress,
            tables: Mutex::default(),
            committing: Mutex::default(),
            fence: watch::Sender::new(Fence(0)),
            published: watch::Sender::new(0),
            place,
        };
        store.settle("format", FORMAT)?;
        store.settle("slots", &layout.slots.to_string())?;
        store.settle("partitions", &layout.partitions.to_string())?;
        Ok(store)
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

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn failed(&self, error: fjall::Error) -> LogError {
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
        let records = self.db.keyspace(&name, KeyspaceCreateOptions::default).map_err(|error| self.failed(error))?;
        let end = match records.last_key_value() {
            Some(last) => self.offset(&last.key().map_err(|error| self.failed(error))?)?.0 + 1,
            None => 0,
        };
        Ok(PartitionLog { records, end: AtomicU64::new(end) })
    }

    fn offset(&self, key: &[u8]) -> Result<Offset, LogError> {
        let bytes = key.try_into().map_err(|_| self.corrupt("a record's key is no offset".into()))?;
        Ok(Offset(u64::from_be_bytes(bytes)))
    }

    pub(super) fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        self.table(table)?.partitions.iter().map(|partition| self.extent(partition)).collect()
    }

    pub(super) fn extent(&self, partition: &PartitionLog) -> Result<Extent, LogError> {
        let end = Offset(partition.end.load(Ordering::Acquire));
        let start = match partition.records.first_key_value() {
            Some(first) => self.offset(&first.key().map_err(|error| self.failed(error))?)?,
            None => end,
        };
        Ok(Extent { start, end })
    }

    pub(super) fn take_over(&self) -> Fence {
        let _ordered = self.committing.lock();
        let fence = Fence(self.fence.borrow().0 + 1);
        self.fence.send_replace(fence);
        fence
    }

    pub(super) fn leave(&self, fence: Fence) {
        let _ordered = self.committing.lock();
        self.fence.send_if_modified(|held| {
            let ours = *held == fence;
            if ours {
                held.0 += 1;
            }
            ours
        });
    }

    pub(super) fn takeovers(&self) -> watch::Receiver<Fence> {
        self.fence.subscribe()
    }

    /// Wakes with every commit and mark.
    pub(super) fn published(&self) -> watch::Receiver<u64> {
        self.published.subscribe()
    }

    pub(super) fn commit(&self, fence: Fence, slot: Slot, commit: CommitBatch) -> Result<Durable, LogError> {
        let _ordered = self.committing.lock();
        if *self.fence.borrow() != fence {
            return Err(LogError::Fenced { slot });
        }
        if let Some(stray) = commit.entries.iter().find(|entry| entry.slot(self.layout.slots) != slot) {
            let key = stray.key().0;
            return Err(LogError::Misconfigured(format!("ledger entry {key} does not belong to slot {slot}")));
        }
        let mut append = Append::new(self);
        for event in &commit.events {
            let table = self.table(&event.table)?;
            let partition = event.key.partition(self.layout.partitions);
            append.record(&table, partition, Some(event.key.as_bytes()), &event.value);
        }
        for entry in &commit.entries {
            let json = serde_json::to_vec(entry).map_err(|error| self.corrupt(error.to_string()))?;
            append.batch.insert(&self.ledger, entry.key().0, json);
        }
        for key in commit.forgotten {
            append.batch.remove(&self.ledger, key.0);
        }
        append.publish()?;
        Ok(Durable { events: commit.events.len() })
    }

    pub(super) fn append_mark(&self, table: &TableName, value: &[u8]) -> Result<(), LogError> {
        let table = self.table(table)?;
        let _ordered = self.committing.lock();
        let mut append = Append::new(self);
        for partition in 0..self.layout.partitions {
            append.record(&table, partition, None, value);
        }
        append.publish()
    }

    /// Records from `from` on, up to about `budget` bytes but at least one.
    pub(super) fn read(
        &self,
        at: &TablePartition,
        log: &PartitionLog,
        from: Offset,
        budget: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let end = log.end.load(Ordering::Acquire);
        let mut records = Vec::new();
        let mut bytes = 0;
        for pair in log.records.range(from.0.to_be_bytes()..end.to_be_bytes()) {
            let (key, stored) = pair.into_inner().map_err(|error| self.failed(error))?;
            bytes += stored.len();
            let (key_bytes, value) =
                split(&stored).ok_or_else(|| self.corrupt(format!("a record of {at} is cut short")))?;
            records.push(LogRecord { at: at.clone(), offset: self.offset(&key)?, key: key_bytes, value });
            if bytes >= budget {
                break;
            }
        }
        Ok(records)
    }

    pub(super) fn report(&self, group: &str, progress: &BTreeMap<TablePartition, Offset>) -> Result<(), LogError> {
        for (at, next) in progress {
            let key = format!("{group}/{at}");
            self.progress.insert(key, next.0.to_be_bytes()).map_err(|error| self.failed(error))?;
        }
        Ok(())
    }
}

/// One atomic append: offsets are handed out here, and become visible when the batch is synced.
struct Append<'a> {
    store: &'a Store,
    batch: fjall::OwnedWriteBatch,
    ends: Vec<(Arc<TableLog>, u16, u64)>,
}

impl<'a> Append<'a> {
    fn new(store: &'a Store) -> Append<'a> {
        let batch = store.db.batch().durability(Some(PersistMode::SyncData));
        Append { store, batch, ends: Vec::new() }
    }

    fn record(&mut self, table: &Arc<TableLog>, partition: u16, key: Option<&[u8]>, value: &[u8]) {
        let log = &table.partitions[usize::from(partition)];
        let known = self.ends.iter_mut().find(|(known, at, _)| Arc::ptr_eq(known, table) && *at == partition);
        let offset = match known {
            Some((_, _, end)) => {
                *end += 1;
                *end - 1
            }
            None => {
                let end = log.end.load(Ordering::Acquire);
                self.ends.push((table.clone(), partition, end + 1));
                end
            }
        };
        self.batch.insert(&log.records, offset.to_be_bytes(), join(key, value).as_ref());
    }

    fn publish(self) -> Result<(), LogError> {
        self.batch.commit().map_err(|error| self.store.failed(error))?;
        for (table, partition, end) in &self.ends {
            table.partitions[usize::from(*partition)].end.store(*end, Ordering::Release);
        }
        self.store.published.send_modify(|count| *count += 1);
        Ok(())
    }
}

/// A record as stored: the key's length or `u32::MAX` for none, the key, the value.
fn join(key: Option<&[u8]>, value: &[u8]) -> Bytes {
    let mut stored = BytesMut::with_capacity(4 + key.map_or(0, <[u8]>::len) + value.len());
    stored.put_u32(key.map_or(u32::MAX, |key| key.len() as u32));
    stored.extend_from_slice(key.unwrap_or_default());
    stored.extend_from_slice(value);
    stored.freeze()
}

fn split(stored: &[u8]) -> Option<(Option<Bytes>, Bytes)> {
    let (length, rest) = stored.split_first_chunk::<4>()?;
    match u32::from_be_bytes(*length) {
        u32::MAX => Some((None, Bytes::copy_from_slice(rest))),
        length => {
            let (key, value) = rest.split_at_checked(length as usize)?;
            Some((Some(Bytes::copy_from_slice(key)), Bytes::copy_from_slice(value)))
        }
    }
}

fn store_error(place: &str, error: fjall::Error) -> LogError {
    let place = place.to_owned();
    match error {
        fjall::Error::Io(error) if is_disk_full(&error) => LogError::Full { place },
        fjall::Error::Io(error) => LogError::Unavailable(format!("{place}: {error}")),
        fjall::Error::Poisoned => {
            LogError::Unavailable(format!("{place}: an earlier write failed, the log must be opened again"))
        }
        fjall::Error::Locked => LogError::Misconfigured(format!(
            "the change log in {place} is in use by another process: stop it, or give another data folder"
        )),
        other => LogError::Corrupt { place, reason: other.to_string() },
    }
}
