//! A flush's operations into the index: encoded, cut by bytes, sent side by side, and judged item by item.
//!
//! What is transient is sent again by itself; a key stands in a flush once and a table's flushes follow one another, so
//! no repetition overtakes anything.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use headwater_common::metric;
use reqwest::Method;
use tokio::task::JoinSet;

use super::concurrency::Seen;
use super::document;
use super::transport::{NDJSON, Request, Trouble};
use super::verdict::{BulkReply, Overall, Verdict, error_of, overall, verdict};
use super::{Core, Making};
use crate::index::{Flush, IndexError};

/// Operations of one request, encoded.
#[derive(Clone, Default)]
struct Batch {
    body: Bytes,
    items: Vec<Sent>,
}

/// One operation: its place in the flush, its end in the body, and what it leaves out.
#[derive(Clone, Copy)]
struct Sent {
    at: usize,
    end: usize,
    mismatches: u64,
}

/// An item that the server has judged for good.
pub(super) struct Settled {
    pub at: usize,
    pub mismatches: u64,
    pub result: Result,
}

pub(super) enum Result {
    Applied,
    /// A version that is not smaller is there.
    Conflict,
    Poison(String),
}

impl Core {
    pub(super) async fn write(
        self: &Arc<Core>,
        making: &Arc<Making>,
        flush: &Arc<Flush>,
        winners: Vec<usize>,
    ) -> std::result::Result<Vec<Settled>, IndexError> {
        let batches = self.encode(making, flush, winners).await?;
        let mut sending = JoinSet::new();
        for batch in batches {
            let (core, making) = (self.clone(), making.clone());
            sending.spawn(async move { core.send_until_settled(&making, batch).await });
        }
        let mut settled = Vec::with_capacity(flush.operations.len());
        while let Some(sent) = sending.join_next().await {
            // The others are given up with the first that fails: whatever they did, the flush is applied again.
            settled.extend(sent.map_err(|error| self.unavailable(format!("the work did not finish: {error}")))??);
        }
        Ok(settled)
    }

    async fn encode(
        self: &Arc<Core>,
        making: &Arc<Making>,
        flush: &Arc<Flush>,
        winners: Vec<usize>,
    ) -> std::result::Result<Vec<Batch>, IndexError> {
        let (core, making, flush) = (self.clone(), making.clone(), flush.clone());
        let work = move || {
            let most = core.server.settings.bulk_bytes;
            let (mut batches, mut body, mut items) = (Vec::new(), Vec::with_capacity(most + (most >> 2)), Vec::new());
            for at in winners {
                let mismatches = document::append(&mut body, &making.layout, &core.mapping, &flush.operations[at]);
                items.push(Sent { at, end: body.len(), mismatches });
                if body.len() >= most {
                    batches.push(Batch { body: std::mem::take(&mut body).into(), items: std::mem::take(&mut items) });
                }
            }
            if !items.is_empty() {
                batches.push(Batch { body: body.into(), items });
            }
            batches
        };
        let encoded = tokio::task::spawn_blocking(work).await;
        encoded.map_err(|error| self.unavailable(format!("the work did not finish: {error}")))
    }

    async fn send_until_settled(&self, making: &Making, batch: Batch) -> std::result::Result<Vec<Settled>, IndexError> {
        let path = format!(
            "/{}/_bulk?require_alias=true&filter_path=errors,error,status,items.*.status,items.*.error",
            making.write_alias
        );
        let (mut open, mut settled, mut attempt) = (vec![batch], Vec::new(), 0);
        while let Some(batch) = open.pop() {
            let again = match self.send(making, &path, &batch).await? {
                Came::Items(verdicts) => {
                    let (more, again) = self.settle(making, &batch, verdicts).await?;
                    settled.extend(more);
                    again
                }
                Came::TooLarge if batch.items.len() > 1 => {
                    let (first, second) = batch.items.split_at(batch.items.len() / 2);
                    open.extend([batch.only(first), batch.only(second)]);
                    continue;
                }
                Came::TooLarge => {
                    let reason = "it is larger than a request may be (status 413)".to_owned();
                    settled.extend(batch.items.iter().map(|sent| sent.settled(Result::Poison(reason.clone()))));
                    continue;
                }
                Came::Nothing(reason) => Some((batch, reason)),
            };
            if let Some((batch, reason)) = again {
                metrics::counter!(metric::BULK_RETRIES).increment(batch.items.len() as u64);
                if attempt >= self.server.settings.retries {
                    return Err(self.unavailable(reason));
                }
                tokio::time::sleep(self.server.settings.pause(attempt)).await;
                attempt += 1;
                open.push(batch);
            }
        }
        Ok(settled)
    }

