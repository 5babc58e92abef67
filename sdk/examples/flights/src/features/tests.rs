//! The rules that the real flights seldom touch.

use std::sync::Arc;

use headwater_sdk::{Item, Timestamp};

use super::*;
use crate::data::{Arrival, Flight};

fn at(minute: i64) -> Timestamp {
    Timestamp::from_millis(minute * 60_000)
}

fn flight(number: i16, destination: &str, departure: i64, arrival: i64, delay: i64) -> Arc<Flight> {
    Arc::new(Flight {
        carrier: "UA".into(),
        number,
        tailnum: Some("N1".into()),
        origin: "JFK".into(),
        destination: destination.into(),
        miles: 100,
        departure: at(departure),
        departure_delay: Some(0),
        arrival: Some(Arrival { time: at(arrival), delay }),
        origin_offset: -300,
        destination_offset: -480,
    })
}

fn departure(flight: &Arc<Flight>) -> Event {
    Event { kind: Kind::Departure { delay: 0 }, time: flight.departure, flight: flight.clone() }
}

fn arrival(flight: &Arc<Flight>) -> Event {
    let Arrival { time, delay } = flight.arrival.unwrap();
    Event { kind: Kind::Arrival { delay }, time, flight: flight.clone() }
}

fn features() -> Features {
    Features::new(data::airports().unwrap(), data::planes().unwrap())
}

fn apply(features: &mut Features, events: Vec<Event>) -> Vec<Write> {
    features.apply(&Moment { time: events[0].time, events }).unwrap()
}

fn aircraft(writes: Vec<Write>) -> Item {
    writes.into_iter().find(|write| write.entity == "aircraft").unwrap().item.build().unwrap()
}

fn holds(item: &Item, name: &str, json: &str) {
    assert_eq!(item.get(name), Some(&serde_json::from_str(json).unwrap()), "{name}");
}

#[test]
fn an_arrival_before_the_latest_departure_counts_but_says_nothing_of_where_the_aircraft_is() {
    let (first, second) = (flight(1, "LAX", 0, 300, 7), flight(2, "BOS", 200, 400, 9));
    let mut features = features();
    apply(&mut features, vec![departure(&first)]);
    apply(&mut features, vec![departure(&second)]);
    let late = aircraft(apply(&mut features, vec![arrival(&first)]));
    holds(&late, "last_airport", r#"{"S":"JFK"}"#);
    holds(&late, "airborne", r#"{"BOOL":true}"#);
    holds(&late, "delay_max_10", r#"{"N":"7"}"#);
    let landed = aircraft(apply(&mut features, vec![arrival(&second)]));
    holds(&landed, "last_airport", r#"{"S":"BOS"}"#);
    holds(&landed, "airborne", r#"{"BOOL":false}"#);
    holds(&landed, "distance_flown_km", r#"{"N":"321.9"}"#);
}

#[test]
fn what_happens_in_one_minute_is_one_write_of_each_key() {
    let (one, other) = (flight(1, "LAX", 0, 300, 0), flight(2, "BOS", 0, 400, 0));
    let other = Arc::new(Flight { tailnum: Some("N2".into()), ..Flight::clone(&other) });
    let writes = apply(&mut features(), vec![departure(&one), departure(&other)]);
    let keys: Vec<&str> = writes.iter().map(|write| write.key.as_str()).collect();
    assert_eq!(keys, ["N1", "JFK", "N2"]);
    holds(&writes[1].item.clone().build().unwrap(), "departures_today", r#"{"N":"2"}"#);
}

#[test]
fn a_delay_on_a_boundary_of_the_profile_belongs_to_the_part_that_begins_there() {
    for (delay, part) in
        [(-86, 0), (-16, 0), (-15, 1), (-1, 1), (0, 2), (15, 3), (59, 4), (60, 5), (239, 6), (240, 7), (1272, 7)]
    {
        let flight = flight(1, "LAX", 0, 300, delay);
        let mut features = features();
        apply(&mut features, vec![departure(&flight)]);
        let shares: Vec<&str> = (0..8).map(|at| if at == part { r#"{"N":"1"}"# } else { r#"{"N":"0"}"# }).collect();
        let landed = aircraft(apply(&mut features, vec![arrival(&flight)]));
        holds(&landed, "delay_profile", &format!(r#"{{"L":[{}]}}"#, shares.join(",")));
    }
}

#[test]
fn a_destination_that_comes_again_is_the_newest_and_the_oldest_of_six_goes() {
    let mut features = features();
    let mut newest = Vec::new();
    for (at, destination) in ["LAX", "BOS", "SFO", "LAX", "MIA", "ORD", "DEN"].into_iter().enumerate() {
        newest = apply(&mut features, vec![departure(&flight(1, destination, at as i64, 1000, 0))]);
    }
    holds(&aircraft(newest), "recent_destinations", r#"{"SS":["DEN","LAX","MIA","ORD","SFO"]}"#);
}

#[test]
fn an_aircraft_that_the_register_lacks_has_no_model() {
    let item = aircraft(apply(&mut features(), vec![departure(&flight(1, "LAX", 0, 300, 0))]));
    holds(&item, "model", r#"{"NULL":true}"#);
    holds(&item, "seats", r#"{"NULL":true}"#);
}
