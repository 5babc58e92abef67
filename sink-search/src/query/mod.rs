//! What may be asked of an index: filters, order, page. [`parse`] reads them from text.
//!
//! Promises an answer in one order: by the sort, then by key, and missing values last whatever the direction. Refuses
//! what a field's type can't answer; nothing is ignored.

mod cursor;
mod lexer;
mod parser;
mod syntax_error;

use std::ops::Bound;

use headwater_common::clock::Timestamp;
use headwater_common::number::Number;
use headwater_common::order::Version;
use headwater_common::value::Item;
use serde::Serialize;

pub use self::parser::{parse, parse_sort};
pub use self::syntax_error::SyntaxError;
use crate::geo::GeoPoint;
use crate::mapping::{Field, Form, Mapping};

/// Documents of one page at most.
pub const MAX_LIMIT: usize = 10_000;
/// How deep a page may start. Beyond it the search holds too much: scan instead.
pub const MAX_DEPTH: usize = 100_000;
/// Bytes of items in one page at most.
pub const MAX_PAGE_BYTES: usize = 64 << 20;

/// A value as a query gives it, before it is read by its field's type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Literal {
    Text(String),
    Number(Number),
    Bool(bool),
}

#[derive(Clone, Debug, PartialEq)]
pub enum Query {
    All,
    /// The field, or one value of a set, equals the value.
    Term {
        field: String,
        value: Literal,
    },
    /// The field, or one value of a set, lies between the bounds.
    Range {
        field: String,
        lower: Bound<Literal>,
        upper: Bound<Literal>,
    },
    /// A keyword, or one of a set, begins so.
    Prefix {
        field: String,
        prefix: String,
    },
    /// A text holds all these words, in any order and case.
    Match {
        field: String,
        text: String,
    },
    /// The attribute is there, of its declared type, and not NULL.
    Exists {
        field: String,
    },
    /// The point lies within the circle; `inclusive` of its edge.
    Geo {
        field: String,
        centre: GeoPoint,
        metres: f64,
        inclusive: bool,
    },
    And(Vec<Query>),
    Or(Vec<Query>),
    /// Every other item, those without the field among them.
    Not(Box<Query>),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Sort {
    pub by: SortBy,
    pub descending: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum SortBy {
    Field(String),
    Distance { field: String, from: GeoPoint },
}

/// A filter and the page that is wanted of what it finds.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    pub query: Query,
    /// The key decides where the sorts leave a tie.
    pub sort: Vec<Sort>,
    pub offset: usize,
    pub limit: usize,
}

impl Default for Search {
    fn default() -> Search {
        Search { query: Query::All, sort: Vec::new(), offset: 0, limit: 10 }
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// Everything written before is in this answer; `None` while the index has not caught up once.
    pub as_of: Option<Timestamp>,
    /// Items found, on all pages.
    pub total: u64,
    pub hits: Vec<Hit>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Hit {
    /// The key attributes.
    pub key: Item,
    pub version: Version,
    pub item: Item,
    /// Metres from the point that the search sorts by, or else filters by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
}

/// A search that the fields' types can't answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct QueryError(pub String);

impl Search {
    /// Whether this search can be answered for items of this mapping.
    pub fn check(&self, mapping: &Mapping) -> Result<(), QueryError> {
        if self.limit > MAX_LIMIT {
            return Err(QueryError(format!("a page holds at most {MAX_LIMIT} items, not {}", self.limit)));
        }
        if self.offset.saturating_add(self.limit) > MAX_DEPTH {
            return Err(QueryError(format!("a search reaches {MAX_DEPTH} items deep: narrow it, or scan")));
        }
        self.query.check(mapping)?;
        self.sort.iter().try_for_each(|sort| sort.check(mapping))
    }

    /// The circle's or the order's point, for [`Hit::distance`].
    pub fn origin(&self) -> Option<(&str, GeoPoint)> {
        let sorted = self.sort.iter().find_map(|sort| match &sort.by {
            SortBy::Distance { field, from } => Some((field.as_str(), *from)),
            SortBy::Field(_) => None,
        });
        sorted.or_else(|| self.query.origin())
    }
}

impl Query {
    pub(crate) fn check(&self, mapping: &Mapping) -> Result<(), QueryError> {
        match self {
            Query::All => Ok(()),
            Query::And(parts) | Query::Or(parts) => parts.iter().try_for_each(|part| part.check(mapping)),
            Query::Not(part) => part.check(mapping),
            Query::Term { field, value } => operand(known(mapping, field)?, value),
            Query::Range { field, lower, upper } => {
                let field = known(mapping, field)?;
                can_range(field)?;
                let mut bounds = [lower, upper].into_iter().filter_map(|bound| match bound {
                    Bound::Included(value) | Bound::Excluded(value) => Some(value),
                    Bound::Unbounded => None,
                });
                bounds.try_for_each(|value| operand(field, value))
            }
            Query::Prefix { field, .. } => can_prefix(known(mapping, field)?),
            Query::Match { field, .. } => can_match(known(mapping, field)?),
            Query::Exists { field } => known(mapping, field).map(|_| ()),
            Query::Geo { field, metres, .. } => {
                can_measure(known(mapping, field)?)?;
                if metres.is_finite() && *metres >= 0.0 {
                    Ok(())
                } else {
                    Err(QueryError("a distance is 0 or more".into()))
                }
            }
        }
    }

    fn origin(&self) -> Option<(&str, GeoPoint)> {
        match self {
            Query::Geo { field, centre, .. } => Some((field, *centre)),
            Query::And(parts) | Query::Or(parts) => parts.iter().find_map(Query::origin),
            _ => None,
        }
    }
}

impl Sort {
    pub(crate) fn check(&self, mapping: &Mapping) -> Result<(), QueryError> {
        match &self.by {
            SortBy::Field(field) => can_sort(known(mapping, field)?),
            SortBy::Distance { field, .. } => can_measure(known(mapping, field)?),
        }
    }
}

pub(crate) fn known<'a>(mapping: &'a Mapping, name: &str) -> Result<&'a Field, QueryError> {
    mapping.field(name).map(|(_, field)| field).ok_or_else(|| {
        QueryError(format!("unknown field `{name}`{}", headwater_common::nearest::hint(name, mapping.names())))
    })
}

pub(crate) fn operand(field: &Field, value: &Literal) -> Result<(), QueryError> {
    field.operand(value).map(|_| ()).map_err(QueryError)
}

pub(crate) fn can_range(field: &Field) -> Result<(), QueryError> {
    if !field.is_bool() {
        return Ok(());
    }
    Err(QueryError(format!("`{0}` is bool, which has no order: write `{0} = true`", field.name)))
}

pub(crate) fn can_prefix(field: &Field) -> Result<(), QueryError> {
    let remedy = match field.form() {
        Form::Keyword => return Ok(()),
        Form::Text => format!("write `{} : \"words\"`", field.name),
        _ => "only keywords have prefixes".to_owned(),
    };
    Err(QueryError(format!("`{}` is {}: {remedy}", field.name, field.type_name())))
}

pub(crate) fn can_match(field: &Field) -> Result<(), QueryError> {
    let remedy = match field.form() {
        Form::Text => return Ok(()),
        Form::Keyword => format!("write `{0} = \"…\"` or `{0} prefix \"…\"`", field.name),
        _ => "only text is found by its words".to_owned(),
    };
    Err(QueryError(format!("`{}` is {}: {remedy}", field.name, field.type_name())))
}

pub(crate) fn can_measure(field: &Field) -> Result<(), QueryError> {
    match field.form() {
        Form::Point => Ok(()),
        _ => Err(QueryError(format!("`{}` is {}: a distance needs a geo_point", field.name, field.type_name()))),
    }
}

pub(crate) fn can_sort(field: &Field) -> Result<(), QueryError> {
    let remedy = match field.form() {
        _ if field.is_set() => "a set has no order".to_owned(),
        Form::Keyword | Form::Whole | Form::Double | Form::Exact => return Ok(()),
        Form::Point => format!("sort by `distance({}, lat, lon)`", field.name),
        Form::Text | Form::Opaque => "it has no order".to_owned(),
    };
    Err(QueryError(format!("`{}` is {}: {remedy}", field.name, field.type_name())))
}