    async fn send(&self, making: &Making, path: &str, batch: &Batch) -> std::result::Result<Came, IndexError> {
        let _inside = self.server.gate.enter().await;
        let request = Request { content_type: NDJSON, body: batch.body.clone(), ..Request::new(Method::POST, path) };
        let began = Instant::now();
        let reply = match self.server.transport.send(request).await {
            Ok(reply) => reply,
            Err(trouble) => {
                self.server.gate.observe(Seen::Failed);
                let reason = match trouble {
                    Trouble::Unanswered(reason) => reason,
                    Trouble::TooLarge => "its answer is too large".to_owned(),
                    Trouble::Distrusted { reason, remedy } => return Err(self.refused(reason, remedy)),
                };
                return Ok(Came::Nothing(reason));
            }
        };
        match overall(reply.status, &error_of_failed(&reply)) {
            Overall::Answered => Ok(self.read(batch, &reply.body, began.elapsed())),
            Overall::Split => Ok(Came::TooLarge),
            Overall::Throttled(reason) => {
                self.server.gate.observe(Seen::Refused);
                Ok(Came::Nothing(reason))
            }
            Overall::Transient(reason) => {
                self.server.gate.observe(Seen::Failed);
                Ok(Came::Nothing(reason))
            }
            Overall::Halt(halt) => Err(self.halted(making, halt).await),
        }
    }

    fn read(&self, batch: &Batch, body: &[u8], latency: Duration) -> Came {
        let reply = match serde_json::from_slice::<BulkReply>(body) {
            Ok(reply) if reply.items.len() == batch.items.len() => reply,
            _ => {
                self.server.gate.observe(Seen::Failed);
                return Came::Nothing("its answer is not one for each item".to_owned());
            }
        };
        let refused = reply.items.iter().any(|entry| entry.reply().status == 429);
        let seen = if refused { Seen::Refused } else { Seen::Taken { latency, bytes: batch.body.len() } };
        self.server.gate.observe(seen);
        Came::Items(reply.items.iter().map(|entry| verdict(entry.reply())).collect())
    }

    /// What is settled, and the items that are to be sent again with the reason.
    async fn settle(
        &self,
        making: &Making,
        batch: &Batch,
        verdicts: Vec<Verdict>,
    ) -> std::result::Result<(Vec<Settled>, Option<(Batch, String)>), IndexError> {
        let (mut settled, mut again, mut reason) = (Vec::new(), Vec::new(), String::new());
        for (sent, verdict) in batch.items.iter().zip(verdicts) {
            match verdict {
                Verdict::Applied => settled.push(sent.settled(Result::Applied)),
                Verdict::Conflict => settled.push(sent.settled(Result::Conflict)),
                Verdict::Poison(reason) => settled.push(sent.settled(Result::Poison(reason))),
                Verdict::Transient(why) => {
                    again.push(*sent);
                    reason = why;
                }
                Verdict::Halt(halt) => return Err(self.halted(making, halt).await),
            }
        }
        let again = (!again.is_empty()).then(|| (batch.keep(&again), reason));
        Ok((settled, again))
    }
}

fn error_of_failed(reply: &super::transport::Reply) -> super::verdict::Cause {
    if reply.status < 300 { super::verdict::Cause::default() } else { error_of(&reply.body) }
}

/// What came of one request.
enum Came {
    Items(Vec<Verdict>),
    TooLarge,
    Nothing(String),
}

impl Sent {
    fn settled(&self, result: Result) -> Settled {
        Settled { at: self.at, mismatches: self.mismatches, result }
    }
}

impl Batch {
    /// Neighbours of this batch, without copying.
    fn only(&self, items: &[Sent]) -> Batch {
        let first = items.first().map_or(0, |first| self.start(first));
        let last = items.last().map_or(first, |last| last.end);
        let items = items.iter().map(|sent| Sent { end: sent.end - first, ..*sent }).collect();
        Batch { body: self.body.slice(first..last), items }
    }

    /// Some of this batch.
    fn keep(&self, items: &[Sent]) -> Batch {
        let (mut body, mut kept) = (Vec::new(), Vec::new());
        for sent in items {
            body.extend_from_slice(&self.body[self.start(sent)..sent.end]);
            kept.push(Sent { end: body.len(), ..*sent });
        }
        Batch { body: body.into(), items: kept }
    }

    fn start(&self, sent: &Sent) -> usize {
        let at = self.items.partition_point(|other| other.end < sent.end);
        at.checked_sub(1).map_or(0, |before| self.items[before].end)
    }
}
