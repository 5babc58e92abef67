//! The clients of librdkafka: how each kind is configured, and what they say by themselves.

use std::collections::VecDeque;
use std::error::Error;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use headwater_common::ledger::Slot;
use headwater_common::log::LogError;
use parking_lot::Mutex;
use rdkafka::admin::AdminClient;
use rdkafka::client::{Client, OAuthToken};
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::producer::{BaseProducer, DeliveryResult, FutureProducer, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tokio::sync::Notify;

use crate::errors::failed;
use crate::quiet::Quiet;
use crate::security::Security;
use crate::settings::Settings;
use crate::tender::Tender;
use crate::tokens;
use crate::trouble::{BROKERS, Troubles};

/// A partition of a topic.
pub(crate) type Place = (String, i32);

/// A change of what a group gives to this member.
pub(crate) enum Change {
    Assigned(Vec<Place>),
    /// `lost`: they have another owner already, so there is nobody to wait for.
    Revoked {
        places: Vec<Place>,
        lost: bool,
    },
}

/// What one client says by itself.
#[derive(Clone)]
pub(crate) struct Context(Arc<Said>);

pub(crate) struct Said {
    name: String,
    troubles: Arc<Troubles>,
    quiet: Quiet,
    security: Security,
    pub changes: Mutex<VecDeque<Change>>,
    pub changed: Notify,
    /// The client is being closed: nobody decides on rebalances any more.
    pub closing: AtomicBool,
    /// Why the first of the messages that were not delivered was not.
    pub undelivered: Mutex<Option<KafkaError>>,
}

impl Deref for Context {
    type Target = Said;

    fn deref(&self) -> &Said {
        &self.0
    }
}

impl ClientContext for Context {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn log(&self, level: RDKafkaLogLevel, fac: &str, line: &str) {
        let Some(held_back) = self.quiet.passes(fac, Instant::now()) else { return };
        let client = &self.name;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::info!(%client, %fac, held_back, "{line}")
            }
            // Among them what is normal at a start, such as a coordinator that is still loading.
            _ => tracing::debug!(%client, %fac, held_back, "{line}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Follows on the error of the last of them, which says more.
            Some(Code::AllBrokersDown) if self.troubles.brokers().is_some() => {}
            Some(code @ (Code::AllBrokersDown | Code::Authentication | Code::SSL)) => {
                self.troubles.begins(BROKERS, format!("{}: {reason}", self.security.suspects(code)));
            }
            _ => tracing::debug!(client = %self.name, %error, %reason, "the kafka client has a problem"),
        }
    }

    fn generate_oauth_token(&self, _: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        let from = self.security.tokens().ok_or("no source of tokens is set")?;
        tokens::fetch(from, self.troubles.clock().now())
    }
}

impl ConsumerContext for Context {
    /// Takes note only: whoever follows the group assigns and gives back, when the work of a partition has ended.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assigned = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let done = if assigned { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = done {
                tracing::debug!(client = %self.name, %error, "a rebalance at the end was not answered");
            }
            return;
        }
        let places = list.elements().iter().map(|place| (place.topic().to_owned(), place.partition())).collect();
        let change = match assigned {
            true => Change::Assigned(places),
            false => Change::Revoked { places, lost: consumer.assignment_lost() },
        };
        self.changes.lock().push_back(change);
        self.changed.notify_one();
    }

    fn commit_callback(&self, result: Result<(), KafkaError>, _: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(client = %self.name, %error, "the group's offsets were not stored; they serve lag only");
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.undelivered.lock().get_or_insert_with(|| error.clone());
        }
    }
}

/// Makes clients.
pub(crate) struct Clients {
    pub settings: Settings,
    pub troubles: Arc<Troubles>,
    tender: Tender,
}

impl Clients {
    pub(crate) fn new(settings: Settings, troubles: Arc<Troubles>) -> Result<Clients, LogError> {
        let tender = Tender::start().map_err(|error| LogError::Unavailable(format!("no thread to be had: {error}")))?;
        Ok(Clients { settings, troubles, tender })
    }

    fn context(&self, name: &str) -> Context {
        Context(Arc::new(Said {
            name: name.to_owned(),
            troubles: self.troubles.clone(),
            quiet: Quiet::default(),
            security: self.settings.security.clone(),
            changes: Mutex::default(),
            changed: Notify::new(),
            closing: AtomicBool::new(false),
            undelivered: Mutex::default(),
        }))
    }

    fn base(&self, name: &str) -> ClientConfig {
        let settings = &self.settings;
        let mut config = ClientConfig::new();
        // A request is given up before the transaction that it belongs to.
        let socket = settings.request_timeout_ms.min(settings.transaction_timeout_ms);
        config
            .set("bootstrap.servers", &settings.bootstrap)
            .set("client.id", format!("{}-{name}", settings.prefix))
            .set("socket.timeout.ms", socket.to_string())
            .set("socket.connection.setup.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            .set("topic.metadata.refresh.interval.ms", "60000")
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Warning);
        settings.security.apply(&mut config);
        config
    }

