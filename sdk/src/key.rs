//! The key of an item, as callers give it.

use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::number::Number;

/// The values of an item's key: of the partition attribute, and of the sort attribute where the table has one.
///
/// Made from a text, a whole number or bytes, or from two of them: `"N14228"`, `7`, `("JFK", 7)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub partition: KeyValue,
    pub sort: Option<KeyValue>,
}

macro_rules! key_from {
    ($($from:ty),+) => {
        $(impl From<$from> for Key {
            fn from(value: $from) -> Self {
                Key { partition: value.into(), sort: None }
            }
        })+
    };
}

key_from!(&str, &String, String, i64, i32, u32, Number, Vec<u8>, &[u8], KeyValue);

impl<P: Into<KeyValue>, S: Into<KeyValue>> From<(P, S)> for Key {
    fn from((partition, sort): (P, S)) -> Self {
        Key { partition: partition.into(), sort: Some(sort.into()) }
    }
}

impl From<ItemKey> for Key {
    fn from(key: ItemKey) -> Self {
        Key { partition: key.partition.1, sort: key.sort.map(|(_, value)| value) }
    }
}
