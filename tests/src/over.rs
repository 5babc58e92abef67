//! A change log over another one: what a test does not do otherwise passes through to the log beneath.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};

use async_trait::async_trait;
use headwater_common::change::TableName;
use headwater_common::completeness::Mark;
use headwater_common::log::{
    ChangeLog, Delivery, Extent, LedgerReader, LogError, LogId, Membership, Offset, Subscription, TablePartition,
};

/// What a test does otherwise than the log beneath; [`Over`] makes a log of it.
#[async_trait]
pub trait LogOver: Send + Sync + 'static {
    fn beneath(&self) -> &dyn ChangeLog;

    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        self.beneath().extents(table).await
    }

    async fn join(&self) -> Result<Box<dyn Membership>, LogError> {
        self.beneath().join().await
    }

    /// What a subscriber gets for the subscription beneath.
    fn subscribed(&self, beneath: Box<dyn Subscription>) -> Box<dyn Subscription> {
        beneath
    }
}

/// What a test does otherwise than the subscription beneath; [`Over`] makes a subscription of it.
#[async_trait]
pub trait SubscriptionOver: Send + 'static {
    fn beneath(&mut self) -> &mut dyn Subscription;

    /// Safe to cancel, as of every subscription.
    async fn next(&mut self) -> Result<Delivery, LogError> {
        self.beneath().next().await
    }

    fn pause(&mut self, partitions: &[TablePartition]) {
        self.beneath().pause(partitions);
    }

    fn resume(&mut self, partitions: &[TablePartition]) {
        self.beneath().resume(partitions);
    }
}

/// The log or the subscription that a test's own becomes.
pub struct Over<T>(pub T);

impl<T> Deref for Over<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Over<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

#[async_trait]
impl<T: LogOver> ChangeLog for Over<T> {
    fn slots(&self) -> u16 {
        self.0.beneath().slots()
    }

    async fn open_table(&self, table: &TableName) -> Result<LogId, LogError> {
        self.0.beneath().open_table(table).await
    }

    async fn extents(&self, table: &TableName) -> Result<Vec<Extent>, LogError> {
        self.0.extents(table).await
    }

    async fn join(&self) -> Result<Box<dyn Membership>, LogError> {
        self.0.join().await
    }

    async fn ledger(&self) -> Result<Box<dyn LedgerReader>, LogError> {
        self.0.beneath().ledger().await
    }

    async fn mark(&self, table: &TableName, mark: &Mark) -> Result<(), LogError> {
        self.0.beneath().mark(table, mark).await
    }

    async fn subscribe(&self, group: &str, tables: &[TableName]) -> Result<Box<dyn Subscription>, LogError> {
        Ok(self.0.subscribed(self.0.beneath().subscribe(group, tables).await?))
    }
}

#[async_trait]
impl<T: SubscriptionOver> Subscription for Over<T> {
    async fn next(&mut self) -> Result<Delivery, LogError> {
        self.0.next().await
    }

    async fn start(&mut self, at: &TablePartition, offset: Offset) -> Result<(), LogError> {
        self.0.beneath().start(at, offset).await
    }

    fn pause(&mut self, partitions: &[TablePartition]) {
        self.0.pause(partitions);
    }

    fn resume(&mut self, partitions: &[TablePartition]) {
        self.0.resume(partitions);
    }

    async fn report(&mut self, progress: &BTreeMap<TablePartition, Offset>) -> Result<(), LogError> {
        self.0.beneath().report(progress).await
    }
}
