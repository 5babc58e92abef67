//! Why the local store could not start or stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use headwater_common::failure::{Kind, is_disk_full};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("local store settings: {0}")]
    Settings(String),
    #[error(
        "address {0} is in use by another program: stop that program, or set another port (port 0 takes any free one)"
    )]
    AddressInUse(SocketAddr),
    #[error("cannot listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error("folder {0} is in use by another process: stop that process, or set another folder")]
    FolderInUse(PathBuf),
    #[error("cannot use folder {folder}: {source}")]
    Folder { folder: PathBuf, source: io::Error },
    #[error("cannot open {file}: {source}")]
    Open { file: PathBuf, source: rusqlite::Error },
    #[error("cannot open {file}: {reason}")]
    Refused { file: PathBuf, reason: String },
    #[error(
        "{file} is not laid out as this build expects ({what}): it was written by another version of dynoxide-rs; \
         use the build that wrote it, or an empty folder"
    )]
    Layout { file: PathBuf, what: String },
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the local store's server ended by itself: {0}")]
    Server(String),
}

impl Error {
    pub fn kind(&self) -> Kind {
        match self {
            Error::Folder { source, .. } | Error::Listen { source, .. } if is_disk_full(source) => Kind::NoSpace,
            Error::Sqlite(source) | Error::Open { source, .. } => sqlite_kind(source),
            Error::Settings(_)
            | Error::AddressInUse(_)
            | Error::Listen { .. }
            | Error::FolderInUse(_)
            | Error::Folder { .. }
            | Error::Refused { .. }
            | Error::Layout { .. }
            | Error::Server(_) => Kind::Operator,
        }
    }
}

fn sqlite_kind(error: &rusqlite::Error) -> Kind {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => Kind::NoSpace,
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => Kind::Transient,
        _ => Kind::Operator,
    }
}
