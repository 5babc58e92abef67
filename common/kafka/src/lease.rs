//! Whether a slot is still this worker's, as far as this worker knows. What it does not know, the brokers do: they fence
//! the producer.

use std::sync::atomic::{AtomicBool, Ordering};

use headwater_common::ledger::Slot;
use tokio::sync::mpsc;

/// One holding of a slot, from the start of its transactions to its end.
pub(crate) struct Lease {
    pub slot: Slot,
    /// Tells it from another holding of the same slot.
    pub number: u64,
    closed: AtomicBool,
    lost: mpsc::UnboundedSender<(Slot, u64)>,
}

impl Lease {
    pub(crate) fn new(slot: Slot, number: u64, lost: mpsc::UnboundedSender<(Slot, u64)>) -> Lease {
        Lease { slot, number, closed: AtomicBool::new(false), lost }
    }

    /// From now on the slot's writer writes nothing.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// The writer can't be used any more, and nobody took the slot away that this worker has heard of.
    pub(crate) fn lose(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            // Nobody hears of it when the membership has ended, and then nobody has to.
            self.lost.send((self.slot, self.number)).ok();
        }
    }
}
