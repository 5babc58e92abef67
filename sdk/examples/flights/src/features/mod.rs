//! Running features of aircraft and airports: what each moment changes, and the items that come of it.
//!
//! Pure: the same moments give the same items. Assumes moments in the order of their time. Keeps the state of every
//! aircraft and airport in memory; a service that restarts would take it from the store (`EntityStore::get`).

mod aircraft;
mod airport;
mod recent;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

use headwater_sdk::{ItemBuilder, Timestamp};

use self::aircraft::Aircraft;
use self::airport::Airport;
use crate::data;
use crate::error::Error;
use crate::events::{Event, Kind, Moment};

/// One item to put.
#[derive(Clone, Debug)]
pub struct Write {
    pub entity: &'static str,
    pub key: String,
    pub item: ItemBuilder,
    pub event_time: Timestamp,
}

pub struct Features {
    airports: HashMap<String, Airport>,
    aircraft: HashMap<String, Aircraft>,
    planes: HashMap<String, data::Plane>,
}

impl Features {
    pub fn new(airports: HashMap<String, data::Airport>, planes: HashMap<String, data::Plane>) -> Features {
        let airports = airports.into_iter().map(|(faa, airport)| (faa.clone(), Airport::new(faa, airport))).collect();
        Features { airports, aircraft: HashMap::new(), planes }
    }

    /// The new features of each aircraft and each airport that `moment` changes, once: of two writes with one event time
    /// a store that keeps the newest would refuse the second.
    pub fn apply(&mut self, moment: &Moment) -> Result<Vec<Write>, Error> {
        for event in &moment.events {
            let faa = airport_of(event);
            let airport = self.airports.get_mut(faa).ok_or_else(|| Error::UnknownAirport(faa.to_owned()))?;
            airport.apply(event);
            if let Some(tailnum) = aircraft_of(event) {
                let plane = self.planes.get(tailnum);
                let new = || Aircraft::new(tailnum.to_owned(), plane.cloned());
                self.aircraft.entry(tailnum.to_owned()).or_insert_with(new).apply(event, airport);
            }
        }
        let mut writes = Vec::with_capacity(2 * moment.events.len());
        let mut write = |entity, key: &str, item: Option<ItemBuilder>| {
            let written = |write: &Write| write.entity == entity && write.key == key;
            if let Some(item) = item.filter(|_| !writes.iter().any(written)) {
                writes.push(Write { entity, key: key.to_owned(), item, event_time: moment.time });
            }
        };
        for event in &moment.events {
            if let Some(tailnum) = aircraft_of(event) {
                write("aircraft", tailnum, self.aircraft.get(tailnum).map(Aircraft::item));
            }
            let faa = airport_of(event);
            write("airport", faa, self.airports.get(faa).map(Airport::item));
        }
        Ok(writes)
    }
}

/// Where it happens.
fn airport_of(event: &Event) -> &str {
    match event.kind {
        Kind::Departure { .. } | Kind::Cancellation => &event.flight.origin,
        Kind::Arrival { .. } => &event.flight.destination,
    }
}

/// A cancellation happens to no aircraft.
fn aircraft_of(event: &Event) -> Option<&str> {
    event.flight.tailnum.as_deref().filter(|_| event.kind != Kind::Cancellation)
}

/// The local day (days since 1970-01-01) at `moment`, where the clock is `offset` minutes ahead of UTC.
fn local_day(moment: Timestamp, offset: i64) -> i64 {
    (moment.as_millis() / 60_000 + offset).div_euclid(24 * 60)
}
