//! The store below the embedded log: who may write, the one lock under which commits are ordered, and the folder, which
//! is opened again after a write that failed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::Layout;
use super::append::Append;
use super::opened::Opened;
use super::retention;
use crate::change::TableName;
use crate::clock::Timestamp;
use crate::ledger::{LedgerKey, Slot};
use crate::log::{CommitBatch, Durable, Extent, LogError, LogId, LogRecord, Offset, TablePartition};

/// Which take-over of the slots a writer belongs to; only the last one may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fence(u64);

pub(super) struct Store {
    folder: PathBuf,
    layout: Layout,
    /// `None` while it could not be opened again.
    opened: RwLock<Option<Opened>>,
    /// Held from the choice of offsets to the sync, so that what is visible has no holes that fill up later.
    committing: Mutex<()>,
    fence: watch::Sender<Fence>,
    published: watch::Sender<u64>,
    ledger_published: watch::Sender<u64>,
}

impl Store {
    pub(super) fn open(folder: &Path, layout: Layout) -> Result<Store, LogError> {
        for (name, count) in [("slots", layout.slots), ("partitions", layout.partitions)] {
            if count == 0 {
                return Err(LogError::Misconfigured(format!("{name} is 0: a change log has at least one")));
            }
        }
        Ok(Store {
            folder: folder.to_owned(),
            layout,
            opened: RwLock::new(Some(Opened::open(folder, layout)?)),
            committing: Mutex::default(),
            fence: watch::Sender::new(Fence(0)),
            published: watch::Sender::new(0),
            ledger_published: watch::Sender::new(0),
        })
    }

    /// Works on the open folder. After a failed write it is opened again first: the database, and with it every commit
    /// whose outcome was unknown, is then what a restart would find.
    fn with<T>(&self, work: impl FnOnce(&Opened) -> Result<T, LogError>) -> Result<T, LogError> {
        {
            let opened = self.opened.read();
            if let Some(opened) = opened.as_ref().filter(|opened| !opened.is_broken()) {
                return work(opened);
            }
        }
        let mut opened = self.opened.write();
        if opened.as_ref().is_none_or(Opened::is_broken) {
            // The folder's lock has to be given back before it can be taken.
            *opened = None;
            *opened = Some(Opened::open(&self.folder, self.layout)?);
        }
        match opened.as_ref() {
            Some(opened) => work(opened),
            None => Err(LogError::Unavailable("the log is closed".into())),
        }
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn log_id(&self, table: &TableName) -> Result<LogId, LogError> {
        self.with(|opened| Ok(opened.table(table)?.id.clone()))
    }

    pub(super) fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        self.with(|opened| opened.table(table)?.partitions.iter().map(|partition| opened.extent(partition)).collect())
    }

    pub(super) fn extent(&self, at: &TablePartition) -> Result<Extent, LogError> {
        let unknown = || LogError::Misconfigured(format!("the log has no partition {at}"));
        self.with(|opened| {
            let table = opened.table(&at.table)?;
            opened.extent(table.partitions.get(usize::from(at.partition)).ok_or_else(unknown)?)
        })
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

    /// Wakes with every commit that changes the ledger.
    pub(super) fn ledger_published(&self) -> watch::Receiver<u64> {
        self.ledger_published.subscribe()
    }

    /// `uncertain` says that this slot's last commit failed without a known outcome: if its entries are in the ledger
    /// it had happened, and is not done twice.
    pub(super) fn commit(
        &self,
        fence: Fence,
        slot: Slot,
        uncertain: bool,
        commit: &CommitBatch,
    ) -> Result<Durable, LogError> {
        let _ordered = self.committing.lock();
        if *self.fence.borrow() != fence {
            return Err(LogError::Fenced { slot });
        }
        if let Some(stray) = commit.entries.iter().find(|entry| entry.slot(self.layout.slots) != slot) {
            let key = stray.key().0;
            return Err(LogError::Misconfigured(format!("ledger entry {key} does not belong to slot {slot}")));
        }
        self.with(|opened| {
            let mut entries = Vec::with_capacity(commit.entries.len());
            for entry in &commit.entries {
                let json = serde_json::to_vec(entry).map_err(|error| opened.corrupt(error.to_string()))?;
                entries.push((entry.key(), json));
            }
            if uncertain && holds(opened, &entries)? {
                return Ok(());
            }
            let mut append = Append::new(opened);
            for event in &commit.events {
                let partition = event.key.partition(self.layout.partitions);
                append.record(&opened.table(&event.table)?, partition, Some(event.key.as_bytes()), &event.value);
            }
            for (key, json) in entries {
                append.put(&opened.ledger, key.0, json);
            }
            for key in &commit.forgotten {
                append.remove(&opened.ledger, key.0.clone());
            }
            append.publish()
        })?;
        self.published.send_modify(|count| *count += 1);
        if !commit.entries.is_empty() || !commit.forgotten.is_empty() {
            self.ledger_published.send_modify(|count| *count += 1);
        }
        Ok(Durable { events: commit.events.len() })
    }

    pub(super) fn append_mark(&self, table: &TableName, value: &[u8]) -> Result<(), LogError> {
        let _ordered = self.committing.lock();
        self.with(|opened| {
            let table = opened.table(table)?;
            let mut append = Append::new(opened);
            for partition in 0..self.layout.partitions {
                append.record(&table, partition, None, value);
            }
            append.publish()
        })?;
        self.published.send_modify(|count| *count += 1);
        Ok(())
    }

    pub(super) fn read(&self, at: &TablePartition, from: Offset, budget: usize) -> Result<Vec<LogRecord>, LogError> {
        self.with(|opened| opened.read(at, from, budget))
    }

    /// Every ledger entry as stored, by key.
    pub(super) fn ledger(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LogError> {
        self.with(|opened| {
            let pair = |pair: fjall::Guard| {
                let (key, json) = pair.into_inner().map_err(|error| opened.failed(error))?;
                Ok((key.to_vec(), json.to_vec()))
            };
            opened.ledger.iter().map(pair).collect()
        })
    }

    pub(super) fn corrupt(&self, reason: String) -> LogError {
        LogError::Corrupt { place: self.folder.display().to_string(), reason }
    }

    /// From now on nothing of these tables is trimmed that `group` has not reported.
    pub(super) fn register(&self, group: &str, tables: &[TableName]) -> Result<(), LogError> {
        self.with(|opened| retention::register(opened, group, tables))
    }

    pub(super) fn report(&self, group: &str, progress: &BTreeMap<TablePartition, Offset>) -> Result<(), LogError> {
        self.with(|opened| retention::report(opened, group, progress))
    }

    pub(super) fn trim(&self, now: Timestamp, before: Timestamp) -> Result<u64, LogError> {
        self.with(|opened| retention::trim(opened, now, before))
    }
}

/// Whether the ledger holds exactly these entries. No entries prove nothing.
fn holds(opened: &Opened, entries: &[(LedgerKey, Vec<u8>)]) -> Result<bool, LogError> {
    for (key, json) in entries {
        let stored = opened.ledger.get(&key.0).map_err(|error| opened.failed(error))?;
        if stored.as_deref() != Some(json.as_slice()) {
            return Ok(false);
        }
    }
    Ok(!entries.is_empty())
}
