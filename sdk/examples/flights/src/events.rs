//! What happens to flights, moment by moment.
//!
//! Promises event-time order with a memory of the flights in the air and no more. Assumes flights in the order of their
//! departure.

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::sync::Arc;

use headwater_sdk::Timestamp;

use crate::data::Flight;
use crate::error::Error;

/// All that happens in one minute, the finest time that the source tells: arrivals first, then in the order of departure.
#[derive(Clone, Debug)]
pub struct Moment {
    pub time: Timestamp,
    pub events: Vec<Event>,
}

#[derive(Clone, Debug)]
pub struct Event {
    pub kind: Kind,
    pub time: Timestamp,
    pub flight: Arc<Flight>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Delays are in minutes, negative if early.
    Departure {
        delay: i64,
    },
    Arrival {
        delay: i64,
    },
    /// At the scheduled departure.
    Cancellation,
}

/// The moments of flights in the order of their departure.
pub fn moments<F: Iterator<Item = Result<Flight, Error>>>(
    flights: F,
) -> impl Iterator<Item = Result<Moment, Error>> + use<F> {
    let mut events = Events::of(flights).peekable();
    std::iter::from_fn(move || {
        let first = match events.next()? {
            Ok(event) => event,
            Err(error) => return Some(Err(error)),
        };
        let mut moment = Moment { time: first.time, events: vec![first] };
        while let Some(Ok(event)) = events.next_if(|next| next.as_ref().is_ok_and(|event| event.time == moment.time)) {
            moment.events.push(event);
        }
        Some(Ok(moment))
    })
}

/// A departure, and where there was one an arrival, or a cancellation for each flight.
struct Events<F: Iterator> {
    flights: Peekable<F>,
    /// By the arrival's time, then in the order of departure.
    airborne: BTreeMap<(Timestamp, u64), (Arc<Flight>, i64)>,
    departures: u64,
}

impl<F: Iterator<Item = Result<Flight, Error>>> Events<F> {
    fn of(flights: F) -> Events<F> {
        Events { flights: flights.peekable(), airborne: BTreeMap::new(), departures: 0 }
    }

    /// The next arrival, unless a flight departs before it.
    fn arrival(&mut self) -> Option<Event> {
        let next = self.airborne.first_entry()?;
        let (time, _) = *next.key();
        match self.flights.peek() {
            Some(Ok(flight)) if flight.departure < time => None,
            Some(Err(_)) => None,
            Some(Ok(_)) | None => {
                let (flight, delay) = next.remove();
                Some(Event { kind: Kind::Arrival { delay }, time, flight })
            }
        }
    }

    fn departure(&mut self, flight: Flight) -> Event {
        let flight = Arc::new(flight);
        let kind = match flight.departure_delay {
            Some(delay) => Kind::Departure { delay },
            None => Kind::Cancellation,
        };
        if let Some(arrival) = flight.arrival {
            self.airborne.insert((arrival.time, self.departures), (flight.clone(), arrival.delay));
            self.departures += 1;
        }
        Event { kind, time: flight.departure, flight }
    }
}

impl<F: Iterator<Item = Result<Flight, Error>>> Iterator for Events<F> {
    type Item = Result<Event, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(arrival) = self.arrival() {
            return Some(Ok(arrival));
        }
        let flight = self.flights.next()?;
        Some(flight.map(|flight| self.departure(flight)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Arrival;

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_millis(minute * 60_000)
    }

    fn flight(number: i16, departure: i64, arrival: Option<i64>) -> Result<Flight, Error> {
        Ok(Flight {
            carrier: "UA".into(),
            number,
            tailnum: Some("N1".into()),
            origin: "JFK".into(),
            destination: "LAX".into(),
            miles: 2475,
            departure: at(departure),
            departure_delay: Some(0),
            arrival: arrival.map(|minute| Arrival { time: at(minute), delay: 0 }),
            origin_offset: -300,
            destination_offset: -480,
        })
    }

    /// Minute, number and whether it arrives, of each event of each moment.
    fn order(flights: Vec<Result<Flight, Error>>) -> Vec<Vec<(i64, i16, bool)>> {
        let event = |event: &Event| {
            let minute = event.time.as_millis() / 60_000;
            (minute, event.flight.number, matches!(event.kind, Kind::Arrival { .. }))
        };
        moments(flights.into_iter()).map(|moment| moment.unwrap().events.iter().map(event).collect()).collect()
    }

    #[test]
    fn arrivals_come_between_the_departures_around_them_and_a_minute_is_one_moment() {
        let flights =
            vec![flight(1, 0, Some(100)), flight(2, 10, Some(20)), flight(3, 20, None), flight(4, 99, Some(100))];
        let expected = [
            vec![(0, 1, false)],
            vec![(10, 2, false)],
            vec![(20, 2, true), (20, 3, false)],
            vec![(99, 4, false)],
            vec![(100, 1, true), (100, 4, true)],
        ];
        assert_eq!(order(flights), expected);
    }

    #[test]
    fn a_flight_without_departure_delay_was_cancelled() {
        let cancelled = Flight { departure_delay: None, arrival: None, ..flight(1, 5, None).unwrap() };
        let events: Vec<_> = Events::of(std::iter::once(Ok(cancelled))).map(Result::unwrap).collect();
        assert_eq!((events.len(), events[0].kind, events[0].time), (1, Kind::Cancellation, at(5)));
    }

    #[test]
    fn nothing_follows_data_that_cannot_be_read_before_the_error() {
        let broken = vec![flight(1, 0, Some(100)), Err(Error::Data("cut off".into()))];
        let mut moments = moments(broken.into_iter());
        assert!(moments.next().unwrap().is_ok());
        assert!(moments.next().unwrap().is_err());
    }
}
