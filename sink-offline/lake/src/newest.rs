//! The newest change of each key among files of history.
//!
//! Promises that what it calls newest is the newest of the whole history up to the files' version, deletions among them.
//! Rows of one key may come in any order: a bootstrap's row may follow, in the log, a deletion that it must not undo. So a
//! row below the greatest version of the history before it is looked for there, in the files that may hold a newer one;
//! where versions rise with the log, which is nearly always, there is no such row and nothing is read.

use std::collections::HashMap;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use futures::TryStreamExt;
use headwater_sink_offline::lake::TableLocation;
use headwater_sink_offline::schema;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use crate::error::Error;
use crate::table::parquet_file::{OpenFile, open};
use crate::table::state::DataFile;

/// Where a key's newest change lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub version: i64,
    /// False for a deletion.
    pub lives: bool,
    /// Index into [`Newest::files`].
    pub file: u32,
    /// Counted over the whole file.
    pub row: u32,
}

/// The newest change of each key in some files. About 100 bytes for each key.
#[derive(Default)]
pub struct Newest {
    pub files: Vec<OpenFile>,
    pub by_key: HashMap<Box<str>, Place>,
}

impl Newest {
    /// Takes a file's changes in.
    pub async fn read(&mut self, table: &TableLocation, file: &DataFile) -> Result<(), Error> {
        self.read_open(table, open(table, file).await?).await
    }

    pub async fn read_open(&mut self, table: &TableLocation, file: OpenFile) -> Result<(), Error> {
        let index = self.files.len() as u32;
        let mut first_row = 0_u32;
        let mut batches = file.scan(table, &[schema::KEY, schema::VERSION, schema::OP])?;
        while let Some(batch) = batches.try_next().await.map_err(|source| file.failed(table, source))? {
            self.take(&batch, index, first_row).map_err(|reason| schema_error(table, reason))?;
            first_row += batch.num_rows() as u32;
        }
        self.files.push(file);
        Ok(())
    }

