//! The versions that the index holds, looked up by key in its own terms.

use headwater_common::order::Version;
use tantivy::schema::IndexRecordOption;
use tantivy::{DocId, Searcher, SegmentReader, TERMINATED, Term};

use super::schema::{Layout, VERSION};

/// For each key its document's version, tombstones included. Sorted keys are found faster.
pub(super) fn stored<'a>(
    searcher: &Searcher,
    layout: &Layout,
    keys: impl ExactSizeIterator<Item = &'a str>,
) -> tantivy::Result<Vec<Option<Version>>> {
    let mut found = vec![None; keys.len()];
    let mut open: Vec<(usize, Term)> =
        keys.enumerate().map(|(at, key)| (at, Term::from_field_text(layout.key, key))).collect();
    // The small, new segments stand last, and hold the keys that change often.
    for segment in searcher.segment_readers().iter().rev() {
        let terms = segment.inverted_index(layout.key)?;
        let versions = segment.fast_fields().u64(VERSION)?;
        let mut missing = Vec::with_capacity(open.len());
        for (at, key) in open {
            let postings = match terms.get_term_info(&key)? {
                Some(info) => Some(terms.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?),
                None => None,
            };
            match postings.and_then(|postings| alive(segment, postings)) {
                Some(document) => found[at] = versions.first(document).and_then(Version::new),
                None => missing.push((at, key)),
            }
        }
        open = missing;
    }
    Ok(found)
}

/// The document that was not replaced, of which a key has one at most.
pub(super) fn alive(segment: &SegmentReader, mut postings: impl tantivy::DocSet) -> Option<DocId> {
    let mut document = postings.doc();
    while document != TERMINATED {
        if !segment.is_deleted(document) {
            return Some(document);
        }
        document = postings.advance();
    }
    None
}
