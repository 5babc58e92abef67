//! The totals of `data/README.md`, counted again from what the program carries.

use std::collections::HashSet;

use headwater_example_flights::data::{self, FLIGHTS_OF_THE_YEAR, Flight};
use headwater_example_flights::events::{Event, Kind, moments};
use headwater_sdk::Timestamp;

fn moment(text: &str) -> Timestamp {
    Timestamp::parse_rfc3339(text).unwrap()
}

fn flights() -> impl Iterator<Item = Flight> {
    data::flights().unwrap().map(Result::unwrap)
}

#[test]
fn the_flights_are_those_of_the_source() {
    let mut flown = HashSet::new();
    let (mut all, mut departed, mut arrived, mut miles, mut departure_delay, mut arrival_delay) = (0, 0, 0, 0, 0, 0);
    for flight in flights() {
        all += 1;
        if let Some(delay) = flight.departure_delay {
            departed += 1;
            departure_delay += delay;
            flown.insert(flight.tailnum.clone().expect("what departs has a tail number"));
        }
        if let Some(arrival) = flight.arrival {
            arrived += 1;
            miles += flight.miles;
            arrival_delay += arrival.delay;
        }
    }
    assert_eq!((all, departed, arrived), (FLIGHTS_OF_THE_YEAR, 328_521, 327_346));
    assert_eq!((miles, departure_delay, arrival_delay), (343_180_156, 4_152_200, 2_257_174));
    assert_eq!(flown.len(), 4_037);
}

#[test]
fn every_flight_takes_a_possible_time() {
    let block = |flight: Flight| Some(flight.arrival?.time.as_millis() - flight.departure.as_millis());
    let minutes: Vec<i64> = flights().filter_map(block).map(|block| block / 60_000).collect();
    assert_eq!((minutes.iter().min(), minutes.iter().max()), (Some(&33), Some(&738)));
}

/// Rows of the source, its local times worked out by hand.
#[test]
fn local_times_become_the_right_moments() {
    let cases = [
        // dep 517, time_hour 10Z; arr 830 in Houston
        ("UA", 1545, "N14228", "2013-01-01T10:17:00Z", "2013-01-01T14:30:00Z"),
        // dep 2400 on 30 October, that is midnight; arr 327 in Puerto Rico
        ("B6", 839, "N661JB", "2013-10-31T04:00:00Z", "2013-10-31T07:27:00Z"),
        // dep 1005 in summer; arr 1527 in Honolulu
        ("HA", 51, "N384HA", "2013-07-01T14:05:00Z", "2013-07-02T01:27:00Z"),
        // dep 655 in summer; arr 855 in Phoenix, which has none
        ("UA", 1138, "N38727", "2013-07-01T10:55:00Z", "2013-07-01T15:55:00Z"),
        // dep 2358 on the eve of the end of summer time; arr 350 in Puerto Rico
        ("B6", 1503, "N594JB", "2013-11-03T03:58:00Z", "2013-11-03T07:50:00Z"),
        // dep 2102 on 1 January; arr 146 in Puerto Rico, on the 2nd
        ("UA", 1180, "N78511", "2013-01-02T02:02:00Z", "2013-01-02T05:46:00Z"),
        // dep 2209; arr 2400
        ("B6", 1109, "N216JB", "2013-01-02T03:09:00Z", "2013-01-02T05:00:00Z"),
        // dep 2306 on 9 March; arr 203 on 10 March, told by a clock that was not put forward: 3:03 in Florida
        ("B6", 35, "N658JB", "2013-03-10T04:06:00Z", "2013-03-10T07:03:00Z"),
    ];
    for (carrier, number, tailnum, departure, arrival) in cases {
        let found = flights().any(|flight| {
            (flight.carrier.as_str(), flight.number, flight.tailnum.as_deref()) == (carrier, number, Some(tailnum))
                && flight.departure == moment(departure)
                && flight.arrival.is_some_and(|at| at.time == moment(arrival))
        });
        assert!(found, "{carrier}{number} at {departure}");
    }
}

#[test]
fn events_are_in_the_order_of_their_time_and_none_is_missing() {
    let events: Vec<Event> = moments(data::flights().unwrap()).flat_map(|moment| moment.unwrap().events).collect();
    let count = |kind: fn(&Kind) -> bool| events.iter().filter(|event| kind(&event.kind)).count();
    assert!(events.is_sorted_by_key(|event| event.time));
    assert_eq!(count(|kind| matches!(kind, Kind::Departure { .. })), 328_521);
    assert_eq!(count(|kind| matches!(kind, Kind::Arrival { .. })), 327_346);
    assert_eq!(count(|kind| matches!(kind, Kind::Cancellation)), 8_255);
    assert_eq!(events.first().unwrap().time, moment("2013-01-01T10:17:00Z"));
    assert_eq!(events.last().unwrap().time, moment("2014-01-01T09:01:00Z"));
}

#[test]
fn every_airport_of_a_flight_is_known() {
    let airports = data::airports().unwrap();
    assert_eq!(airports.len(), 107);
    assert!(
        flights().all(|flight| airports.contains_key(&flight.origin) && airports.contains_key(&flight.destination))
    );
    assert_eq!(airports["JFK"].name, "John F Kennedy Intl");
    assert_eq!(airports["SJU"].timezone, "America/Puerto_Rico");
    assert_eq!(data::planes().unwrap().len(), 3_322);
}
