//! Queries with their fields' places and their literals read: what every segment is asked.

use std::ops::Bound;

use tantivy::schema::Field;
use tantivy::tokenizer::TokenStream as _;
use tantivy::{Term, f64_to_u64, i64_to_u64};

use super::Core;
use super::schema::{Column, Place};
use crate::exact::{Whole, whole_range};
use crate::geo::{GeoBox, GeoPoint};
use crate::index::SearchError;
use crate::mapping::{Field as Declared, MAX_KEYWORD, Operand};
use crate::query::{Literal, Query, QueryError};

#[derive(Debug)]
pub(super) enum Plan {
    All,
    None,
    Term(Term),
    /// One of the column's values, in its order-preserving form, lies between the bounds.
    Numbers {
        column: String,
        within: (Bound<u64>, Bound<u64>),
    },
    /// One of the column's texts, or bytes, lies between the bounds.
    Dictionary {
        column: String,
        text: bool,
        within: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    },
    Exists {
        column: String,
    },
    Circle {
        lat: String,
        lon: String,
        circle: Circle,
    },
    And(Vec<Plan>),
    Or(Vec<Plan>),
    Not(Box<Plan>),
}

#[derive(Clone, Debug)]
pub(super) struct Circle {
    pub centre: GeoPoint,
    pub metres: f64,
    pub inclusive: bool,
    /// Measured only within.
    pub bounding: GeoBox,
}

impl Circle {
    pub fn holds(&self, point: GeoPoint) -> bool {
        if !self.bounding.holds(point) {
            return false;
        }
        let distance = self.centre.distance(point);
        if self.inclusive { distance <= self.metres } else { distance < self.metres }
    }
}

impl Core {
    /// Assumes a query that was checked against the mapping.
    pub(super) fn plan(&self, query: &Query) -> Result<Plan, SearchError> {
        let each = |parts: &[Query]| parts.iter().map(|part| self.plan(part)).collect::<Result<Vec<_>, _>>();
        Ok(match query {
            Query::All => Plan::All,
            Query::And(parts) => Plan::And(each(parts)?),
            Query::Or(parts) => Plan::Or(each(parts)?),
            Query::Not(part) => Plan::Not(Box::new(self.plan(part)?)),
            Query::Term { field, value } => match (self.place(field)?, value) {
                ((_, _, Place::Keyword(column)), Literal::Text(text)) if text.len() <= MAX_KEYWORD => {
                    Plan::Term(Term::from_field_text(column.field, text))
                }
                ((_, _, Place::Keyword(_)), _) => Plan::None,
                ((_, declared, place), value) => {
                    let bound = || Bound::Included(value.clone());
                    range(declared, place, &bound(), &bound())?
                }
            },
            Query::Range { field, lower, upper } => {
                let (_, declared, place) = self.place(field)?;
                range(declared, place, lower, upper)?
            }
            Query::Prefix { field, prefix } => match self.place(field)? {
                (_, _, Place::Keyword(column)) => starting_with(column, prefix.as_bytes()),
                _ => return Err(unanswerable(field)),
            },
            Query::Match { field, text } => match self.place(field)? {
                (_, _, Place::Words(words)) => self.words(*words, text)?,
                _ => return Err(unanswerable(field)),
            },
            Query::Exists { field } => self.exists(field)?,
            Query::Geo { field, centre, metres, inclusive } => match self.place(field)? {
                (_, _, Place::Point { lat, lon }) => {
                    let (centre, metres, inclusive) = (*centre, *metres, *inclusive);
                    let circle = Circle { centre, metres, inclusive, bounding: centre.bounding(metres) };
                    Plan::Circle { lat: lat.name.clone(), lon: lon.name.clone(), circle }
                }
                _ => return Err(unanswerable(field)),
            },
        })
    }

    fn place(&self, name: &str) -> Result<(usize, &Declared, &Place), SearchError> {
        let (at, field) = self.mapping.field(name).ok_or_else(|| unanswerable(name))?;
        Ok((at, field, &self.layout.places[at]))
    }

