//! A bucket as the lake's store. Tells a bucket that is not there from an object that is not: both are 404.

use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::aws::AmazonS3;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// The bucket does not exist, which only a person can mend.
#[derive(Debug, thiserror::Error)]
#[error("there is no bucket {bucket}: make it, or correct the lake's place ({source})")]
pub struct NoBucket {
    pub bucket: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl NoBucket {
    /// Whether this is what lies at the bottom of `error`.
    pub fn is_cause_of(error: &(dyn std::error::Error + 'static)) -> bool {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if error.is::<NoBucket>() {
                return true;
            }
            cause = error.source();
        }
        false
    }
}

#[derive(Debug)]
pub(crate) struct Bucket {
    inner: AmazonS3,
    name: String,
}

impl Bucket {
    pub(crate) fn new(inner: AmazonS3, name: &str) -> Bucket {
        Bucket { inner, name: name.to_owned() }
    }
}

/// S3's code for it. The client keeps the answer's body, where the code stands, in its errors' text alone: their types are
/// its own.
const CODE: &str = "<Code>NoSuchBucket</Code>";

/// Of a request that makes, lists or begins something, for which no object has to be there.
fn absent(bucket: &str, error: Error) -> Error {
    let source: Box<dyn std::error::Error + Send + Sync> = match error {
        Error::NotFound { source, .. } => source,
        Error::Generic { source, .. } if source.to_string().contains(CODE) => source,
        other => return other,
    };
    let source = NoBucket { bucket: bucket.to_owned(), source };
    Error::Generic { store: "S3", source: Box::new(source) }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for Bucket {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(location, payload, opts).await.map_err(|error| absent(&self.name, error))
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await.map_err(|error| absent(&self.name, error))
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
        let name = self.name.clone();
        self.inner.list(prefix).map(move |found| found.map_err(|error| absent(&name, error))).boxed()
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        let name = self.name.clone();
        let listing = self.inner.list_with_offset(prefix, offset);
        listing.map(move |found| found.map_err(|error| absent(&name, error))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await.map_err(|error| absent(&self.name, error))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}
