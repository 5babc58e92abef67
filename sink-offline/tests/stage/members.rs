//! A log whose readers a test gives partitions and takes them away, as the coordinator of a group does.

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_common::change::TableName;
use headwater_common::embedded::EmbeddedLog;
use headwater_common::log::*;
use headwater_tests::over::{LogOver, Over, SubscriptionOver};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::fixture::{TestLog, table};

/// One reader's side in the test's hands.
pub struct Member {
    commands: mpsc::UnboundedSender<Command>,
    ends: Arc<Mutex<Option<u64>>>,
    paused: Arc<Mutex<BTreeSet<u16>>>,
}

enum Command {
    Assign(Vec<u16>),
    Revoke(Vec<u16>, oneshot::Sender<()>),
}

impl Member {
    /// A reader of this log, which has nothing yet.
    pub fn of(log: &TestLog) -> (Member, Arc<dyn ChangeLog>) {
        let (commands, receiver) = mpsc::unbounded_channel();
        let (ends, paused) = (Arc::<Mutex<Option<u64>>>::default(), Arc::<Mutex<BTreeSet<u16>>>::default());
        let member = Member { commands, ends: ends.clone(), paused: paused.clone() };
        let commands = Mutex::new(Some(receiver));
        (member, Arc::new(Over(MemberLog { inner: log.log.clone(), commands, ends, paused })))
    }

    pub fn assign(&self, partitions: &[u16]) {
        self.commands.send(Command::Assign(partitions.to_vec())).ok().unwrap();
    }

    /// Ends once the reader has acknowledged, or is gone.
    pub fn revoke(&self, partitions: &[u16]) -> oneshot::Receiver<()> {
        let (acknowledge, acknowledged) = oneshot::channel();
        // One that is gone has nothing to give back.
        self.commands.send(Command::Revoke(partitions.to_vec(), acknowledge)).ok();
        acknowledged
    }

    /// Every partition is said to end there, as that of a log that was made anew under its name.
    pub fn end_at(&self, end: u64) {
        *self.ends.lock() = Some(end);
    }

    /// Partitions that the reader has paused.
    pub fn paused(&self) -> BTreeSet<u16> {
        self.paused.lock().clone()
    }
}

struct MemberLog {
    inner: EmbeddedLog,
    commands: Mutex<Option<mpsc::UnboundedReceiver<Command>>>,
    ends: Arc<Mutex<Option<u64>>>,
    paused: Arc<Mutex<BTreeSet<u16>>>,
}

#[async_trait]
impl LogOver for MemberLog {
    fn beneath(&self) -> &dyn ChangeLog {
        &self.inner
    }

    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        let mut extents = self.inner.extents(table).await?;
        if let Some(end) = *self.ends.lock() {
            extents.iter_mut().for_each(|extent| extent.end = Offset(end));
        }
        Ok(extents)
    }

    fn subscribed(&self, inner: Box<dyn Subscription>) -> Box<dyn Subscription> {
        let commands = self.commands.lock().take().expect("a member subscribes once");
        let paused = self.paused.clone();
        Box::new(Over(MemberSubscription { inner, commands, owned: BTreeSet::new(), paused }))
    }
}

struct MemberSubscription {
    inner: Box<dyn Subscription>,
    commands: mpsc::UnboundedReceiver<Command>,
    owned: BTreeSet<u16>,
    paused: Arc<Mutex<BTreeSet<u16>>>,
}

impl MemberSubscription {
    fn take(&mut self, command: Command) -> Delivery {
        let named = |partitions: Vec<u16>| {
            partitions.into_iter().map(|partition| TablePartition { table: table(), partition }).collect::<Vec<_>>()
        };
        match command {
            Command::Assign(partitions) => {
                self.owned.extend(&partitions);
                Delivery::Assigned(named(partitions))
            }
            Command::Revoke(partitions, acknowledge) => {
                self.owned.retain(|partition| !partitions.contains(partition));
                Delivery::Revoked { partitions: named(partitions), acknowledge }
            }
        }
    }
}

#[async_trait]
impl SubscriptionOver for MemberSubscription {
    fn beneath(&mut self) -> &mut dyn Subscription {
        &mut *self.inner
    }

    async fn next(&mut self) -> Result<Delivery, LogError> {
        loop {
            let delivery = tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => return Ok(self.take(command)),
                    None => return std::future::pending().await,
                },
                delivery = self.inner.next() => delivery?,
            };
            // The log itself gives everything to everybody.
            if let Delivery::Records(mut records) = delivery {
                records.retain(|record| self.owned.contains(&record.at.partition));
                if !records.is_empty() {
                    return Ok(Delivery::Records(records));
                }
            }
        }
    }

    fn pause(&mut self, partitions: &[TablePartition]) {
        self.paused.lock().extend(partitions.iter().map(|at| at.partition));
        self.inner.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TablePartition]) {
        self.paused.lock().retain(|partition| !partitions.iter().any(|at| at.partition == *partition));
        self.inner.resume(partitions);
    }
}
