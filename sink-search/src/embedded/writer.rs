//! The one writer: takes what is newer, commits it with the progress, and opens itself anew after an error.

use headwater_common::clock::Timestamp;
use headwater_common::order::Version;
use tantivy::indexer::{IndexWriterOptions, LogMergePolicy};
use tantivy::{Directory as _, Index, IndexWriter, TantivyError, Term};

use super::document::document;
use super::failure::index_error;
use super::{Core, View, scan, versions};
use crate::index::{Applied, Flush, IndexError, Outcome, Progress, coalesce};

/// tantivy drops longer terms without a word. DynamoDB's longest key makes a text of about 4,100 bytes.
const MAX_KEY_TEXT: usize = 65_000;
/// Tombstones removed in one commit.
const PURGE_AT_ONCE: usize = 10_000;

/// Holds the writer, and none after an error: what an interrupted writer holds in memory is not what is on disk.
pub(super) struct WriterSlot {
    writer: Option<IndexWriter>,
    heap: usize,
}

impl WriterSlot {
    /// Takes the folder's lock for as long as it lives.
    pub fn open(place: &str, index: &Index, heap: usize) -> Result<WriterSlot, IndexError> {
        let writer = open_writer(index, heap).map_err(|error| index_error(place, &error))?;
        Ok(WriterSlot { writer: Some(writer), heap })
    }
}

fn open_writer(index: &Index, heap: usize) -> tantivy::Result<IndexWriter> {
    // One thread writes one segment for each commit; two would write two, and halve the time of neither.
    let options =
        IndexWriterOptions::builder().num_worker_threads(1).num_merge_threads(1).memory_budget_per_thread(heap).build();
    let writer = index.writer_with_options(options)?;
    writer.set_merge_policy(Box::new(merge_policy()));
    Ok(writer)
}

/// Items are replaced all the time: segments fill with deleted documents, which searches still step over.
fn merge_policy() -> LogMergePolicy {
    let mut policy = LogMergePolicy::default();
    policy.set_min_num_segments(6);
    policy.set_del_docs_ratio_before_merge(0.5);
    policy
}

impl Core {
    pub(super) fn apply(&self, flush: &Flush) -> Result<Applied, IndexError> {
        self.write(|writer, view| {
            let (winners, outcomes) = coalesce(&flush.operations);
            let mut applied = Applied { outcomes, mismatches: 0 };
            let changed = self.replace(writer, view, flush, &winners, &mut applied)?;
            let mut progress = view.progress.clone();
            progress.advance(&flush.progress);
            if changed || progress != view.progress {
                self.commit(writer, &progress)?;
            }
            Ok(applied)
        })
    }

    /// Writes the operations that are newer than what is stored.
    fn replace(
        &self,
        writer: &IndexWriter,
        view: &View,
        flush: &Flush,
        winners: &[usize],
        applied: &mut Applied,
    ) -> tantivy::Result<bool> {
        let mut keyed: Vec<(String, usize)> =
            winners.iter().map(|at| (flush.operations[*at].key.to_text(), *at)).collect();
        keyed.sort_unstable();
        let stored = versions::stored(&view.searcher, &self.layout, keyed.iter().map(|(key, _)| key.as_str()))?;
        let mut changed = false;
        for ((key, at), stored) in keyed.iter().zip(stored) {
            let operation = &flush.operations[*at];
            applied.outcomes[*at] = match stored {
                Some(stored) if stored == operation.version => Outcome::Duplicate,
                Some(stored) if stored > operation.version => Outcome::Superseded,
                _ if key.len() > MAX_KEY_TEXT => Outcome::Rejected("its key is longer than any of DynamoDB's".into()),
                _ => {
                    if stored.is_some() {
                        writer.delete_term(Term::from_field_text(self.layout.key, key));
                    }
                    let (document, mismatches) = document(&self.layout, &self.mapping, key, operation);
                    writer.add_document(document)?;
                    applied.mismatches += mismatches;
                    changed = true;
                    Outcome::Applied
                }
            };
        }
        Ok(changed)
    }

    pub(super) fn purge(&self, before: Timestamp) -> Result<u64, IndexError> {
        self.write(|writer, view| {
            let dead = scan::tombstones(&view.searcher, Version::floor(before), PURGE_AT_ONCE)?;
            for key in &dead {
                writer.delete_term(Term::from_field_text(self.layout.key, key));
            }
            if !dead.is_empty() {
                self.commit(writer, &view.progress)?;
            }
            Ok(dead.len() as u64)
        })
    }

    /// Runs work on the writer and shows its outcome to searches. After an error the writer goes, and its uncommitted
    /// work with it; the next call opens a new one, and sees what was committed after all.
    fn write<T>(&self, work: impl FnOnce(&mut IndexWriter, &View) -> tantivy::Result<T>) -> Result<T, IndexError> {
        let Some(slot) = &self.writer else { return Err(IndexError::ReadOnly { place: self.place.clone() }) };
        let mut slot = slot.lock();
        // Taken out while it works, so that work that panics leaves none behind.
        let mut writer = match slot.writer.take() {
            Some(writer) => writer,
            None => {
                let writer = open_writer(&self.index, slot.heap).map_err(|error| self.failed(&error))?;
                self.renew()?;
                writer
            }
        };
        let view = self.view.lock().clone();
        let outcome = work(&mut writer, &view).map_err(|error| self.failed(&cause(&mut writer, error)));
        match outcome.and_then(|outcome| self.renew().map(|()| outcome)) {
            Ok(outcome) => {
                slot.writer = Some(writer);
                Ok(outcome)
            }
            Err(error) => {
                // Merges that still run must not write after the next writer has read what there is.
                if let Err(error) = writer.wait_merging_threads() {
                    tracing::debug!(place = %self.place, %error, "the writer was given up");
                }
                Err(error)
            }
        }
    }

    fn commit(&self, writer: &mut IndexWriter, progress: &Progress) -> tantivy::Result<()> {
        let payload = serde_json::to_string(progress).map_err(std::io::Error::from)?;
        let mut prepared = writer.prepare_commit()?;
        prepared.set_payload(&payload);
        prepared.commit()?;
        // tantivy syncs the folder before it renames the commit into place; the rename must last too.
        self.index.directory().sync_directory()?;
        Ok(())
    }
}

/// A document that can't be handed over says only that a thread is gone; why it went, its end says.
fn cause(writer: &mut IndexWriter, error: TantivyError) -> TantivyError {
    match error {
        TantivyError::ErrorInThread(_) => writer.prepare_commit().err().unwrap_or(error),
        other => other,
    }
}
