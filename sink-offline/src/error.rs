//! What can go wrong in this stage, and what each kind of it asks for.

use headwater_common::failure::{Directive, Kind, is_disk_full};
use headwater_common::log::LogError;

pub use crate::bucket::NoBucket;
use crate::position::Refusal;
use crate::schema::{EvolveError, SchemaError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{place}: {source}")]
    Store { place: String, source: object_store::Error },
    #[error("{place} is damaged: {reason}: restore the file, or rebuild the table")]
    Corrupt { place: String, reason: String },
    #[error(
        "{place} asks for reader version {reader} and writer version {writer}, this release writes version 1 and 2: another tool has upgraded the table, rebuild it"
    )]
    Protocol { place: String, reader: u32, writer: u32 },
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error("{place}: {source}")]
    TableSchema { place: String, source: EvolveError },
    #[error("{place}: {source}")]
    Refused { place: String, source: Refusal },
    #[error("{place}: another sink has written partition {partition} up to {stored}: going on from there")]
    Superseded { place: String, partition: u16, stored: String },
    #[error("rows can't be encoded: {0}")]
    Encode(String),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("{0}")]
    Settings(String),
}

impl Error {
    pub fn store(place: impl Into<String>, source: object_store::Error) -> Error {
        Error::Store { place: place.into(), source }
    }

    pub fn kind(&self) -> Kind {
        match self {
            Error::Store { source, .. } => store_kind(source),
            Error::Superseded { .. } => Kind::Fenced,
            Error::Log(error) => error.kind(),
            Error::Corrupt { .. }
            | Error::Protocol { .. }
            | Error::Schema(_)
            | Error::TableSchema { .. }
            | Error::Refused { .. }
            | Error::Encode(_)
            | Error::Settings(_) => Kind::Operator,
        }
    }

    pub fn directive(&self) -> Directive {
        self.kind().directive()
    }

    /// Whether nothing but other settings, another definition or another table can mend it, so that retrying is idle.
    pub fn is_final(&self) -> bool {
        match self {
            Error::Schema(_) | Error::Refused { .. } | Error::Settings(_) | Error::Protocol { .. } => true,
            Error::TableSchema { source, .. } => matches!(source, EvolveError::Refused(_)),
            Error::Store { .. }
            | Error::Corrupt { .. }
            | Error::Superseded { .. }
            | Error::Encode(_)
            | Error::Log(_) => false,
        }
    }
}

/// What a store's error means, by the causes that it names. A conflict (409, 412) has passed by the time that it is
/// asked: who commits looks at the table first.
pub fn store_kind(error: &(dyn std::error::Error + 'static)) -> Kind {
    use object_store::Error as E;
    if error.is::<NoBucket>() {
        return Kind::Operator;
    }
    if let Some(
        E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. },
    ) = error.downcast_ref::<E>()
    {
        return Kind::Operator;
    }
    let io = error.downcast_ref::<std::io::Error>();
    if io.is_some_and(is_disk_full) {
        return Kind::NoSpace;
    }
    // An I/O error's own `source` passes over what it holds.
    match io.and_then(std::io::Error::get_ref) {
        Some(held) => store_kind(held),
        None => error.source().map_or(Kind::Transient, store_kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_apart_from_an_outage_however_deep_it_lies() {
        let of = |kind: std::io::ErrorKind| {
            let source = Box::new(std::io::Error::from(kind));
            Error::store("lake", object_store::Error::Generic { store: "local folder", source })
        };
        assert_eq!(of(std::io::ErrorKind::StorageFull).directive(), Directive::Hold);
        assert_eq!(of(std::io::ErrorKind::TimedOut).directive(), Directive::Retry);
    }

    #[test]
    fn what_only_a_person_can_mend_is_told_through_an_io_error() {
        let denied = object_store::Error::PermissionDenied { path: "x".into(), source: "403".into() };
        let wrapped = std::io::Error::other(denied);
        assert_eq!(store_kind(&wrapped), Kind::Operator);
    }
}
