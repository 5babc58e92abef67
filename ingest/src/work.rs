//! What a worker has in hand: its slots, their shards, what is read and not committed yet.
//!
//! Promises that the ledger held here has committed entries only, and that the pages of a shard are committed in their
//! order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use headwater_common::change::{StreamArn, TableName};
use headwater_common::clock::{Clock, Timestamp};
use headwater_common::health::Health;
use headwater_common::ledger::{Ledger, LedgerEntry, ShardEntry, ShardStatus, Slot};
use headwater_common::log::{ChangeLog, LogError};
use headwater_common::metric;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::commit::{self, Committed, Piece, SlotWork};
use crate::discovery::Discovered;
use crate::lineage::Unreadable;
use crate::page::{Page, Read, What};
use crate::settings::Settings;
use crate::status::Troubles;
use crate::streams::{Listings, ShardKey, Streams};

/// An idle shard's completeness is stored this often, so that a long pause of the worker can be told from idleness.
const STORED_EVERY: std::time::Duration = std::time::Duration::from_secs(600);

#[allow(clippy::large_enum_variant)] // the large ones are nearly all there are
pub(crate) enum Message {
    Read(Read),
    Discovered(Discovered),
    /// Why a commit of a slot waits, with the ownership that it was made under.
    LogTrouble(Slot, u64, String),
}

/// What every part of the stage is given.
pub(crate) struct Context {
    pub streams: Arc<dyn Streams>,
    pub log: Arc<dyn ChangeLog>,
    pub clock: Arc<dyn Clock>,
    pub health: Health,
    pub settings: Arc<Settings>,
    pub tables: Vec<TableName>,
    pub budget: Budget,
    /// Ends readers and discovery.
    pub stop: CancellationToken,
    /// Ends commits that wait for the log.
    pub give_up: CancellationToken,
}

/// A shard that is being read.
pub(super) struct Lane {
    pub run: u64,
    pub slot: Slot,
    /// As it will be when everything that is queued is committed.
    pub entry: ShardEntry,
    /// Pieces that are not committed yet.
    pub queued: usize,
    /// Complete up to here, once what is queued is committed.
    pub claim: Option<Timestamp>,
    /// The last completeness that was queued for the ledger.
    pub stored: Timestamp,
    pub cancel: CancellationToken,
    pub replaced: Arc<AtomicBool>,
}

/// One table's discovery, and its count.
pub(super) struct TableWork {
    pub current: Option<StreamArn>,
    pub due: Instant,
    pub asking: bool,
    pub failures: u32,
    pub records: u64,
    pub complete_until: Option<Timestamp>,
}

pub(crate) struct Work {
    pub(super) context: Context,
    pub(super) inbox: mpsc::Sender<Message>,
    pub(super) ledger: Ledger,
    pub(super) listings: Listings,
    pub(super) slots: BTreeMap<Slot, SlotWork>,
    pub(super) lanes: BTreeMap<ShardKey, Lane>,
    pub(super) missing: BTreeMap<ShardKey, Unreadable>,
    pub(super) tables: BTreeMap<TableName, TableWork>,
    pub(super) troubles: Troubles,
    /// What each slot has claimed already.
    pub(super) claimed: BTreeMap<(TableName, Slot), Timestamp>,
    pub(super) marks: JoinSet<Result<(), LogError>>,
    pub(super) runs: u64,
    /// Something was learned that decisions may follow from.
    pub(super) dirty: bool,
    pub(crate) commits: JoinSet<Committed>,
    /// The slots changed hands: the ledger must be read again.
    pub(crate) stale: bool,
    pub(super) acknowledgements: BTreeMap<(Slot, u64), oneshot::Sender<()>>,
}

impl Work {
    pub(crate) fn new(context: Context, inbox: mpsc::Sender<Message>) -> Work {
        let mut troubles = Troubles::default();
        let table = |name: &TableName| {
            troubles.set(format!("table/{name}"), Some(format!("the shards of table {name} are not listed yet")));
            let (due, failures) = (Instant::now(), 0);
            let work = TableWork { current: None, due, asking: false, failures, records: 0, complete_until: None };
            (name.clone(), work)
        };
        let tables = context.tables.iter().map(table).collect();
        Work {
            context,
            inbox,
            ledger: Ledger::default(),
            listings: Listings::new(),
            slots: BTreeMap::new(),
            lanes: BTreeMap::new(),
            missing: BTreeMap::new(),
            tables,
            troubles,
            claimed: BTreeMap::new(),
            marks: JoinSet::new(),
            runs: 0,
            dirty: false,
            commits: JoinSet::new(),
            stale: false,
            acknowledgements: BTreeMap::new(),
        }
    }

