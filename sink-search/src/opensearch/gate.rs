//! Lets as many bulk requests through as [`Concurrency`] says, over all tables.

use headwater_common::metric;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::concurrency::{Concurrency, Seen};

pub(super) struct Gate {
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    concurrency: Concurrency,
    inside: usize,
}

/// A place inside, given back when it is dropped.
pub(super) struct Permit<'a>(&'a Gate);

impl Gate {
    pub fn new(min: usize, max: usize) -> Gate {
        let state = State { concurrency: Concurrency::new(min, max), inside: 0 };
        Gate { state: Mutex::new(state), changed: Notify::new() }
    }

    pub async fn enter(&self) -> Permit<'_> {
        loop {
            let changed = self.changed.notified();
            {
                let mut state = self.state.lock();
                if state.inside < state.concurrency.limit() {
                    state.inside += 1;
                    // Whoever else waits may fit in too.
                    self.changed.notify_one();
                    return Permit(self);
                }
            }
            changed.await;
        }
    }

    pub fn observe(&self, seen: Seen) {
        let mut state = self.state.lock();
        state.concurrency.observe(seen);
        metrics::gauge!(metric::BULK_CONCURRENCY).set(state.concurrency.limit() as f64);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.state.lock().inside -= 1;
        self.0.changed.notify_one();
    }
}
