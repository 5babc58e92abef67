//! Queries and orders in OpenSearch's language, so that they find what [`crate::query`] says. Pure.
//!
//! Assumes a search that was checked against the mapping.

use std::ops::Bound;

use serde_json::{Value, json};

use super::layout::{HAS, KEY, LIVE, Layout, Place, hex};
use crate::exact::whole_range;
use crate::geo::GeoPoint;
use crate::mapping::{Field, MAX_KEYWORD, Mapping, Operand};
use crate::query::{Literal, Query, QueryError, Search, Sort, SortBy};

/// OpenSearch's limit for the values of one `terms` clause.
const MAX_TERMS: usize = 65_536;
/// OpenSearch's default limit for clauses.
const MAX_CLAUSES: usize = 1_024;

/// The great circle as [`GeoPoint::distance`] computes it; OpenSearch's own rounds the points and the sines.
const DISTANCE: &str = "double metres(double lat1, double lon1, double lat2, double lon2) { \
 double from = Math.toRadians(lat1); double to = Math.toRadians(lat2); \
 double a = Math.sin(Math.toRadians(lat2 - lat1) / 2.0); double b = Math.sin(Math.toRadians(lon2 - lon1) / 2.0); \
 double chord = a * a + Math.cos(from) * Math.cos(to) * (b * b); \
 return 2.0 * 6371008.7714 * Math.asin(Math.min(Math.sqrt(chord), 1.0)); } ";

pub(super) struct Dsl<'a> {
    pub mapping: &'a Mapping,
    pub layout: &'a Layout,
}

