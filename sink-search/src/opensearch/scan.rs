//! Every document in the order of its key, for verification; and tombstones past their time.

use std::sync::atomic::{AtomicUsize, Ordering};

use headwater_common::clock::Timestamp;
use headwater_common::order::Version;
use reqwest::Method;
use serde_json::{Value, json};

use super::layout::{KEY, LIVE, VERSION};
use super::search::Found;
use super::transport::{NDJSON, Request};
use super::verdict::{BulkReply, Verdict, verdict};
use super::{Core, Making};
use crate::index::{IndexError, Scanned};

/// Bytes of items in one page, about.
const PAGE_BYTES: usize = 8 << 20;
/// Documents of one page at most, and of the first, when their size is not known.
const MOST: usize = 2_000;
const FIRST: usize = 200;
/// Tombstones removed at once.
const PURGE_AT_ONCE: usize = 2_000;

/// The usual size of an item, from the last page.
#[derive(Default)]
pub(super) struct ItemSize(AtomicUsize);

impl ItemSize {
    fn page(&self) -> usize {
        match self.0.load(Ordering::Relaxed) {
            0 => FIRST,
            bytes => (PAGE_BYTES / bytes).clamp(10, MOST),
        }
    }
}

impl Core {
    pub(super) async fn read_in_order(
        &self,
        making: &Making,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Scanned>, IndexError> {
        let size = limit.min(self.item_size.page());
        let mut body = json!({
            "size": size,
            "query": { "bool": { "filter": [{ "exists": { "field": VERSION } }] } },
            "sort": [{ KEY: "asc" }],
            "track_total_hits": false,
            "_source": [KEY, VERSION, "_hw.item"],
        });
        if let Some(after) = after {
            body["search_after"] = json!([after]);
        }
        let found = self.select(making, &body, "").await?;
        let mut scanned = Vec::with_capacity(found.hits.hits.len());
        for found in found.hits.hits {
            let Some(source) = found.source else {
                return Err(self.unavailable("a document has no source".to_owned()));
            };
            let item = source.ours.item.map(|item| item.to_json());
            scanned.push(Scanned { key: source.ours.key, version: source.ours.version, item });
        }
        let bytes: usize =
            scanned.iter().map(|entry| entry.key.len() + entry.item.as_ref().map_or(0, String::len)).sum();
        if let Some(each) = bytes.checked_div(scanned.len()) {
            self.item_size.0.store(each.max(1), Ordering::Relaxed);
        }
        Ok(scanned)
    }

    /// Everything of the index and not through the alias that hides tombstones.
    async fn select(&self, making: &Making, body: &Value, more: &str) -> Result<Found, IndexError> {
        let path = format!("/{}/_search?allow_partial_search_results=false{more}", making.write_alias);
        let reply = self.ask(making, Request::json(Method::POST, &path, body)).await?;
        self.parse(&reply.body)
    }

    pub(super) async fn remove_tombstones(&self, making: &Making, before: Timestamp) -> Result<u64, IndexError> {
        let body = json!({
            "size": PURGE_AT_ONCE,
            "query": { "bool": { "filter": [
                { "term": { LIVE: false } },
                { "range": { VERSION: { "lt": Version::floor(before).get() } } },
            ]}},
            "track_total_hits": false,
            "seq_no_primary_term": true,
            "_source": false,
        });
        let found = self.select(making, &body, "&filter_path=error,status,hits.hits").await?;
        if found.hits.hits.is_empty() {
            return Ok(0);
        }
        // Only the very document that was found: whatever was written since stays.
        let action = |hit: &super::search::FoundHit| json!({ "delete": { "_id": hit.id, "if_seq_no": hit.seq_no, "if_primary_term": hit.primary_term } });
        let body: String = found.hits.hits.iter().map(|hit| format!("{}\n", action(hit))).collect();
        let path =
            format!("/{}/_bulk?filter_path=errors,error,status,items.*.status,items.*.error", making.write_alias);
        let request = Request { content_type: NDJSON, body: body.into(), ..Request::new(Method::POST, &path) };
        let reply: BulkReply = self.parse(&self.ask(making, request).await?.body)?;
        let mut removed = 0;
        for entry in &reply.items {
            match verdict(entry.reply()) {
                Verdict::Applied => removed += 1,
                // Written since, or removed by another worker.
                Verdict::Conflict => {}
                Verdict::Transient(reason) | Verdict::Poison(reason) => return Err(self.unavailable(reason)),
                Verdict::Halt(halt) if entry.reply().error.is_some() => return Err(self.halted(making, halt).await),
                Verdict::Halt(_) => {}
            }
        }
        self.refresh(making).await?;
        Ok(removed)
    }
}
