//! One slot's way into the log: what waits for its writer, and the commit that is under way.
//!
//! What came in while a commit ran goes together into the next one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use headwater_common::failure::{Directive, backoff};
use headwater_common::ledger::{LedgerEntry, LedgerKey, Slot};
use headwater_common::log::{CommitBatch, Durable, LogError, LogEvent, SlotWriter};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::budget::Hold;
use crate::settings::Settings;
use crate::streams::ShardKey;
use crate::work::Message;

/// What becomes durable at once.
#[derive(Default)]
pub(crate) struct Piece {
    /// The reader whose page this is.
    pub of: Option<(ShardKey, u64)>,
    pub events: Vec<LogEvent>,
    pub entries: Vec<LedgerEntry>,
    pub forgotten: Vec<LedgerKey>,
    pub records: usize,
    pub weight: usize,
    pub hold: Option<(Hold, OwnedSemaphorePermit)>,
}

/// A slot that this worker owns.
pub(crate) struct SlotWork {
    slot: Slot,
    /// Tells this ownership from an earlier one of the same slot.
    pub epoch: u64,
    /// `None` while a commit is under way.
    writer: Option<Box<dyn SlotWriter>>,
    queue: VecDeque<Piece>,
    /// Decided and not durable yet.
    pub pending: BTreeSet<LedgerKey>,
}

/// A commit that ended, well or not.
pub(crate) struct Committed {
    pub slot: Slot,
    pub epoch: u64,
    pub writer: Box<dyn SlotWriter>,
    pub outcome: Result<Durable, LogError>,
    /// In the order of the commit, without their events.
    pub pieces: Vec<Piece>,
}

impl SlotWork {
    pub(crate) fn new(writer: Box<dyn SlotWriter>, epoch: u64) -> SlotWork {
        let (slot, queue, pending) = (writer.slot(), VecDeque::new(), BTreeSet::new());
        SlotWork { slot, epoch, writer: Some(writer), queue, pending }
    }

    pub(crate) fn push(&mut self, piece: Piece) {
        self.queue.push_back(piece);
    }

    /// Queues entries that no page carries, each once.
    pub(crate) fn decide(&mut self, entries: Vec<LedgerEntry>, forgotten: Vec<LedgerKey>) {
        self.pending.extend(entries.iter().map(LedgerEntry::key).chain(forgotten.iter().cloned()));
        self.push(Piece { entries, forgotten, ..Piece::default() });
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.writer.is_some() && self.queue.is_empty()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.writer.is_none()
    }

    /// The next commit, if there is something to write and nothing under way.
    pub(crate) fn next(&mut self, bytes: usize) -> Option<(Box<dyn SlotWriter>, CommitBatch, Vec<Piece>)> {
        if self.queue.is_empty() {
            return None;
        }
        let writer = self.writer.take()?;
        let (mut batch, mut pieces, mut weight) = (CommitBatch::default(), Vec::new(), 0);
        let mut entries = BTreeMap::new();
        while let Some(mut piece) = self.queue.pop_front() {
            weight += piece.weight;
            batch.events.append(&mut piece.events);
            // The last entry of a key is the truth.
            entries.extend(piece.entries.iter().map(|entry| (entry.key(), entry.clone())));
            batch.forgotten.extend(piece.forgotten.iter().cloned());
            pieces.push(piece);
            if self.queue.front().is_some_and(|next| weight + next.weight > bytes) {
                break;
            }
        }
        batch.entries = entries.into_values().collect();
        Some((writer, batch, pieces))
    }

    /// Takes the writer back.
    pub(crate) fn settle(&mut self, writer: Box<dyn SlotWriter>, pieces: &[Piece]) {
        self.writer = Some(writer);
        for piece in pieces {
            for key in piece.entries.iter().map(LedgerEntry::key).chain(piece.forgotten.iter().cloned()) {
                self.pending.remove(&key);
            }
        }
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }
}

/// Commits, and tries again for as long as the log may come round; a fenced writer and `give_up` end it.
pub(crate) async fn commit(
    mut writer: Box<dyn SlotWriter>,
    epoch: u64,
    batch: CommitBatch,
    settings: Arc<Settings>,
    inbox: mpsc::Sender<Message>,
    give_up: CancellationToken,
) -> (Box<dyn SlotWriter>, Result<Durable, LogError>) {
    let slot = writer.slot();
    let mut attempt = 0;
    loop {
        let error = match writer.commit(batch.clone()).await {
            Ok(durable) => return (writer, Ok(durable)),
            Err(error) => error,
        };
        if error.directive() == Directive::Abandon {
            return (writer, Err(error));
        }
        if attempt == 0 {
            tracing::warn!(%slot, %error, "a commit failed and is tried again");
        }
        // Said again with the next attempt if the inbox is full now.
        let reason = format!("nothing is committed in slot {slot}: {error}");
        inbox.try_send(Message::LogTrouble(slot, epoch, reason)).ok();
        let pause = backoff(attempt, Duration::from_millis(100), settings.retry_max(), rand::random());
        attempt = attempt.saturating_add(1);
        tokio::select! {
            () = give_up.cancelled() => return (writer, Err(error)),
            () = tokio::time::sleep(pause) => {}
        }
    }
}
