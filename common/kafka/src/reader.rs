//! Reads committed records of the partitions that it is told, from the offsets that it is told.
//!
//! Never begins anywhere else: an offset that the partition does not hold is an error that names it. What is read in
//! advance is bounded by the settings.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use headwater_common::change::TableName;
use headwater_common::log::{Extent, LogError, LogRecord, Offset, TablePartition};
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};

use crate::Shared;
use crate::client::Context;
use crate::errors::{failed, passes};
use crate::offsets::{Edge, edges};
use crate::tender::dispose;
use crate::topics::changes_topic;

/// Bytes of records in one delivery, about.
const DELIVERY_BYTES: usize = 1 << 20;

struct Reading {
    next: Offset,
    paused: bool,
    /// Records came while it was paused and were left out: they have to be read again.
    behind: bool,
}

pub(crate) struct Reader {
    shared: Arc<Shared>,
    consumer: Option<StreamConsumer<Context>>,
    tables: BTreeMap<String, TableName>,
    read: BTreeMap<TablePartition, Reading>,
    /// Partitions that are to be paused when they are started.
    held: std::collections::BTreeSet<TablePartition>,
    /// Why reading can't go on before a partition is started anew.
    refused: Option<String>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Shared>, group: &str, tables: &[TableName]) -> Result<Reader, LogError> {
        let consumer = Some(shared.clients.reader(group)?);
        let topic = |table: &TableName| (changes_topic(&shared.clients.settings, table), table.clone());
        let tables = tables.iter().map(topic).collect();
        Ok(Reader { shared, consumer, tables, read: BTreeMap::new(), held: Default::default(), refused: None })
    }

    fn consumer(&self) -> Result<&StreamConsumer<Context>, LogError> {
        self.consumer.as_ref().ok_or_else(|| LogError::Unavailable("the reader is closed".into()))
    }

    pub(crate) fn table_partition(&self, topic: &str, partition: i32) -> Option<TablePartition> {
        let (table, partition) = (self.tables.get(topic)?.clone(), u16::try_from(partition).ok()?);
        Some(TablePartition { table, partition })
    }

    /// Waits for records, then gives what there is, up to about a megabyte. Safe to cancel: nothing is waited for once
    /// something is taken.
    pub(crate) async fn records(&mut self) -> Result<Vec<LogRecord>, LogError> {
        if let Some(reason) = &self.refused {
            return Err(LogError::Misconfigured(reason.clone()));
        }
        loop {
            let first = self.consumer()?.recv().await.map(|message| Arrived::of(&message));
            let (mut records, mut bytes) = (Vec::new(), 0);
            let mut next = Some(first);
            while let Some(arrived) = next {
                match arrived {
                    Ok(arrived) => {
                        if let Some(record) = self.take(arrived) {
                            bytes += record.value.len() + record.key.as_ref().map_or(0, Bytes::len);
                            records.push(record);
                        }
                    }
                    // What is in hand is given first; an error that lasts comes again.
                    Err(error) if records.is_empty() => self.failed(error).await?,
                    Err(error) => tracing::debug!(%error, "the reading client has a problem"),
                }
                next = match bytes < DELIVERY_BYTES {
                    true => self.consumer()?.recv().now_or_never().map(|next| next.map(|m| Arrived::of(&m))),
                    false => None,
                };
            }
            if !records.is_empty() {
                self.shared.clients.troubles.brokers_answer();
                return Ok(records);
            }
        }
    }

    fn take(&mut self, arrived: Arrived) -> Option<LogRecord> {
        let at = self.table_partition(&arrived.topic, arrived.partition)?;
        let reading = self.read.get_mut(&at)?;
        let offset = Offset(arrived.offset);
        if offset < reading.next {
            return None;
        }
        if reading.paused {
            reading.behind = true;
            return None;
        }
        reading.next = offset.next();
        Some(LogRecord { at, offset, key: arrived.key, value: arrived.value })
    }

    /// An error that a person must mend, or a position that is not there; others pass.
    async fn failed(&mut self, error: KafkaError) -> Result<(), LogError> {
        let code = match error {
            KafkaError::PartitionEOF(_) => return Ok(()),
            KafkaError::MessageConsumption(code) => code,
            error => return Err(failed("the change log can't be read", &error)),
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => self.out_of_range().await,
            _ if passes(&error) => {
                tracing::debug!(%error, "the reading client has a problem");
                Ok(())
            }
            _ => Err(failed("the change log can't be read", &error)),
        }
    }

    async fn out_of_range(&mut self) -> Result<(), LogError> {
        for (at, reading) in &self.read {
            let extent = self.shared.extent(at).await?;
            if let Err(LogError::Misconfigured(reason)) = within(at, reading.next, extent) {
                self.refused = Some(reason.clone());
                return Err(LogError::Misconfigured(reason));
            }
        }
        // Where it was is there now: a new leader may have known less for a moment.
        let all: Vec<TablePartition> = self.read.keys().cloned().collect();
        all.iter().try_for_each(|at| self.restart(at))
    }

    pub(crate) async fn start(&mut self, at: &TablePartition, offset: Offset) -> Result<(), LogError> {
        let extent = self.shared.extent(at).await?;
        within(at, offset, extent)?;
        self.refused = None;
        let paused = self.held.contains(at);
        self.stop(std::slice::from_ref(at))?;
        self.read.insert(at.clone(), Reading { next: offset, paused, behind: false });
        self.assign(at, offset, paused)
    }

    fn restart(&mut self, at: &TablePartition) -> Result<(), LogError> {
        let Some(reading) = self.read.get_mut(at) else { return Ok(()) };
        reading.behind = false;
        let (next, paused) = (reading.next, reading.paused);
        self.unassign(at)?;
        self.assign(at, next, paused)
    }

    pub(crate) fn stop(&mut self, partitions: &[TablePartition]) -> Result<(), LogError> {
        for at in partitions {
            if self.read.remove(at).is_some() {
                self.unassign(at)?;
            }
        }
        Ok(())
    }

    fn assign(&self, at: &TablePartition, offset: Offset, paused: bool) -> Result<(), LogError> {
        let (list, consumer) = (self.list(at, KafkaOffset::Offset(offset.0 as i64))?, self.consumer()?);
        let assigned = consumer.incremental_assign(&list);
        let done = assigned.and_then(|()| if paused { consumer.pause(&list) } else { Ok(()) });
        done.map_err(|error| failed(&format!("{at} can't be read from offset {offset}"), &error))
    }

    fn unassign(&self, at: &TablePartition) -> Result<(), LogError> {
        let list = self.list(at, KafkaOffset::Invalid)?;
        let done = self.consumer()?.incremental_unassign(&list);
        done.map_err(|error| failed(&format!("reading {at} can't be ended"), &error))
    }

    pub(crate) fn pause(&mut self, partitions: &[TablePartition]) {
        for at in partitions {
            self.held.insert(at.clone());
            let Some(reading) = self.read.get_mut(at) else { continue };
            reading.paused = true;
            self.tell(at, |consumer, list| consumer.pause(list));
        }
    }

    pub(crate) fn resume(&mut self, partitions: &[TablePartition]) {
        for at in partitions {
            self.held.remove(at);
            let Some(reading) = self.read.get_mut(at) else { continue };
            reading.paused = false;
            self.tell(at, |consumer, list| consumer.resume(list));
            // What was left out is read again, whatever the client thinks that it has given.
            if self.read.get(at).is_some_and(|reading| reading.behind)
                && let Err(error) = self.restart(at)
            {
                self.refused = Some(error.to_string());
            }
        }
    }

    fn tell(
        &self,
        at: &TablePartition,
        what: impl Fn(&StreamConsumer<Context>, &TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        let told = self.list(at, KafkaOffset::Invalid).and_then(|list| {
            what(self.consumer()?, &list).map_err(|error| failed(&format!("{at} can't be paused or resumed"), &error))
        });
        if let Err(error) = told {
            // Records of a paused partition are left out, and read again, whether or not they come.
            tracing::debug!(%error, "the reading client has a problem");
        }
    }

    fn list(&self, at: &TablePartition, offset: KafkaOffset) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        let topic = changes_topic(&self.shared.clients.settings, &at.table);
        list.add_partition_offset(&topic, at.partition.into(), offset)
            .map_err(|error| failed(&format!("partition {at}"), &error))?;
        Ok(list)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(consumer) = self.consumer.take() {
            dispose(consumer);
        }
    }
}

