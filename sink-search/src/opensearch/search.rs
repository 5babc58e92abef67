//! A search from its check to its page, within what OpenSearch gives at once.

use headwater_common::order::Version;
use headwater_common::value::Item;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::dsl::Dsl;
use super::transport::Request;
use super::verdict::{Halt, Overall, error_of, named, overall};
use super::{Core, Making};
use crate::hit::hit;
use crate::index::{IndexError, SearchError};
use crate::query::{Answer, Hit, MAX_PAGE_BYTES, QueryError, Search};

/// Items of one answer of the server at most, so that neither side holds more.
const PAGE: usize = 1_000;
/// Documents that are stepped over in one answer, of which nothing but their place is read; OpenSearch's window.
const STEP: usize = 10_000;

#[derive(Deserialize)]
pub(super) struct Found {
    pub hits: Hits,
}

#[derive(Deserialize)]
pub(super) struct Hits {
    #[serde(default)]
    total: Option<Total>,
    #[serde(default = "Vec::new")]
    pub hits: Vec<FoundHit>,
}

#[derive(Clone, Copy, Deserialize)]
struct Total {
    value: u64,
}

#[derive(Deserialize)]
pub(super) struct FoundHit {
    #[serde(rename = "_id", default)]
    pub id: String,
    #[serde(rename = "_seq_no", default)]
    pub seq_no: i64,
    #[serde(rename = "_primary_term", default)]
    pub primary_term: i64,
    #[serde(rename = "_source")]
    pub source: Option<Source>,
    /// As the server wrote it, and as it takes it back.
    pub sort: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
pub(super) struct Source {
    #[serde(rename = "_hw")]
    pub ours: Ours,
}

#[derive(Deserialize)]
pub(super) struct Ours {
    #[serde(default)]
    pub key: String,
    #[serde(default)]
    pub version: Version,
    pub item: Option<Item>,
}

/// A page that is being put together.
struct Paging<'a> {
    search: &'a Search,
    body: Value,
    total: u64,
    hits: Vec<Hit>,
    bytes: usize,
}

impl Core {
    pub(super) async fn find(&self, making: &Making, search: &Search) -> Result<Answer, SearchError> {
        search.check(&self.mapping)?;
        // Read before the documents, so that it is never later than they are: it is written once they are visible. Both
        // are read through the alias of this making, which is gone when another index comes to serve.
        let as_of = self.read_progress(making).await?.complete_until();
        let dsl = Dsl { mapping: &self.mapping, layout: &making.layout };
        let body = json!({ "query": dsl.filter(&search.query)?, "sort": dsl.sort(search)?, "track_total_hits": true });
        let mut paging = Paging { search, body, total: 0, hits: Vec::new(), bytes: 0 };
        if search.offset + search.limit <= PAGE {
            let path = format!("/{}/_search", making.write_alias);
            paging.body["from"] = search.offset.into();
            paging.body["size"] = search.limit.into();
            let found = self.page(making, &path, &paging.body, true).await?;
            self.collect(&mut paging, found)?;
        } else {
            let pit = self.open_pit(making).await?;
            paging.body["pit"] = json!({ "id": pit, "keep_alive": "1m" });
            let walked = self.walk(making, &mut paging).await;
            self.close_pit(making, &pit).await;
            walked?;
        }
        Ok(Answer { as_of, total: paging.total, hits: paging.hits })
    }

    /// Steps over what comes before the page, then collects it, all of one moment's documents.
    async fn walk(&self, making: &Making, paging: &mut Paging<'_>) -> Result<(), SearchError> {
        let (mut before, mut after) = (paging.search.offset, None::<Box<RawValue>>);
        while before > 0 || paging.hits.len() < paging.search.limit {
            let stepping = before > 0;
            let size = if stepping { before.min(STEP) } else { (paging.search.limit - paging.hits.len()).min(PAGE) };
            paging.body["size"] = size.into();
            let body = match &after {
                None => paging.body.to_string(),
                Some(after) => {
                    let body = paging.body.to_string();
                    format!("{},\"search_after\":{}}}", &body[..body.len() - 1], after.get())
                }
            };
            let found = self.page_of(making, "/_search", body, !stepping).await?;
            let count = found.hits.hits.len();
            after = found.hits.hits.last().and_then(|hit| hit.sort.clone());
            if stepping {
                before -= count.min(before);
                paging.total = found.hits.total.map_or(paging.total, |total| total.value);
            } else {
                self.collect(paging, found)?;
            }
            if count < size {
                break;
            }
        }
        Ok(())
    }

    fn collect(&self, paging: &mut Paging<'_>, found: Found) -> Result<(), SearchError> {
        paging.total = found.hits.total.map_or(paging.total, |total| total.value);
        for found in found.hits.hits {
            let Some((version, item)) = found.source.and_then(|source| Some((source.ours.version, source.ours.item?)))
            else {
                return Err(self.unavailable("a document has no item".to_owned()).into());
            };
            paging.bytes += item.weight();
            if paging.bytes > MAX_PAGE_BYTES {
                return Err(too_many(paging.search).into());
            }
            paging.hits.push(hit(&self.mapping, paging.search, item, version));
        }
        Ok(())
    }

    async fn page(&self, making: &Making, path: &str, body: &Value, items: bool) -> Result<Found, SearchError> {
        self.page_of(making, path, body.to_string(), items).await
    }

    async fn page_of(&self, making: &Making, path: &str, body: String, items: bool) -> Result<Found, SearchError> {
        let source = if items { "_source=_hw.version,_hw.item" } else { "_source=false" };
        let path = format!("{path}?{source}&filter_path=error,status,hits.total,hits.hits._source,hits.hits.sort");
        let request = Request { body: body.into(), max_reply: 4 * MAX_PAGE_BYTES, ..Request::new(Method::POST, &path) };
        let reply = self.server.call(&self.name, request).await?;
        match overall(reply.status, &error_of_failed(&reply)) {
            Overall::Answered => Ok(self.parse(&reply.body)?),
            Overall::Halt(Halt::Other { status: 400, kind }) => {
                Err(QueryError(format!("OpenSearch does not take this query ({kind}): narrow it")).into())
            }
            Overall::Halt(halt) => Err(self.halted(making, halt).await.into()),
            _ => Err(self.unavailable(named(reply.status, &error_of(&reply.body))).into()),
        }
    }

    async fn open_pit(&self, making: &Making) -> Result<String, IndexError> {
        #[derive(Deserialize)]
        struct Opened {
            pit_id: String,
        }
        let path = format!("/{}/_search/point_in_time?keep_alive=1m", making.write_alias);
        let reply = self.ask(making, Request::new(Method::POST, &path)).await?;
        Ok(self.parse::<Opened>(&reply.body)?.pit_id)
    }

    /// One that stays open costs the server a minute's memory and nobody an answer.
    async fn close_pit(&self, making: &Making, pit: &str) {
        let request = Request::json(Method::DELETE, "/_search/point_in_time", &json!({ "pit_id": [pit] }));
        if let Err(error) = self.ask(making, request).await {
            tracing::debug!(%error, "a point in time stays open until its minute is over");
        }
    }
}

fn error_of_failed(reply: &super::transport::Reply) -> super::verdict::Cause {
    if reply.status < 300 { super::verdict::Cause::default() } else { error_of(&reply.body) }
}

fn too_many(search: &Search) -> QueryError {
    QueryError(format!("{} items are more than {} MiB: ask for a smaller page", search.limit, MAX_PAGE_BYTES >> 20))
}
