//! A producer as a user of the SDK would write one: it replays every flight that left New York in 2013, keeps running
//! features of each aircraft and each airport, and writes them as the events happen.
//!
//! [`data`] reads the flights (they are inside of the program), [`events`] puts departures and arrivals in the order in
//! which they happened, [`features`] computes, [`replay`](mod@replay) writes. Only the last does I/O.

pub mod data;
pub mod error;
pub mod events;
pub mod features;
pub mod replay;

use headwater_common::definition::{self, DefinitionError};
use headwater_sdk::Entity;

pub use data::FLIGHTS_OF_THE_YEAR;
pub use error::Error;
pub use replay::{Flights, Progress, Replay, Summary, replay};

/// What the two entities, `aircraft` and `airport`, hold.
pub fn definitions() -> Result<Vec<Entity>, DefinitionError> {
    definition::parse(&[
        ("aircraft.yaml", include_str!("../definitions/aircraft.yaml")),
        ("airport.yaml", include_str!("../definitions/airport.yaml")),
    ])
}
