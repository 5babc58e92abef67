//! A sink's reader: the group says which partitions, the sink says from where.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use headwater_common::change::TableName;
use headwater_common::log::{Delivery, LogError, LogId, Offset, Subscription, TablePartition};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::Shared;
use crate::client::{Change, Place};
use crate::group::Group;
use crate::reader::Reader;
use crate::topics::{changes_topic, describe};

/// How often it is looked whether the topics are still the ones that were subscribed to. Offsets of a topic mean nothing
/// in another one of its name, and the client goes on with them.
const LOOK: Duration = Duration::from_secs(5);

/// A change of the group, and who waits for the work on it to end.
type Told = Result<(Change, Option<oneshot::Sender<()>>), LogError>;

pub(crate) struct KafkaSubscription {
    shared: Arc<Shared>,
    reader: Reader,
    changes: mpsc::UnboundedReceiver<Told>,
    progress: mpsc::UnboundedSender<Vec<(Place, Offset)>>,
    /// Why no delivery comes any more.
    ended: Option<String>,
    /// Whether the group has said which partitions are this reader's.
    answered: bool,
}

impl KafkaSubscription {
    /// `logs` are the topics' identities.
    pub(crate) fn follow(
        shared: Arc<Shared>,
        group: &str,
        logs: BTreeMap<TableName, LogId>,
    ) -> Result<KafkaSubscription, LogError> {
        let tables: Vec<TableName> = logs.keys().cloned().collect();
        let topics: Vec<String> = tables.iter().map(|table| changes_topic(&shared.clients.settings, table)).collect();
        let reader = Reader::new(shared.clone(), group, &tables)?;
        let group = Group::join(&shared.clients, group, &topics)?;
        let (out, changes) = mpsc::unbounded_channel();
        let (progress, reports) = mpsc::unbounded_channel();
        tokio::spawn(Following { shared: shared.clone(), group, out, logs }.run(reports));
        Ok(KafkaSubscription { shared, reader, changes, progress, ended: None, answered: false })
    }

    fn told(&mut self, change: Option<Told>) -> Result<Delivery, LogError> {
        match change {
            Some(Ok((Change::Assigned(places), _))) => {
                self.answered = true;
                Ok(Delivery::Assigned(self.named(places)))
            }
            Some(Ok((Change::Revoked { places, .. }, acknowledge))) => {
                let partitions = self.named(places);
                self.reader.stop(&partitions)?;
                // Where nobody waits for the answer, it may go anywhere.
                let acknowledge = acknowledge.unwrap_or_else(|| oneshot::channel().0);
                Ok(Delivery::Revoked { partitions, acknowledge })
            }
            Some(Err(error)) => {
                self.ended = Some(error.to_string());
                Err(error)
            }
            None => Err(LogError::Unavailable("the subscription has ended".into())),
        }
    }

    fn named(&self, places: Vec<Place>) -> Vec<TablePartition> {
        places.iter().filter_map(|(topic, partition)| self.reader.table_partition(topic, *partition)).collect()
    }
}

#[async_trait]
impl Subscription for KafkaSubscription {
    async fn next(&mut self) -> Result<Delivery, LogError> {
        if let Some(reason) = &self.ended {
            return Err(LogError::Misconfigured(reason.clone()));
        }
        loop {
            let change = tokio::select! {
                biased;
                change = self.changes.recv() => change,
                records = self.reader.records() => return Ok(Delivery::Records(records?)),
            };
            // That none is this reader's is news the first time.
            if matches!(&change, Some(Ok((Change::Assigned(places), _))) if places.is_empty() && self.answered) {
                continue;
            }
            return self.told(change);
        }
    }

    async fn start(&mut self, at: &TablePartition, offset: Offset) -> Result<(), LogError> {
        if self.reader.table_partition(&changes_topic(&self.shared.clients.settings, &at.table), 0).is_none() {
            return Err(LogError::Misconfigured(format!("{at} is not part of this subscription")));
        }
        self.reader.start(at, offset).await
    }

