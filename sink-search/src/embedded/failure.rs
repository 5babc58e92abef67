//! What tantivy's errors mean here, by their types.

use std::io;

use headwater_common::failure::{is_disk_full, says_disk_full};
use tantivy::TantivyError;
use tantivy::directory::error::{OpenDirectoryError, OpenReadError, OpenWriteError};

use crate::index::IndexError;

pub(super) fn index_error(place: &str, error: &TantivyError) -> IndexError {
    let place = place.to_owned();
    match error {
        TantivyError::IoError(error) => io_error(&place, error),
        TantivyError::OpenWriteError(OpenWriteError::IoError { io_error: error, .. })
        | TantivyError::OpenReadError(OpenReadError::IoError { io_error: error, .. })
        | TantivyError::OpenDirectoryError(OpenDirectoryError::IoError { io_error: error, .. }) => {
            io_error(&place, error)
        }
        TantivyError::LockFailure(..) => IndexError::InUse { place },
        // What fails in a thread of tantivy's comes as a text.
        other if says_disk_full(&other.to_string()) => IndexError::Full { place },
        TantivyError::DataCorruption(_)
        | TantivyError::IncompatibleIndex(_)
        | TantivyError::OpenReadError(_)
        | TantivyError::SchemaError(_) => IndexError::Corrupt { place, reason: error.to_string() },
        _ => IndexError::Unavailable { place, reason: error.to_string() },
    }
}

pub(super) fn io_error(place: &str, error: &io::Error) -> IndexError {
    let place = place.to_owned();
    if is_disk_full(error) {
        return IndexError::Full { place };
    }
    IndexError::Unavailable { place, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_known_in_whatever_form_it_comes() {
        let full = || io::Error::from_raw_os_error(28);
        let wrapped = TantivyError::from(io::Error::other(full()));
        for error in [TantivyError::from(full()), wrapped, TantivyError::InternalError(full().to_string())] {
            assert!(matches!(index_error("here", &error), IndexError::Full { .. }), "{error}");
        }
        let other = TantivyError::InternalError("a thread ended".into());
        assert!(matches!(index_error("here", &other), IndexError::Unavailable { .. }));
    }
}
