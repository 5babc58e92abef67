//! Merging a bucket's old rows with the changed ones, batch by batch, by key. Pure.

use std::collections::HashSet;

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::compute::{
    concat_batches, filter_record_batch, interleave_record_batch, sort_to_indices, take_record_batch,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use headwater_sink_offline::schema;

use crate::newest::strings;

/// What changed in one bucket.
pub struct Incoming {
    /// The newest rows of live items, sorted by key.
    rows: RecordBatch,
    /// Every key that changed, deleted ones too.
    keys: HashSet<Box<str>>,
    /// The next of `rows` to be given.
    next: usize,
}

impl Incoming {
    /// `rows` have the columns of the bucket's files, and no key twice.
    pub fn new(schema: &SchemaRef, rows: &[RecordBatch], keys: HashSet<Box<str>>) -> Result<Incoming, ArrowError> {
        let rows = concat_batches(schema, rows)?;
        let order = sort_to_indices(key_column(&rows)?, None, None)?;
        Ok(Incoming { rows: take_record_batch(&rows, &order)?, keys, next: 0 })
    }

    /// `old` without the rows that changed, and in between, in the order of keys, the new rows up to its last key.
    pub fn merge(&mut self, old: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let old_keys = keys(old)?;
        let last = (!old_keys.is_empty()).then(|| old_keys.value(old_keys.len() - 1).to_owned());
        let kept: Vec<bool> = (0..old.num_rows()).map(|row| !self.keys.contains(old_keys.value(row))).collect();
        let new_keys = keys(&self.rows)?;
        let until = match &last {
            Some(last) => (self.next..new_keys.len()).find(|row| new_keys.value(*row) > last.as_str()),
            None => Some(self.next),
        };
        let until = until.unwrap_or(new_keys.len());
        if until == self.next {
            let unchanged = kept.iter().all(|kept| *kept);
            return if unchanged { Ok(old.clone()) } else { filter_record_batch(old, &kept.into()) };
        }
        let mut places = Vec::with_capacity(old.num_rows() + until - self.next);
        let mut next = self.next;
        for row in (0..old.num_rows()).filter(|row| kept[*row]) {
            while next < until && new_keys.value(next) < old_keys.value(row) {
                places.push((1, next));
                next += 1;
            }
            places.push((0, row));
        }
        places.extend((next..until).map(|row| (1, row)));
        self.next = until;
        interleave_record_batch(&[old, &self.rows], &places)
    }

    /// How many keys changed.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The new rows after the last old one.
    pub fn rest(self) -> RecordBatch {
        self.rows.slice(self.next, self.rows.num_rows() - self.next)
    }
}

fn key_column(batch: &RecordBatch) -> Result<&ArrayRef, ArrowError> {
    batch.column_by_name(schema::KEY).ok_or_else(|| ArrowError::SchemaError("no column _key".to_owned()))
}

fn keys(batch: &RecordBatch) -> Result<&arrow::array::StringArray, ArrowError> {
    strings(batch, schema::KEY).map_err(ArrowError::SchemaError)
}

/// `batch` with exactly the columns of `schema`: one that it lacks is null, as in a file older than the column.
pub fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = schema.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(array) if array.data_type() == field.data_type() => Ok(ArrayRef::clone(array)),
        Some(array) => arrow::compute::cast(array, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    RecordBatch::try_new(SchemaRef::clone(schema), columns.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, Int64Type, Schema};
    use proptest::prelude::*;

    use super::*;

    fn batch(rows: &[(String, i64)]) -> RecordBatch {
        let schema =
            Schema::new(vec![Field::new("_key", DataType::Utf8, true), Field::new("_version", DataType::Int64, true)]);
        let keys = StringArray::from_iter_values(rows.iter().map(|(key, _)| key));
        let versions = Int64Array::from_iter_values(rows.iter().map(|(_, version)| *version));
        RecordBatch::try_new(Arc::new(schema), vec![Arc::new(keys), Arc::new(versions)]).unwrap()
    }

    fn rows(batch: &RecordBatch) -> Vec<(String, i64)> {
        let (keys, versions) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        (0..batch.num_rows()).map(|row| (keys.value(row).to_owned(), versions.value(row))).collect()
    }

    proptest! {
        #[test]
        fn a_merge_is_the_old_map_with_the_changes_and_stays_sorted(
            old in proptest::collection::btree_map("[a-d]{1,3}", 0_i64..5, 0..20),
            new in proptest::collection::btree_map("[a-d]{1,3}", proptest::option::of(5_i64..9), 0..20),
            size in 1_usize..6,
        ) {
            let live: Vec<_> = new.iter().rev().filter_map(|(key, row)| Some((key.clone(), (*row)?))).collect();
            let live = batch(&live);
            let keys = new.keys().map(|key| key.as_str().into()).collect();
            let mut incoming = Incoming::new(&live.schema(), std::slice::from_ref(&live), keys).unwrap();
            let old_rows: Vec<_> = old.clone().into_iter().collect();
            let mut merged = Vec::new();
            for chunk in old_rows.chunks(size) {
                merged.extend(rows(&incoming.merge(&batch(chunk)).unwrap()));
            }
            merged.extend(rows(&incoming.rest()));
            let mut expected: BTreeMap<String, i64> = old;
            for (key, row) in new {
                match row {
                    Some(row) => expected.insert(key, row),
                    None => expected.remove(&key),
                };
            }
            prop_assert_eq!(merged, expected.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_column_that_a_file_lacks_is_null() {
        let wide = Schema::new(vec![
            Field::new("_key", DataType::Utf8, true),
            Field::new("gate", DataType::Utf8, true),
            Field::new("_version", DataType::Int64, true),
        ]);
        let found = conform(&batch(&[("a".into(), 1)]), &Arc::new(wide)).unwrap();
        assert_eq!((found.num_columns(), found.column(1).null_count()), (3, 1));
    }
}
