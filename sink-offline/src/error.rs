//! What can go wrong in this stage, and what each kind of it asks for.

use headwater_common::failure::{Directive, Kind, is_disk_full};
use headwater_common::log::LogError;

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
    Protocol { place: String, reader: i32, writer: i32 },
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

fn store_kind(error: &object_store::Error) -> Kind {
    use object_store::Error as E;
    match error {
        E::PermissionDenied { .. }
        | E::Unauthenticated { .. }
        | E::InvalidPath { .. }
        | E::NotSupported { .. }
        | E::NotImplemented { .. }
        | E::UnknownConfigurationKey { .. } => Kind::Operator,
        other if disk_full(other) => Kind::NoSpace,
        _ => Kind::Transient,
    }
}

fn disk_full(error: &object_store::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.downcast_ref::<std::io::Error>().is_some_and(is_disk_full) {
            return true;
        }
        cause = error.source();
    }
    false
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
}
