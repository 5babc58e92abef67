//! Where the lake lies: one object store, one root, two tables for each source table.
//!
//! Promises that a store it made itself is durable when a write answers. Assumes that the store has put-if-absent,
//! which a Delta commit rests on: a folder has it by links, S3 by conditional puts.

use std::fmt;
use std::path::Path as FsPath;
use std::sync::{Arc, Once};

use deltalake::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore, logstore_factories,
};
use deltalake::{DeltaResult, DeltaTable, DeltaTableBuilder, DeltaTableError};
use headwater_common::change::TableName;
use object_store::ObjectStore;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use url::Url;

use crate::bucket::Bucket;
use crate::local::DurableLocal;
use crate::s3::S3;

#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    #[error("the lake's folder {folder} can't be used: {source}")]
    Folder { folder: String, source: std::io::Error },
    #[error("the lake's folder {0} is no absolute path that a URL can name")]
    NoUrl(String),
    #[error("the lake's place {0} is neither a folder nor s3://bucket/prefix")]
    NoPlace(String),
    #[error("the lake's s3 settings can't work: {0}")]
    Settings(String),
    #[error("the lake's place {place} can't be used: {source}")]
    Bucket { place: String, source: object_store::Error },
}

/// All tables of one lake.
#[derive(Clone)]
pub struct Lake {
    store: Arc<dyn ObjectStore>,
    root: Url,
}

impl fmt::Debug for Lake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lake({})", self.root)
    }
}

impl Lake {
    /// A lake in a bucket (`s3://bucket/prefix`), which must be there, or in a local folder, which is made if there is
    /// none. Asks nothing of the bucket yet: its errors come with the first request.
    pub fn open(place: &str, s3: &S3) -> Result<Lake, LakeError> {
        if !place.contains("://") {
            return Lake::local(FsPath::new(place));
        }
        let url = Url::parse(place).ok().filter(|url| url.scheme() == "s3");
        let bucket = url.as_ref().and_then(Url::host_str).filter(|bucket| !bucket.is_empty());
        let (Some(url), Some(bucket)) = (&url, bucket) else { return Err(LakeError::NoPlace(place.to_owned())) };
        s3.check().map_err(LakeError::Settings)?;
        let store = s3.bucket(bucket).map_err(|source| LakeError::Bucket { place: place.to_owned(), source })?;
        Ok(Lake::new(Arc::new(Bucket::new(store, bucket)), url.clone()))
    }

    /// A lake in a local folder, which is made if there is none.
    pub fn local(folder: &FsPath) -> Result<Lake, LakeError> {
        let failed = |source| LakeError::Folder { folder: folder.display().to_string(), source };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let absolute = folder.canonicalize().map_err(failed)?;
        let root =
            Url::from_directory_path(&absolute).map_err(|()| LakeError::NoUrl(absolute.display().to_string()))?;
        let staging = absolute.join(".staging");
        std::fs::create_dir_all(&staging).map_err(failed)?;
        Ok(Lake { store: Arc::new(DurableLocal::new(staging)), root })
    }

    /// A lake in any store. `store` is the whole store (a bucket, a file system from `/` on), `root` the lake's place in it.
    pub fn new(store: Arc<dyn ObjectStore>, mut root: Url) -> Lake {
        if !root.path().ends_with('/') {
            root.set_path(&format!("{}/", root.path()));
        }
        Lake { store, root }
    }

    pub fn store(&self) -> Arc<dyn ObjectStore> {
        self.store.clone()
    }

    pub fn root(&self) -> &Url {
        &self.root
    }

    /// The table of this name, such as [`history_name`] gives.
    pub fn table(&self, name: &str) -> TableLocation {
        let mut url = self.root.clone();
        // DynamoDB's table names have letters, digits, `_`, `-` and `.` only.
        url.set_path(&format!("{}{name}/", self.root.path()));
        let prefix = Path::from_url_path(url.path()).unwrap_or_else(|_| Path::from(name));
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(self.store.clone(), prefix));
        TableLocation { name: name.to_owned(), store, root_store: self.store.clone(), url }
    }

    pub fn history(&self, table: &TableName) -> TableLocation {
        self.table(&history_name(table))
    }

    pub fn current(&self, table: &TableName) -> TableLocation {
        self.table(&current_name(table))
    }
}

/// The append-only table of every change of `table`.
pub fn history_name(table: &TableName) -> String {
    format!("{table}_history")
}

/// The table of the live items of `table`.
pub fn current_name(table: &TableName) -> String {
    format!("{table}_current")
}

/// One Delta table's place.
#[derive(Clone)]
pub struct TableLocation {
    pub name: String,
    /// Rooted at the table: `_delta_log/…` is its log.
    pub store: Arc<dyn ObjectStore>,
    root_store: Arc<dyn ObjectStore>,
    /// Ends with `/`.
    pub url: Url,
}

impl TableLocation {
    /// The table for delta-rs, on the same store; not loaded yet.
    pub fn delta(&self) -> Result<DeltaTable, DeltaTableError> {
        know_s3();
        DeltaTableBuilder::from_url(self.url.clone())?
            .with_storage_backend(self.root_store.clone(), self.url.clone())
            .build()
    }
}

impl fmt::Debug for TableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableLocation({})", self.url)
    }
}

impl fmt::Display for TableLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.url.as_str())
    }
}

/// delta-rs knows folders and memory by itself; for a bucket its plain log store is right, since ours has conditional puts.
fn know_s3() {
    static KNOWN: Once = Once::new();
    KNOWN.call_once(|| {
        if let Ok(scheme) = Url::parse("s3://") {
            logstore_factories().insert(scheme, Arc::new(Plain));
        }
    });
}

struct Plain;

impl LogStoreFactory for Plain {
    fn with_options(
        &self,
        prefixed_store: ObjectStoreRef,
        root_store: ObjectStoreRef,
        location: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed_store, root_store, location, options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_folder_or_a_bucket_and_nothing_else() {
        let lake = Lake::open("s3://bucket/some/prefix", &S3::default()).unwrap();
        let location = lake.table("t");
        assert_eq!(location.url.as_str(), "s3://bucket/some/prefix/t/");
        for place in ["gs://bucket/x", "s3://", "s3:///x", "http://bucket"] {
            let refused = Lake::open(place, &S3::default()).unwrap_err();
            assert!(matches!(refused, LakeError::NoPlace(_)), "{refused}");
        }
        let half = S3 { access_key: Some("key".into()), ..S3::default() };
        let refused = Lake::open("s3://bucket", &half).unwrap_err().to_string();
        assert!(refused.contains("access_key and secret_key"), "{refused}");
    }
}
