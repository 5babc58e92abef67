//! One aircraft.

use std::collections::VecDeque;
use std::sync::Arc;

use headwater_sdk::{GeoPoint, ItemBuilder, Number, keyword_set};

use super::airport::Airport;
use super::local_day;
use super::recent::Recent;
use crate::data::{Flight, Plane};
use crate::events::{Event, Kind};

const RECENT_DESTINATIONS: usize = 5;

/// Minutes at which one part of the delay profile ends and the next begins.
const PROFILE: [i64; 7] = [-15, 0, 15, 30, 60, 120, 240];

pub struct Aircraft {
    tailnum: String,
    plane: Option<Plane>,
    /// The latest that departed.
    flight: Option<Arc<Flight>>,
    airborne: bool,
    /// Where it was last on the ground.
    airport: Option<(String, GeoPoint)>,
    /// The New York day that `flights_today` counts.
    day: i64,
    flights_today: i64,
    flights_total: i64,
    miles_flown: i64,
    delays: Recent<10>,
    /// Arrivals by delay.
    profile: [u32; PROFILE.len() + 1],
    /// Newest last.
    destinations: VecDeque<String>,
}

impl Aircraft {
    pub fn new(tailnum: String, plane: Option<Plane>) -> Aircraft {
        Aircraft {
            tailnum,
            plane,
            flight: None,
            airborne: false,
            airport: None,
            day: 0,
            flights_today: 0,
            flights_total: 0,
            miles_flown: 0,
            delays: Recent::new(),
            profile: [0; PROFILE.len() + 1],
            destinations: VecDeque::with_capacity(RECENT_DESTINATIONS + 1),
        }
    }

    /// `airport` is where `event` happens.
    pub fn apply(&mut self, event: &Event, airport: &Airport) {
        // Every flight departs from New York, so the clock of its origin is New York's.
        let day = local_day(event.time, event.flight.origin_offset);
        if day != self.day {
            self.day = day;
            self.flights_today = 0;
        }
        match event.kind {
            Kind::Departure { .. } => self.depart(&event.flight, airport),
            Kind::Arrival { delay } => self.arrive(&event.flight, delay, airport),
            Kind::Cancellation => {}
        }
    }

    fn depart(&mut self, flight: &Arc<Flight>, airport: &Airport) {
        self.flight = Some(flight.clone());
        self.airborne = true;
        self.airport = Some(airport.place());
        self.flights_today += 1;
        self.flights_total += 1;
        self.destinations.retain(|destination| *destination != flight.destination);
        self.destinations.push_back(flight.destination.clone());
        if self.destinations.len() > RECENT_DESTINATIONS {
            self.destinations.pop_front();
        }
    }

    fn arrive(&mut self, flight: &Arc<Flight>, delay: i64, airport: &Airport) {
        self.miles_flown += flight.miles;
        self.delays.push(delay);
        self.profile[PROFILE.partition_point(|end| *end <= delay)] += 1;
        // The source has a few aircraft depart again before they arrive: where it is, the latest departure tells.
        if self.flight.as_ref().is_some_and(|latest| Arc::ptr_eq(latest, flight)) {
            self.airborne = false;
            self.airport = Some(airport.place());
        }
    }

    pub fn item(&self) -> ItemBuilder {
        let flight = self.flight.as_ref();
        let plane = self.plane.as_ref();
        let airport = self.airport.as_ref();
        ItemBuilder::new()
            .set("tailnum", &self.tailnum)
            .set("carrier", flight.map(|flight| &flight.carrier))
            .set("manufacturer", plane.map(|plane| &plane.manufacturer))
            .set("model", plane.map(|plane| &plane.model))
            .set("seats", plane.map(|plane| plane.seats))
            .set("last_flight", flight.map(|flight| format!("{}{}", flight.carrier, flight.number)))
            .set("last_airport", airport.map(|(faa, _)| faa))
            .set("last_position", airport.map(|(_, position)| *position))
            .set("airborne", self.airborne)
            .set("flights_today", self.flights_today)
            .set("flights_total", self.flights_total)
            .set("distance_flown_km", kilometres(self.miles_flown))
            .set("delay_mean_10", self.delays.mean())
            .set("delay_max_10", self.delays.max())
            .set("delay_profile", self.delay_profile())
            .set("recent_destinations", keyword_set(&self.destinations))
    }

    fn delay_profile(&self) -> Option<Vec<f32>> {
        let arrivals: u32 = self.profile.iter().sum();
        (arrivals > 0).then(|| self.profile.iter().map(|count| *count as f32 / arrivals as f32).collect())
    }
}

/// To a tenth, exactly: no double on the way, and from the sum, so that roundings do not add up. A mile is 1.609344 km.
fn kilometres(miles: i64) -> Number {
    Number::from_scaled((miles * 1_609_344 + 50_000) / 100_000, 1)
}