    fn make<T: FromClientConfigAndContext<Context>>(&self, name: &str, config: &ClientConfig) -> Result<T, LogError> {
        self.make_known(name, config, self.context(name))
    }

    fn make_known<T: FromClientConfigAndContext<Context>>(
        &self,
        name: &str,
        config: &ClientConfig,
        context: Context,
    ) -> Result<T, LogError> {
        let what = format!("the kafka client {name} can't be made");
        config.create_with_context(context).map_err(|error| failed(&what, &error))
    }

    /// Asks for offsets and topics. Sees what is not committed yet.
    pub(crate) fn asking(&self) -> Result<Arc<BaseConsumer<Context>>, LogError> {
        let mut config = self.base("asks");
        config.set("isolation.level", "read_uncommitted");
        let client = Arc::new(self.make::<BaseConsumer<Context>>("asks", &config)?);
        self.tender.serve(&client);
        Ok(client)
    }

    /// A client with its first token. It asks for one by an event, which is seen only when it is polled, and may have to
    /// answer before that.
    fn admitted<T>(&self, client: T, of: impl Fn(&T) -> &Client<Context>) -> Result<T, LogError> {
        if let Some(from) = self.settings.security.tokens() {
            let token = tokens::fetch(from, self.troubles.clock().now()).map_err(|error| {
                let suspects = self.settings.security.suspects(Code::Authentication);
                LogError::Unavailable(format!("{suspects}: {error}"))
            })?;
            crate::native::set_token(of(&client), &token)?;
        }
        Ok(client)
    }

    pub(crate) fn admin(&self) -> Result<AdminClient<Context>, LogError> {
        self.admitted(self.make("admin", &self.base("admin"))?, AdminClient::inner)
    }

    fn consumer(&self, name: &str, group: &str) -> ClientConfig {
        let settings = &self.settings;
        let mut config = self.base(name);
        config
            .set("group.id", format!("{}.{group}", settings.prefix))
            .set("isolation.level", "read_committed")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true");
        config
    }

    /// A member of a group, which reads nothing.
    pub(crate) fn member(&self, group: &str) -> Result<(StreamConsumer<Context>, Context), LogError> {
        let (settings, context) = (&self.settings, self.context("member"));
        let mut config = self.consumer("member", group);
        // Brokers wait this long for members when a group changes: longer than a partition may take to be given back.
        let patience = settings.revoke_timeout_ms.saturating_mul(2).max(settings.session_timeout_ms).max(60_000);
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", settings.session_timeout_ms.to_string())
            .set("heartbeat.interval.ms", settings.heartbeat_ms.to_string())
            .set("max.poll.interval.ms", patience.to_string())
            .set("queued.max.messages.kbytes", "1");
        let client = self.make_known("member", &config, context.clone())?;
        Ok((self.admitted(client, StreamConsumer::client)?, context))
    }

    /// A reader of partitions that it is told, in no group.
    pub(crate) fn reader(&self, group: &str) -> Result<StreamConsumer<Context>, LogError> {
        let settings = &self.settings;
        let mut config = self.consumer("reader", group);
        config
            .set("max.poll.interval.ms", "86400000")
            .set("enable.partition.eof", "true")
            .set("queued.max.messages.kbytes", (settings.fetch_buffer_bytes >> 10).to_string())
            .set("fetch.max.bytes", settings.fetch_buffer_bytes.to_string())
            .set("fetch.message.max.bytes", "1048576")
            .set("fetch.queue.backoff.ms", "50");
        self.admitted(self.make("reader", &config)?, StreamConsumer::client)
    }

    fn producer(&self, name: &str) -> ClientConfig {
        let settings = &self.settings;
        let mut config = self.base(name);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "2")
            .set("compression.type", settings.compression.name())
            .set("message.max.bytes", settings.max_message_bytes.to_string())
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", (settings.send_buffer_bytes >> 10).to_string());
        config
    }

    /// The one producer that may write a slot, once its transactions are begun.
    pub(crate) fn slot(&self, slot: Slot) -> Result<(Arc<BaseProducer<Context>>, Context), LogError> {
        let name = format!("slot-{slot}");
        let (settings, context) = (&self.settings, self.context(&name));
        let mut config = self.producer(&name);
        config
            .set("transactional.id", format!("{}-slot-{slot}", settings.prefix))
            .set("transaction.timeout.ms", settings.transaction_timeout_ms.to_string())
            .set("message.timeout.ms", settings.transaction_timeout_ms.to_string())
            .set("delivery.report.only.error", "true");
        let producer = self.make_known(&name, &config, context.clone())?;
        let producer = Arc::new(self.admitted(producer, BaseProducer::client)?);
        self.tender.serve(&producer);
        Ok((producer, context))
    }

    /// Writes marks, outside of every transaction. It polls itself.
    pub(crate) fn marks(&self) -> Result<FutureProducer<Context>, LogError> {
        let mut config = self.producer("marks");
        config.set("message.timeout.ms", self.settings.request_timeout_ms.to_string());
        self.make("marks", &config)
    }
}