    pub(crate) fn take(&mut self, message: Message) {
        match message {
            Message::Read(read) => self.read(read),
            Message::Discovered(discovered) => self.discovered(discovered),
            Message::LogTrouble(slot, epoch, reason) => self.waits(slot, epoch, reason),
        }
    }

    /// What was said of a commit that has ended since, or of a slot that has another owner, is no trouble of this worker.
    fn waits(&mut self, slot: Slot, epoch: u64, reason: String) {
        if self.slots.get(&slot).is_some_and(|held| held.epoch == epoch && held.is_busy()) {
            self.troubles.set(format!("log/{slot}"), Some(reason));
        }
    }

    fn read(&mut self, Read { key, run, what }: Read) {
        if let What::Children(children) = what {
            if let Some(listing) = self.listings.get_mut(&key.0) {
                listing.shards.extend(children.into_iter().map(|child| (child.id.clone(), child)));
                self.dirty = true;
            }
            return;
        }
        let Some(lane) = self.lanes.get(&key).filter(|lane| lane.run == run) else { return };
        match what {
            What::Page(page) => {
                self.missing.remove(&key);
                self.queue(&key, page);
            }
            What::CaughtUp(at) => {
                self.missing.remove(&key);
                self.raise(&key, at.minus(self.context.settings.settle()));
            }
            What::Missing | What::Emptied => {
                let table = lane.entry.table.clone();
                let since = self.context.clock.now();
                let unreadable = self.missing.entry(key).or_insert(Unreadable { since, emptied: false });
                unreadable.emptied |= matches!(what, What::Emptied);
                self.hurry(&table);
            }
            What::Trouble(reason) => self.troubles.set(format!("shard/{}/{}", key.0, key.1), reason),
            What::Children(_) => {}
        }
    }

    fn queue(&mut self, key: &ShardKey, page: Page) {
        let (now, settle) = (self.context.clock.now(), self.context.settings.settle());
        let Some(lane) = self.lanes.get_mut(key) else { return };
        let Some(slot) = self.slots.get_mut(&lane.slot) else { return };
        lane.entry.position = page.position;
        lane.entry.last_version = page.version;
        // Creation times are rounded down: everything of an earlier second has come.
        let complete_until = page.created.map_or(Timestamp::EPOCH, |created| created.minus(settle));
        lane.entry.complete_until = lane.entry.complete_until.max(complete_until);
        if page.ended {
            (lane.entry.status, lane.entry.since) = (ShardStatus::Finished, now);
        }
        lane.stored = lane.entry.complete_until;
        lane.queued += 1;
        let mut entries = vec![LedgerEntry::Shard(lane.entry.clone())];
        if let Some(gap) = page.gap {
            if gap.to.is_none() {
                metrics::counter!(metric::GAPS, "table" => gap.table.to_string()).increment(1);
            }
            entries.push(LedgerEntry::Gap(gap));
        }
        slot.push(Piece {
            of: Some((key.clone(), lane.run)),
            records: page.events.len(),
            events: page.events,
            entries,
            weight: page.weight,
            hold: page.hold,
            ..Piece::default()
        });
    }

