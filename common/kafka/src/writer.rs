//! The right to write one slot: a producer with the slot's transactional id.
//!
//! Promises that events and ledger entries become visible together or not at all, and that a commit whose outcome is not
//! known is never done twice: the same one is asked for until it is known. Where that can't be (the brokers have ended the
//! transaction, or given it to another producer), the writer is spent and answers [`LogError::Fenced`]; whoever takes
//! the slot next ends what was open, and the ledger says whether the commit happened.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use headwater_common::ledger::Slot;
use headwater_common::log::{CommitBatch, Durable, LogError, SlotWriter};
use headwater_common::metric;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::client::{Clients, Context};
use crate::errors::failed;
use crate::lease::Lease;
use crate::native;
use crate::tender::dispose;
use crate::topics::{changes_topic, ledger_topic};

pub(crate) struct Writer {
    lease: Arc<Lease>,
    clients: Arc<Clients>,
    /// `None` after a commit whose future was dropped.
    transactions: Option<Transactions>,
}

impl Writer {
    pub(crate) fn new(lease: Arc<Lease>, clients: Arc<Clients>, transactions: Transactions) -> Writer {
        Writer { lease, clients, transactions: Some(transactions) }
    }

    fn check(&self, batch: &CommitBatch) -> Result<(), LogError> {
        let (slot, slots) = (self.lease.slot, self.clients.settings.slots);
        match batch.entries.iter().find(|entry| entry.slot(slots) != slot) {
            Some(stray) => {
                let key = stray.key().0;
                Err(LogError::Misconfigured(format!("ledger entry {key} does not belong to slot {slot}")))
            }
            None => Ok(()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Some(transactions) = self.transactions.take() {
            dispose(transactions);
        }
    }
}

#[async_trait]
impl SlotWriter for Writer {
    fn slot(&self) -> Slot {
        self.lease.slot
    }

    async fn commit(&mut self, batch: CommitBatch) -> Result<Durable, LogError> {
        let fenced = LogError::Fenced { slot: self.lease.slot };
        if self.lease.is_closed() {
            return Err(fenced);
        }
        self.check(&batch)?;
        let Some(mut transactions) = self.transactions.take() else {
            self.lease.lose();
            return Err(fenced);
        };
        let began = Instant::now();
        let work = tokio::task::spawn_blocking(move || {
            let outcome = transactions.commit(batch);
            (transactions, outcome)
        });
        let (transactions, outcome) =
            work.await.map_err(|error| LogError::Unavailable(format!("a commit broke off: {error}")))?;
        self.transactions = Some(transactions);
        match &outcome {
            Ok(_) => {
                metrics::histogram!(metric::LOG_COMMIT_SECONDS).record(began.elapsed().as_secs_f64());
                self.clients.troubles.brokers_answer();
            }
            Err(LogError::Fenced { .. }) => self.lease.lose(),
            Err(_) => {}
        }
        outcome
    }
}

/// How far a commit has come.
enum State {
    Clean,
    /// Handed to the client, and the end not asked for: nothing of it can be committed.
    Sent(CommitBatch),
    /// Its end was asked for, and the answer is not known.
    Ending(CommitBatch),
    Aborting,
    /// The producer can't be used any more.
    Spent,
}

pub(crate) struct Transactions {
    slot: Slot,
    clients: Arc<Clients>,
    producer: Arc<BaseProducer<Context>>,
    context: Context,
    state: State,
}

impl Transactions {
    /// A producer that has not begun.
    pub(crate) fn new(slot: Slot, clients: Arc<Clients>) -> Result<Transactions, LogError> {
        let (producer, context) = clients.slot(slot)?;
        Ok(Transactions { slot, clients, producer, context, state: State::Clean })
    }

    /// Fences every other producer of the slot, and ends what it left open. To be asked again until it is done.
    pub(crate) fn init(&self) -> Result<(), LogError> {
        let timeout = Duration::from_millis(self.clients.settings.request_timeout_ms.into());
        self.producer
            .init_transactions(timeout)
            .map_err(|error| failed(&format!("the transactions of slot {} can't be begun", self.slot), &error))
    }

    fn commit(&mut self, batch: CommitBatch) -> Result<Durable, LogError> {
        let deadline = Instant::now() + Duration::from_millis(self.clients.settings.request_timeout_ms.into());
        if let Some(done) = self.resume(&batch, deadline)? {
            return Ok(done);
        }
        if batch.is_empty() {
            return Ok(Durable { events: 0 });
        }
        self.begin()?;
        self.send(&batch, deadline)?;
        self.state = State::Sent(batch);
        self.finish(deadline)
    }

    /// Brings to its end what an earlier call left, and answers if that was this batch.
    fn resume(&mut self, batch: &CommitBatch, deadline: Instant) -> Result<Option<Durable>, LogError> {
        match &self.state {
            State::Clean => Ok(None),
            State::Spent => Err(self.fenced()),
            State::Aborting => self.abort(deadline).map(|()| None),
            State::Sent(left) if same(left, batch) => self.finish(deadline).map(Some),
            State::Sent(_) => {
                self.state = State::Aborting;
                self.abort(deadline).map(|()| None)
            }
            State::Ending(left) => {
                let ours = same(left, batch);
                self.end(deadline).map(|done| ours.then_some(done))
            }
        }
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.context.undelivered.lock().take();
        self.producer.begin_transaction().map_err(|error| self.judge("a transaction can't be begun", &error))
    }

    fn send(&mut self, batch: &CommitBatch, deadline: Instant) -> Result<(), LogError> {
        let sent = self.send_all(batch, deadline);
        if sent.is_err() && !matches!(self.state, State::Spent) {
            self.state = State::Aborting;
            // The first error says more than the abort's, which is tried again.
            self.abort(deadline).ok();
        }
        sent
    }

    fn send_all(&mut self, batch: &CommitBatch, deadline: Instant) -> Result<(), LogError> {
        let settings = self.clients.settings.clone();
        for event in &batch.events {
            let partition = event.key.partition(settings.partitions);
            let topic = changes_topic(&settings, &event.table);
            self.send_one(&topic, partition, event.key.as_bytes(), Some(&event.value), deadline)?;
        }
        let (topic, slot) = (ledger_topic(&settings), self.slot.0);
        for entry in &batch.entries {
            let key = entry.key().0;
            let json = serde_json::to_vec(entry)
                .map_err(|error| LogError::Misconfigured(format!("ledger entry {key} can't be written: {error}")))?;
            self.send_one(&topic, slot, key.as_bytes(), Some(&json), deadline)?;
        }
        for key in &batch.forgotten {
            self.send_one(&topic, slot, key.0.as_bytes(), None, deadline)?;
        }
        Ok(())
    }

    fn send_one(
        &mut self,
        topic: &str,
        partition: u16,
        key: &[u8],
        value: Option<&[u8]>,
        deadline: Instant,
    ) -> Result<(), LogError> {
        loop {
            let record = BaseRecord::<[u8], [u8]>::to(topic).partition(partition.into()).key(key);
            let record = match value {
                Some(value) => record.payload(value),
                None => record,
            };
            let Err((error, _)) = self.producer.send(record) else { return Ok(()) };
            if error.rdkafka_error_code() != Some(Code::QueueFull) || Instant::now() >= deadline {
                return Err(self.judge(&format!("nothing can be sent to topic {topic}"), &error));
            }
            // Room comes when what was sent before is acknowledged.
            native::acknowledged(&self.producer, Duration::from_millis(20));
            self.serve();
        }
    }

    /// From sent to durable.
    fn finish(&mut self, deadline: Instant) -> Result<Durable, LogError> {
        loop {
            if native::acknowledged(&self.producer, Duration::from_millis(50)) {
                break;
            }
            self.serve();
            if self.context.undelivered.lock().is_some() {
                break;
            }
            if Instant::now() >= deadline {
                let left = self.producer.in_flight_count();
                return Err(self.silent(&format!("{left} records of slot {} are not acknowledged", self.slot)));
            }
        }
        self.serve();
        let undelivered = self.context.undelivered.lock().take();
        if let Some(error) = undelivered {
            let judged = self.judge(&format!("records of slot {} were not written", self.slot), &error);
            if !matches!(self.state, State::Spent) {
                self.state = State::Aborting;
                self.abort(deadline).ok();
            }
            count("aborted");
            return Err(judged);
        }
        if let State::Sent(batch) = std::mem::replace(&mut self.state, State::Spent) {
            self.state = State::Ending(batch);
        }
        self.end(deadline)
    }

    /// Asks for the end of the transaction, again where that was done before.
    fn end(&mut self, deadline: Instant) -> Result<Durable, LogError> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let Err(error) = self.producer.commit_transaction(left) else {
            let done = std::mem::replace(&mut self.state, State::Clean);
            count("committed");
            return Ok(Durable { events: if let State::Ending(batch) = done { batch.events.len() } else { 0 } });
        };
        let again = match &error {
            KafkaError::Transaction(error) => error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort(),
            KafkaError::Flush(_) => true,
            _ => false,
        };
        if again {
            count("unknown");
            return Err(self.silent(&format!("whether slot {} is committed is not known yet: {error}", self.slot)));
        }
        // An abort might come after a commit that happened. The slot's next owner, this worker for one, can tell.
        Err(self.spend(&error))
    }

    fn abort(&mut self, deadline: Instant) -> Result<(), LogError> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        self.serve();
        match self.producer.abort_transaction(left) {
            Ok(()) => {
                self.context.undelivered.lock().take();
                self.state = State::Clean;
                Ok(())
            }
            Err(error) => Err(self.judge(&format!("slot {} can't abort", self.slot), &error)),
        }
    }

