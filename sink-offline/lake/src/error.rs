//! What can go wrong with the lake's tables, and what follows.

use headwater_common::failure::Kind;

use crate::table::state::Unsupported;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{table}: {action}: {source}")]
    Store { table: String, action: String, source: object_store::Error },
    #[error("{table}: {file}: {source}")]
    Parquet { table: String, file: String, source: parquet::errors::ParquetError },
    #[error("{table}: version {version} of the log is damaged: {reason}: restore the file or the table")]
    Damaged { table: String, version: i64, reason: String },
    #[error("{table}: {reason}")]
    Unsupported { table: String, reason: Unsupported },
    #[error("{table}: {source}")]
    Delta { table: String, source: Box<deltalake::DeltaTableError> },
    #[error("{table}: {source}")]
    Arrow { table: String, source: arrow::error::ArrowError },
    /// Somebody else changed what this commit rests on.
    #[error("{table}: another writer changed {what} meanwhile")]
    Conflict { table: String, what: &'static str },
    /// What a commit added is not there any more, because its log or its files were cleaned up.
    #[error("{table}: what version {version} added is gone")]
    Gone { table: String, version: i64 },
    #[error("{table}: the schema can't be used: {reason}")]
    Schema { table: String, reason: String },
    #[error("settings: {0}")]
    Settings(String),
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Store { source, .. } => store_kind(source),
            Error::Parquet { source: parquet::errors::ParquetError::External(source), .. } => source
                .downcast_ref()
                .map_or_else(|| headwater_sink_offline::error::store_kind(source.as_ref()), store_kind),
            Error::Delta { source, .. } => match source.as_ref() {
                deltalake::DeltaTableError::ObjectStore { source } => store_kind(source),
                _ => Kind::Transient,
            },
            Error::Conflict { .. } | Error::Gone { .. } => Kind::Stale,
            Error::Parquet { .. } | Error::Arrow { .. } | Error::Damaged { .. } => Kind::Operator,
            Error::Unsupported { .. } | Error::Schema { .. } | Error::Settings(_) => Kind::Operator,
        }
    }

    /// A file that the table's state names is not there.
    pub fn is_missing_file(&self) -> bool {
        let missing = |source: &object_store::Error| matches!(source, object_store::Error::NotFound { .. });
        match self {
            Error::Gone { .. } => true,
            Error::Store { source, .. } => missing(source),
            Error::Parquet { source: parquet::errors::ParquetError::External(source), .. } => {
                source.downcast_ref().is_some_and(missing)
            }
            _ => false,
        }
    }
}

fn store_kind(error: &object_store::Error) -> Kind {
    match error {
        object_store::Error::NotFound { .. } => Kind::Stale,
        other => headwater_sink_offline::error::store_kind(other),
    }
}
