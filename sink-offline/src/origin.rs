//! Which log a table is written from, by the table's own word. Pure.
//!
//! A table's `txn`s may be of several logs, where one was given up; who reads the table asks how far the present one is.
//! So the table names it, and how many partitions it has: it is complete up to when each of them has said.
//!
//! | the table names | its `txn`s are of | a sink of log L |
//! |---|---|---|
//! | L | whomever | writes it |
//! | no log, as an earlier release | nobody, or L | gives it its name |
//! | no log | others too | is refused |
//! | another log | nobody | gives it its name |
//! | another log | somebody | is refused |
//!
//! A sink looks whenever somebody else has committed, so of two with different logs one writes and the other is refused.
//! Who sets the property by hand says that the log that it named is given up, and that the other's records are to follow.

use headwater_common::log::LogId;

use crate::delta::Metadata;
use crate::position::{Refusal, Txns, log_of};

/// The property of a table that names the log that it is written from.
pub const LOG_PROPERTY: &str = "headwater.log";
/// The property of a table that says how many partitions that log has.
pub const PARTITIONS_PROPERTY: &str = "headwater.partitions";

/// What a table says of its log, as far as it does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub log: Option<LogId>,
    pub partitions: Option<u16>,
}

impl Origin {
    pub fn of(metadata: &Metadata) -> Origin {
        Origin {
            log: metadata.property(LOG_PROPERTY).map(|log| LogId(log.to_owned())),
            partitions: metadata.property(PARTITIONS_PROPERTY).and_then(|partitions| partitions.parse().ok()),
        }
    }

    /// Puts it among the table's properties.
    pub fn write(&self, metadata: &mut Metadata) {
        let log = self.log.as_ref().map(|log| log.0.clone());
        let partitions = self.partitions.map(|partitions| partitions.to_string());
        for (name, value) in [(LOG_PROPERTY, log), (PARTITIONS_PROPERTY, partitions)] {
            match value {
                Some(value) => metadata.configuration.insert(name.to_owned(), Some(value)),
                None => metadata.configuration.remove(name),
            };
        }
    }

    /// What the table shall say for a sink of `log`, of so many partitions where that is known, if it does not say so.
    pub fn claim(&self, txns: &Txns, log: &LogId, partitions: Option<u16>) -> Result<Option<Origin>, Refusal> {
        let refused = |found: &str| Err(Refusal::OtherLog { found: found.to_owned(), ours: log.0.clone() });
        let ours = Some(Origin { log: Some(log.clone()), partitions });
        match &self.log {
            // A log may get more partitions: who reads the table must wait for the word of the new ones too.
            Some(named) if named == log => Ok(ours.filter(|ours| ours.partitions > self.partitions)),
            Some(_) if txns.is_empty() => Ok(ours),
            Some(named) => refused(&named.0),
            None => match txns.keys().filter_map(|app_id| log_of(app_id)).find(|found| **found != log.0) {
                Some(found) => refused(found),
                None => Ok(ours),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::offset_app;

    fn log(name: &str) -> LogId {
        LogId(name.to_owned())
    }

    fn named(name: &str, partitions: u16) -> Origin {
        Origin { log: Some(log(name)), partitions: Some(partitions) }
    }

    fn written_by(logs: &[&str]) -> Txns {
        logs.iter().map(|name| (offset_app(&log(name), 0), 5)).collect()
    }

    #[test]
    fn a_table_is_written_from_the_log_that_it_names_and_from_no_other() {
        let refused = |found: &str| Err(Refusal::OtherLog { found: found.to_owned(), ours: "ours".to_owned() });
        let (ours, unnamed, other) = (named("ours", 4), Origin::default(), named("other", 9));
        for (origin, logs, verdict) in [
            (&ours, &[][..], Ok(None)),
            (&ours, &["ours"], Ok(None)),
            (&ours, &["other", "ours"], Ok(None)),
            (&unnamed, &[], Ok(Some(ours.clone()))),
            (&unnamed, &["ours"], Ok(Some(ours.clone()))),
            (&unnamed, &["other", "ours"], refused("other")),
            (&other, &[], Ok(Some(ours.clone()))),
            (&other, &["other"], refused("other")),
            (&other, &["ours"], refused("other")),
        ] {
            assert_eq!(origin.claim(&written_by(logs), &log("ours"), Some(4)), verdict, "{origin:?} {logs:?}");
        }
    }

    #[test]
    fn more_partitions_are_noted_and_fewer_or_unknown_ones_are_not() {
        let claim = |partitions| named("ours", 4).claim(&Txns::new(), &log("ours"), partitions).unwrap();
        assert_eq!(claim(Some(6)), Some(named("ours", 6)));
        assert_eq!(claim(Some(3)), None);
        assert_eq!(claim(None), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut metadata = Metadata {
            id: "x".into(),
            name: None,
            description: None,
            format: Default::default(),
            schema_string: String::new(),
            partition_columns: Vec::new(),
            configuration: [("delta.appendOnly".to_owned(), Some("true".to_owned()))].into(),
            created_time: None,
        };
        assert_eq!(Origin::of(&metadata), Origin::default());
        for origin in [named("a/b", 4), Origin { partitions: None, ..named("c", 1) }] {
            origin.write(&mut metadata);
            assert_eq!(Origin::of(&metadata), origin);
        }
        assert_eq!(metadata.property("delta.appendOnly"), Some("true"), "others stay");
    }
}
