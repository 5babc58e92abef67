//! Reads the ledger from its beginning, and then what is committed to it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt as _;
use headwater_common::ledger::{LedgerEntry, LedgerKey};
use headwater_common::log::{LedgerReader, LedgerUpdate, LogError, Offset};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::time::{Instant, sleep};

use crate::Shared;
use crate::client::Context;
use crate::errors::{failed, passes};
use crate::offsets::{Edge, edges};
use crate::tender::dispose;
use crate::topics::ledger_topic;

/// Updates given at once, about.
const AT_ONCE: usize = 4096;
const GROUP: &str = "ledger";

pub(crate) struct KafkaLedgerReader {
    shared: Arc<Shared>,
    topic: String,
    /// Where each partition ended when the reader was made, open transactions included.
    ends: Vec<Offset>,
    consumer: Option<Arc<StreamConsumer<Context>>>,
    /// Partitions whose end has not been reached yet; `None` before reading has begun, empty when all was given.
    ahead: Option<BTreeSet<i32>>,
    caught_up: bool,
}

impl KafkaLedgerReader {
    pub(crate) async fn new(shared: Arc<Shared>) -> Result<KafkaLedgerReader, LogError> {
        let settings = &shared.clients.settings;
        let topic = ledger_topic(settings);
        let wait = Duration::from_millis(settings.request_timeout_ms.into());
        let ends = edges(&shared.asking()?, &topic, settings.slots, Edge::End, wait).await?;
        let consumer = Some(Arc::new(shared.clients.reader(GROUP)?));
        Ok(KafkaLedgerReader { shared, topic, ends, consumer, ahead: None, caught_up: false })
    }

    fn consumer(&self) -> Result<&Arc<StreamConsumer<Context>>, LogError> {
        self.consumer.as_ref().ok_or_else(|| LogError::Unavailable("the reader is closed".into()))
    }

    /// A commit is known to its writer a moment before its readers may see it. So that nothing is missing that was committed
    /// before the reader was made, it begins when readers may see everything up to the ends of that time: a transaction
    /// that is open now is waited for, until its writer, the slot's next owner or its time-out has ended it.
    async fn begin(&mut self) -> Result<(), LogError> {
        let settings = &self.shared.clients.settings;
        let wait = Duration::from_millis(settings.request_timeout_ms.into());
        let late = Instant::now() + Duration::from_millis(settings.transaction_timeout_ms.into()) * 2;
        loop {
            let visible = edges(self.consumer()?, &self.topic, settings.slots, Edge::End, wait).await?;
            let Some(held) = visible.iter().zip(&self.ends).position(|(visible, end)| visible < end) else { break };
            if Instant::now() >= late {
                self.hangs(held, visible[held]);
            }
            sleep(Duration::from_millis(20)).await;
        }
        self.shared.clients.troubles.ends(&self.topic);
        let what = || format!("topic {} can't be read", self.topic);
        let mut list = TopicPartitionList::new();
        for slot in 0..settings.slots {
            list.add_partition_offset(&self.topic, slot.into(), KafkaOffset::Beginning)
                .map_err(|error| failed(&what(), &error))?;
        }
        self.consumer()?.assign(&list).map_err(|error| failed(&what(), &error))?;
        self.ahead = Some((0..i32::from(settings.slots)).collect());
        Ok(())
    }

    /// The brokers end every transaction that is open for too long, unless they have lost the end of one.
    fn hangs(&self, partition: usize, at: Offset) {
        let topic = &self.topic;
        let reason = format!(
            "a transaction in topic {topic}, partition {partition}, offset {at}, has not ended, and nothing after it can be read: \
             if it stays so, the brokers have lost its end; `kafka-transactions.sh find-hanging` finds it"
        );
        self.shared.clients.troubles.begins(topic, reason);
    }

    /// A partition that is written all the time never comes to an end that could be told.
    fn passed(&mut self, partition: i32, next: Offset) {
        let end = usize::try_from(partition).ok().and_then(|slot| self.ends.get(slot));
        if let Some(ahead) = &mut self.ahead
            && end.is_some_and(|end| next >= *end)
        {
            ahead.remove(&partition);
        }
    }

    fn failed(&mut self, error: KafkaError) -> Result<(), LogError> {
        match error {
            // Readers could see up to the old ends before reading began, so an end that is reached lies behind them.
            KafkaError::PartitionEOF(partition) => {
                if let Some(ahead) = &mut self.ahead {
                    ahead.remove(&partition);
                }
                Ok(())
            }
            error if passes(&error) => {
                tracing::debug!(%error, "the ledger's client has a problem");
                Ok(())
            }
            error => Err(failed("the ledger can't be read", &error)),
        }
    }
}

#[async_trait]
impl LedgerReader for KafkaLedgerReader {
    async fn next(&mut self) -> Result<Vec<LedgerUpdate>, LogError> {
        if self.ahead.is_none() {
            self.begin().await?;
        }
        let mut latest: BTreeMap<LedgerKey, LedgerUpdate> = BTreeMap::new();
        loop {
            let consumer = self.consumer()?.clone();
            // Nothing is waited for once something is in hand, so nothing is lost when this is cancelled.
            let event = match latest.is_empty() {
                true => Some(consumer.recv().await),
                false => consumer.recv().now_or_never(),
            };
            match event {
                Some(Ok(message)) => {
                    let (key, update) = update(&message)?;
                    latest.insert(key, update);
                    self.passed(message.partition(), Offset(message.offset().max(0) as u64).next());
                }
                Some(Err(error)) => self.failed(error)?,
                None => return Ok(latest.into_values().collect()),
            }
            let caught_up = !self.caught_up && self.ahead.as_ref().is_some_and(BTreeSet::is_empty);
            if caught_up || latest.len() >= AT_ONCE {
                self.caught_up |= caught_up;
                let mut updates: Vec<LedgerUpdate> = latest.into_values().collect();
                updates.extend(caught_up.then_some(LedgerUpdate::CaughtUp));
                return Ok(updates);
            }
        }
    }
}

impl Drop for KafkaLedgerReader {
    fn drop(&mut self) {
        self.shared.clients.troubles.ends(&self.topic);
        if let Some(consumer) = self.consumer.take() {
            dispose(consumer);
        }
    }
}

fn update(message: &BorrowedMessage<'_>) -> Result<(LedgerKey, LedgerUpdate), LogError> {
    let corrupt = |reason: String| LogError::Corrupt {
        place: format!("{}/{} at offset {}", message.topic(), message.partition(), message.offset()),
        reason,
    };
    let key = message.key().ok_or_else(|| corrupt("a record without a key".into()))?;
    let key = LedgerKey(String::from_utf8_lossy(key).into_owned());
    let Some(json) = message.payload() else { return Ok((key.clone(), LedgerUpdate::Forgotten(key))) };
    let entry: LedgerEntry = serde_json::from_slice(json).map_err(|error| corrupt(error.to_string()))?;
    Ok((key, LedgerUpdate::Entry(Box::new(entry))))
}