    fn words(&self, field: Field, text: &str) -> Result<Plan, SearchError> {
        let mut analyser = self.index.tokenizer_for_field(field).map_err(|error| self.failed(&error))?;
        let mut words = Vec::new();
        let mut each = |token: &tantivy::tokenizer::Token| {
            words.push(Plan::Term(Term::from_field_text(field, &token.text)));
        };
        analyser.token_stream(text).process(&mut each);
        Ok(if words.is_empty() { Plan::None } else { Plan::And(words) })
    }

    fn exists(&self, name: &str) -> Result<Plan, SearchError> {
        let (at, _, place) = self.place(name)?;
        Ok(match place {
            Place::Keyword(column) | Place::Whole(column) | Place::Double(column) | Place::Exact(column) => {
                Plan::Exists { column: column.name.clone() }
            }
            Place::Point { lat, .. } => Plan::Exists { column: lat.name.clone() },
            Place::Words(_) | Place::Opaque => {
                let place = Bound::Included(at as u64);
                Plan::Numbers { column: super::schema::PRESENT.to_owned(), within: (place, place) }
            }
        })
    }
}

fn unanswerable(field: &str) -> SearchError {
    SearchError::Query(QueryError(format!("`{field}` can't be asked this")))
}

fn range(
    declared: &Declared,
    place: &Place,
    lower: &Bound<Literal>,
    upper: &Bound<Literal>,
) -> Result<Plan, SearchError> {
    let read = |bound: &Bound<Literal>| match bound {
        Bound::Included(value) => declared.operand(value).map(Bound::Included),
        Bound::Excluded(value) => declared.operand(value).map(Bound::Excluded),
        Bound::Unbounded => Ok(Bound::Unbounded),
    };
    let (lower, upper) = (read(lower).map_err(QueryError)?, read(upper).map_err(QueryError)?);
    let wrong = || unanswerable(&declared.name);
    Ok(match place {
        Place::Whole(column) => match whole_range(each(lower, whole)?, each(upper, whole)?) {
            Some(range) => {
                let bound = |value: &i64| Bound::Included(i64_to_u64(*value));
                Plan::Numbers { column: column.name.clone(), within: (bound(range.start()), bound(range.end())) }
            }
            None => Plan::None,
        },
        Place::Double(column) => {
            let double = |operand| match operand {
                Operand::Double(double) => Ok(f64_to_u64(double)),
                _ => Err(wrong()),
            };
            Plan::Numbers { column: column.name.clone(), within: (each(lower, double)?, each(upper, double)?) }
        }
        Place::Keyword(column) | Place::Exact(column) => {
            let bytes = |operand| match operand {
                Operand::Text(text) => Ok(text.into_bytes()),
                Operand::Exact(bytes) => Ok(bytes),
                _ => Err(wrong()),
            };
            let text = matches!(place, Place::Keyword(_));
            let within = (each(lower, bytes)?, each(upper, bytes)?);
            Plan::Dictionary { column: column.name.clone(), text, within }
        }
        Place::Words(_) | Place::Point { .. } | Place::Opaque => return Err(wrong()),
    })
}

fn whole(operand: Operand) -> Result<Whole, SearchError> {
    match operand {
        Operand::Whole(whole) => Ok(whole),
        _ => Err(unanswerable("a whole number")),
    }
}

fn each<T>(bound: Bound<Operand>, read: impl Fn(Operand) -> Result<T, SearchError>) -> Result<Bound<T>, SearchError> {
    Ok(match bound {
        Bound::Included(operand) => Bound::Included(read(operand)?),
        Bound::Excluded(operand) => Bound::Excluded(read(operand)?),
        Bound::Unbounded => Bound::Unbounded,
    })
}

/// Texts with one prefix stand together in a dictionary.
fn starting_with(column: &Column, prefix: &[u8]) -> Plan {
    let upper = match after_prefix(prefix) {
        Some(end) => Bound::Excluded(end),
        None => Bound::Unbounded,
    };
    let within = (Bound::Included(prefix.to_vec()), upper);
    Plan::Dictionary { column: column.name.clone(), text: true, within }
}

/// The least bytes above all that begin with `prefix`; `None` where there are none.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}
