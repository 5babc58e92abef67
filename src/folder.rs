//! The data folder of one machine's stack.
//!
//! Promises that one process at a time writes to it, that a folder of another layout or with foreign content is refused
//! rather than touched, and that who reads it finds the entities and, while the stack runs, its addresses.

use std::fs::{self, File, TryLockError};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headwater_common::change::TableName;
use headwater_common::definition::Entity;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// The layout that this version reads and writes.
const LAYOUT: u32 = 1;

/// Whose data it is: a demo may start over, anybody else's data stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    Demo,
    Dev,
}

/// `headwater.json` in the folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Marker {
    layout: u32,
    purpose: Purpose,
}

/// Where a running stack answers; `running.json` in the folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub pid: u32,
    pub store: SocketAddr,
    pub http: SocketAddr,
}

#[derive(Clone, Debug)]
pub struct DataFolder {
    root: PathBuf,
}

/// The right to write; given back when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    folder: DataFolder,
    _file: File,
}

impl DataFolder {
    /// A folder that a stack made.
    pub fn existing(root: &Path) -> Result<DataFolder, Failure> {
        let folder = DataFolder { root: root.to_owned() };
        match folder.marker()? {
            Some(_) => Ok(folder),
            None => Err(Failure::environment("there is no Headwater data folder")
                .at(root.display())
                .remedy("name one with --data, or make one with `headwater demo` or `headwater dev`")),
        }
    }

    /// Takes the folder for writing, and makes it if there is none.
    pub fn take(root: &Path, purpose: Purpose) -> Result<FolderLock, Failure> {
        let folder = DataFolder { root: root.to_owned() };
        let known = folder.marker()?;
        if known.is_none() && folder.has_content()? {
            return Err(Failure::environment("the folder holds something else than Headwater's data")
                .at(root.display())
                .remedy("name an empty or a new folder with --data"));
        }
        fs::create_dir_all(root).map_err(|error| unusable(root, &error))?;
        let lock = folder.lock()?;
        if purpose == Purpose::Demo {
            match known {
                Some(Marker { purpose: Purpose::Dev, .. }) => {
                    return Err(Failure::environment(
                        "the folder holds data of `headwater dev`, which a demo would remove",
                    )
                    .at(root.display())
                    .remedy("name another folder with --data"));
                }
                Some(_) => folder.clear()?,
                None => {}
            }
        }
        folder.write("headwater.json", &Marker { layout: LAYOUT, purpose })?;
        Ok(lock)
    }

    /// Takes an existing folder for writing, whatever its purpose.
    pub fn lock(&self) -> Result<FolderLock, Failure> {
        let path = self.root.join("lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| unusable(&path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(FolderLock { folder: self.clone(), _file: file }),
            Err(TryLockError::WouldBlock) => {
                let owner = self.running().map_or_else(|| "another process".into(), |it| format!("process {}", it.pid));
                Err(Failure::environment(format!("the data folder is in use by {owner}"))
                    .at(self.root.display())
                    .remedy("stop it, or name another folder with --data"))
            }
            Err(TryLockError::Error(error)) => Err(unusable(&path, &error)),
        }
    }

    pub fn path(&self) -> &Path {
        &self.root
    }

    pub fn store(&self) -> PathBuf {
        self.root.join("store")
    }

    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub fn lake(&self) -> PathBuf {
        self.root.join("lake")
    }

    pub fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// One table's index.
    pub fn index_of(&self, table: &TableName) -> PathBuf {
        self.index().join(table.as_str())
    }

    /// The entities that the stack last ran with.
    pub fn entities(&self) -> Result<Vec<Entity>, Failure> {
        self.read("entities.json")?.ok_or_else(|| {
            Failure::environment("no stack has run with this data folder yet")
                .at(self.root.display())
                .remedy("start one with `headwater dev`")
        })
    }

