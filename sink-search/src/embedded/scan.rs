//! Every document in the order of its key, for verification and for purging.

use headwater_common::order::Version;
use tantivy::schema::{IndexRecordOption, Value as _};
use tantivy::store::StoreReader;
use tantivy::termdict::TermMerger;
use tantivy::{DocId, Searcher, SegmentReader, TantivyDocument, TantivyError};

use super::Core;
use super::schema::{KEY, LIVE, Layout, VERSION};
use super::versions::alive;
use crate::index::{IndexError, Scanned};

/// Bytes of items in one page, about.
const PAGE_BYTES: usize = 8 << 20;
/// Decompressed blocks that a scan keeps for each segment.
const STORE_BLOCKS: usize = 16;

impl Core {
    pub(super) fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Scanned>, IndexError> {
        let view = self.view()?;
        scan(&view.searcher, &self.layout, after, limit).map_err(|error| self.failed(&error))
    }
}

fn scan(searcher: &Searcher, layout: &Layout, after: Option<&str>, limit: usize) -> tantivy::Result<Vec<Scanned>> {
    let segments = searcher.segment_readers();
    let terms =
        segments.iter().map(|segment| segment.inverted_index(layout.key)).collect::<tantivy::Result<Vec<_>>>()?;
    let streams = terms.iter().map(|terms| match after {
        Some(key) => terms.terms().range().gt(key).into_stream(),
        None => terms.terms().stream(),
    });
    let mut merged = TermMerger::new(streams.collect::<std::io::Result<Vec<_>>>()?);
    let pages = segments.iter().map(Page::open).collect::<tantivy::Result<Vec<_>>>()?;
    let (mut scanned, mut bytes) = (Vec::new(), 0);
    while scanned.len() < limit && bytes < PAGE_BYTES && merged.advance() {
        let key = merged.key().to_vec();
        let found = terms.iter().zip(segments).zip(&pages).find_map(|((terms, segment), page)| {
            let document = (|| {
                let Some(info) = terms.terms().get(&key)? else { return Ok(None) };
                let postings = terms.read_postings_from_terminfo(&info, IndexRecordOption::Basic)?;
                Ok::<_, std::io::Error>(alive(segment, postings))
            })();
            document.transpose().map(|document| Ok::<_, TantivyError>((page, document?)))
        });
        if let Some(found) = found {
            let (page, document) = found?;
            let key = String::from_utf8(key).map_err(|_| damaged("a key is no text"))?;
            let entry = page.read(layout, key, document)?;
            bytes += entry.key.len() + entry.item.as_ref().map_or(0, String::len);
            scanned.push(entry);
        }
    }
    Ok(scanned)
}

/// What is read of one segment.
struct Page {
    live: tantivy::columnar::Column<bool>,
    versions: tantivy::columnar::Column<u64>,
    store: StoreReader,
}

impl Page {
    fn open(segment: &SegmentReader) -> tantivy::Result<Page> {
        Ok(Page {
            live: segment.fast_fields().bool(LIVE)?,
            versions: segment.fast_fields().u64(VERSION)?,
            store: segment.get_store_reader(STORE_BLOCKS)?,
        })
    }

    fn read(&self, layout: &Layout, key: String, document: DocId) -> tantivy::Result<Scanned> {
        let version = self.versions.first(document).and_then(Version::new);
        let version = version.ok_or_else(|| damaged("a document has no version"))?;
        let item = match self.live.first(document) {
            Some(true) => Some(item(&self.store.get(document)?, layout)?),
            _ => None,
        };
        Ok(Scanned { key, version, item })
    }
}

/// The stored item's JSON.
pub(super) fn item(document: &TantivyDocument, layout: &Layout) -> tantivy::Result<String> {
    let stored = document.get_first(layout.item).and_then(|value| value.as_str().map(str::to_owned));
    stored.ok_or_else(|| damaged("a document has no item"))
}

/// Keys of deletes below a version, at most `limit`.
pub(super) fn tombstones(searcher: &Searcher, below: Version, limit: usize) -> tantivy::Result<Vec<String>> {
    let mut keys = Vec::new();
    for segment in searcher.segment_readers() {
        let live = segment.fast_fields().bool(LIVE)?;
        let versions = segment.fast_fields().u64(VERSION)?;
        let Some(texts) = segment.fast_fields().str(KEY)? else { continue };
        for document in segment.doc_ids_alive() {
            if keys.len() == limit {
                return Ok(keys);
            }
            let dead = live.first(document) == Some(false);
            if dead && versions.first(document).is_some_and(|version| version < below.get()) {
                let mut key = String::new();
                if let Some(ordinal) = texts.term_ords(document).next()
                    && texts.ord_to_str(ordinal, &mut key)?
                {
                    keys.push(key);
                }
            }
        }
    }
    Ok(keys)
}

pub(super) fn damaged(reason: &str) -> TantivyError {
    TantivyError::DataCorruption(tantivy::error::DataCorruption::comment_only(reason))
}
