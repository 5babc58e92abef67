//! Follows the ledger in a task of its own: a reader may do work each time it is asked, and the pipeline's loop asks
//! often.

use headwater_common::log::{LedgerReader, LedgerUpdate, LogError};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Ends its task when dropped.
pub(crate) struct Follower {
    updates: mpsc::Receiver<Result<Vec<LedgerUpdate>, LogError>>,
    _task: DropGuard,
}

impl Follower {
    pub(crate) fn start(mut reader: Box<dyn LedgerReader>) -> Follower {
        let (sender, updates) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let guard = stop.clone().drop_guard();
        let follow = async move {
            loop {
                let next = reader.next().await;
                let ended = next.is_err();
                if sender.send(next).await.is_err() || ended {
                    return;
                }
            }
        };
        tokio::spawn(async move { stop.run_until_cancelled(follow).await });
        Follower { updates, _task: guard }
    }

    /// Safe to cancel.
    pub(crate) async fn next(&mut self) -> Result<Vec<LedgerUpdate>, LogError> {
        let ended = || Err(LogError::Unavailable("the ledger's reader has ended".to_owned()));
        self.updates.recv().await.unwrap_or_else(ended)
    }
}
