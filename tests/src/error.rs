//! What can go wrong with the harness itself, as opposed to a broken promise, which is a [`crate::check::Violation`].

use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("{path}: {reason}")]
    Lake { path: PathBuf, reason: String },
    #[error("{what}: {reason}")]
    Server { what: String, reason: String },
    #[error("{what}: {reason}")]
    Process { what: String, reason: String },
    #[error("{what} did not happen within {waited:?}, last seen: {last_seen}")]
    Deadline { what: String, waited: Duration, last_seen: String },
    #[error("{what} is not as expected: {reason}")]
    Answer { what: String, reason: String },
}

impl Error {
    pub fn file(path: &Path, source: std::io::Error) -> Error {
        Error::File { path: path.to_owned(), source }
    }

    pub fn lake(path: &Path, reason: impl ToString) -> Error {
        Error::Lake { path: path.to_owned(), reason: reason.to_string() }
    }

    pub fn server(what: impl Into<String>, reason: impl ToString) -> Error {
        Error::Server { what: what.into(), reason: reason.to_string() }
    }

    pub fn process(what: impl Into<String>, reason: impl ToString) -> Error {
        Error::Process { what: what.into(), reason: reason.to_string() }
    }

    pub fn answer(what: impl Into<String>, reason: impl ToString) -> Error {
        Error::Answer { what: what.into(), reason: reason.to_string() }
    }
}