/// A message, out of the client's memory.
struct Arrived {
    topic: String,
    partition: i32,
    offset: u64,
    key: Option<Bytes>,
    value: Bytes,
}

impl Arrived {
    fn of(message: &BorrowedMessage<'_>) -> Arrived {
        Arrived {
            topic: message.topic().to_owned(),
            partition: message.partition(),
            offset: message.offset().max(0) as u64,
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
        }
    }
}

fn within(at: &TablePartition, offset: Offset, extent: Extent) -> Result<(), LogError> {
    if offset > extent.end {
        return Err(LogError::Misconfigured(format!(
            "the sink holds {at} up to offset {offset}, the log ends at {}: the log was made anew or has lost records; rebuild the sink",
            extent.end
        )));
    }
    if offset < extent.start {
        return Err(LogError::Misconfigured(format!(
            "the sink needs {at} from offset {offset} on, the log begins at {}: what lies between is gone; rebuild the sink",
            extent.start
        )));
    }
    Ok(())
}

impl Shared {
    pub(crate) async fn extent(&self, at: &TablePartition) -> Result<Extent, LogError> {
        let extents = self.extents(&at.table).await?;
        let unknown = || LogError::Misconfigured(format!("the log has no partition {at}"));
        extents.get(usize::from(at.partition)).copied().ok_or_else(unknown)
    }

    pub(crate) async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        let settings = &self.clients.settings;
        let (topic, asking) = (changes_topic(settings, table), self.asking()?);
        let timeout = Duration::from_millis(settings.request_timeout_ms.into());
        // The start first: it only rises, and so lies below an end that is read after it.
        let starts = edges(&asking, &topic, settings.partitions, Edge::Start, timeout).await?;
        let ends = edges(&asking, &topic, settings.partitions, Edge::End, timeout).await?;
        self.clients.troubles.brokers_answer();
        Ok(starts.into_iter().zip(ends).map(|(start, end)| Extent { start, end }).collect())
    }
}
