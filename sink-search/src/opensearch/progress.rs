//! Progress in the index itself: one document for each partition, which no search finds.
//!
//! It lies with the data that it speaks of, so that an index that is lost or restored takes its progress with it. A
//! write is bound to the document that was read before it: of two workers on one partition, the slower one sees the
//! other's progress and never moves it back. What either says is true, since each has read without a hole and its
//! documents are in the index; so the two are merged and not refused.

use std::collections::BTreeMap;

use headwater_common::clock::Timestamp;
use headwater_common::log::{LogId, Offset};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::transport::{NDJSON, Request};
use super::verdict::{BulkReply, Cause, Halt, Overall, Verdict, overall, verdict};
use super::{Core, Making};
use crate::index::{IndexError, PartitionProgress, Progress};

/// What is read of a partition's document.
const NOTE_FIELDS: &str = "docs._id,docs._seq_no,docs._primary_term,docs._source,docs.error";
/// Meetings with other workers in one write at most.
const MEETINGS: usize = 16;

/// A partition's document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Note {
    log: LogId,
    of: u16,
    next: Offset,
    complete_until: Option<Timestamp>,
}

/// A document as it was read or written last.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    note: Note,
    seq_no: i64,
    primary_term: i64,
}

/// What to do after another's document was found in the way.
#[derive(Debug, PartialEq)]
enum Step {
    /// It says as much already.
    Done,
    Write(Note),
    /// The documents that this worker's progress speaks of are gone.
    Replaced,
}

fn meet(mine: &Note, known: Option<&Held>, found: Option<&Held>) -> Step {
    let Some(found) = found else {
        return if known.is_some() { Step::Replaced } else { Step::Write(mine.clone()) };
    };
    let back = known.is_some_and(|known| found.note.next < known.note.next);
    if back || found.note.log != mine.log {
        return Step::Replaced;
    }
    let merged = Note {
        log: mine.log.clone(),
        of: mine.of.max(found.note.of),
        next: mine.next.max(found.note.next),
        complete_until: mine.complete_until.max(found.note.complete_until),
    };
    if merged == found.note { Step::Done } else { Step::Write(merged) }
}

#[derive(Deserialize)]
struct Found {
    docs: Vec<FoundDocument>,
}

#[derive(Deserialize)]
struct FoundDocument {
    #[serde(rename = "_id")]
    id: String,
    #[serde(rename = "_seq_no", default)]
    seq_no: i64,
    #[serde(rename = "_primary_term", default)]
    primary_term: i64,
    #[serde(rename = "_source")]
    source: Option<Source>,
    /// The document was not looked for; one that is not there has none.
    error: Option<Cause>,
}

#[derive(Deserialize)]
struct Source {
    #[serde(rename = "_hw")]
    ours: Ours,
}

#[derive(Deserialize)]
struct Ours {
    progress: Note,
}

/// No document's id begins so: those are base64url, or begin with `#`.
fn id(partition: u16) -> String {
    format!("@progress-{partition}")
}

impl Making {
    /// As the index notes it, or as somebody has written since.
    fn partitions(&self) -> u16 {
        self.held.lock().values().map(|held| held.note.of).max().unwrap_or(0).max(self.partitions)
    }
}

impl Core {
    /// All partitions' progress, as it is stored now and whether searches see it or not, by one request.
    pub(super) async fn read_progress(&self, making: &Making) -> Result<Progress, IndexError> {
        let held = self.read_notes(making, 0..making.partitions()).await?;
        let mut progress = Progress::default();
        for (partition, held) in &held {
            if progress.log.as_ref().is_some_and(|log| *log != held.note.log) {
                return Err(
                    self.refused("its progress is of two logs".to_owned(), "build it again with `headwater rebuild`")
                );
            }
            progress.log = Some(held.note.log.clone());
            progress.of = progress.of.max(held.note.of);
            let reached = PartitionProgress { next: held.note.next, complete_until: held.note.complete_until };
            progress.partitions.insert(*partition, reached);
        }
        *making.held.lock() = held;
        Ok(progress)
    }

    async fn read_notes(
        &self,
        making: &Making,
        partitions: impl IntoIterator<Item = u16>,
    ) -> Result<BTreeMap<u16, Held>, IndexError> {
        let ids: BTreeMap<String, u16> = partitions.into_iter().map(|partition| (id(partition), partition)).collect();
        if ids.is_empty() {
            return Ok(BTreeMap::new());
        }
        let path = format!("/{}/_mget?_source=_hw.progress&filter_path={NOTE_FIELDS}", making.write_alias);
        let asked: Vec<&String> = ids.keys().collect();
        let reply = self.ask(making, Request::json(Method::POST, &path, &json!({ "ids": asked }))).await?;
        let mut read = BTreeMap::new();
        for document in self.parse::<Found>(&reply.body)?.docs {
            if let Some(error) = &document.error {
                return Err(match overall(404, error) {
                    Overall::Halt(halt @ Halt::Missing) => self.halted(making, halt).await,
                    _ => self.unavailable(format!("its progress can't be read ({})", error.kind)),
                });
            }
            if let (Some(source), Some(partition)) = (document.source, ids.get(&document.id)) {
                let note = source.ours.progress;
                read.insert(*partition, Held { note, seq_no: document.seq_no, primary_term: document.primary_term });
            }
        }
        Ok(read)
    }

