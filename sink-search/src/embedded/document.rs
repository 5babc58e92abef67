//! An operation as a tantivy document.

use headwater_common::value::Item;
use tantivy::TantivyDocument;

use super::schema::{Layout, Place};
use crate::index::Operation;
use crate::mapping::{Indexed, Mapping};

/// The document, and how many attributes were not of their declared type.
pub(super) fn document(layout: &Layout, mapping: &Mapping, key: &str, operation: &Operation) -> (TantivyDocument, u64) {
    let mut document = TantivyDocument::default();
    document.add_text(layout.key, key);
    document.add_u64(layout.version, operation.version.get());
    document.add_bool(layout.live, operation.body.is_some());
    let mismatches = match &operation.body {
        Some(item) => {
            document.add_text(layout.item, item.to_json());
            add_fields(&mut document, layout, mapping, item)
        }
        None => 0,
    };
    (document, mismatches)
}

fn add_fields(document: &mut TantivyDocument, layout: &Layout, mapping: &Mapping, item: &Item) -> u64 {
    let mut mismatches = 0;
    for (at, (field, place)) in mapping.fields().iter().zip(&layout.places).enumerate() {
        match field.read(item) {
            Ok(Some(content)) => add(document, layout, at, place, content),
            Ok(None) => {}
            Err(_) => mismatches += 1,
        }
    }
    mismatches
}

fn add(document: &mut TantivyDocument, layout: &Layout, at: usize, place: &Place, content: Indexed<'_>) {
    match (place, content) {
        (Place::Keyword(column), Indexed::Keywords(texts)) => {
            texts.iter().for_each(|text| document.add_text(column.field, text));
        }
        (Place::Words(field), Indexed::Text(text)) => {
            document.add_text(*field, text);
            document.add_u64(layout.present, at as u64);
        }
        (Place::Whole(column), Indexed::Whole(value)) => document.add_i64(column.field, value),
        (Place::Double(column), Indexed::Doubles(values)) => {
            values.iter().for_each(|value| document.add_f64(column.field, *value));
        }
        (Place::Exact(column), Indexed::Exact(bytes)) => document.add_bytes(column.field, &bytes),
        (Place::Point { lat, lon }, Indexed::Point(point)) => {
            document.add_f64(lat.field, point.lat);
            document.add_f64(lon.field, point.lon);
        }
        (Place::Opaque, Indexed::Opaque) => document.add_u64(layout.present, at as u64),
        // The layout and the content come from the same mapping.
        _ => {}
    }
}
