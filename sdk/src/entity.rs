//! Reads and writes of one entity.

use std::collections::HashMap;
use std::sync::Arc;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure as OnFailure};
use headwater_common::change::TableName;
use headwater_common::clock::{Clock, Timestamp};
use headwater_common::definition::Entity;
use headwater_common::key::ItemKey;
use headwater_common::value::{Item, Value};

use crate::convert::{from_attributes, to_attribute, to_attributes};
use crate::error::{Error, failed};
use crate::item::{Changes, ItemBuilder};
use crate::key::Key;
use crate::newest::{Intent, NEWER, NOT_OLDER, Put, judge};
use crate::store::Settings;
use crate::validate;

/// What became of a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Delete {
    Removed,
    /// There was no such item.
    Absent,
    /// The item has a later event time and stays.
    Newer,
}

/// The store of one entity. Cheap to clone.
#[derive(Clone)]
pub struct EntityStore {
    pub(crate) client: Client,
    pub(crate) entity: Arc<Entity>,
    pub(crate) table: TableName,
    pub(crate) settings: Settings,
    clock: Arc<dyn Clock>,
}

/// The item that a refused condition met, if the server showed it.
type Met = Option<HashMap<String, AttributeValue>>;

impl EntityStore {
    pub(crate) fn new(client: Client, entity: Arc<Entity>, settings: Settings, clock: Arc<dyn Clock>) -> EntityStore {
        let table = entity.table();
        EntityStore { client, entity, table, settings, clock }
    }

    pub fn definition(&self) -> &Entity {
        &self.entity
    }

    /// The same store, whose reads see every write that came before them.
    pub fn consistent(mut self) -> EntityStore {
        self.settings.consistent_reads = true;
        self
    }

    /// Writes a whole item, unless the table holds one with the same or a later event time: one conditional write,
    /// which replaces every attribute. The event-time and write-time attributes are stamped, both in epoch ms (N).
    ///
    /// The same put again (same item, same event time) is [`Put::Applied`]; a different item with an event time that
    /// the table holds already is [`Put::Older`].
    pub async fn put(&self, item: impl Into<ItemBuilder>, event_time: Timestamp) -> Result<Put, Error> {
        let attribute = self.event_time()?;
        let mut item = validate::item(&self.entity, item.into(), self.settings.unknown_attributes)?;
        self.stamp(&mut item, Some((attribute, event_time)));
        validate::size(&self.entity, &item)?;
        let sent = self
            .client
            .put_item()
            .table_name(self.table.as_str())
            .set_item(Some(to_attributes(&item)))
            .condition_expression(NEWER)
            .expression_attribute_names("#t", attribute)
            .expression_attribute_values(":t", millis(event_time))
            .return_values_on_condition_check_failure(OnFailure::AllOld)
            .send()
            .await;
        match sent {
            Ok(_) => Ok(Put::Applied),
            Err(error) => {
                let met = self.met("put", error, |error| match error {
                    aws_sdk_dynamodb::operation::put_item::PutItemError::ConditionalCheckFailedException(refused) => {
                        Some(refused.item.clone())
                    }
                    _ => None,
                })?;
                self.judge(met, attribute, event_time, &item, &[], true)
            }
        }
    }

    /// Writes a whole item whatever the table holds: the last write wins. For entities without event times; one that
    /// declares them is written by [`put`](Self::put).
    pub async fn overwrite(&self, item: impl Into<ItemBuilder>) -> Result<(), Error> {
        let mut item = validate::item(&self.entity, item.into(), self.settings.unknown_attributes)?;
        self.stamp(&mut item, None);
        validate::size(&self.entity, &item)?;
        let sent =
            self.client.put_item().table_name(self.table.as_str()).set_item(Some(to_attributes(&item))).send().await;
        sent.map(|_| ()).map_err(|error| failed("put", &self.table, error))
    }

    /// Sets and removes some features and leaves the others, unless the table holds the item with the same or a later
    /// event time: one conditional write, which makes the item if there is none.
    ///
    /// Event times are per item: an update that is older than the item's last write changes nothing, even if that
    /// write was of other features. Repetition and ties are as for [`put`](Self::put).
    pub async fn update(
        &self,
        key: impl Into<Key>,
        changes: impl Into<Changes>,
        event_time: Timestamp,
    ) -> Result<Put, Error> {
        let attribute = self.event_time()?;
        let key = validate::key(&self.entity, key.into())?;
        let (mut set, removed) = validate::changes(&self.entity, changes.into(), self.settings.unknown_attributes)?;
        self.stamp(&mut set, Some((attribute, event_time)));
        validate::size(&self.entity, &set)?;
        let mut request = self
            .client
            .update_item()
            .table_name(self.table.as_str())
            .set_key(Some(to_attributes(&key.to_item())))
            .update_expression(update_expression(&set, &removed))
            .condition_expression(NEWER)
            .expression_attribute_names("#t", attribute)
            .expression_attribute_values(":t", millis(event_time))
            .return_values_on_condition_check_failure(OnFailure::AllOld);
        for (at, (name, value)) in set.0.iter().enumerate() {
            request = request
                .expression_attribute_names(format!("#s{at}"), name)
                .expression_attribute_values(format!(":s{at}"), to_attribute(value));
        }
        for (at, name) in removed.iter().enumerate() {
            request = request.expression_attribute_names(format!("#r{at}"), name);
        }
        match request.send().await {
            Ok(_) => Ok(Put::Applied),
            Err(error) => {
                let met = self.met("update", error, |error| match error {
                    aws_sdk_dynamodb::operation::update_item::UpdateItemError::ConditionalCheckFailedException(
                        refused,
                    ) => Some(refused.item.clone()),
                    _ => None,
                })?;
                self.judge(met, attribute, event_time, &set, &removed, false)
            }
        }
    }

