//! The ingest workers' group: a partition of the ledger is a slot.
//!
//! Promises that a slot is given out only when its transactions have begun, which is when every other writer of it is
//! fenced and what that one committed is in the ledger for good; and that a slot goes back to the group only when its
//! work has ended, or the time for that is over. A slot whose writer is spent is taken anew for as long as the brokers
//! confirm this worker's place in the group.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use headwater_common::ledger::Slot;
use headwater_common::log::{LogError, Membership, Ownership};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::client::{Change, Clients, Place};
use crate::errors::blocking;
use crate::group::{Group, Prover};
use crate::lease::Lease;
use crate::topics::ledger_topic;
use crate::writer::{Transactions, Writer};

/// Slots that are taken at once are given out together, because their owner reads the whole ledger each time; a slow
/// one holds the others up no longer than this.
const TOGETHER: Duration = Duration::from_secs(1);
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct KafkaMembership {
    changes: mpsc::UnboundedReceiver<Result<Ownership, LogError>>,
    leave: Option<oneshot::Sender<oneshot::Sender<Result<(), LogError>>>>,
}

impl KafkaMembership {
    pub(crate) fn follow(group: Group) -> KafkaMembership {
        let (out, changes) = mpsc::unbounded_channel();
        let (leave, asked) = oneshot::channel();
        let (lost, losses) = mpsc::unbounded_channel();
        let slots = Slots {
            topic: ledger_topic(&group.clients().settings),
            group,
            out,
            lost,
            held: BTreeMap::new(),
            taking: JoinSet::new(),
            waiting: BTreeMap::new(),
            give_out: None,
            releasing: None,
            leases: 0,
        };
        tokio::spawn(slots.run(losses, asked));
        KafkaMembership { changes, leave: Some(leave) }
    }
}

fn ended() -> LogError {
    LogError::Unavailable("this worker has left the group of ingest workers".into())
}

#[async_trait]
impl Membership for KafkaMembership {
    async fn changed(&mut self) -> Result<Ownership, LogError> {
        self.changes.recv().await.unwrap_or_else(|| Err(ended()))
    }

    async fn leave(mut self: Box<Self>) -> Result<(), LogError> {
        let (done, left) = oneshot::channel();
        match self.leave.take().map(|leave| leave.send(done)) {
            // Where nobody listens any more, the group was left before.
            Some(Ok(())) => left.await.unwrap_or(Ok(())),
            _ => Ok(()),
        }
    }
}

/// A slot that the group has given to this worker.
enum Held {
    /// Its transactions are being begun; the receiver ends with that work.
    Taking(Arc<Lease>, oneshot::Receiver<()>),
    Owned(Arc<Lease>),
}

impl Held {
    fn lease(&self) -> &Arc<Lease> {
        match self {
            Held::Taking(lease, _) | Held::Owned(lease) => lease,
        }
    }
}

struct Releasing {
    slots: Vec<Slot>,
    leases: Vec<Arc<Lease>>,
    /// Ends when all work on them has, or its time is over.
    idle: Pin<Box<dyn Future<Output = ()> + Send>>,
}

type Taken = (Arc<Lease>, Result<Writer, LogError>);

struct Slots {
    topic: String,
    group: Group,
    out: mpsc::UnboundedSender<Result<Ownership, LogError>>,
    lost: mpsc::UnboundedSender<(Slot, u64)>,
    held: BTreeMap<Slot, Held>,
    taking: JoinSet<Taken>,
    /// Taken and not given out yet.
    waiting: BTreeMap<Slot, Writer>,
    give_out: Option<Instant>,
    releasing: Option<Releasing>,
    leases: u64,
}

impl Slots {
    async fn run(
        mut self,
        mut losses: mpsc::UnboundedReceiver<(Slot, u64)>,
        mut asked: oneshot::Receiver<oneshot::Sender<Result<(), LogError>>>,
    ) {
        let answer = loop {
            let give_out = self.give_out;
            let step = tokio::select! {
                biased;
                answer = &mut asked => break answer.ok(),
                () = self.out.closed() => break None,
                () = idle(&mut self.releasing) => self.released(),
                change = self.group.next() => change.and_then(|change| self.change(change)),
                Some(taken) = self.taking.join_next() => match taken {
                    Ok(taken) => self.taken(taken),
                    Err(error) => Err(LogError::Unavailable(format!("taking a slot broke off: {error}"))),
                },
                Some((slot, number)) = losses.recv() => self.retake(slot, number),
                () = sleep_until(give_out.unwrap_or_else(Instant::now)), if give_out.is_some() => {
                    self.give_out();
                    Ok(())
                }
            };
            if let Err(error) = step {
                // Nobody listens only when this worker is about to leave.
                self.out.send(Err(error)).ok();
                break None;
            }
        };
        let left = self.leave().await;
        match answer {
            Some(answer) => drop(answer.send(left)),
            None => left.unwrap_or_else(|error| tracing::debug!(%error, "the group was not left in good order")),
        }
    }

    fn change(&mut self, change: Change) -> Result<(), LogError> {
        match change {
            Change::Assigned(places) => {
                self.group.keep(&places)?;
                for slot in slots(&places) {
                    let lease = self.lease(slot);
                    self.take(lease, None)?;
                }
                Ok(())
            }
            Change::Revoked { places, lost } => self.release(slots(&places), lost),
        }
    }

    fn lease(&mut self, slot: Slot) -> Arc<Lease> {
        self.leases += 1;
        Arc::new(Lease::new(slot, self.leases, self.lost.clone()))
    }

