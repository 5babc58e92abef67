//! `headwater search`: asks the index, whether anything writes to it or not.

use headwater_common::definition::Entity;
use headwater_sink_search::index::SearchError;
use headwater_sink_search::mapping::Mapping;
use headwater_sink_search::query::{Answer, Hit, Query, Search, parse, parse_sort};
use serde_json::json;

use crate::Context;
use crate::args;
use crate::failure::Failure;
use crate::output::{self, Format, grouped};
use crate::stores::Stores;

pub async fn run(context: Context, search: args::Search) -> Result<(), Failure> {
    let stores = Stores::of(&context)?;
    let entity = stores.entity(&search.table)?;
    let index = stores.index(&entity).await?;
    let mapping = &Mapping::of(&entity);
    let query = match search.query.as_deref() {
        Some(text) => parse(text, mapping).map_err(|error| Failure::usage(error).at("the query"))?,
        None => Query::All,
    };
    let sort = match search.sort.as_deref() {
        Some(text) => parse_sort(text, mapping).map_err(|error| Failure::usage(error).at("--sort"))?,
        None => Vec::new(),
    };
    let limit = if search.count { 0 } else { search.limit };
    let asked = Search { query, sort, offset: search.offset, limit };
    let answer = index.search(&asked).await.map_err(|error| match error {
        SearchError::Query(error) => Failure::usage(error),
        SearchError::Index(error) => Failure::environment(error),
    })?;
    print(context.format, &entity, &answer, search.count)
}

fn print(format: Format, entity: &Entity, answer: &Answer, count: bool) -> Result<(), Failure> {
    let as_of = answer.as_of.map(|moment| moment.to_rfc3339());
    if format == Format::Json {
        for hit in &answer.hits {
            output::line(&output::json(hit)?)?;
        }
        return output::line(&output::json(&json!({ "total": answer.total, "as_of": as_of }))?);
    }
    if !count {
        for hit in &answer.hits {
            output::line(&text(entity, hit))?;
        }
    }
    let as_of = as_of.unwrap_or_else(|| "nothing yet".into());
    output::line(&format!("{} found, as of {as_of}", grouped(answer.total)))
}

/// The key, then the features in the order of their definition.
fn text(entity: &Entity, hit: &Hit) -> String {
    let mut parts: Vec<String> =
        hit.key.0.iter().map(|(name, value)| format!("{name}={}", output::value(value))).collect();
    if let Some(metres) = hit.distance {
        parts.push(format!("({:.1} km away)", metres / 1000.0));
    }
    let features = entity.features.iter().filter(|feature| hit.key.get(&feature.name).is_none());
    parts.extend(features.filter_map(|feature| {
        hit.item.get(&feature.name).map(|value| format!("{}={}", feature.name, output::value(value)))
    }));
    parts.join("  ")
}
