//! A place in a consumer group: which partitions are this member's, and nothing of what is in them.
//!
//! Reading is another client's work ([`crate::reader`]), so that a group is followed whether or not anybody reads.
//! Assignment is cooperative: what stays is not disturbed when something goes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use headwater_common::log::{LogError, Offset};
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use crate::client::{Change, Clients, Context, Place};
use crate::errors::{blocking, failed, passes};
use crate::tender::dispose;

pub(crate) struct Group {
    name: String,
    clients: Arc<Clients>,
    context: Context,
    /// `None` once the group was left.
    consumer: Option<Arc<StreamConsumer<Context>>>,
}

impl Group {
    pub(crate) fn join(clients: &Arc<Clients>, name: &str, topics: &[String]) -> Result<Group, LogError> {
        let (consumer, context) = clients.member(name)?;
        let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(|error| failed(&format!("group {name} can't be joined"), &error))?;
        Ok(Group { name: name.to_owned(), clients: clients.clone(), context, consumer: Some(Arc::new(consumer)) })
    }

    fn consumer(&self) -> Result<&Arc<StreamConsumer<Context>>, LogError> {
        self.consumer.as_ref().ok_or_else(|| LogError::Unavailable(format!("group {} was left", self.name)))
    }

    /// Waits for the next change. Has to be asked all the time: asking is what keeps the place. Safe to cancel.
    pub(crate) async fn next(&self) -> Result<Change, LogError> {
        let consumer = self.consumer()?;
        loop {
            if let Some(change) = self.context.changes.lock().pop_front() {
                return Ok(change);
            }
            tokio::select! {
                biased;
                () = self.context.changed.notified() => {}
                event = consumer.recv() => match event {
                    // What comes of a partition before it is paused.
                    Ok(_) => {}
                    Err(error) if passes(&error) => {
                        tracing::debug!(group = %self.name, %error, "the group's client has a problem");
                    }
                    Err(error) => return Err(failed(&format!("group {}", self.name), &error)),
                },
            }
        }
    }

    /// Takes what was assigned, from its end and paused: nothing is to be read here.
    pub(crate) fn keep(&self, places: &[Place]) -> Result<(), LogError> {
        let list = list(places, KafkaOffset::End)?;
        let consumer = self.consumer()?;
        let kept = consumer.incremental_assign(&list);
        kept.and_then(|()| if places.is_empty() { Ok(()) } else { consumer.pause(&list) })
            .map_err(|error| failed(&format!("what group {} was given can't be taken", self.name), &error))
    }

    /// Gives back what was revoked. The group waits for that.
    pub(crate) fn give_back(&self, places: &[Place]) -> Result<(), LogError> {
        let list = list(places, KafkaOffset::Invalid)?;
        self.consumer()?
            .incremental_unassign(&list)
            .map_err(|error| failed(&format!("what group {} wants can't be given back", self.name), &error))
    }

    /// Stores offsets for whoever measures lag; does not wait.
    pub(crate) fn report(&self, progress: &[(Place, Offset)]) -> Result<(), LogError> {
        let what = || format!("the progress of group {} can't be reported", self.name);
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in progress {
            list.add_partition_offset(topic, *partition, KafkaOffset::Offset(next.0 as i64))
                .map_err(|error| failed(&what(), &error))?;
        }
        if progress.is_empty() {
            return Ok(());
        }
        self.consumer()?.commit(&list, CommitMode::Async).map_err(|error| failed(&what(), &error))
    }

    pub(crate) fn prover(&self, place: Place) -> Result<Prover, LogError> {
        Ok(Prover { consumer: self.consumer()?.clone(), name: self.name.clone(), place })
    }

    /// Leaves at once, so that the others need not wait for a time-out. `owed` was revoked and not given back yet.
    pub(crate) async fn leave(mut self, owed: &[Place]) -> Result<(), LogError> {
        if !owed.is_empty() {
            self.give_back(owed)?;
        }
        let name = self.name.clone();
        let wait = Duration::from_millis(self.clients.settings.request_timeout_ms.into());
        let consumer = self.close();
        let left = blocking(move || {
            drop(consumer);
            Ok(())
        });
        let late =
            || LogError::Unavailable(format!("group {name} was not left in time: the others wait for a time-out"));
        tokio::time::timeout(wait, left).await.unwrap_or_else(|_| Err(late()))
    }

    /// From now on rebalances answer themselves; the group is left when the client is dropped.
    fn close(&mut self) -> Option<Arc<StreamConsumer<Context>>> {
        self.context.closing.store(true, Ordering::Release);
        let pending = std::mem::take(&mut *self.context.changes.lock());
        for change in pending {
            let done = match change {
                Change::Assigned(places) => self.keep(&places),
                Change::Revoked { places, .. } => self.give_back(&places),
            };
            if let Err(error) = done {
                tracing::debug!(group = %self.name, %error, "a rebalance at the end was not answered");
            }
        }
        self.consumer.take()
    }

    pub(crate) fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }
}

/// Asks the brokers whether this member still has its place: only a member of the present generation may store an
/// offset.
pub(crate) struct Prover {
    consumer: Arc<StreamConsumer<Context>>,
    name: String,
    place: Place,
}

impl Prover {
    pub(crate) async fn ask(&self) -> Result<(), LogError> {
        let what = format!("the place in group {} is not confirmed", self.name);
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.place.0, self.place.1, KafkaOffset::Offset(0))
            .map_err(|error| failed(&what, &error))?;
        let consumer = self.consumer.clone();
        blocking(move || consumer.commit(&list, CommitMode::Sync).map_err(|error| failed(&what, &error))).await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(consumer) = self.close() {
            dispose(consumer);
        }
    }
}

fn list(places: &[Place], offset: KafkaOffset) -> Result<TopicPartitionList, LogError> {
    let mut list = TopicPartitionList::new();
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, offset)
            .map_err(|error| failed(&format!("partition {topic}/{partition}"), &error))?;
    }
    Ok(list)
}
