//! Many items by key, in the order of the keys.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures::stream::{self, StreamExt as _};
use headwater_common::failure::backoff;
use headwater_common::key::KeyBytes;
use headwater_common::value::Item;

use crate::convert::to_attributes;
use crate::entity::EntityStore;
use crate::error::{Error, failed};
use crate::key::Key;
use crate::validate;

/// DynamoDB's limit for the keys of one request.
const KEYS_PER_REQUEST: usize = 100;
/// The pauses before unprocessed keys are asked for again.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

type WireKey = HashMap<String, AttributeValue>;

/// One request's answer: the items found, and the keys that are still to be asked for.
struct Answer {
    found: Vec<Item>,
    left: Vec<WireKey>,
}

impl EntityStore {
    /// The items of many keys: one answer for each key, in the order of the keys, `None` where there is no item. Takes
    /// any number of keys; a key that occurs twice is asked for once. Not a snapshot: items are read one by one.
    ///
    /// Keys that DynamoDB leaves unprocessed (16 MB in an answer, or throttling) are asked for again with back-off, up
    /// to [`Settings::batch_attempts`](crate::Settings::batch_attempts) times without any progress.
    pub async fn batch_get<K: Into<Key>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Item>>, Error> {
        let mut order: Vec<KeyBytes> = Vec::new();
        let mut pending: Vec<WireKey> = Vec::new();
        let mut seen: HashSet<KeyBytes> = HashSet::new();
        for key in keys {
            let key = validate::key(&self.entity, key.into())?;
            let bytes = key.canonical();
            if seen.insert(bytes.clone()) {
                pending.push(to_attributes(&key.to_item()));
            }
            order.push(bytes);
        }
        let found = self.collect(pending).await?;
        Ok(order.iter().map(|key| found.get(key).cloned()).collect())
    }

    async fn collect(&self, mut pending: Vec<WireKey>) -> Result<HashMap<KeyBytes, Item>, Error> {
        let mut found: HashMap<KeyBytes, Item> = HashMap::new();
        let mut fruitless = 0;
        while !pending.is_empty() {
            let asked = pending.len();
            let requests: Vec<_> = pending.chunks(KEYS_PER_REQUEST).map(|keys| self.request(keys.to_vec())).collect();
            let mut answers = stream::iter(requests).buffer_unordered(self.settings.batch_requests.max(1));
            let mut left = Vec::new();
            while let Some(answer) = answers.next().await {
                let answer = answer?;
                left.extend(answer.left);
                found.extend(answer.found.into_iter().filter_map(|item| Some((self.key_of(&item)?.canonical(), item))));
            }
            drop(answers);
            pending = left;
            if pending.is_empty() {
                break;
            }
            fruitless = if pending.len() < asked { 0 } else { fruitless + 1 };
            if fruitless >= self.settings.batch_attempts.max(1) {
                let (left, attempts) = (pending.len(), fruitless);
                return Err(Error::Unprocessed { table: self.table.clone(), left, attempts });
            }
            tokio::time::sleep(backoff(fruitless, FIRST_PAUSE, LONGEST_PAUSE, rand::random())).await;
        }
        Ok(found)
    }

    async fn request(&self, keys: Vec<WireKey>) -> Result<Answer, Error> {
        let request = KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(self.settings.consistent_reads)
            .build()
            .map_err(|error| failed("batch get", &self.table, unbuilt(error)))?;
        let sent = self.client.batch_get_item().request_items(self.table.as_str(), request).send().await;
        let output = sent.map_err(|error| failed("batch get", &self.table, error))?;
        let items = output.responses.and_then(|mut tables| tables.remove(self.table.as_str())).unwrap_or_default();
        let left = output.unprocessed_keys.and_then(|mut tables| tables.remove(self.table.as_str()));
        let found = items.into_iter().filter_map(|item| self.read(Some(item)).transpose()).collect::<Result<_, _>>()?;
        Ok(Answer { found, left: left.map(|left| left.keys).unwrap_or_default() })
    }
}

type BatchGetError = aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemError;

fn unbuilt(error: aws_sdk_dynamodb::error::BuildError) -> aws_sdk_dynamodb::error::SdkError<BatchGetError> {
    aws_sdk_dynamodb::error::SdkError::construction_failure(error)
}