    fn take(&mut self, lease: Arc<Lease>, proof: Option<Place>) -> Result<(), LogError> {
        let (working, ended) = oneshot::channel();
        self.held.insert(lease.slot, Held::Taking(lease.clone(), ended));
        let clients = self.group.clients().clone();
        let proof = proof.map(|place| self.group.prover(place)).transpose()?;
        self.taking.spawn(async move {
            let taken = take(&clients, &lease, proof).await;
            clients.troubles.ends(&trouble(lease.slot));
            drop(working);
            (lease, taken)
        });
        Ok(())
    }

    fn taken(&mut self, (lease, writer): Taken) -> Result<(), LogError> {
        let known = self.held.get(&lease.slot).is_some_and(|held| held.lease().number == lease.number);
        if known && !lease.is_closed() {
            self.waiting.insert(lease.slot, writer?);
            self.group.clients().troubles.brokers_answer();
            self.held.insert(lease.slot, Held::Owned(lease));
        }
        self.give_out.get_or_insert_with(|| Instant::now() + TOGETHER);
        if self.taking.is_empty() {
            self.give_out();
        }
        Ok(())
    }

    fn give_out(&mut self) {
        self.give_out = None;
        for (_, writer) in std::mem::take(&mut self.waiting) {
            // Nobody listens only when this worker is about to leave.
            self.out.send(Ok(Ownership::Acquired(Box::new(writer)))).ok();
        }
    }

    /// The writer is spent: by another owner, who is found out by the group, or by a transaction that took too long.
    fn retake(&mut self, slot: Slot, number: u64) -> Result<(), LogError> {
        let known = self.held.get(&slot).is_some_and(|held| held.lease().number == number);
        let going = self.releasing.as_ref().is_some_and(|releasing| releasing.slots.contains(&slot));
        if !known || going {
            return Ok(());
        }
        let lease = self.lease(slot);
        self.take(lease, Some((self.topic.clone(), slot.0.into())))
    }

    fn release(&mut self, slots: Vec<Slot>, lost: bool) -> Result<(), LogError> {
        let (mut leases, mut ends) = (Vec::new(), Vec::new());
        for slot in &slots {
            match self.held.remove(slot) {
                Some(Held::Taking(lease, ended)) => {
                    lease.close();
                    ends.push(ended);
                }
                // Not given out yet: nobody has to be told.
                Some(Held::Owned(lease)) if self.waiting.remove(slot).is_some() => lease.close(),
                Some(Held::Owned(lease)) => {
                    let (acknowledge, ended) = oneshot::channel();
                    self.out.send(Ok(Ownership::Released { slot: *slot, acknowledge })).ok();
                    ends.push(ended);
                    leases.push(lease);
                }
                None => {}
            }
        }
        let wait = if lost { 0 } else { self.group.clients().settings.revoke_timeout_ms };
        let idle = Box::pin(async move {
            if timeout(Duration::from_millis(wait.into()), join_all(ends)).await.is_err() && !lost {
                tracing::warn!("slots are given back although work on them has not ended; the brokers fence it");
            }
        });
        self.releasing = Some(Releasing { slots, leases, idle });
        Ok(())
    }

    fn released(&mut self) -> Result<(), LogError> {
        let Some(releasing) = self.releasing.take() else { return Ok(()) };
        releasing.leases.iter().for_each(|lease| lease.close());
        self.group.give_back(&self.places(&releasing.slots))
    }

    fn places(&self, slots: &[Slot]) -> Vec<Place> {
        slots.iter().map(|slot| (self.topic.clone(), slot.0.into())).collect()
    }

    async fn leave(mut self) -> Result<(), LogError> {
        self.held.values().for_each(|held| held.lease().close());
        self.taking.shutdown().await;
        let owed = self.releasing.take();
        let owed = owed.inspect(|owed| owed.leases.iter().for_each(|lease| lease.close()));
        let owed = owed.map(|owed| self.places(&owed.slots)).unwrap_or_default();
        self.group.leave(&owed).await
    }
}

fn trouble(slot: Slot) -> String {
    format!("slot/{slot}")
}

/// Begins the slot's transactions, again and again for as long as the slot is to be taken.
async fn take(clients: &Arc<Clients>, lease: &Arc<Lease>, proof: Option<Prover>) -> Result<Writer, LogError> {
    while !lease.is_closed() {
        let confirmed = match &proof {
            Some(proof) => proof.ask().await,
            None => Ok(()),
        };
        let taken = match confirmed {
            Ok(()) => {
                let (clients, lease) = (clients.clone(), lease.clone());
                blocking(move || {
                    let transactions = Transactions::new(lease.slot, clients.clone())?;
                    transactions.init()?;
                    Ok(Writer::new(lease, clients, transactions))
                })
                .await
            }
            Err(error) => Err(error),
        };
        match taken {
            Err(LogError::Unavailable(reason)) => clients.troubles.begins(&trouble(lease.slot), reason),
            taken => return taken,
        }
        sleep(PAUSE).await;
    }
    Err(LogError::Fenced { slot: lease.slot })
}

async fn idle(releasing: &mut Option<Releasing>) {
    match releasing {
        Some(releasing) => releasing.idle.as_mut().await,
        None => std::future::pending().await,
    }
}

fn slots(places: &[Place]) -> Vec<Slot> {
    places.iter().filter_map(|(_, partition)| u16::try_from(*partition).ok()).map(Slot).collect()
}
