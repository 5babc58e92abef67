//! Ctrl-C and SIGTERM.

use crate::failure::Failure;

/// Listens from its making on: a signal between two waits is not lost.
pub struct Stop {
    #[cfg(unix)]
    interrupt: tokio::signal::unix::Signal,
    #[cfg(unix)]
    terminate: tokio::signal::unix::Signal,
}

impl Stop {
    #[cfg(unix)]
    pub fn listen() -> Result<Stop, Failure> {
        use tokio::signal::unix::{SignalKind, signal};
        let unavailable = |error| Failure::environment(format!("can't wait for signals: {error}"));
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt()).map_err(unavailable)?,
            terminate: signal(SignalKind::terminate()).map_err(unavailable)?,
        })
    }

    #[cfg(not(unix))]
    pub fn listen() -> Result<Stop, Failure> {
        Ok(Stop {})
    }

    /// Waits for the next of them.
    #[cfg(unix)]
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    #[cfg(not(unix))]
    pub async fn asked(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