    /// Delivery reports of what failed, errors and log lines.
    fn serve(&self) {
        self.producer.poll(Duration::from_millis(1));
    }

    fn judge(&mut self, what: &str, error: &KafkaError) -> LogError {
        let fatal = match error {
            KafkaError::Transaction(error) => error.is_fatal(),
            _ => self.producer.client().fatal_error().is_some(),
        };
        if fatal {
            return self.spend(error);
        }
        match error.rdkafka_error_code() {
            Some(Code::MessageSizeTooLarge) => LogError::Misconfigured(format!(
                "{what}: an event is larger than max_message_bytes ({}): raise it, and max.message.bytes of the topic",
                self.clients.settings.max_message_bytes
            )),
            _ => failed(what, error),
        }
    }

    fn spend(&mut self, error: &KafkaError) -> LogError {
        self.state = State::Spent;
        count("fenced");
        let cause = self.producer.client().fatal_error().map_or_else(|| error.to_string(), |(_, reason)| reason);
        tracing::info!(slot = %self.slot, %cause, "the slot's producer can't be used any more");
        self.fenced()
    }

    fn fenced(&self) -> LogError {
        LogError::Fenced { slot: self.slot }
    }

    fn silent(&self, what: &str) -> LogError {
        self.clients.troubles.explain(LogError::Unavailable(what.to_owned()))
    }
}

fn count(outcome: &'static str) {
    metrics::counter!(metric::LOG_COMMITS, "outcome" => outcome).increment(1);
}

fn same(a: &CommitBatch, b: &CommitBatch) -> bool {
    let events = a.events.len() == b.events.len()
        && a.events.iter().zip(&b.events).all(|(a, b)| a.table == b.table && a.key == b.key && a.value == b.value);
    events && a.entries == b.entries && a.forgotten == b.forgotten
}
