//! Requests to the cluster that are answered, and what a failure is called.

use serde::de::DeserializeOwned;

use super::Server;
use super::transport::{Reply, Request, Trouble};
use super::verdict::{Halt, Overall, error_of, named, overall};
use crate::index::IndexError;

impl Server {
    /// A request that is answered, whatever the answer is. A server that is short of memory or threads is asked again;
    /// nothing that is asked here does more the second time.
    pub(super) async fn call(&self, name: &str, request: Request<'_>) -> Result<Reply, IndexError> {
        let mut attempt = 0;
        loop {
            let reply = self.transport.send(request.clone()).await.map_err(|trouble| match trouble {
                Trouble::Unanswered(reason) => self.unavailable(name, reason),
                Trouble::TooLarge => self.unavailable(name, "its answer is larger than is read".to_owned()),
                Trouble::Distrusted { reason, remedy } => self.refused(name, reason, remedy),
            })?;
            let passing = reply.status >= 300
                && matches!(
                    overall(reply.status, &error_of(&reply.body)),
                    Overall::Throttled(_) | Overall::Transient(_)
                );
            if !passing || attempt >= self.settings.retries {
                return Ok(reply);
            }
            tokio::time::sleep(self.settings.pause(attempt)).await;
            attempt += 1;
        }
    }

    pub(super) fn judge(&self, name: &str, reply: &Reply) -> Result<(), IndexError> {
        match overall(reply.status, &error_of(&reply.body)) {
            Overall::Answered => Ok(()),
            Overall::Halt(halt) => Err(self.halted(name, &halt)),
            _ => Err(self.unavailable(name, named(reply.status, &error_of(&reply.body)))),
        }
    }

    pub(super) fn expect<T: DeserializeOwned>(&self, name: &str, reply: &Reply) -> Result<T, IndexError> {
        self.judge(name, reply)?;
        let unread = |error| self.unavailable(name, format!("its answer can't be read: {error}"));
        serde_json::from_slice(&reply.body).map_err(unread)
    }

    pub(super) fn halted(&self, name: &str, halt: &Halt) -> IndexError {
        match halt {
            Halt::DiskFull => IndexError::Full { place: self.place(name) },
            halt => self.refused(name, halt.reason(), halt.remedy()),
        }
    }

    pub(super) fn refused(&self, name: &str, reason: String, remedy: &str) -> IndexError {
        IndexError::Refused { place: self.place(name), reason, remedy: remedy.to_owned() }
    }

    pub(super) fn unavailable(&self, name: &str, reason: String) -> IndexError {
        IndexError::Unavailable { place: self.place(name), reason }
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.transport.place())
    }
}
