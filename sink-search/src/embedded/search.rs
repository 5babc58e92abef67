//! A search from its check to its page.

use std::sync::Arc;

use headwater_common::order::Version;
use headwater_common::value::Item;
use tantivy::query::doc_predicate_query::DocPredicateQuery;
use tantivy::{DocAddress, Searcher, TantivyDocument};

use super::Core;
use super::filter::Filter;
use super::ranking::{Criterion, Ranking};
use super::scan::{damaged, item};
use super::schema::{Place, VERSION};
use crate::hit::hit;
use crate::index::SearchError;
use crate::query::{Answer, Hit, MAX_PAGE_BYTES, QueryError, Search, Sort, SortBy};

impl Core {
    pub(super) fn search(&self, search: &Search) -> Result<Answer, SearchError> {
        search.check(&self.mapping)?;
        let view = self.view()?;
        let query = DocPredicateQuery::from(Filter(Arc::new(self.plan(&search.query)?)));
        let criteria = search.sort.iter().filter_map(|sort| self.criterion(sort)).collect();
        let keep = if search.limit == 0 { 0 } else { search.offset + search.limit };
        let ranked =
            view.searcher.search(&query, &Ranking::new(criteria, keep)).map_err(|error| self.failed(&error))?;
        let (mut hits, mut bytes) = (Vec::new(), 0);
        for address in ranked.addresses().skip(search.offset) {
            let (hit, size) = self.hit(&view.searcher, address, search).map_err(|error| self.failed(&error))?;
            bytes += size;
            if bytes > MAX_PAGE_BYTES {
                return Err(QueryError(format!(
                    "{} items are more than {} MiB: ask for a smaller page",
                    search.limit,
                    MAX_PAGE_BYTES >> 20
                ))
                .into());
            }
            hits.push(hit);
        }
        Ok(Answer { as_of: view.progress.complete_until(), total: ranked.total, hits })
    }

    fn criterion(&self, sort: &Sort) -> Option<Criterion> {
        let descending = sort.descending;
        let place = |name: &str| self.mapping.field(name).map(|(at, _)| &self.layout.places[at]);
        match &sort.by {
            SortBy::Field(name) => match place(name)? {
                Place::Whole(column) | Place::Double(column) => {
                    Some(Criterion::Number { column: column.name.clone(), descending })
                }
                Place::Keyword(column) => {
                    Some(Criterion::Dictionary { column: column.name.clone(), text: true, descending })
                }
                Place::Exact(column) => {
                    Some(Criterion::Dictionary { column: column.name.clone(), text: false, descending })
                }
                Place::Words(_) | Place::Point { .. } | Place::Opaque => None,
            },
            SortBy::Distance { field, from } => match place(field)? {
                Place::Point { lat, lon } => {
                    let (lat, lon) = (lat.name.clone(), lon.name.clone());
                    Some(Criterion::Distance { lat, lon, from: *from, descending })
                }
                _ => None,
            },
        }
    }

    fn hit(&self, searcher: &Searcher, address: DocAddress, search: &Search) -> tantivy::Result<(Hit, usize)> {
        let json = item(&searcher.doc::<TantivyDocument>(address)?, &self.layout)?;
        let item = Item::from_json(&json).map_err(|_| damaged("a stored item is no DynamoDB JSON"))?;
        let versions = searcher.segment_reader(address.segment_ord).fast_fields().u64(VERSION)?;
        let version = versions.first(address.doc_id).and_then(Version::new).unwrap_or_default();
        Ok((hit(&self.mapping, search, item, version), json.len()))
    }
}
