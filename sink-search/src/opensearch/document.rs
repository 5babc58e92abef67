//! An operation as the two lines of a bulk request. Pure.

use std::io::Write as _;

use headwater_common::clock::Timestamp;
use headwater_common::typed::Typed;
use headwater_common::value::Item;
use serde::Serialize;

use super::layout::{Laid, Layout, Place, hex};
use crate::index::Operation;
use crate::mapping::{Field, Indexed, Mapping};

const DAY: i64 = 86_400_000;
/// Years 1 to 9999, which every date library reads.
const DATES: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Appends the operation's lines; gives how many of its attributes were left out of their fields.
pub(super) fn append(out: &mut Vec<u8>, layout: &Layout, mapping: &Mapping, operation: &Operation) -> u64 {
    let version = operation.version.get();
    out.extend_from_slice(b"{\"index\":{\"_id\":");
    json(out, &operation.key.document_id());
    write!(out, ",\"version\":{version},\"version_type\":\"external\"}}}}\n{{\"_hw\":{{\"key\":").unwrap_or_default();
    json(out, &operation.key.to_text());
    write!(out, ",\"version\":{version},\"live\":{}", operation.body.is_some()).unwrap_or_default();
    let mismatches = match &operation.body {
        Some(item) => {
            let (features, has, mismatches) = features(layout, mapping, item);
            if !has.is_empty() {
                out.extend_from_slice(b",\"has\":");
                json(out, &has);
            }
            out.extend_from_slice(b",\"item\":");
            json(out, item);
            out.push(b'}');
            out.extend_from_slice(&features);
            mismatches
        }
        None => {
            out.push(b'}');
            0
        }
    };
    out.extend_from_slice(b"}\n");
    mismatches
}

/// Every feature as `,"name":{…}`, the names of those that only `has` shows, and how many were not of their type.
fn features<'a>(layout: &'a Layout, mapping: &Mapping, item: &Item) -> (Vec<u8>, Vec<&'a str>, u64) {
    let (mut out, mut has, mut mismatches) = (Vec::new(), Vec::new(), 0);
    for (field, laid) in mapping.fields().iter().zip(&layout.fields) {
        let content = match field.read(item) {
            Ok(Some(content)) => content,
            Ok(None) => continue,
            Err(_) => {
                mismatches += 1;
                continue;
            }
        };
        if matches!(laid.place, Place::Words(_) | Place::Opaque { .. }) {
            has.push(laid.name.as_str());
        }
        let start = out.len();
        out.push(b',');
        json(&mut out, &laid.name);
        out.extend_from_slice(b":{");
        match feature(&mut out, field, laid, &content, item) {
            Fields::Some => out.push(b'}'),
            Fields::None => out.truncate(start),
            Fields::LeftOut => {
                mismatches += 1;
                out.truncate(start);
            }
        }
    }
    (out, has, mismatches)
}

enum Fields {
    Some,
    /// The feature has no field of its own.
    None,
    /// It has, and OpenSearch would refuse the whole document for this value.
    LeftOut,
}

fn feature(out: &mut Vec<u8>, field: &Field, laid: &Laid, content: &Indexed<'_>, item: &Item) -> Fields {
    match (&laid.place, content) {
        (Place::Keyword(_), Indexed::Keywords(texts)) => member(out, "keyword", texts),
        (Place::Words(_), Indexed::Text(text)) => {
            let words: Vec<String> = crate::words::words(text).collect();
            member(out, "text", &words.join(" "));
        }
        (Place::Bool(_), Indexed::Whole(value)) => member(out, "boolean", &(*value != 0)),
        (Place::Whole { edge, date, .. }, Indexed::Whole(value)) => {
            member(out, "long", value);
            if edge.is_some() && matches!(*value, i64::MIN | i64::MAX) {
                out.push(b',');
                member(out, "edge", &true);
            }
            // A timestamp is in milliseconds and has edges, a date is in days and has none.
            let millis = if edge.is_some() { *value } else { value.saturating_mul(DAY) };
            if date.is_some() && DATES.contains(&millis) {
                out.push(b',');
                member(out, "date", &Timestamp::from_millis(millis).to_rfc3339());
            }
        }
        (Place::Double(_), Indexed::Doubles(values)) => member(out, "double", values),
        (Place::Exact { .. }, Indexed::Exact(bytes)) => {
            member(out, "exact", &hex(bytes));
            if let Some(number) = item.get(&field.name).and_then(|value| value.as_number()) {
                out.push(b',');
                member(out, "double", &number.to_f64());
            }
        }
        (Place::Point { .. }, Indexed::Point(point)) => {
            member(out, "lat", &point.lat);
            out.push(b',');
            member(out, "lon", &point.lon);
            out.push(b',');
            member(out, "geo_point", point);
        }
        (Place::Opaque { vector: Some(_) }, Indexed::Opaque) => match vector(field, item) {
            Some(vector) => member(out, "vector", &vector),
            None => return Fields::LeftOut,
        },
        // The layout and the content come from the same mapping.
        _ => return Fields::None,
    }
    Fields::Some
}

/// A vector without a direction has no cosine.
fn vector(field: &Field, item: &Item) -> Option<Vec<f32>> {
    match field.feature_type()?.read(item.get(&field.name)?) {
        Ok(Some(Typed::Vector(vector))) => {
            let square: f32 = vector.iter().map(|value| value * value).sum();
            (square > 0.0 && square.is_finite()).then_some(vector)
        }
        _ => None,
    }
}

fn member(out: &mut Vec<u8>, name: &str, value: &(impl Serialize + ?Sized)) {
    json(out, name);
    out.push(b':');
    json(out, value);
}

/// Texts, numbers and items can't fail to serialise into memory.
fn json(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).unwrap_or_default();
}

#[cfg(test)]
#[path = "document_tests.rs"]
mod tests;
