//! What the buckets consist of while a fold goes on, and the commit that makes it so. Pure.

use std::collections::{BTreeMap, BTreeSet};

use headwater_common::clock::Timestamp;
use headwater_sink_offline::delta::{Add, CommitInfo, Contents, Line, Metadata, Remove, Txn};

use super::columns::{SOURCE_PROPERTY, current_metadata};
use super::{BUCKET, SOURCE, source_version};
use crate::table::state::{DataFile, Keep, TableState};

pub struct Work {
    /// As it shall be; may have more columns than what is committed.
    pub metadata: Metadata,
    /// The version of history that the next commit follows.
    pub from: i64,
    pub now: Timestamp,
    known: Option<Metadata>,
    committed: BTreeMap<String, DataFile>,
    /// By bucket, each in the order of keys.
    wanted: BTreeMap<u16, Vec<DataFile>>,
    /// Written and not committed.
    new: BTreeMap<String, Add>,
}

impl Work {
    pub fn new(state: &TableState, source: &Metadata, name: &str, now: Timestamp) -> Result<Work, String> {
        let known = state.metadata.clone();
        let metadata = current_metadata(source, known.as_ref(), name, BTreeMap::new(), now.as_millis())?;
        let mut wanted: BTreeMap<u16, Vec<DataFile>> = BTreeMap::new();
        for file in state.files.values() {
            let bucket = file.partition.get(BUCKET).and_then(|value| value.as_deref()?.parse().ok());
            let bucket = bucket.ok_or_else(|| format!("file {} names no bucket", file.path))?;
            wanted.entry(bucket).or_default().push(file.clone());
        }
        let (from, committed) = (source_version(Some(state)), state.files.clone());
        Ok(Work { metadata, from, now, known, committed, wanted, new: BTreeMap::new() })
    }

    /// The id of the history that the table is made from.
    pub fn source(&self) -> Option<&str> {
        self.metadata.property(SOURCE_PROPERTY)
    }

    /// From nothing, out of the history of this id.
    pub fn start_over(&mut self, source: &str) {
        self.metadata.configuration.insert(SOURCE_PROPERTY.to_owned(), Some(source.to_owned()));
        self.wanted.clear();
        self.new.clear();
    }

    pub fn files(&self, bucket: u16) -> &[DataFile] {
        self.wanted.get(&bucket).map_or(&[], Vec::as_slice)
    }

    pub fn replace(&mut self, bucket: u16, adds: Vec<Add>) {
        let files = adds.iter().map(|add| DataFile::of(add.clone(), Keep::Bounds)).collect();
        for old in self.wanted.insert(bucket, files).into_iter().flatten() {
            self.new.remove(&old.path);
        }
        self.new.extend(adds.into_iter().map(|add| (add.path.clone(), add)));
    }

    /// The commit that makes the buckets what they shall be, as of version `until` of history.
    pub fn lines(&self, until: i64) -> Vec<Line> {
        let mut lines = vec![Line::from(self.info(until))];
        if self.known.as_ref() != Some(&self.metadata) {
            lines.push(self.metadata.clone().into());
        }
        lines.push(Txn { app_id: SOURCE.to_owned(), version: until }.into());
        lines.extend(self.removed().map(|file| Line::from(self.removal(file))));
        lines.extend(self.new.values().cloned().map(Line::from));
        lines
    }

    /// Whether the commit may follow `state`, or what was changed that it rests on.
    pub fn still(&self, state: Option<&TableState>) -> Result<(), &'static str> {
        let state = state.ok_or("the table")?;
        if source_version(Some(state)) != self.from {
            return Err("the rows");
        }
        if state.metadata != self.known {
            return Err("the columns");
        }
        let there = self.removed().all(|file| state.files.contains_key(&file.path));
        if there { Ok(()) } else { Err("the files") }
    }

    /// Whether `state` has the commit.
    pub fn landed(&self, state: &TableState, until: i64) -> bool {
        source_version(Some(state)) == until && self.new.keys().all(|path| state.files.contains_key(path))
    }

    /// Takes in that the commit happened.
    pub fn committed(&mut self, state: Option<&TableState>, until: i64) {
        if let Some(state) = state {
            self.committed.clone_from(&state.files);
            self.known.clone_from(&state.metadata);
        }
        self.new.clear();
        self.from = until;
    }

    fn removed(&self) -> impl Iterator<Item = &DataFile> {
        let wanted: BTreeSet<&str> = self.wanted.values().flatten().map(|file| file.path.as_str()).collect();
        self.committed.values().filter(move |file| !wanted.contains(file.path.as_str()))
    }

    fn removal(&self, file: &DataFile) -> Remove {
        Remove {
            path: file.path.clone(),
            deletion_timestamp: Some(self.now.as_millis()),
            data_change: true,
            extended_file_metadata: Some(true),
            partition_values: Some(file.partition.clone()),
            size: Some(file.size),
        }
    }

    fn info(&self, until: i64) -> CommitInfo {
        let parameters = [("mode", "Overwrite".to_owned()), ("partitionBy", format!("[\"{BUCKET}\"]"))];
        CommitInfo {
            operation_parameters: parameters.map(|(name, value)| (name.to_owned(), value)).into(),
            headwater: Some(Contents::Fold { source_version: until }),
            ..CommitInfo::of("WRITE", self.now)
        }
    }
}
