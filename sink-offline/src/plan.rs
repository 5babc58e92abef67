//! What the definition says of a table's rows.

use headwater_common::attribute::Attribute;
use headwater_common::canonical::Wanted;
use headwater_common::definition::{Entity, FeatureType};
use headwater_common::value::Item;

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
/// Room for them, and for what the image before had, since most items of a table have the same attributes.
#[derive(Debug, Default)]
pub struct Values<'a> {
    found: Vec<Option<Attribute<'a>>>,
    /// Every name of the last image, in order, each with its place in what is wanted.
    names: Vec<(&'a str, Option<usize>)>,
}

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
    pub(crate) fn reader<'p, 'a>(&'p self, values: &'p mut Values<'a>) -> Reader<'p, 'a> {
        values.clear(self.places());
        Reader { wanted: &self.wanted, place: None, at: 0, values }
    }

    /// The JSON of each attribute of `item` that is read.
    pub(crate) fn texts(&self, item: &Item) -> Vec<Option<String>> {
        let json = |name: &String| item.get(name).and_then(|value| serde_json::to_string(value).ok());
        self.wanted.iter().map(|(name, _)| json(name)).collect()
    }

    /// `texts` are the item's.
    pub(crate) fn read<'a>(&self, item: &'a Item, texts: &'a [Option<String>]) -> Values<'a> {
        let mut values = Values::default();
        values.clear(self.places());
        for ((name, places), json) in self.wanted.iter().zip(texts) {
            if let Some((value, json)) = item.get(name).zip(json.as_deref()) {
                values.put(places, Attribute::of(value, json));
            }
        }
        values
    }

    pub(crate) fn event_time<'p, 'a>(&'p self, values: &Values<'a>) -> Option<(&'p str, Attribute<'a>)> {
        self.event_time.as_deref().zip(*values.found.get(self.features.len())?)
    }

    /// When the producer wrote the change, by the attribute that it stamps.
    pub(crate) fn write_time<'a>(&self, values: &Values<'a>) -> Option<Attribute<'a>> {
        *values.found.get(self.features.len() + 1)?
    }
}

/// Picks the attributes that are read.
pub(crate) struct Reader<'p, 'a> {
    wanted: &'p [(String, Vec<usize>)],
    /// Of the attribute that was asked for last, in `wanted`.
    place: Option<usize>,
    /// The number of the next attribute.
    at: usize,
    values: &'p mut Values<'a>,
}

impl<'a> Wanted<'a> for Reader<'_, 'a> {
    #[inline]
    fn wants(&mut self, name: &'a str) -> Option<bool> {
        let names = &mut self.values.names;
        match names.get(self.at) {
            // The names up to here are those of the image before, whose order was looked at.
            Some((known, place)) if *known == name => self.place = *place,
            _ => {
                if self.at.checked_sub(1).and_then(|last| names.get(last)).is_some_and(|(last, _)| *last >= name) {
                    return None;
                }
                self.place = self.wanted.binary_search_by(|(wanted, _)| wanted.as_str().cmp(name)).ok();
                names.truncate(self.at);
                names.push((name, self.place));
            }
        }
        self.at += 1;
        Some(self.place.is_some())
    }

    #[inline]
    fn take(&mut self, attribute: Attribute<'a>) {
        if let Some((_, places)) = self.place.and_then(|place| self.wanted.get(place)) {
            self.values.put(places, attribute);
        }
    }
}

impl<'a> Values<'a> {
    fn clear(&mut self, places: usize) {
        self.found.clear();
        self.found.resize(places, None);
    }

    fn put(&mut self, places: &[usize], attribute: Attribute<'a>) {
        for place in places {
            self.found[*place] = Some(attribute);
        }
    }

    pub(crate) fn feature(&self, at: usize) -> Option<Attribute<'a>> {
        *self.found.get(at)?
    }
}
