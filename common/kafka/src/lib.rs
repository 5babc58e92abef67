//! The change log on Apache Kafka.
//!
//! Keeps what [`headwater_common::log`] promises, by Kafka's own means: a commit is a transaction, a slot is a partition
//! of the ledger, the group of ingest workers gives the slots out, and the slot's transactional id fences whoever had it
//! before. `<prefix>.<table>.changes` holds a table's changes, `<prefix>.ledger` the ledger.
//!
//! Assumes brokers of version 2.5 or later. Refuses topics that are not as they have to be. What the client mends by
//! itself (a broker that restarts, a leader or coordinator that moves, too few copies in step) is waited for and shown
//! on the board as part `kafka`; what lasts longer than a request may take reaches the stages as
//! [`LogError::Unavailable`].

mod client;
mod errors;
mod group;
mod lease;
mod ledger;
mod membership;
mod native;
mod offsets;
mod quiet;
mod reader;
mod security;
mod settings;
mod subscription;
mod tender;
mod tokens;
mod topics;
mod trouble;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use headwater_common::change::TableName;
use headwater_common::clock::Clock;
use headwater_common::codec;
use headwater_common::completeness::Mark;
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, Extent, LedgerReader, LogError, LogId, Membership, Subscription};
use parking_lot::Mutex;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};
use tokio::sync::OnceCell;

use client::{Clients, Context};
use errors::failed;
use group::Group;
use ledger::KafkaLedgerReader;
use membership::KafkaMembership;
pub use security::{Mechanism, OAuth, Protocol, Security};
pub use settings::{Compression, Settings};
use subscription::KafkaSubscription;
use topics::{Spec, changes_topic, ledger_topic};
use trouble::Troubles;

/// The group of the ingest workers.
const INGEST: &str = "ingest";

/// A change log on Kafka. Clones share their connections.
#[derive(Clone)]
pub struct KafkaLog(Arc<Shared>);

pub(crate) struct Shared {
    clients: Arc<Clients>,
    asking: Arc<BaseConsumer<Context>>,
    ledger: OnceCell<LogId>,
    /// The topics that sinks compared themselves with.
    opened: Mutex<BTreeMap<TableName, LogId>>,
    marks: Mutex<Option<FutureProducer<Context>>>,
}

impl Shared {
    fn asking(&self) -> Result<Arc<BaseConsumer<Context>>, LogError> {
        Ok(self.asking.clone())
    }

    async fn ledger(&self) -> Result<&LogId, LogError> {
        let spec = || Spec::ledger(&self.clients.settings);
        self.ledger.get_or_try_init(|| async { topics::ensure(self, &spec()).await }).await
    }

    async fn open_table(&self, table: &TableName) -> Result<LogId, LogError> {
        let id = topics::ensure(self, &Spec::changes(&self.clients.settings, table)?).await?;
        self.opened.lock().insert(table.clone(), id.clone());
        Ok(id)
    }

    fn marks(&self) -> Result<FutureProducer<Context>, LogError> {
        let mut marks = self.marks.lock();
        match &*marks {
            Some(producer) => Ok(producer.clone()),
            None => Ok(marks.insert(self.clients.marks()?).clone()),
        }
    }
}

impl KafkaLog {
    /// Checks the settings and makes ready. The brokers need not be there yet: each call says when they are not.
    pub async fn connect(settings: &Settings, health: Health, clock: Arc<dyn Clock>) -> Result<KafkaLog, LogError> {
        let refused = |reason: String| LogError::Misconfigured(format!("kafka.{reason}"));
        settings.check().map_err(refused)?;
        settings.security.check_files().map_err(|reason| refused(format!("security.{reason}")))?;
        let clients = Arc::new(Clients::new(settings.clone(), Arc::new(Troubles::new(health, clock)))?);
        let asking = clients.asking()?;
        let (ledger, opened, marks) = (OnceCell::new(), Mutex::default(), Mutex::default());
        Ok(KafkaLog(Arc::new(Shared { clients, asking, ledger, opened, marks })))
    }
}

#[async_trait]
impl ChangeLog for KafkaLog {
    fn slots(&self) -> u16 {
        self.0.clients.settings.slots
    }

    async fn open_table(&self, table: &TableName) -> Result<LogId, LogError> {
        self.0.open_table(table).await
    }

    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        self.0.extents(table).await
    }

    async fn join(&self) -> Result<Box<dyn Membership>, LogError> {
        self.0.ledger().await?;
        let topic = ledger_topic(&self.0.clients.settings);
        Ok(Box::new(KafkaMembership::follow(Group::join(&self.0.clients, INGEST, &[topic])?)))
    }

    async fn ledger(&self) -> Result<Box<dyn LedgerReader>, LogError> {
        self.0.ledger().await?;
        Ok(Box::new(KafkaLedgerReader::new(self.0.clone()).await?))
    }

    async fn mark(&self, table: &TableName, mark: &Mark) -> Result<(), LogError> {
        let settings = &self.0.clients.settings;
        let (topic, value, producer) = (changes_topic(settings, table), codec::encode_mark(mark), self.0.marks()?);
        let wait = Duration::from_millis(settings.request_timeout_ms.into());
        let send = |partition: u16| {
            let record = FutureRecord::<(), [u8]>::to(&topic).partition(partition.into()).payload(&value);
            producer.send(record, wait)
        };
        for sent in join_all((0..settings.partitions).map(send)).await {
            let Err((error, _)) = sent else { continue };
            if producer.client().fatal_error().is_some() {
                self.0.marks.lock().take();
            }
            return Err(failed(&format!("topic {topic} can't be marked"), &error));
        }
        self.0.clients.troubles.brokers_answer();
        Ok(())
    }

    async fn subscribe(&self, group: &str, tables: &[TableName]) -> Result<Box<dyn Subscription>, LogError> {
        let mut logs = BTreeMap::new();
        for table in tables {
            let known = self.0.opened.lock().get(table).cloned();
            let log = match known {
                Some(log) => log,
                None => self.0.open_table(table).await?,
            };
            logs.insert(table.clone(), log);
        }
        Ok(Box::new(KafkaSubscription::follow(self.0.clone(), group, logs)?))
    }
}
