//! A document that was found, as the answer shows it: the same for every index.

use headwater_common::order::Version;
use headwater_common::value::Item;

use crate::geo::GeoPoint;
use crate::mapping::{Indexed, Mapping};
use crate::query::{Hit, Search};

pub(crate) fn hit(mapping: &Mapping, search: &Search, item: Item, version: Version) -> Hit {
    let names = std::iter::once(&mapping.key.partition).chain(&mapping.key.sort);
    let key = names.filter_map(|part| Some((part.name.clone(), item.get(&part.name)?.clone()))).collect();
    let distance = search.origin().and_then(|(field, from)| distance(mapping, &item, field, from));
    Hit { key, version, item, distance }
}

fn distance(mapping: &Mapping, item: &Item, field: &str, from: GeoPoint) -> Option<f64> {
    match mapping.field(field)?.1.read(item) {
        Ok(Some(Indexed::Point(point))) => Some(from.distance(point)),
        _ => None,
    }
}
