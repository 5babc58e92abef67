//! One airport.

use std::collections::BTreeSet;

use headwater_sdk::{GeoPoint, ItemBuilder, keyword_set};

use super::local_day;
use super::recent::Recent;
use crate::data;
use crate::events::{Event, Kind};

pub struct Airport {
    faa: String,
    name: String,
    timezone: String,
    position: GeoPoint,
    /// The local day that the three counts are of.
    day: i64,
    departures_today: i64,
    arrivals_today: i64,
    cancelled_today: i64,
    departure_delays: Recent<10>,
    carriers: BTreeSet<String>,
}

impl Airport {
    pub fn new(faa: String, airport: data::Airport) -> Airport {
        Airport {
            faa,
            name: airport.name,
            timezone: airport.timezone,
            position: GeoPoint { lat: airport.lat, lon: airport.lon },
            day: 0,
            departures_today: 0,
            arrivals_today: 0,
            cancelled_today: 0,
            departure_delays: Recent::new(),
            carriers: BTreeSet::new(),
        }
    }

    /// Code and position.
    pub fn place(&self) -> (String, GeoPoint) {
        (self.faa.clone(), self.position)
    }

    /// `event` happens here.
    pub fn apply(&mut self, event: &Event) {
        let flight = &event.flight;
        let offset = match event.kind {
            Kind::Departure { .. } | Kind::Cancellation => flight.origin_offset,
            Kind::Arrival { .. } => flight.destination_offset,
        };
        let day = local_day(event.time, offset);
        if day != self.day {
            self.day = day;
            (self.departures_today, self.arrivals_today, self.cancelled_today) = (0, 0, 0);
        }
        match event.kind {
            Kind::Departure { delay } => {
                self.departures_today += 1;
                self.departure_delays.push(delay);
            }
            Kind::Arrival { .. } => self.arrivals_today += 1,
            Kind::Cancellation => self.cancelled_today += 1,
        }
        if !self.carriers.contains(&flight.carrier) {
            self.carriers.insert(flight.carrier.clone());
        }
    }

    pub fn item(&self) -> ItemBuilder {
        ItemBuilder::new()
            .set("faa", &self.faa)
            .set("name", &self.name)
            .set("position", self.position)
            .set("timezone", &self.timezone)
            .set("departures_today", self.departures_today)
            .set("arrivals_today", self.arrivals_today)
            .set("cancelled_today", self.cancelled_today)
            .set("departure_delay_mean_10", self.departure_delays.mean())
            .set("carriers", keyword_set(&self.carriers))
    }
}