    /// The shard is complete up to `until`, once what was read of it before is committed.
    pub(super) fn raise(&mut self, key: &ShardKey, until: Timestamp) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if lane.queued > 0 {
            lane.claim = lane.claim.max(Some(until));
            return;
        }
        let Some(entry) = self.ledger.shards.get_mut(key) else { return };
        entry.complete_until = entry.complete_until.max(until);
        lane.entry.complete_until = entry.complete_until;
        let since = lane.entry.since;
        let crossed = lane.stored < since && until >= since;
        if crossed || until.since(lane.stored.max(since)) >= STORED_EVERY {
            let piece = Piece {
                of: Some((key.clone(), lane.run)),
                entries: vec![LedgerEntry::Shard(lane.entry.clone())],
                ..Piece::default()
            };
            if let Some(slot) = self.slots.get_mut(&lane.slot) {
                (lane.stored, lane.queued) = (until, lane.queued + 1);
                slot.push(piece);
            }
        }
    }

    /// Starts a commit in every slot that has something to write and no commit under way.
    pub(crate) fn flush(&mut self) {
        for work in self.slots.values_mut() {
            let Some((writer, batch, pieces)) = work.next(self.context.settings.commit_bytes) else { continue };
            let (slot, epoch, settings) = (work.slot(), work.epoch, self.context.settings.clone());
            let (inbox, give_up) = (self.inbox.clone(), self.context.give_up.clone());
            self.commits.spawn(async move {
                let (writer, outcome) = commit::commit(writer, epoch, batch, settings, inbox, give_up).await;
                Committed { slot, epoch, writer, outcome, pieces }
            });
        }
    }

    /// Fails when nobody knows which slot's writer is lost, so that all must be taken anew.
    pub(crate) fn committed(&mut self, done: Result<Committed, JoinError>) -> Result<(), LogError> {
        let done = done.map_err(|error| LogError::Unavailable(format!("a commit ended without an answer: {error}")))?;
        let Committed { slot, epoch, writer, outcome, pieces } = done;
        // Dropping it tells the slot's next owner that nothing is under way.
        drop(self.acknowledgements.remove(&(slot, epoch)));
        let Some(work) = self.slots.get_mut(&slot).filter(|work| work.epoch == epoch) else { return Ok(()) };
        if let Err(error) = outcome {
            tracing::info!(%slot, %error, "the slot's work ends here");
            self.lose(slot);
            return Ok(());
        }
        work.settle(writer, &pieces);
        self.troubles.set(format!("log/{slot}"), None);
        pieces.into_iter().for_each(|piece| self.became_durable(piece));
        Ok(())
    }

    fn became_durable(&mut self, piece: Piece) {
        drop(piece.hold);
        let paged = piece.of.is_some();
        for entry in piece.entries {
            match entry {
                LedgerEntry::Shard(mut shard) => {
                    let key = (shard.stream.clone(), shard.shard.clone());
                    let known = self.ledger.shards.get(&key);
                    // A page of an open shard that stays open decides nothing.
                    self.dirty |= !paged || shard.status != ShardStatus::Open || known.is_none();
                    if let Some(known) = known {
                        shard.complete_until = shard.complete_until.max(known.complete_until);
                    }
                    self.ledger.apply(LedgerEntry::Shard(shard));
                }
                other => {
                    self.ledger.apply(other);
                    self.dirty = true;
                }
            }
        }
        for key in &piece.forgotten {
            self.ledger.forget(key);
            self.dirty = true;
        }
        let Some((key, run)) = piece.of else { return };
        let Some(lane) = self.lanes.get_mut(&key).filter(|lane| lane.run == run) else { return };
        lane.queued -= 1;
        let table = lane.entry.table.clone();
        if let Some(work) = self.tables.get_mut(&table) {
            work.records += piece.records as u64;
        }
        if piece.records > 0 {
            metrics::counter!(metric::INGEST_RECORDS, "table" => table.to_string()).increment(piece.records as u64);
        }
        if lane.queued > 0 {
            return;
        }
        if lane.entry.status == ShardStatus::Finished {
            tracing::info!(%table, shard = %key.1, "the shard is read to its end");
            // Its reader goes on to ask for children.
            self.lanes.remove(&key);
            self.troubles.set(format!("shard/{}/{}", key.0, key.1), None);
            self.hurry(&table);
        } else if let Some(claim) = lane.claim.take() {
            self.raise(&key, claim);
        }
    }

    /// Everything that was read is committed.
    pub(crate) fn is_drained(&self) -> bool {
        self.commits.is_empty() && self.slots.values().all(SlotWork::is_idle)
    }

    /// Readers stop by the budget; this bounds what they may have handed over beside it.
    pub(crate) fn has_room(&self) -> bool {
        const PIECES: usize = 4096;
        self.lanes.values().map(|lane| lane.queued).sum::<usize>() < PIECES
    }
}
