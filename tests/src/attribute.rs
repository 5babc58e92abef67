//! Items as the AWS SDK types them, and back. Deliberately not the product's own conversion: what checks must not
//! share the fault that it looks for.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};

use crate::error::Error;

pub fn to_sdk(item: &Item) -> HashMap<String, AttributeValue> {
    item.0.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect()
}

pub fn value_to_sdk(value: &Value) -> AttributeValue {
    match value {
        Value::S(text) => AttributeValue::S(text.clone()),
        Value::N(number) => AttributeValue::N(number.to_string()),
        Value::B(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::Null => AttributeValue::Null(true),
        Value::M(map) => {
            AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), value_to_sdk(value))).collect())
        }
        Value::L(list) => AttributeValue::L(list.iter().map(value_to_sdk).collect()),
        Value::Ss(set) => AttributeValue::Ss(set.clone()),
        Value::Ns(set) => AttributeValue::Ns(set.iter().map(Number::to_string).collect()),
        Value::Bs(set) => AttributeValue::Bs(set.iter().map(|bytes| Blob::new(bytes.clone())).collect()),
    }
}

pub fn from_sdk(attributes: &HashMap<String, AttributeValue>) -> Result<Item, Error> {
    attributes.iter().map(|(name, value)| Ok((name.clone(), value_from_sdk(value)?))).collect()
}

fn value_from_sdk(value: &AttributeValue) -> Result<Value, Error> {
    Ok(match value {
        AttributeValue::S(text) => Value::S(text.clone()),
        AttributeValue::N(text) => Value::N(number(text)?),
        AttributeValue::B(blob) => Value::B(blob.as_ref().to_vec()),
        AttributeValue::Bool(truth) => Value::Bool(*truth),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::M(map) => Value::M(from_sdk(map)?.0),
        AttributeValue::L(list) => Value::L(list.iter().map(value_from_sdk).collect::<Result<_, _>>()?),
        AttributeValue::Ss(set) => Value::Ss(set.clone()),
        AttributeValue::Ns(set) => Value::Ns(set.iter().map(|text| number(text)).collect::<Result<_, _>>()?),
        AttributeValue::Bs(set) => Value::Bs(set.iter().map(|blob| blob.as_ref().to_vec()).collect()),
        other => return Err(Error::answer("an attribute value", format!("{other:?} has no known type"))),
    })
}

fn number(text: &str) -> Result<Number, Error> {
    Number::parse(text).map_err(|error| Error::answer(format!("the number {text:?}"), error))
}
