//! The change log of one process, on fjall: an embedded store with atomic batches over several key spaces.
//!
//! Promises what [`crate::log`] asks. A commit is one batch, synced before it answers; a new member takes every slot,
//! and fences the one before it. After a write that failed, on a full disk for one, the folder is opened again by the next
//! call, and a commit that is tried again with the same batch happens once. Assumes that one process holds the folder,
//! which the store's own lock enforces.

mod append;
mod ledger;
mod opened;
mod retention;
mod store;
mod subscription;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;

use crate::change::TableName;
use crate::clock::Timestamp;
use crate::codec;
use crate::completeness::Mark;
use crate::ledger::Slot;
use crate::log::{
    ChangeLog, CommitBatch, Durable, Extent, LedgerReader, LogError, LogId, Membership, Ownership, SlotWriter,
    Subscription,
};
use store::{Fence, Store};

/// How a new embedded log is laid out. An existing one must have been made with the same numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub slots: u16,
    pub partitions: u16,
}

impl Default for Layout {
    fn default() -> Self {
        Layout { slots: 16, partitions: 4 }
    }
}

/// A change log in a local folder.
#[derive(Clone)]
pub struct EmbeddedLog {
    store: Arc<Store>,
}

impl EmbeddedLog {
    /// Removes records that are older than `retention` and that every subscribed group has reported; `now` becomes
    /// the age of what is there. To be called every minute or so. Answers how many records went.
    pub async fn trim(&self, now: Timestamp, retention: Duration) -> Result<u64, LogError> {
        let store = self.store.clone();
        blocking(move || store.trim(now, now.minus(retention))).await
    }

    /// Opens the log in `folder`, and makes it if there is none.
    pub fn open(folder: &Path, layout: Layout) -> Result<EmbeddedLog, LogError> {
        Ok(EmbeddedLog { store: Arc::new(Store::open(folder, layout)?) })
    }
}

#[async_trait]
impl ChangeLog for EmbeddedLog {
    fn slots(&self) -> u16 {
        self.store.layout().slots
    }

    async fn open_table(&self, table: &TableName) -> Result<LogId, LogError> {
        let (store, table) = (self.store.clone(), table.clone());
        blocking(move || store.log_id(&table)).await
    }

    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        let (store, table) = (self.store.clone(), table.clone());
        blocking(move || store.extents(&table)).await
    }

    async fn join(&self) -> Result<Box<dyn Membership>, LogError> {
        let store = self.store.clone();
        let fence = blocking(move || Ok(store.take_over())).await?;
        let mut waiting: Vec<Slot> = (0..self.slots()).map(Slot).collect();
        waiting.reverse();
        let takeovers = self.store.takeovers();
        Ok(Box::new(EmbeddedMembership { store: self.store.clone(), fence, waiting, held: Vec::new(), takeovers }))
    }

    async fn ledger(&self) -> Result<Box<dyn LedgerReader>, LogError> {
        Ok(Box::new(ledger::EmbeddedLedgerReader::new(self.store.clone())))
    }

    async fn mark(&self, table: &TableName, mark: &Mark) -> Result<(), LogError> {
        let (store, table, value) = (self.store.clone(), table.clone(), codec::encode_mark(mark));
        blocking(move || store.append_mark(&table, &value)).await
    }

    async fn subscribe(&self, group: &str, tables: &[TableName]) -> Result<Box<dyn Subscription>, LogError> {
        let (store, name, registered) = (self.store.clone(), group.to_owned(), tables.to_vec());
        blocking(move || store.register(&name, &registered)).await?;
        Ok(Box::new(subscription::EmbeddedSubscription::new(self.store.clone(), group, tables)))
    }
}

/// Runs store work where it may block. A task that was cancelled or panicked has no known outcome.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    blocked(tokio::task::spawn_blocking(work).await)
}

fn blocked<T>(outcome: Result<Result<T, LogError>, tokio::task::JoinError>) -> Result<T, LogError> {
    match outcome {
        Ok(outcome) => outcome,
        Err(error) => Err(LogError::Unavailable(format!("the work did not finish: {error}"))),
    }
}

struct EmbeddedMembership {
    store: Arc<Store>,
    fence: Fence,
    waiting: Vec<Slot>,
    held: Vec<Slot>,
    takeovers: watch::Receiver<Fence>,
}

#[async_trait]
impl Membership for EmbeddedMembership {
    async fn changed(&mut self) -> Result<Ownership, LogError> {
        loop {
            if *self.takeovers.borrow_and_update() != self.fence {
                self.waiting.clear();
                if let Some(slot) = self.held.pop() {
                    // The new owner's fence already keeps this one out: nobody waits for the acknowledgement.
                    let (acknowledge, _) = tokio::sync::oneshot::channel();
                    return Ok(Ownership::Released { slot, acknowledge });
                }
            } else if let Some(slot) = self.waiting.pop() {
                self.held.push(slot);
                let writer = EmbeddedWriter { store: self.store.clone(), fence: self.fence, slot, uncertain: false };
                return Ok(Ownership::Acquired(Box::new(writer)));
            }
            if self.takeovers.changed().await.is_err() {
                return Err(LogError::Unavailable("the log is closed".into()));
            }
        }
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        let (store, fence) = (self.store.clone(), self.fence);
        blocking(move || {
            store.leave(fence);
            Ok(())
        })
        .await
    }
}

struct EmbeddedWriter {
    store: Arc<Store>,
    fence: Fence,
    slot: Slot,
    /// The last commit failed, and nobody knows yet whether it happened.
    uncertain: bool,
}

#[async_trait]
impl SlotWriter for EmbeddedWriter {
    fn slot(&self) -> Slot {
        self.slot
    }

    async fn commit(&mut self, batch: CommitBatch) -> Result<Durable, LogError> {
        let (store, fence, slot, uncertain) = (self.store.clone(), self.fence, self.slot, self.uncertain);
        self.uncertain = true;
        let outcome = blocking(move || store.commit(fence, slot, uncertain, &batch)).await;
        self.uncertain = matches!(outcome, Err(LogError::Full { .. } | LogError::Unavailable(_)));
        outcome
    }
}
