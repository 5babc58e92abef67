//! Between the AWS SDK's attribute values and Headwater's, without loss in either direction.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};

/// An attribute value that this build cannot represent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("an attribute value of a type that this build does not know; use a newer build")]
    Type,
    #[error("a number that is no decimal")]
    Number,
}

pub fn to_attribute(value: &Value) -> AttributeValue {
    match value {
        Value::S(text) => AttributeValue::S(text.clone()),
        Value::N(number) => AttributeValue::N(number.to_string()),
        Value::B(bytes) => AttributeValue::B(Blob::new(bytes.clone())),
        Value::Bool(truth) => AttributeValue::Bool(*truth),
        Value::Null => AttributeValue::Null(true),
        Value::M(map) => {
            AttributeValue::M(map.iter().map(|(name, value)| (name.clone(), to_attribute(value))).collect())
        }
        Value::L(list) => AttributeValue::L(list.iter().map(to_attribute).collect()),
        Value::Ss(set) => AttributeValue::Ss(set.clone()),
        Value::Ns(set) => AttributeValue::Ns(set.iter().map(Number::to_string).collect()),
        Value::Bs(set) => AttributeValue::Bs(set.iter().map(|bytes| Blob::new(bytes.clone())).collect()),
    }
}

pub fn to_attributes(item: &Item) -> HashMap<String, AttributeValue> {
    item.0.iter().map(|(name, value)| (name.clone(), to_attribute(value))).collect()
}

pub fn from_attribute(value: AttributeValue) -> Result<Value, Unreadable> {
    Ok(match value {
        AttributeValue::S(text) => Value::S(text),
        AttributeValue::N(text) => Value::N(number(text)?),
        AttributeValue::B(blob) => Value::B(blob.into_inner()),
        AttributeValue::Bool(truth) => Value::Bool(truth),
        AttributeValue::Null(_) => Value::Null,
        AttributeValue::M(map) => Value::M(from_attributes(map)?.0),
        AttributeValue::L(list) => Value::L(list.into_iter().map(from_attribute).collect::<Result<_, _>>()?),
        AttributeValue::Ss(set) => Value::Ss(set),
        AttributeValue::Ns(set) => Value::Ns(set.into_iter().map(number).collect::<Result<_, _>>()?),
        AttributeValue::Bs(set) => Value::Bs(set.into_iter().map(Blob::into_inner).collect()),
        _ => return Err(Unreadable::Type),
    })
}

pub fn from_attributes(attributes: HashMap<String, AttributeValue>) -> Result<Item, Unreadable> {
    attributes.into_iter().map(|(name, value)| Ok((name, from_attribute(value)?))).collect::<Result<_, _>>().map(Item)
}

fn number(text: String) -> Result<Number, Unreadable> {
    Number::parse(text).map_err(|_| Unreadable::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_comes_back_as_it_went() {
        let item = Item::from_json(concat!(
            r#"{"a":{"S":""},"b":{"N":"1.0"},"c":{"N":"12345678901234567890123456789012345678"},"d":{"B":"AP8="},"#,
            r#""e":{"BOOL":false},"f":{"NULL":true},"g":{"M":{"x":{"L":[{"NULL":true},{"S":"é"}]}}},"#,
            r#""h":{"SS":["b","a"]},"i":{"NS":["1","1E+5"]},"j":{"BS":["","AA=="]}}"#
        ))
        .unwrap();
        assert_eq!(from_attributes(to_attributes(&item)).unwrap(), item);
    }

    #[test]
    fn a_number_that_is_none_is_refused() {
        assert_eq!(from_attribute(AttributeValue::N("NaN".into())), Err(Unreadable::Number));
        let nested = AttributeValue::L(vec![AttributeValue::Ns(vec!["x".into()])]);
        assert_eq!(from_attribute(nested), Err(Unreadable::Number));
    }
}
