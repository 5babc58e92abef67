//! Faults at the traits: a log and an index that do as they are told, over real ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::embedded::EmbeddedLog;
use headwater_common::log::*;
use headwater_sink_search::SearchIndex;
use headwater_sink_search::index::*;
use headwater_sink_search::query::{Answer, Search};
use headwater_tests::over::{LogOver, Over, SubscriptionOver};
use tokio::sync::mpsc;

type Orders = mpsc::UnboundedReceiver<Result<Delivery, LogError>>;

pub struct ScriptedLog {
    inner: Arc<EmbeddedLog>,
    /// Given instead of the real ones.
    pub extents: Option<Vec<Extent>>,
    /// Records that a subscription gave and whose taker came back for more.
    pub taken: Arc<AtomicUsize>,
    pub pauses: Arc<AtomicUsize>,
    orders: mpsc::UnboundedSender<Result<Delivery, LogError>>,
    subscriber: Arc<tokio::sync::Mutex<Orders>>,
}

impl ScriptedLog {
    pub fn over(inner: Arc<EmbeddedLog>) -> Over<ScriptedLog> {
        let (orders, subscriber) = mpsc::unbounded_channel();
        Over(ScriptedLog {
            inner,
            extents: None,
            taken: Arc::default(),
            pauses: Arc::default(),
            orders,
            subscriber: Arc::new(tokio::sync::Mutex::new(subscriber)),
        })
    }

    /// Lets the subscription fail once.
    pub fn fail(&self) {
        self.orders.send(Err(LogError::Unavailable("as told".into()))).unwrap();
    }

    /// Takes partitions away, and waits until the subscriber has let go of them.
    pub async fn revoke(&self, partitions: Vec<u16>) {
        let (acknowledge, acknowledged) = tokio::sync::oneshot::channel();
        let table = crate::generate::entity().table();
        let partitions =
            partitions.into_iter().map(|partition| TablePartition { table: table.clone(), partition }).collect();
        self.orders.send(Ok(Delivery::Revoked { partitions, acknowledge })).unwrap();
        assert!(acknowledged.await.is_err(), "the sender is dropped");
    }
}

#[async_trait]
impl LogOver for ScriptedLog {
    fn beneath(&self) -> &dyn ChangeLog {
        &*self.inner
    }

    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        match &self.extents {
            Some(extents) => Ok(extents.clone()),
            None => self.inner.extents(table).await,
        }
    }

    fn subscribed(&self, inner: Box<dyn Subscription>) -> Box<dyn Subscription> {
        let (taken, pauses, orders) = (self.taken.clone(), self.pauses.clone(), self.subscriber.clone());
        Box::new(Over(ScriptedSubscription { inner, taken, pauses, handed: 0, orders }))
    }
}

struct ScriptedSubscription {
    inner: Box<dyn Subscription>,
    taken: Arc<AtomicUsize>,
    pauses: Arc<AtomicUsize>,
    handed: usize,
    orders: Arc<tokio::sync::Mutex<Orders>>,
}

#[async_trait]
impl SubscriptionOver for ScriptedSubscription {
    fn beneath(&mut self) -> &mut dyn Subscription {
        &mut *self.inner
    }

    async fn next(&mut self) -> Result<Delivery, LogError> {
        self.taken.fetch_add(std::mem::take(&mut self.handed), Ordering::SeqCst);
        let mut orders = self.orders.lock().await;
        tokio::select! {
            Some(order) = orders.recv() => {
                if let Ok(Delivery::Revoked { partitions, .. }) = &order {
                    self.inner.pause(partitions);
                }
                order
            }
            delivery = self.inner.next() => {
                if let Ok(Delivery::Records(records)) = &delivery {
                    self.handed = records.len();
                }
                delivery
            }
        }
    }

    fn pause(&mut self, partitions: &[TablePartition]) {
        self.pauses.fetch_add(1, Ordering::SeqCst);
        self.inner.pause(partitions);
    }
}

pub struct ScriptedIndex {
    inner: Arc<dyn SearchIndex>,
    /// Says that it holds nothing.
    pub forgets: bool,
    /// Has no room.
    pub full: AtomicBool,
    pub refused: AtomicUsize,
}

impl ScriptedIndex {
    pub fn over(inner: Arc<dyn SearchIndex>) -> ScriptedIndex {
        ScriptedIndex { inner, forgets: false, full: AtomicBool::new(false), refused: AtomicUsize::new(0) }
    }
}

#[async_trait]
impl SearchIndex for ScriptedIndex {
    async fn apply(&self, flush: Arc<Flush>) -> Result<Applied, IndexError> {
        if self.full.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(IndexError::Full { place: "here".into() });
        }
        self.inner.apply(flush).await
    }
    async fn progress(&self) -> Result<Progress, IndexError> {
        if self.forgets { Ok(Progress::default()) } else { self.inner.progress().await }
    }
    async fn search(&self, search: &Search) -> Result<Answer, SearchError> {
        self.inner.search(search).await
    }
    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Scanned>, IndexError> {
        self.inner.scan(after, limit).await
    }
    async fn purge(&self, before: Timestamp) -> Result<u64, IndexError> {
        self.inner.purge(before).await
    }
}
