//! Names in OpenSearch: of a table's index and aliases, and of a feature's field.
//!
//! An index is `<prefix>-<table>-<generation>`. It is read through the alias `<prefix>-<table>` and written through an
//! alias of its own that names this making of it: an index that was removed and made anew has another one, so that a
//! writer of the old never takes the new for it.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// OpenSearch takes 255 bytes; what follows the table needs some.
const MAX_TABLE: usize = 150;

/// The alias that a table is read through.
pub fn read_alias(prefix: &str, table: &str) -> String {
    format!("{prefix}-{}", lower(table))
}

pub fn index(prefix: &str, table: &str, generation: u32) -> String {
    format!("{}-{generation:06}", read_alias(prefix, table))
}

pub fn write_alias(index: &str, making: u64) -> String {
    format!("{index}-w{making:016x}")
}

/// Whether `alias` is the write alias of some making of `index`.
pub fn is_write_alias(alias: &str, index: &str) -> bool {
    let making = alias.strip_prefix(index).and_then(|rest| rest.strip_prefix("-w"));
    making.is_some_and(|making| making.len() == 16 && making.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// DynamoDB tells tables apart by case and takes 255 bytes; OpenSearch does neither.
fn lower(table: &str) -> String {
    if table.len() <= MAX_TABLE && !table.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return table.to_owned();
    }
    let digest: String = Sha256::digest(table).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    let short: String = table.chars().take(MAX_TABLE).collect();
    format!("{}.{digest}", short.to_ascii_lowercase())
}

/// The feature's name as a field's: letters, digits, `-` and inner `_` stay, every other byte is `%` and two digits.
/// A dot would make an object of it, and a leading `_` is OpenSearch's own, and ours.
pub fn field(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    for (at, letter) in name.char_indices() {
        if letter.is_alphanumeric() || letter == '-' || (letter == '_' && at > 0) {
            escaped.push(letter);
        } else {
            let mut bytes = [0; 4];
            for byte in letter.encode_utf8(&mut bytes).bytes() {
                // Writing into a text does not fail.
                write!(escaped, "%{byte:02X}").unwrap_or_default();
            }
        }
    }
    if escaped.is_empty() { "%".to_owned() } else { escaped }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_named_by_prefix_table_and_generation() {
        assert_eq!(index("hw", "air.craft_1", 1), "hw-air.craft_1-000001");
        let index = index("hw", "t", 12);
        let alias = write_alias(&index, 0xab);
        assert_eq!(alias, "hw-t-000012-w00000000000000ab");
        assert!(is_write_alias(&alias, &index));
        assert!(!is_write_alias("hw-t", &index) && !is_write_alias("hw-t-000012-copy", &index));
    }

    #[test]
    fn tables_that_differ_have_names_that_differ_and_are_legal() {
        let long = "t".repeat(255);
        let names = ["Table", "table", "TABLE", long.as_str(), &long[..254]].map(|table| read_alias("hw", table));
        for (at, name) in names.iter().enumerate() {
            assert!(name.len() < 220 && !name.bytes().any(|byte| byte.is_ascii_uppercase()), "{name}");
            assert!(!names[..at].contains(name), "{name}");
        }
    }

    #[test]
    fn a_field_name_is_escaped_and_can_be_told_from_every_other() {
        assert_eq!(field("delay_mean-10"), "delay_mean-10");
        assert_eq!(field("odd name.x"), "odd%20name%2Ex");
        assert_eq!(field("_hw"), "%5Fhw");
        assert_eq!(field("größe"), "größe");
        assert_eq!(field("a%2Eb"), "a%252Eb");
        assert_eq!(field(""), "%");
    }
}
