//! A local file system whose writes are on stable storage before they answer, and whole before they are visible.
//!
//! `object_store`'s own does neither sync the file nor its directory: after a power cut, a commit that was answered could
//! be gone or empty, and an empty commit makes a Delta table unreadable. Here a file is written aside and synced, then
//! linked (put-if-absent) or renamed under its name, then the directory is synced.

use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// Rooted at `/`.
pub struct DurableLocal {
    inner: Arc<LocalFileSystem>,
    /// On the same file system as what is written. What a crash leaves here is in nobody's way.
    staging: PathBuf,
}

impl DurableLocal {
    pub fn new(staging: PathBuf) -> DurableLocal {
        DurableLocal { inner: Arc::new(LocalFileSystem::new()), staging }
    }
}

impl fmt::Debug for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DurableLocal({})", self.staging.display())
    }
}

impl fmt::Display for DurableLocal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for DurableLocal {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let create = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let path = self.inner.path_to_filesystem(location)?;
        let staged = self.staging.join(uuid::Uuid::new_v4().to_string());
        blocking(move || {
            let written = write_synced(&staged, &payload).and_then(|()| publish(&staged, &path, create));
            if written.is_err() || create {
                // The link stays; a file that can't be removed here is in nobody's way.
                std::fs::remove_file(&staged).ok();
            }
            written.map_err(|error| store_error(&path, error))
        })
        .await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        let path = self.inner.path_to_filesystem(location)?;
        let inner = self.inner.put_multipart_opts(location, opts).await?;
        Ok(Box::new(SyncedUpload { inner, path }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.settle(to).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.settle(to).await
    }
}

impl DurableLocal {
    async fn settle(&self, location: &Path) -> Result<()> {
        let path = self.inner.path_to_filesystem(location)?;
        blocking(move || sync_file_and_name(&path).map_err(|error| store_error(&path, error))).await
    }
}

/// A file of several parts, synced once it is whole.
#[derive(Debug)]
struct SyncedUpload {
    inner: Box<dyn MultipartUpload>,
    path: PathBuf,
}

#[async_trait]
impl MultipartUpload for SyncedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        let path = self.path.clone();
        blocking(move || sync_file_and_name(&path).map_err(|error| store_error(&path, error))).await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await?
}

fn write_synced(path: &FsPath, payload: &PutPayload) -> std::io::Result<()> {
    let mut file = File::create_new(path)?;
    for part in payload.iter() {
        file.write_all(part)?;
    }
    file.sync_all()
}

fn publish(staged: &FsPath, path: &FsPath, create: bool) -> std::io::Result<()> {
    let place = || if create { std::fs::hard_link(staged, path) } else { std::fs::rename(staged, path) };
    match place() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            make_folders(path.parent().unwrap_or(FsPath::new("/")))?;
            place()?;
        }
        placed => placed?,
    }
    sync_name(path)
}

/// Makes the missing folders, and syncs the name of each in its parent.
fn make_folders(folder: &FsPath) -> std::io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder.parent() {
        make_folders(parent)?;
    }
    match std::fs::create_dir(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_name(folder),
    }
}

fn sync_file_and_name(path: &FsPath) -> std::io::Result<()> {
    File::open(path)?.sync_all()?;
    sync_name(path)
}

fn sync_name(path: &FsPath) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn store_error(path: &FsPath, error: std::io::Error) -> Error {
    let (path, source) = (path.display().to_string(), error);
    match source.kind() {
        std::io::ErrorKind::AlreadyExists => Error::AlreadyExists { path, source: Box::new(source) },
        std::io::ErrorKind::NotFound => Error::NotFound { path, source: Box::new(source) },
        std::io::ErrorKind::PermissionDenied => Error::PermissionDenied { path, source: Box::new(source) },
        _ => Error::Generic { store: "local folder", source: Box::new(source) },
    }
}
