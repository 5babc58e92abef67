//! A table's folder: one index below it for each mapping, named by the mapping's fingerprint.
//!
//! An index of another mapping is never read as if it were this one's. It is made aside and renamed into place, so
//! that a folder with its final name is always whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tantivy::directory::{INDEX_WRITER_LOCK, MmapDirectory};
use tantivy::{Directory as _, Index, IndexSettings};

use super::failure::{index_error, io_error};
use super::schema::Layout;
use crate::index::IndexError;
use crate::mapping::{Mapping, Outline};

/// The outline of the mapping that an index was made for.
const OUTLINE: &str = "mapping.json";
const UNFINISHED: &str = ".unfinished";

/// Whether an index of another mapping may be given up for a new, empty one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Otherwise {
    Refuse,
    Replace,
}

/// Opens the mapping's index, and makes it where there is none.
pub(super) fn open_or_make(
    folder: &Path,
    mapping: &Mapping,
    layout: &Layout,
    otherwise: Otherwise,
) -> Result<Index, IndexError> {
    let place = folder.display().to_string();
    let failed = |error: io::Error| io_error(&place, &error);
    fs::create_dir_all(folder).map_err(failed)?;
    let outline = mapping.outline();
    let wanted = folder.join(outline.fingerprint());
    let others = others(folder, &wanted).map_err(failed)?;
    if !wanted.exists() {
        if otherwise == Otherwise::Refuse {
            refuse_others(&place, &others, &outline)?;
        }
        make(&wanted, &outline, layout)?;
    }
    let index = open(&wanted)?;
    for other in &others {
        remove_index(other)?;
    }
    strays(&wanted).and_then(|strays| strays.iter().try_for_each(fs::remove_file)).map_err(failed)?;
    Ok(index)
}

/// Opens the mapping's index, which another process may be writing.
pub(super) fn open_existing(folder: &Path, mapping: &Mapping) -> Result<Index, IndexError> {
    let place = folder.display().to_string();
    let outline = mapping.outline();
    let wanted = folder.join(outline.fingerprint());
    if wanted.exists() {
        return open(&wanted);
    }
    let others = if folder.exists() { others(folder, &wanted) } else { Ok(Vec::new()) };
    refuse_others(&place, &others.map_err(|error| io_error(&place, &error))?, &outline)?;
    Err(IndexError::Missing { place })
}

fn open(folder: &Path) -> Result<Index, IndexError> {
    Index::open_in_dir(folder).map_err(|error| index_error(&folder.display().to_string(), &error))
}

fn make(wanted: &Path, outline: &Outline, layout: &Layout) -> Result<(), IndexError> {
    let place = wanted.display().to_string();
    let failed = |error: io::Error| io_error(&place, &error);
    let aside = wanted.with_extension(&UNFINISHED[1..]);
    match fs::remove_dir_all(&aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => fs::create_dir(&aside).map_err(failed)?,
    }
    let settings = IndexSettings { docstore_compress_dedicated_thread: false, ..IndexSettings::default() };
    let directory = MmapDirectory::open(&aside).map_err(|error| index_error(&place, &error.into()))?;
    Index::create(directory, layout.schema.clone(), settings).map_err(|error| index_error(&place, &error))?;
    let json = serde_json::to_vec_pretty(outline).map_err(|error| failed(error.into()))?;
    fs::write(aside.join(OUTLINE), json).map_err(failed)?;
    sync(&aside).map_err(failed)?;
    fs::rename(&aside, wanted).map_err(failed)?;
    wanted.parent().map_or(Ok(()), sync_folder).map_err(failed)
}

fn sync(folder: &Path) -> io::Result<()> {
    fs::File::open(folder.join(OUTLINE))?.sync_all()?;
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Indexes of other mappings, and ones that were never finished.
fn others(folder: &Path, wanted: &Path) -> io::Result<Vec<PathBuf>> {
    let mut others = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path != wanted && (path.join(OUTLINE).exists() || path.to_string_lossy().ends_with(UNFINISHED)) {
            others.push(path);
        }
    }
    Ok(others)
}

/// Temporary files of writes that a crash cut short.
fn strays(wanted: &Path) -> io::Result<Vec<PathBuf>> {
    let mut strays = Vec::new();
    for entry in fs::read_dir(wanted)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(".tmp") {
            strays.push(entry.path());
        }
    }
    Ok(strays)
}

fn refuse_others(place: &str, others: &[PathBuf], wanted: &Outline) -> Result<(), IndexError> {
    for other in others {
        let read = fs::read(other.join(OUTLINE)).ok().and_then(|json| serde_json::from_slice::<Outline>(&json).ok());
        if let Some(found) = read {
            let differences = found.differences(wanted);
            let remedy = "set them back, or start the stack with these, which builds it again from the log";
            return Err(IndexError::MappingChanged { place: place.to_owned(), differences, remedy });
        }
    }
    Ok(())
}

/// Not while another process writes it.
fn remove_index(folder: &Path) -> Result<(), IndexError> {
    let place = folder.display().to_string();
    let _lock = match Index::open_in_dir(folder) {
        Ok(index) => match index.directory().acquire_lock(&INDEX_WRITER_LOCK) {
            Ok(lock) => Some(lock),
            Err(error) => return Err(index_error(&place, &error.into())),
        },
        // What can't be opened is not in use.
        Err(_) => None,
    };
    fs::remove_dir_all(folder).map_err(|error| io_error(&place, &error))
}
