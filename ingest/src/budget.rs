//! One memory budget over all shards, given out in turn, so that a busy shard does not starve the others.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of account.
const UNIT: usize = 1 << 10;

/// What an answer may need before its size is known: a page is at most 1 MB on the wire.
const PAGE: usize = 4 << 20;

#[derive(Clone)]
pub(crate) struct Budget(Arc<Semaphore>);

/// Memory held; given back when dropped.
#[derive(Debug)]
pub(crate) struct Hold {
    permit: OwnedSemaphorePermit,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        Budget(Arc::new(Semaphore::new((bytes / UNIT).clamp(PAGE / UNIT, Semaphore::MAX_PERMITS))))
    }

    /// Waits in turn until there is room for a page. `None` only when the process ends.
    pub(crate) async fn reserve(&self) -> Option<Hold> {
        let permit = self.0.clone().acquire_many_owned((PAGE / UNIT) as u32).await.ok()?;
        Some(Hold { permit })
    }
}

impl Hold {
    /// Gives back what the page does not need. One that needs more keeps all; it is one page over, not more.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        let needed = bytes.div_ceil(UNIT);
        let excess = self.permit.num_permits().saturating_sub(needed);
        drop(self.permit.split(excess));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_takes_its_share_and_gives_back_what_it_does_not_need() {
        let budget = Budget::new(2 * PAGE);
        let mut first = budget.reserve().await.unwrap();
        let second = budget.reserve().await.unwrap();
        assert_eq!(budget.0.available_permits(), 0);
        first.shrink_to(10 * UNIT);
        assert_eq!(budget.0.available_permits(), PAGE / UNIT - 10);
        drop((first, second));
        assert_eq!(budget.0.available_permits(), 2 * PAGE / UNIT);
    }
}