    /// Assumes that everything that `progress` speaks of is durable and visible.
    pub(super) async fn write_progress(&self, making: &Making, progress: &Progress) -> Result<(), IndexError> {
        let Some(log) = &progress.log else { return Ok(()) };
        let note = |reached: &PartitionProgress| Note {
            log: log.clone(),
            of: progress.of,
            next: reached.next,
            complete_until: reached.complete_until,
        };
        let mut open = BTreeMap::new();
        for (partition, reached) in &progress.partitions {
            let (note, held) = (note(reached), making.held.lock().get(partition).cloned());
            match &held {
                Some(known) => match meet(&note, Some(known), Some(known)) {
                    Step::Done => continue,
                    Step::Write(merged) => open.insert(*partition, (merged, held)),
                    Step::Replaced => return Err(self.replaced()),
                },
                None => open.insert(*partition, (note, None)),
            };
        }
        for _ in 0..MEETINGS {
            if open.is_empty() {
                return Ok(());
            }
            let met = self.write_notes(making, &open).await?;
            if met.is_empty() {
                return Ok(());
            }
            let mut found = self.read_notes(making, met.iter().copied()).await?;
            let mut next = BTreeMap::new();
            for partition in met {
                let Some((mine, _)) = open.remove(&partition) else { continue };
                let known = making.held.lock().get(&partition).cloned();
                let found = found.remove(&partition);
                match meet(&mine, known.as_ref(), found.as_ref()) {
                    Step::Replaced => return Err(self.replaced()),
                    Step::Done => {}
                    Step::Write(merged) => {
                        next.insert(partition, (merged, found.clone()));
                    }
                }
                if let Some(found) = found {
                    making.held.lock().insert(partition, found);
                }
            }
            open = next;
        }
        Err(self.unavailable("other workers keep writing the same partitions' progress".to_owned()))
    }

    /// Gives the partitions whose documents are not the expected ones.
    async fn write_notes(
        &self,
        making: &Making,
        open: &BTreeMap<u16, (Note, Option<Held>)>,
    ) -> Result<Vec<u16>, IndexError> {
        let mut body = String::new();
        for (partition, (note, held)) in open {
            let action = match held {
                Some(held) => json!({ "index": {
                    "_id": id(*partition), "if_seq_no": held.seq_no, "if_primary_term": held.primary_term,
                }}),
                None => json!({ "create": { "_id": id(*partition) } }),
            };
            body.push_str(&format!("{action}\n{}\n", json!({ "_hw": { "progress": note } })));
        }
        let path = format!(
            "/{}/_bulk?require_alias=true&filter_path=errors,error,status,items.*.status,items.*.error,items.*._seq_no,items.*._primary_term",
            making.write_alias
        );
        let request = Request { content_type: NDJSON, body: body.into(), ..Request::new(Method::POST, &path) };
        let reply = self.ask(making, request).await?;
        let reply: BulkReply = self.parse(&reply.body)?;
        if reply.items.len() != open.len() {
            return Err(self.unavailable("its answer is not one for each item".to_owned()));
        }
        let mut met = Vec::new();
        for ((partition, (note, _)), entry) in open.iter().zip(&reply.items) {
            let item = entry.reply();
            match (verdict(item), item.seq_no, item.primary_term) {
                (Verdict::Applied, Some(seq_no), Some(primary_term)) => {
                    making.held.lock().insert(*partition, Held { note: note.clone(), seq_no, primary_term });
                }
                (Verdict::Applied | Verdict::Conflict, ..) => met.push(*partition),
                (Verdict::Transient(reason) | Verdict::Poison(reason), ..) => return Err(self.unavailable(reason)),
                (Verdict::Halt(halt), ..) => return Err(self.halted(making, halt).await),
            }
        }
        Ok(met)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(log: &str, next: u64, complete: i64) -> Note {
        let complete_until = Some(Timestamp::from_millis(complete));
        Note { log: LogId(log.into()), of: 2, next: Offset(next), complete_until }
    }

    fn held(note: Note) -> Held {
        Held { note, seq_no: 1, primary_term: 1 }
    }

    #[test]
    fn two_workers_on_one_partition_end_at_the_further_of_both() {
        let known = held(note("a", 5, 5));
        let meet = |mine, found| meet(&mine, Some(&known), Some(&held(found)));
        assert_eq!(meet(note("a", 9, 9), note("a", 7, 7)), Step::Write(note("a", 9, 9)));
        assert_eq!(meet(note("a", 9, 9), note("a", 12, 12)), Step::Done, "a zombie moves nothing back");
        assert_eq!(meet(note("a", 9, 20), note("a", 12, 12)), Step::Write(note("a", 12, 20)));
    }

    #[test]
    fn an_index_that_lost_what_was_known_is_not_written_on() {
        let known = held(note("a", 5, 5));
        assert_eq!(meet(&note("a", 9, 9), Some(&known), None), Step::Replaced, "the document is gone");
        let older = held(note("a", 4, 4));
        assert_eq!(meet(&note("a", 9, 9), Some(&known), Some(&older)), Step::Replaced, "an older state was restored");
        let foreign = held(note("b", 50, 50));
        assert_eq!(meet(&note("a", 9, 9), None, Some(&foreign)), Step::Replaced, "it follows another log");
        assert_eq!(meet(&note("a", 9, 9), None, None), Step::Write(note("a", 9, 9)));
    }
}