    /// The stack that holds the folder now, if one does. What a killed one left behind is not taken for one.
    pub fn running(&self) -> Option<Running> {
        let running: Running = self.read("running.json").ok()??;
        let file = File::options().write(true).open(self.root.join("lock")).ok()?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Some(running),
            _ => None,
        }
    }

    fn marker(&self) -> Result<Option<Marker>, Failure> {
        let marker: Option<Marker> = self.read("headwater.json")?;
        match &marker {
            Some(found) if found.layout != LAYOUT => Err(Failure::environment(format!(
                "the data folder has layout {}, this version reads layout {LAYOUT}",
                found.layout
            ))
            .at(self.root.display())
            .remedy("use the version that made it, or name another folder with --data")),
            _ => Ok(marker),
        }
    }

    fn has_content(&self) -> Result<bool, Failure> {
        match fs::read_dir(&self.root) {
            Ok(mut entries) => Ok(entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != "lock"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(unusable(&self.root, &error)),
        }
    }

    fn clear(&self) -> Result<(), Failure> {
        for part in [self.store(), self.log(), self.lake(), self.index()] {
            match fs::remove_dir_all(&part) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(unusable(&part, &error)),
            }
        }
        Ok(())
    }

    fn read<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Failure> {
        let path = self.root.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(unusable(&path, &error)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            Failure::environment(format!("not what Headwater writes: {error}"))
                .at(path.display())
                .remedy("name another folder with --data")
        })
    }

    /// Written beside and renamed, so that a kill leaves the old or the new.
    fn write(&self, name: &str, value: &impl Serialize) -> Result<(), Failure> {
        let path = self.root.join(name);
        let beside = self.root.join(format!("{name}.new"));
        let written = serde_json::to_vec_pretty(value)
            .map_err(io::Error::other)
            .and_then(|bytes| fs::write(&beside, bytes))
            .and_then(|()| fs::rename(&beside, &path));
        written.map_err(|error| unusable(&path, &error))
    }
}

impl FolderLock {
    pub fn folder(&self) -> &DataFolder {
        &self.folder
    }

    pub fn record_entities(&self, entities: &[Entity]) -> Result<(), Failure> {
        self.folder.write("entities.json", &entities)
    }

    pub fn record_running(&self, running: &Running) -> Result<(), Failure> {
        self.folder.write("running.json", running)
    }
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::environment(format!("can't use it: {error}"))
        .at(path.display())
        .remedy("see its permissions and the disk's room, or name another folder with --data")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_writer_and_readers_see_who() {
        let root = tempfile::tempdir().unwrap();
        let lock = DataFolder::take(root.path(), Purpose::Dev).unwrap();
        let running = Running { pid: 7, store: ([127, 0, 0, 1], 1).into(), http: ([127, 0, 0, 1], 2).into() };
        lock.record_running(&running).unwrap();
        assert_eq!(DataFolder::existing(root.path()).unwrap().running(), Some(running));
        let refused = DataFolder::take(root.path(), Purpose::Dev).unwrap_err();
        assert_eq!(refused.cause, "the data folder is in use by process 7");
        drop(lock);
        assert_eq!(DataFolder::existing(root.path()).unwrap().running(), None);
        DataFolder::take(root.path(), Purpose::Dev).unwrap();
    }

    #[test]
    fn foreign_content_another_layout_and_somebodys_data_are_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("thesis.txt"), "mine").unwrap();
        assert!(DataFolder::take(root.path(), Purpose::Demo).unwrap_err().cause.contains("something else"));
        let newer = tempfile::tempdir().unwrap();
        fs::write(newer.path().join("headwater.json"), r#"{"layout":2,"purpose":"dev"}"#).unwrap();
        assert!(DataFolder::existing(newer.path()).unwrap_err().cause.contains("layout 2"));
        let dev = tempfile::tempdir().unwrap();
        drop(DataFolder::take(dev.path(), Purpose::Dev).unwrap());
        assert!(DataFolder::take(dev.path(), Purpose::Demo).unwrap_err().cause.contains("headwater dev"));
        assert!(DataFolder::existing(&dev.path().join("none")).unwrap_err().cause.contains("no Headwater data folder"));
    }

    #[test]
    fn a_demo_starts_over_in_its_own_folder() {
        let root = tempfile::tempdir().unwrap();
        let lock = DataFolder::take(root.path(), Purpose::Demo).unwrap();
        fs::create_dir_all(lock.folder().lake()).unwrap();
        drop(lock);
        let lock = DataFolder::take(root.path(), Purpose::Demo).unwrap();
        assert!(!lock.folder().lake().exists());
    }
}