    fn take(&mut self, batch: &RecordBatch, file: u32, first_row: u32) -> Result<(), String> {
        let (keys, versions) = (strings(batch, schema::KEY)?, longs(batch, schema::VERSION)?);
        let ops = strings(batch, schema::OP)?;
        for at in 0..batch.num_rows() {
            // A dead letter has no key.
            if keys.is_null(at) || versions.is_null(at) {
                continue;
            }
            let place =
                Place { version: versions.value(at), lives: !removes(ops.value(at)), file, row: first_row + at as u32 };
            match self.by_key.get_mut(keys.value(at)) {
                None => {
                    self.by_key.insert(keys.value(at).into(), place);
                }
                Some(known) if known.version < place.version => *known = place,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Drops every key of which `before`, the history before these files, holds a newer change.
    pub async fn drop_overtaken<'a>(
        &mut self,
        table: &TableLocation,
        before: impl Iterator<Item = &'a DataFile> + Clone,
    ) -> Result<usize, Error> {
        // A file that does not say may hold anything.
        let greatest = before.clone().map(|file| file.versions.map_or(i64::MAX, |(_, most)| most)).max();
        let Some(greatest) = greatest else { return Ok(0) };
        let late: Vec<i64> =
            self.by_key.values().map(|place| place.version).filter(|version| *version < greatest).collect();
        let Some(least) = late.iter().min().copied() else { return Ok(0) };
        let known = self.by_key.len();
        for file in before.filter(|file| file.may_exceed(least)) {
            let file = open(table, file).await?;
            let mut batches = file.scan(table, &[schema::KEY, schema::VERSION])?;
            while let Some(batch) = batches.try_next().await.map_err(|source| file.failed(table, source))? {
                self.drop_older(&batch).map_err(|reason| schema_error(table, reason))?;
            }
        }
        Ok(known - self.by_key.len())
    }

    fn drop_older(&mut self, batch: &RecordBatch) -> Result<(), String> {
        let (keys, versions) = (strings(batch, schema::KEY)?, longs(batch, schema::VERSION)?);
        for at in (0..batch.num_rows()).filter(|at| keys.is_valid(*at) && versions.is_valid(*at)) {
            if self.by_key.get(keys.value(at)).is_some_and(|place| place.version < versions.value(at)) {
                self.by_key.remove(keys.value(at));
            }
        }
        Ok(())
    }

    /// The rows of live items, for each file in the order of the rows.
    pub fn live_rows(&self) -> Vec<Vec<(u32, &str)>> {
        let mut rows: Vec<Vec<(u32, &str)>> = vec![Vec::new(); self.files.len()];
        for (key, place) in self.by_key.iter().filter(|(_, place)| place.lives) {
            rows[place.file as usize].push((place.row, key));
        }
        rows.iter_mut().for_each(|rows| rows.sort_unstable_by_key(|(row, _)| *row));
        rows
    }
}

/// Selects the given rows, which rise, out of a file of `total`.
pub fn selection(rows: impl Iterator<Item = u32>, total: usize) -> RowSelection {
    let mut selectors: Vec<RowSelector> = Vec::new();
    let mut next = 0;
    for row in rows.map(|row| row as usize) {
        if row > next {
            selectors.push(RowSelector::skip(row - next));
        }
        match selectors.last_mut() {
            Some(last) if !last.skip => last.row_count += 1,
            _ => selectors.push(RowSelector::select(1)),
        }
        next = row + 1;
    }
    if next < total {
        selectors.push(RowSelector::skip(total - next));
    }
    selectors.into()
}

fn removes(op: &str) -> bool {
    use headwater_common::change::Op;
    [Op::Delete, Op::Expire].iter().any(|removal| removal.code() == op)
}

fn schema_error(table: &TableLocation, reason: String) -> Error {
    Error::Schema { table: table.name.clone(), reason }
}

pub fn strings<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a StringArray, String> {
    batch
        .column_by_name(column)
        .and_then(|array| array.as_string_opt::<i32>())
        .ok_or_else(|| format!("a file has no column {column} of strings"))
}

pub fn longs<'a>(batch: &'a RecordBatch, column: &str) -> Result<&'a arrow::array::Int64Array, String> {
    batch
        .column_by_name(column)
        .and_then(|array| array.as_primitive_opt::<Int64Type>())
        .ok_or_else(|| format!("a file has no column {column} of longs"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_selection_names_exactly_the_rows() {
        for (rows, total) in [(vec![], 4), (vec![0, 1, 3], 4), (vec![2], 9), (vec![0, 1, 2], 3)] {
            let picked = selection(rows.iter().copied(), total);
            assert_eq!(picked.row_count(), rows.len());
            let mut at = 0;
            let mut found = Vec::new();
            for selector in picked.iter() {
                if !selector.skip {
                    found.extend((at..at + selector.row_count).map(|row| row as u32));
                }
                at += selector.row_count;
            }
            assert_eq!((found, at), (rows, total));
        }
    }

    #[test]
    fn the_newest_wins_whatever_the_order_and_a_dead_letter_is_none() {
        let batch = RecordBatch::try_from_iter([
            (schema::KEY, Arc::new(StringArray::from(vec![Some("a"), None, Some("a"), Some("b")])) as Arc<dyn Array>),
            (schema::VERSION, Arc::new(arrow::array::Int64Array::from(vec![Some(7), None, Some(5), Some(1)]))),
            (schema::OP, Arc::new(StringArray::from(vec![Some("d"), None, Some("u"), Some("c")]))),
        ])
        .unwrap();
        let mut newest = Newest::default();
        newest.take(&batch, 0, 10).unwrap();
        assert_eq!(newest.by_key["a"], Place { version: 7, lives: false, file: 0, row: 10 });
        assert_eq!(newest.by_key["b"], Place { version: 1, lives: true, file: 0, row: 13 });
        assert_eq!(newest.by_key.len(), 2);
        newest.drop_older(&batch.slice(0, 1)).unwrap();
        assert_eq!(newest.by_key.len(), 2, "the same change is not newer than itself");
    }
}
