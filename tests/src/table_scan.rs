//! A whole table, read by consistent scans through the AWS SDK.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::DisplayErrorContext;
use headwater_common::definition::Entity;
use headwater_common::value::Item;

use crate::attribute;
use crate::error::Error;
use crate::history::Key;

/// Every item of the entities' tables, as the server spells it.
pub async fn scan(client: &Client, entities: &[Entity]) -> Result<BTreeMap<Key, Item>, Error> {
    let mut items = BTreeMap::new();
    for entity in entities {
        let what = format!("a scan of {}", entity.table());
        let mut from = None;
        loop {
            let request = client.scan().table_name(entity.table().as_str()).consistent_read(true);
            let page = request.set_exclusive_start_key(from).send().await;
            let page = page.map_err(|error| Error::server(what.clone(), DisplayErrorContext(error)))?;
            for attributes in page.items() {
                let item = attribute::from_sdk(attributes)?;
                let key = Key::of(entity, &item).ok_or_else(|| Error::answer(what.clone(), "an item without a key"))?;
                if items.insert(key.clone(), item).is_some() {
                    return Err(Error::answer(what, format!("the item {key} came twice")));
                }
            }
            from = page.last_evaluated_key().cloned();
            if from.is_none() {
                break;
            }
        }
    }
    Ok(items)
}
