//! What the definition says of a table's rows.

use std::cmp::Ordering;

use headwater_common::canonical::Wanted;
use headwater_common::definition::{Entity, FeatureType};
use headwater_common::value::{Item, Value};

use crate::schema::{HistorySchema, SchemaError};

/// The columns of a table, and the attributes that they are read from.
#[derive(Debug)]
pub struct Plan {
    pub schema: HistorySchema,
    /// In the order of the definition, which is that of the columns.
    pub(crate) features: Vec<(String, FeatureType)>,
    /// Names of all attributes that are read, sorted, each with the places of its value.
    wanted: Vec<(String, Vec<usize>)>,
    event_time: Option<String>,
}

/// The attributes of one image that are read: one place for each feature, one for the event time, one for the write time.
#[derive(Debug, Default)]
pub(crate) struct Values(Vec<Option<Value>>);

impl Plan {
    pub fn of(entity: &Entity) -> Result<Plan, SchemaError> {
        let schema = HistorySchema::of(entity)?;
        let features: Vec<_> =
            entity.features.iter().map(|feature| (feature.name.clone(), feature.feature_type)).collect();
        let mut wanted: std::collections::BTreeMap<String, Vec<usize>> = Default::default();
        let times = [&entity.event_time, &entity.write_time];
        let names = features.iter().map(|(name, _)| Some(name)).chain(times.map(Option::as_ref));
        for (place, name) in names.enumerate() {
            if let Some(name) = name {
                wanted.entry(name.clone()).or_default().push(place);
            }
        }
        Ok(Plan { schema, features, wanted: wanted.into_iter().collect(), event_time: entity.event_time.clone() })
    }

    fn places(&self) -> usize {
        self.features.len() + 2
    }

    /// Puts the values of an image that is read into `values`.
    pub(crate) fn reader<'a>(&'a self, values: &'a mut Values) -> Reader<'a> {
        values.clear(self.places());
        Reader { wanted: &self.wanted, places: &[], values }
    }

    pub(crate) fn read(&self, item: &Item, values: &mut Values) {
        values.clear(self.places());
        for (name, places) in &self.wanted {
            values.put(places, item.get(name).cloned());
        }
    }

    pub(crate) fn event_time<'a>(&'a self, values: &'a Values) -> Option<(&'a str, &'a Value)> {
        self.event_time.as_deref().zip(values.0.get(self.features.len())?.as_ref())
    }

    /// When the producer wrote the change, by the attribute that it stamps.
    pub(crate) fn write_time<'a>(&self, values: &'a Values) -> Option<&'a Value> {
        values.0.get(self.features.len() + 1)?.as_ref()
    }
}

/// Picks the attributes that are read; both they and the image's are sorted by name.
pub(crate) struct Reader<'a> {
    /// Those that may still come.
    wanted: &'a [(String, Vec<usize>)],
    /// Of the attribute that was asked for last.
    places: &'a [usize],
    values: &'a mut Values,
}

impl Wanted for Reader<'_> {
    fn wants(&mut self, name: &str) -> bool {
        while let Some(((known, places), others)) = self.wanted.split_first() {
            match known.as_str().cmp(name) {
                Ordering::Less => self.wanted = others,
                Ordering::Equal => {
                    (self.wanted, self.places) = (others, places);
                    return true;
                }
                Ordering::Greater => return false,
            }
        }
        false
    }

    fn take(&mut self, value: Value) {
        self.values.put(self.places, Some(value));
    }
}

impl Values {
    fn clear(&mut self, places: usize) {
        self.0.clear();
        self.0.resize(places, None);
    }

    fn put(&mut self, places: &[usize], value: Option<Value>) {
        let Some((last, others)) = places.split_last() else { return };
        for place in others {
            self.0[*place].clone_from(&value);
        }
        self.0[*last] = value;
    }

    pub(crate) fn feature(&self, at: usize) -> Option<&Value> {
        self.0.get(at)?.as_ref()
    }
}