impl Dsl<'_> {
    /// The filter that live documents must pass.
    pub fn filter(&self, query: &Query) -> Result<Value, QueryError> {
        let mut clauses = 1;
        let filter = self.query(query, &mut clauses)?;
        if clauses > MAX_CLAUSES {
            return Err(QueryError(format!(
                "the query has {clauses} parts: OpenSearch takes {MAX_CLAUSES}, so narrow it"
            )));
        }
        Ok(json!({ "bool": { "filter": [{ "term": { LIVE: true } }, filter] } }))
    }

    fn query(&self, query: &Query, clauses: &mut usize) -> Result<Value, QueryError> {
        *clauses += 1;
        let mut each =
            |parts: &[Query]| parts.iter().map(|part| self.query(part, clauses)).collect::<Result<Vec<_>, _>>();
        Ok(match query {
            Query::All => json!({ "match_all": {} }),
            Query::And(parts) if parts.is_empty() => json!({ "match_all": {} }),
            Query::And(parts) => json!({ "bool": { "filter": each(parts)? } }),
            Query::Or(parts) if parts.is_empty() => none(),
            Query::Or(parts) => match self.one_of(parts)? {
                Some(terms) => terms,
                None => any(&each(parts)?),
            },
            Query::Not(part) => json!({ "bool": { "must_not": [self.query(part, clauses)?] } }),
            Query::Term { field, value } => self.term(field, value)?,
            Query::Range { field, lower, upper } => self.range(field, lower, upper)?,
            Query::Prefix { field, prefix } => match self.place(field)? {
                (_, Place::Keyword(column)) if prefix.is_empty() => exists(column),
                (_, Place::Keyword(column)) if prefix.len() <= MAX_KEYWORD => json!({ "prefix": { column: prefix } }),
                _ => none(),
            },
            Query::Match { field, text } => match self.place(field)? {
                (_, Place::Words(column)) => {
                    let words: Vec<Value> =
                        crate::words::words(text).map(|word| json!({ "term": { column: word } })).collect();
                    *clauses += words.len();
                    if words.is_empty() { none() } else { json!({ "bool": { "filter": words } }) }
                }
                _ => none(),
            },
            Query::Exists { field } => self.exists(field)?,
            Query::Geo { field, centre, metres, inclusive } => match self.place(field)? {
                (_, Place::Point { lat, lon, point }) => {
                    *clauses += 8;
                    circle([lat, lon, point], *centre, *metres, *inclusive)
                }
                _ => none(),
            },
        })
    }

    fn place(&self, name: &str) -> Result<(&Field, &Place), QueryError> {
        let (at, field) = self.mapping.field(name).ok_or_else(|| QueryError(format!("unknown field `{name}`")))?;
        Ok((field, &self.layout.fields[at].place))
    }

    /// Values of one field as one clause.
    fn one_of(&self, parts: &[Query]) -> Result<Option<Value>, QueryError> {
        let Some(Query::Term { field: name, .. }) = parts.first() else { return Ok(None) };
        let (field, place) = self.place(name)?;
        let column = match place {
            Place::Keyword(column) | Place::Exact { column, .. } => column,
            _ => return Ok(None),
        };
        let mut values = Vec::new();
        for part in parts {
            match part {
                Query::Term { field: other, value } if other == name => values.push(text(field, value)?),
                _ => return Ok(None),
            }
        }
        if values.len() > MAX_TERMS {
            return Err(QueryError(format!("a list of {} values: OpenSearch takes {MAX_TERMS}", values.len())));
        }
        values.retain(|value| value.len() <= MAX_KEYWORD);
        Ok(Some(json!({ "terms": { column: values } })))
    }

    fn term(&self, name: &str, value: &Literal) -> Result<Value, QueryError> {
        let (field, place) = self.place(name)?;
        Ok(match place {
            Place::Keyword(column) | Place::Exact { column, .. } => {
                let text = text(field, value)?;
                if text.len() > MAX_KEYWORD { none() } else { json!({ "term": { column: text } }) }
            }
            _ => self.range(name, &Bound::Included(value.clone()), &Bound::Included(value.clone()))?,
        })
    }

    fn range(&self, name: &str, lower: &Bound<Literal>, upper: &Bound<Literal>) -> Result<Value, QueryError> {
        let (field, place) = self.place(name)?;
        let read = |bound: &Bound<Literal>| match bound {
            Bound::Included(value) => field.operand(value).map(Bound::Included),
            Bound::Excluded(value) => field.operand(value).map(Bound::Excluded),
            Bound::Unbounded => Ok(Bound::Unbounded),
        };
        let (lower, upper) = (read(lower).map_err(QueryError)?, read(upper).map_err(QueryError)?);
        Ok(match place {
            Place::Bool(column) | Place::Whole { column, .. } => {
                let wrong = || QueryError(format!("`{name}` can't be asked this"));
                let whole = |bound| match bound {
                    Bound::Included(Operand::Whole(whole)) => Ok(Bound::Included(whole)),
                    Bound::Excluded(Operand::Whole(whole)) => Ok(Bound::Excluded(whole)),
                    Bound::Unbounded => Ok(Bound::Unbounded),
                    _ => Err(wrong()),
                };
                match (whole_range(whole(lower)?, whole(upper)?), place) {
                    (None, _) => none(),
                    (Some(range), Place::Bool(_)) => {
                        let held = [(0, false), (1, true)].into_iter().filter(|(value, _)| range.contains(value));
                        let values: Vec<bool> = held.map(|(_, truth)| truth).collect();
                        json!({ "terms": { column: values } })
                    }
                    (Some(range), _) => json!({ "range": { column: { "gte": range.start(), "lte": range.end() } } }),
                }
            }
            Place::Double(column) => bounds(column, &lower, &upper, |operand| match operand {
                Operand::Double(double) => json!(double),
                _ => Value::Null,
            }),
            Place::Keyword(column) | Place::Exact { column, .. } => {
                bounds(column, &lower, &upper, |operand| match operand {
                    Operand::Text(text) => json!(text),
                    Operand::Exact(bytes) => json!(hex(bytes)),
                    _ => Value::Null,
                })
            }
            Place::Words(_) | Place::Point { .. } | Place::Opaque { .. } => none(),
        })
    }

    fn exists(&self, name: &str) -> Result<Value, QueryError> {
        let (at, _) = self.mapping.field(name).ok_or_else(|| QueryError(format!("unknown field `{name}`")))?;
        let laid = &self.layout.fields[at];
        Ok(match &laid.place {
            Place::Keyword(column)
            | Place::Bool(column)
            | Place::Whole { column, .. }
            | Place::Double(column)
            | Place::Exact { column, .. }
            | Place::Point { lat: column, .. } => exists(column),
            Place::Words(_) | Place::Opaque { .. } => json!({ "term": { HAS: laid.name } }),
        })
    }

    /// The order, with the key as its last part.
    pub fn sort(&self, search: &Search) -> Result<Value, QueryError> {
        let mut parts = Vec::new();
        for sort in &search.sort {
            self.sort_by(sort, &mut parts)?;
        }
        parts.push(json!({ KEY: "asc" }));
        Ok(Value::Array(parts))
    }

    fn sort_by(&self, sort: &Sort, parts: &mut Vec<Value>) -> Result<(), QueryError> {
        let order = if sort.descending { "desc" } else { "asc" };
        let by = |column: &str, order: &str| json!({ column: { "order": order, "missing": "_last" } });
        match &sort.by {
            SortBy::Field(name) => match self.place(name)?.1 {
                Place::Whole { column, edge, .. } => {
                    parts.push(by(column, order));
                    parts.extend(edge.iter().map(|edge| by(edge, "asc")));
                }
                Place::Keyword(column) | Place::Bool(column) | Place::Double(column) | Place::Exact { column, .. } => {
                    parts.push(by(column, order));
                }
                Place::Words(_) | Place::Point { .. } | Place::Opaque { .. } => {}
            },
            SortBy::Distance { field, from } => {
                if let (_, Place::Point { lat, lon, .. }) = self.place(field)? {
                    // No distance is negative or as large as a double can be.
                    let missing = if sort.descending { -1.0 } else { f64::MAX };
                    let source = format!(
                        "{DISTANCE}if (doc[params.lat].size() == 0) return params.missing; \
                         return metres(params.from_lat, params.from_lon, doc[params.lat].value, doc[params.lon].value);"
                    );
                    let params = json!({ "lat": lat, "lon": lon, "from_lat": from.lat, "from_lon": from.lon, "missing": missing });
                    parts.push(json!({ "_script": {
                        "type": "number", "order": order,
                        "script": { "lang": "painless", "source": source, "params": params },
                    }}));
                }
            }
        }
        Ok(())
    }
}