    fn pause(&mut self, partitions: &[TablePartition]) {
        self.reader.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TablePartition]) {
        self.reader.resume(partitions);
    }

    async fn report(&mut self, progress: &BTreeMap<TablePartition, Offset>) -> Result<(), LogError> {
        let settings = &self.shared.clients.settings;
        let place = |at: &TablePartition| (changes_topic(settings, &at.table), at.partition.into());
        let progress = progress.iter().map(|(at, next)| (place(at), *next)).collect();
        // Where nobody listens, the next delivery says why.
        self.progress.send(progress).ok();
        Ok(())
    }
}

/// Follows the group, whether or not the sink asks.
struct Following {
    shared: Arc<Shared>,
    group: Group,
    out: mpsc::UnboundedSender<Told>,
    logs: BTreeMap<TableName, LogId>,
}

impl Following {
    async fn run(self, mut reports: mpsc::UnboundedReceiver<Vec<(Place, Offset)>>) {
        let mut owed = Vec::new();
        if let Err(error) = self.follow(&mut reports, &mut owed).await {
            // Nobody listens when the subscription was dropped.
            self.out.send(Err(error)).ok();
        }
        if let Err(error) = self.group.leave(&owed).await {
            tracing::debug!(%error, "the group was not left in good order");
        }
    }

    async fn follow(
        &self,
        reports: &mut mpsc::UnboundedReceiver<Vec<(Place, Offset)>>,
        owed: &mut Vec<Place>,
    ) -> Result<(), LogError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.out.closed() => return Ok(()),
                change = self.group.next() => self.change(change?, reports, owed).await?,
                Some(progress) = reports.recv() => self.report(&progress),
                _ = look.tick() => self.look().await?,
            }
        }
    }

    async fn change(
        &self,
        change: Change,
        reports: &mut mpsc::UnboundedReceiver<Vec<(Place, Offset)>>,
        owed: &mut Vec<Place>,
    ) -> Result<(), LogError> {
        let (places, lost) = match change {
            Change::Assigned(places) => {
                self.group.keep(&places)?;
                self.out.send(Ok((Change::Assigned(places), None))).ok();
                return Ok(());
            }
            Change::Revoked { places, lost } => (places, lost),
        };
        owed.clone_from(&places);
        let (acknowledge, mut ended) = oneshot::channel();
        self.out.send(Ok((Change::Revoked { places: places.clone(), lost }, Some(acknowledge)))).ok();
        let wait = if lost { 0 } else { self.shared.clients.settings.revoke_timeout_ms };
        let work = async {
            loop {
                tokio::select! {
                    biased;
                    _ = &mut ended => return,
                    () = self.out.closed() => return,
                    // What is written last is the most worth reporting.
                    Some(progress) = reports.recv() => self.report(&progress),
                }
            }
        };
        if timeout(Duration::from_millis(wait.into()), work).await.is_err() && !lost {
            tracing::warn!(partitions = places.len(), "partitions are given back although work on them has not ended");
        }
        owed.clear();
        self.group.give_back(&places)
    }

    fn report(&self, progress: &[(Place, Offset)]) {
        if let Err(error) = self.group.report(progress) {
            tracing::debug!(%error, "the group's offsets were not stored; they serve lag only");
        }
    }

    async fn look(&self) -> Result<(), LogError> {
        let settings = &self.shared.clients.settings;
        let wait = Duration::from_millis(settings.request_timeout_ms.into());
        for (table, log) in &self.logs {
            let topic = changes_topic(settings, table);
            match describe(&self.shared.asking()?, &topic, wait).await {
                Ok(Some(found)) if found.id != log.0 => {
                    return Err(LogError::Misconfigured(format!(
                        "topic {topic} was made anew (it was {}, now it is {}): rebuild the sinks",
                        log.0, found.id
                    )));
                }
                Ok(None) => {
                    return Err(LogError::Misconfigured(format!("topic {topic} was deleted: rebuild the sinks")));
                }
                Ok(Some(_)) => {}
                Err(error) => tracing::debug!(%error, "whether the topic is the same is not known"),
            }
        }
        Ok(())
    }
}
