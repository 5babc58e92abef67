//! What can end a replay early.

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the flight data inside of this program can't be read: {0}; build it again from a clean checkout")]
    Data(String),
    #[error("flight to or from {0}, which the airports lack")]
    UnknownAirport(String),
    #[error("writing {entity} {key} failed: {source}")]
    Write { entity: &'static str, key: String, source: Box<headwater_sdk::Error> },
    #[error("a writer panicked")]
    Panicked,
}
