//! The size of an item as DynamoDB counts it against its limit.
//!
//! Source: "DynamoDB item sizes and formats" in the developer guide; for numbers, whose size the guide gives as
//! approximate: one byte, one for each two digits before and after the point, one for a minus.

use headwater_common::number::Number;
use headwater_common::value::{Item, Value};

/// DynamoDB's limit for an item, names and values together: 400 KB.
pub const MAX_ITEM_BYTES: usize = 400 * 1024;

/// The bytes of an item's names and values.
pub fn item_bytes(item: &Item) -> usize {
    item.0.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

pub(crate) fn value_bytes(value: &Value) -> usize {
    /// What a list or map costs before its elements, and then for each of them.
    const NESTED: usize = 3;
    const ELEMENT: usize = 1;
    match value {
        Value::S(text) => text.len(),
        Value::N(number) => number_bytes(number),
        Value::B(bytes) => bytes.len(),
        Value::Bool(_) | Value::Null => 1,
        Value::M(map) => {
            NESTED + map.iter().map(|(name, value)| ELEMENT + name.len() + value_bytes(value)).sum::<usize>()
        }
        Value::L(list) => NESTED + list.iter().map(|value| ELEMENT + value_bytes(value)).sum::<usize>(),
        Value::Ss(set) => set.iter().map(String::len).sum(),
        Value::Ns(set) => set.iter().map(number_bytes).sum(),
        Value::Bs(set) => set.iter().map(Vec::len).sum(),
    }
}

fn number_bytes(number: &Number) -> usize {
    let canonical = number.canonical();
    let (sign, digits) = match canonical.as_str().strip_prefix('-') {
        Some(digits) => (1, digits),
        None => (0, canonical.as_str()),
    };
    // Zeros at either end of the digits cost nothing.
    let (whole, fraction) = match digits.split_once('.') {
        Some(("0", fraction)) => ("", fraction.trim_start_matches('0')),
        Some((whole, fraction)) => (whole, fraction),
        None => (digits.trim_end_matches('0'), ""),
    };
    1 + sign + whole.len().div_ceil(2) + fraction.len().div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_cost_by_their_significant_digits() {
        for (text, bytes) in
            [("0", 1), ("42", 2), ("-42", 3), ("1200", 2), ("0.0012", 2), ("12.034", 4), ("1E+100", 2), ("123", 3)]
        {
            assert_eq!(number_bytes(&Number::parse(text).unwrap()), bytes, "{text}");
        }
    }

    #[test]
    fn names_elements_and_nesting_are_counted() {
        let bytes = |json: &str| item_bytes(&Item::from_json(json).unwrap());
        assert_eq!(bytes(r#"{"ab":{"S":"é"}}"#), 4);
        assert_eq!(bytes(r#"{"a":{"NULL":true}}"#), 2);
        assert_eq!(bytes(r#"{"a":{"L":[]}}"#), 4);
        assert_eq!(bytes(r#"{"a":{"L":[{"S":"xy"},{"BOOL":true}]}}"#), 1 + 3 + (1 + 2) + (1 + 1));
        assert_eq!(bytes(r#"{"a":{"M":{"bc":{"B":"AAA="}}}}"#), 1 + 3 + (1 + 2 + 2));
        assert_eq!(bytes(r#"{"a":{"SS":["xy","z"]}}"#), 1 + 3);
    }
}