/// The literal as its field's text.
fn text(field: &Field, value: &Literal) -> Result<String, QueryError> {
    match field.operand(value).map_err(QueryError)? {
        Operand::Text(text) => Ok(text),
        Operand::Exact(bytes) => Ok(hex(&bytes)),
        _ => Err(QueryError(format!("`{}` can't be asked this", field.name))),
    }
}

fn none() -> Value {
    json!({ "match_none": {} })
}

fn exists(column: &str) -> Value {
    json!({ "exists": { "field": column } })
}

fn any(parts: &[Value]) -> Value {
    json!({ "bool": { "should": parts, "minimum_should_match": 1 } })
}

fn bounds(column: &str, lower: &Bound<Operand>, upper: &Bound<Operand>, value: impl Fn(&Operand) -> Value) -> Value {
    let mut range = serde_json::Map::new();
    match lower {
        Bound::Included(bound) => range.insert("gte".to_owned(), value(bound)),
        Bound::Excluded(bound) => range.insert("gt".to_owned(), value(bound)),
        Bound::Unbounded => None,
    };
    match upper {
        Bound::Included(bound) => range.insert("lte".to_owned(), value(bound)),
        Bound::Excluded(bound) => range.insert("lt".to_owned(), value(bound)),
        Bound::Unbounded => None,
    };
    if range.is_empty() { exists(column) } else { json!({ "range": { column: range } }) }
}

/// Points in the circle: first those in its box, then those surely inside by OpenSearch's own reckoning, and by an exact
/// one those near the edge.
fn circle([lat, lon, point]: [&str; 3], centre: GeoPoint, metres: f64, inclusive: bool) -> Value {
    let within = |column: &str, (low, high): (f64, f64)| json!({ "range": { column: { "gte": low, "lte": high } } });
    let bounding = centre.bounding(metres);
    let mut filters = vec![within(lat, bounding.lat)];
    if !bounding.lon.is_empty() {
        filters.push(any(&bounding.lon.iter().map(|range| within(lon, *range)).collect::<Vec<_>>()));
    } else {
        filters.push(exists(lon));
    }
    let source = format!(
        "{DISTANCE}if (doc[params.lat].size() == 0) return false; \
         double d = metres(params.from_lat, params.from_lon, doc[params.lat].value, doc[params.lon].value); \
         return params.inclusive ? d <= params.metres : d < params.metres;"
    );
    let params = json!({
        "lat": lat, "lon": lon, "from_lat": centre.lat, "from_lon": centre.lon, "metres": metres, "inclusive": inclusive,
    });
    let exactly = json!({ "script": { "script": { "lang": "painless", "source": source, "params": params } } });
    let surely = metres * 0.99 - 100.0;
    if surely > 0.0 {
        let inside = json!({ "geo_distance": { "distance": format!("{surely}m"), point: { "lat": centre.lat, "lon": centre.lon } } });
        filters.push(any(&[inside, exactly]));
    } else {
        filters.push(exactly);
    }
    json!({ "bool": { "filter": filters } })
}
