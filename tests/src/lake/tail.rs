//! What each commit adds to `<table>_history`, commit by commit, at the cost of what it adds.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use headwater_common::change::TableName;
use serde_json::Value as Json;

use super::{history_folder, history_rows, log};
use crate::error::Error;
use crate::observed::HistoryRow;

/// Begins at the table's first commit, so it is made before clean-up takes that away.
#[derive(Clone, Debug)]
pub struct Tail {
    folder: PathBuf,
    table: TableName,
    next: u64,
}

impl Tail {
    pub fn of(root: &Path, table: &TableName) -> Tail {
        Tail { folder: history_folder(root, table), table: table.clone(), next: 0 }
    }

    /// The rows that the next commit brought; none where it only rewrote, `None` where there is no next commit yet.
    pub fn next_commit(&mut self) -> Result<Option<Vec<HistoryRow>>, Error> {
        let commit = self.folder.join("_delta_log").join(format!("{:020}.json", self.next));
        let text = match std::fs::read_to_string(&commit) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|error| Error::file(&commit, error))?,
        };
        let mut rows = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let action: Json = serde_json::from_str(line).map_err(|error| Error::lake(&commit, error))?;
            let add = action.get("add").filter(|add| add.get("dataChange") != Some(&Json::Bool(false)));
            if let Some(add) = add {
                let file = self.folder.join(log::file_of(&commit, add)?);
                rows.extend(history_rows(&file, &self.table)?);
            }
        }
        self.next += 1;
        Ok(Some(rows))
    }
}
