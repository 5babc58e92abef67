//! The search as its definition says it, on a list of items: what an index is compared with.

use std::cmp::Ordering;
use std::ops::Bound;

use headwater_common::clock::Timestamp;
use headwater_common::definition::{Entity, FeatureType};
use headwater_common::number::Number;
use headwater_common::typed::Typed;
use headwater_common::value::{Item, Value};
use headwater_sink_search::geo::GeoPoint;
use headwater_sink_search::query::{Literal, Query, Search, Sort, SortBy};

use crate::generate::key;

#[derive(Clone, Debug, PartialEq, PartialOrd)]
enum Comparable {
    Text(String),
    Exact(i128, i128),
    Double(f64),
}

pub fn search<'a>(entity: &Entity, items: &'a [Item], search: &Search) -> (u64, Vec<&'a Item>) {
    let mut found: Vec<&Item> = items.iter().filter(|item| matches(entity, item, &search.query)).collect();
    found.sort_by(|one, other| {
        let by_sort = search.sort.iter().map(|sort| compare(entity, one, other, sort)).find(|order| order.is_ne());
        by_sort.unwrap_or_else(|| key(one).to_text().cmp(&key(other).to_text()))
    });
    let total = found.len() as u64;
    (total, found.into_iter().skip(search.offset).take(search.limit).collect())
}

fn matches(entity: &Entity, item: &Item, query: &Query) -> bool {
    match query {
        Query::All => true,
        Query::And(parts) => parts.iter().all(|part| matches(entity, item, part)),
        Query::Or(parts) => parts.iter().any(|part| matches(entity, item, part)),
        Query::Not(part) => !matches(entity, item, part),
        Query::Term { field, value } => values(entity, item, field).contains(&literal(entity, field, value)),
        Query::Range { field, lower, upper } => {
            let held = values(entity, item, field);
            let within = |value: &Comparable| {
                let above = match lower {
                    Bound::Included(bound) => *value >= literal(entity, field, bound),
                    Bound::Excluded(bound) => *value > literal(entity, field, bound),
                    Bound::Unbounded => true,
                };
                above
                    && match upper {
                        Bound::Included(bound) => *value <= literal(entity, field, bound),
                        Bound::Excluded(bound) => *value < literal(entity, field, bound),
                        Bound::Unbounded => true,
                    }
            };
            held.iter().any(within)
        }
        Query::Prefix { field, prefix } => {
            let starts = |value: &Comparable| matches!(value, Comparable::Text(text) if text.starts_with(prefix));
            values(entity, item, field).iter().any(starts)
        }
        Query::Match { field, text } => {
            let Some(Typed::Text(held)) = typed(entity, item, field) else { return false };
            let (held, wanted) = (words(held), words(text));
            !wanted.is_empty() && wanted.iter().all(|word| held.contains(word))
        }
        Query::Exists { field } => typed(entity, item, field).is_some(),
        Query::Geo { field, centre, metres, inclusive } => match point(entity, item, field) {
            Some(point) if *inclusive => centre.distance(point) <= *metres,
            Some(point) => centre.distance(point) < *metres,
            None => false,
        },
    }
}

fn words(text: &str) -> Vec<String> {
    text.split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

fn feature_type(entity: &Entity, field: &str) -> Option<FeatureType> {
    entity.feature(field).map(|feature| feature.feature_type)
}

fn typed<'a>(entity: &Entity, item: &'a Item, field: &str) -> Option<Typed<'a>> {
    feature_type(entity, field)?.read(item.get(field)?).ok().flatten()
}

fn point(entity: &Entity, item: &Item, field: &str) -> Option<GeoPoint> {
    match typed(entity, item, field)? {
        Typed::GeoPoint { lat, lon } => Some(GeoPoint { lat, lon }),
        _ => None,
    }
}

/// As the whole part and thousandths, both carrying the sign.
fn exact(number: &Number) -> Comparable {
    let plain = number.canonical();
    let text = plain.as_str();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    assert!(fraction.len() <= 3, "{text}");
    let thousandths: i128 = format!("{fraction:0<3}").parse().unwrap();
    let sign = if text.starts_with('-') { -1 } else { 1 };
    Comparable::Exact(whole.parse().unwrap(), sign * thousandths)
}

fn whole(value: i64) -> Comparable {
    Comparable::Exact(value.into(), 0)
}

fn values(entity: &Entity, item: &Item, field: &str) -> Vec<Comparable> {
    let Some(feature_type) = feature_type(entity, field) else {
        return match item.get(field) {
            Some(Value::S(text)) => vec![Comparable::Text(text.clone())],
            Some(Value::N(number)) => vec![exact(number)],
            _ => vec![],
        };
    };
    let Some(value) = item.get(field) else { return vec![] };
    match feature_type.read(value).ok().flatten() {
        None => vec![],
        Some(Typed::Text(text)) => vec![Comparable::Text(text.into())],
        Some(Typed::KeywordSet(set)) => set.iter().map(|text| Comparable::Text(text.clone())).collect(),
        Some(Typed::Long(long)) => vec![whole(long)],
        Some(Typed::Bool(truth)) => vec![whole(truth.into())],
        Some(Typed::Timestamp(moment)) => vec![whole(moment.as_millis())],
        Some(Typed::Date(days)) => vec![whole(days.into())],
        Some(Typed::Double(double)) => vec![Comparable::Double(double)],
        Some(Typed::NumberSet(doubles)) => doubles.into_iter().map(Comparable::Double).collect(),
        Some(Typed::Decimal(_)) => vec![exact(value.as_number().unwrap())],
        Some(other) => panic!("{other:?} is not compared"),
    }
}

fn literal(entity: &Entity, field: &str, literal: &Literal) -> Comparable {
    match (feature_type(entity, field), literal) {
        (Some(FeatureType::Timestamp), Literal::Text(text)) => {
            whole(Timestamp::parse_rfc3339(text).unwrap().as_millis())
        }
        (Some(FeatureType::Date), Literal::Text(text)) => {
            match FeatureType::Date.read(&Value::S(text.clone())).unwrap() {
                Some(Typed::Date(days)) => whole(days.into()),
                _ => panic!("{text}"),
            }
        }
        (Some(FeatureType::Double | FeatureType::NumberSet), Literal::Number(number)) => {
            Comparable::Double(number.to_f64())
        }
        (_, Literal::Text(text)) => Comparable::Text(text.clone()),
        (_, Literal::Number(number)) => exact(number),
        (_, Literal::Bool(truth)) => whole((*truth).into()),
    }
}

fn compare(entity: &Entity, one: &Item, other: &Item, sort: &Sort) -> Ordering {
    let value = |item: &Item| match &sort.by {
        SortBy::Field(field) => values(entity, item, field).into_iter().next(),
        SortBy::Distance { field, from } => {
            point(entity, item, field).map(|point| Comparable::Double(from.distance(point)))
        }
    };
    match (value(one), value(other)) {
        (Some(one), Some(other)) if sort.descending => other.partial_cmp(&one).unwrap(),
        (Some(one), Some(other)) => one.partial_cmp(&other).unwrap(),
        (one, other) => one.is_none().cmp(&other.is_none()),
    }
}
