//! Names in OpenSearch: of a table's index and aliases, and of a feature's field.
//!
//! An index is `<prefix>-<table>-<generation>`. It is read through the alias `<prefix>-<table>` and written through an
//! alias of its own that names this making of it: an index that was removed and made anew has another one, so that a
//! writer of the old never takes the new for it. Before an index serves, its alias is a build alias; one that serves no
//! more has an alias that says so.

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
    names_a_making(alias, index, "-w")
}

/// What an index is written through while it is built beside the one that serves.
pub fn build_alias(index: &str, making: u64) -> String {
    format!("{index}-b{making:016x}")
}

pub fn is_build_alias(alias: &str, index: &str) -> bool {
    names_a_making(alias, index, "-b")
}

/// The alias of an index that is to be removed, whoever finds it.
pub fn retired_alias(index: &str) -> String {
    format!("{index}-retired")
}

/// The alias of an index that served and is kept because somebody asked for it.
pub fn kept_alias(index: &str) -> String {
    format!("{index}-kept")
}

/// The generation of one of the indexes of the table that is read through `read_alias`; `None` for another name.
pub fn generation(index: &str, read_alias: &str) -> Option<u32> {
    let digits = index.strip_prefix(read_alias)?.strip_prefix('-')?;
    let number = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    number.then(|| digits.parse().ok()).flatten()
}

fn names_a_making(alias: &str, index: &str, kind: &str) -> bool {
    let making = alias.strip_prefix(index).and_then(|rest| rest.strip_prefix(kind));
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
        let build = build_alias(&index, 0xab);
        assert!(is_build_alias(&build, &index) && !is_write_alias(&build, &index) && !is_build_alias(&alias, &index));
    }

    #[test]
    fn a_generation_is_told_from_indexes_of_other_tables() {
        assert_eq!(generation(&index("hw", "t", 12), "hw-t"), Some(12));
        assert_eq!(generation(&index("hw", "t", 1_234_567), "hw-t"), Some(1_234_567));
        for other in [index("hw", "t-x", 1), index("hw", "tt", 1), "hw-t-12".into(), "hw-t-copy42".into(), "x".into()] {
            assert_eq!(generation(&other, "hw-t"), None, "{other}");
        }
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