    /// Deletes an item whatever its event time. Nothing of it stays, so a late older write would bring it back.
    pub async fn delete(&self, key: impl Into<Key>) -> Result<Delete, Error> {
        self.delete_item(key.into(), None).await
    }

    /// Deletes an item unless its event time is later than `event_time`.
    pub async fn delete_if_older(&self, key: impl Into<Key>, event_time: Timestamp) -> Result<Delete, Error> {
        let attribute = self.event_time()?;
        self.delete_item(key.into(), Some((attribute, event_time))).await
    }

    async fn delete_item(&self, key: Key, not_after: Option<(&str, Timestamp)>) -> Result<Delete, Error> {
        let key = validate::key(&self.entity, key)?;
        let mut request = self
            .client
            .delete_item()
            .table_name(self.table.as_str())
            .set_key(Some(to_attributes(&key.to_item())))
            .return_values(ReturnValue::AllOld);
        if let Some((attribute, event_time)) = not_after {
            request = request
                .condition_expression(NOT_OLDER)
                .expression_attribute_names("#t", attribute)
                .expression_attribute_values(":t", millis(event_time))
                .return_values_on_condition_check_failure(OnFailure::AllOld);
        }
        match request.send().await {
            Ok(output) => match output.attributes.is_none_or(|attributes| attributes.is_empty()) {
                true => Ok(Delete::Absent),
                false => Ok(Delete::Removed),
            },
            Err(error) => {
                let met = self.met("delete", error, |error| match error {
                    aws_sdk_dynamodb::operation::delete_item::DeleteItemError::ConditionalCheckFailedException(
                        refused,
                    ) => Some(refused.item.clone()),
                    _ => None,
                })?;
                if let (Some(stored), Some((attribute, _))) = (self.read(met)?, not_after) {
                    self.comparable(&stored, attribute)?;
                }
                Ok(Delete::Newer)
            }
        }
    }

    /// The item, if there is one.
    pub async fn get(&self, key: impl Into<Key>) -> Result<Option<Item>, Error> {
        let key = validate::key(&self.entity, key.into())?;
        let sent = self
            .client
            .get_item()
            .table_name(self.table.as_str())
            .set_key(Some(to_attributes(&key.to_item())))
            .consistent_read(self.settings.consistent_reads)
            .send()
            .await;
        let output = sent.map_err(|error| failed("get", &self.table, error))?;
        self.read(output.item)
    }

    pub(crate) fn read(&self, attributes: Met) -> Result<Option<Item>, Error> {
        let read = attributes.map(from_attributes).transpose();
        read.map_err(|fault| Error::Unreadable { table: self.table.clone(), fault })
    }

    /// The key of an item that this table gave.
    pub(crate) fn key_of(&self, item: &Item) -> Option<ItemKey> {
        let key = &self.entity.key;
        ItemKey::of(item, &key.partition.name, key.sort.as_ref().map(|sort| sort.name.as_str()))
    }

    fn event_time(&self) -> Result<&str, Error> {
        let attribute = self.entity.event_time.as_deref();
        attribute.ok_or_else(|| Error::NoEventTime { entity: self.entity.entity.clone() })
    }

    fn stamp(&self, item: &mut Item, event_time: Option<(&str, Timestamp)>) {
        let write_time = self.entity.write_time.as_deref().map(|name| (name, self.clock.now()));
        for (name, moment) in event_time.into_iter().chain(write_time) {
            item.0.insert(name.to_owned(), Value::N(moment.as_millis().into()));
        }
    }

    /// The item that a refused condition met; any other failure is an error.
    fn met<E, R>(
        &self,
        operation: &'static str,
        error: SdkError<E, R>,
        refused: impl Fn(&E) -> Option<Met>,
    ) -> Result<Met, Error>
    where
        E: aws_sdk_dynamodb::error::ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        R: std::fmt::Debug + Send + Sync + 'static,
    {
        match error.as_service_error().and_then(refused) {
            Some(met) => Ok(met),
            None => Err(failed(operation, &self.table, error)),
        }
    }

    fn judge(
        &self,
        met: Met,
        attribute: &str,
        event_time: Timestamp,
        set: &Item,
        removed: &[String],
        whole: bool,
    ) -> Result<Put, Error> {
        let Some(stored) = self.read(met)? else { return Ok(Put::Older) };
        self.comparable(&stored, attribute)?;
        let write_time = self.entity.write_time.as_deref();
        Ok(judge(&stored, &Intent { event_time: (attribute, event_time), write_time, set, removed, whole }))
    }

    fn comparable(&self, stored: &Item, attribute: &str) -> Result<(), Error> {
        match stored.get(attribute) {
            None | Some(Value::N(_)) => Ok(()),
            Some(other) => Err(Error::Incomparable {
                table: self.table.clone(),
                attribute: attribute.to_owned(),
                found: other.descriptor(),
            }),
        }
    }
}

fn millis(moment: Timestamp) -> AttributeValue {
    AttributeValue::N(moment.as_millis().to_string())
}

fn update_expression(set: &Item, removed: &[String]) -> String {
    let listed = |count: usize, one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(", ");
    let mut expression = format!("SET {}", listed(set.0.len(), &|at| format!("#s{at} = :s{at}")));
    if !removed.is_empty() {
        expression.push_str(&format!(" REMOVE {}", listed(removed.len(), &|at| format!("#r{at}"))));
    }
    expression
}
