//! A log that takes no commits for a while, and takes slots away meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use headwater_common::clock::SystemClock;
use headwater_common::embedded::EmbeddedLog;
use headwater_common::ledger::Slot;
use headwater_common::log::{ChangeLog, CommitBatch, Durable, LogError, Membership, Ownership, SlotWriter};
use headwater_tests::over::{LogOver, Over};
use headwater_tests::streams::Write;
use headwater_tests::wait;
use tokio::sync::{mpsc, oneshot};

use crate::stage::{DEADLINE, Stage, TABLE, settings, start_by, x};

/// The embedded log, refusing commits on request.
#[derive(Clone)]
struct Refusing {
    log: EmbeddedLog,
    refuses: Arc<AtomicBool>,
    refused: Arc<AtomicUsize>,
    released: Arc<parking_lot::Mutex<Option<mpsc::UnboundedReceiver<Slot>>>>,
}

struct Place {
    inner: Box<dyn Membership>,
    log: Refusing,
    released: mpsc::UnboundedReceiver<Slot>,
}

struct Writer {
    inner: Box<dyn SlotWriter>,
    log: Refusing,
}

impl Refusing {
    /// Waits until commits were refused some times more.
    async fn refused_more(&self) {
        let due = self.refused.load(Ordering::SeqCst) + 4;
        let refused = async || match self.refused.load(Ordering::SeqCst) {
            refused if refused >= due => Ok(()),
            refused => Err(format!("{refused} of {due}")),
        };
        wait::until("refused commits", DEADLINE, refused).await.unwrap();
    }
}

#[async_trait]
impl LogOver for Refusing {
    fn beneath(&self) -> &dyn ChangeLog {
        &self.log
    }

    async fn join(&self) -> Result<Box<dyn Membership>, LogError> {
        let released = self.released.lock().take().unwrap();
        Ok(Box::new(Place { inner: self.log.join().await?, log: self.clone(), released }))
    }
}

#[async_trait]
impl Membership for Place {
    async fn changed(&mut self) -> Result<Ownership, LogError> {
        tokio::select! {
            change = self.inner.changed() => Ok(match change? {
                Ownership::Acquired(inner) => Ownership::Acquired(Box::new(Writer { inner, log: self.log.clone() })),
                released => released,
            }),
            Some(slot) = self.released.recv() => {
                Ok(Ownership::Released { slot, acknowledge: oneshot::channel().0 })
            }
        }
    }

    async fn leave(self: Box<Self>) -> Result<(), LogError> {
        self.inner.leave().await
    }
}

#[async_trait]
impl SlotWriter for Writer {
    fn slot(&self) -> Slot {
        self.inner.slot()
    }

    async fn commit(&mut self, batch: CommitBatch) -> Result<Durable, LogError> {
        if self.log.refuses.load(Ordering::SeqCst) {
            self.log.refused.fetch_add(1, Ordering::SeqCst);
            return Err(LogError::Unavailable("refused by the test".into()));
        }
        self.inner.commit(batch).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_not_held_unready_by_the_commits_of_a_slot_that_it_has_lost() {
    let stage = Stage::new().await;
    let shard = stage.server.open_shard(TABLE, None);
    let (release, released) = mpsc::unbounded_channel();
    let log = Refusing {
        log: stage.log.clone(),
        refuses: Arc::default(),
        refused: Arc::default(),
        released: Arc::new(parking_lot::Mutex::new(Some(released))),
    };
    let endpoint = stage.server.endpoint();
    let worker = start_by(&endpoint, TABLE, Arc::new(Over(log.clone())), settings(), Arc::new(SystemClock));
    worker.ready().await;
    log.refuses.store(true, Ordering::SeqCst);
    stage.server.write(TABLE, &shard, Write::put("a", &x(1)));
    worker.not_ready_for("nothing is committed in slot").await;
    (0..log.log.slots()).for_each(|slot| release.send(Slot(slot)).unwrap());
    // What is under way goes on trying, and says so.
    log.refused_more().await;
    worker.ready().await;
    log.refused_more().await;
    worker.ready().await;
    log.refuses.store(false, Ordering::SeqCst);
    worker.stop().await;
}
