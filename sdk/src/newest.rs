//! Newest event time wins: the one condition, and what a refused condition means.

use headwater_common::clock::Timestamp;
use headwater_common::number::Number;
use headwater_common::value::{Item, Value};

/// The condition of every write that carries an event time: `#t` the attribute's name, `:t` the write's.
pub(crate) const NEWER: &str = "attribute_not_exists(#t) OR #t < :t";
/// The condition of a delete that carries one: an item of the same event time goes too.
pub(crate) const NOT_OLDER: &str = "attribute_not_exists(#t) OR #t <= :t";

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// The table holds what was written.
    Applied,
    /// The table holds an item with the same event time or a later one; nothing was changed.
    Older,
}

/// What was to be written.
pub(crate) struct Intent<'a> {
    pub event_time: (&'a str, Timestamp),
    /// Differs between two attempts of one write, so it is not compared.
    pub write_time: Option<&'a str>,
    pub set: &'a Item,
    pub removed: &'a [String],
    /// Whether an item is replaced whole, so that attributes which were not set have to be absent.
    pub whole: bool,
}

/// Says what a refused condition means, given the item that is `stored`: an exact repetition of a write that went
/// through (its answer was lost, or a producer replays its input) was applied.
pub(crate) fn judge(stored: &Item, intent: &Intent<'_>) -> Put {
    let (name, at) = intent.event_time;
    let stored_time = stored.get(name).and_then(Value::as_number).map(Number::canonical);
    let same_time = stored_time == Some(Number::from(at.as_millis()));
    let ours = |attribute: &str| attribute == name || Some(attribute) == intent.write_time;
    let holds_what_was_set = || {
        intent.set.0.iter().filter(|(attribute, _)| !ours(attribute)).all(|(attribute, value)| {
            stored.get(attribute).is_some_and(|stored| stored.normalised() == value.normalised())
        })
    };
    let lacks_the_rest = || match intent.whole {
        true => stored.0.keys().all(|attribute| ours(attribute) || intent.set.get(attribute).is_some()),
        false => intent.removed.iter().all(|attribute| stored.get(attribute).is_none()),
    };
    if same_time && holds_what_was_set() && lacks_the_rest() { Put::Applied } else { Put::Older }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(json: &str) -> Item {
        Item::from_json(json).unwrap()
    }

    fn judged(stored: &str, set: &str, removed: &[&str], whole: bool) -> Put {
        let removed: Vec<String> = removed.iter().map(|name| (*name).to_owned()).collect();
        let event_time = ("t", Timestamp::from_millis(5));
        judge(&item(stored), &Intent { event_time, write_time: Some("w"), set: &item(set), removed: &removed, whole })
    }

    #[test]
    fn the_same_write_again_was_applied() {
        let stored = r#"{"k":{"S":"a"},"t":{"N":"5"},"w":{"N":"100"},"x":{"N":"1"}}"#;
        let set = r#"{"k":{"S":"a"},"t":{"N":"5"},"w":{"N":"200"},"x":{"N":"1.0"}}"#;
        assert_eq!(judged(stored, set, &[], true), Put::Applied);
        assert_eq!(judged(stored, r#"{"x":{"N":"1"}}"#, &["y"], false), Put::Applied);
    }

    #[test]
    fn another_write_of_the_same_time_is_older() {
        let stored = r#"{"k":{"S":"a"},"t":{"N":"5"},"x":{"N":"1"}}"#;
        assert_eq!(judged(stored, r#"{"k":{"S":"a"},"x":{"N":"2"}}"#, &[], true), Put::Older);
        assert_eq!(judged(stored, r#"{"k":{"S":"a"}}"#, &[], true), Put::Older);
        assert_eq!(judged(stored, r#"{"y":{"N":"1"}}"#, &[], false), Put::Older);
        assert_eq!(judged(stored, r#"{}"#, &["x"], false), Put::Older);
    }

    #[test]
    fn an_earlier_time_is_older_whatever_it_holds() {
        let stored = r#"{"k":{"S":"a"},"t":{"N":"6"}}"#;
        assert_eq!(judged(stored, r#"{"k":{"S":"a"}}"#, &[], true), Put::Older);
    }
}
