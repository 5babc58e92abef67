//! A store in memory of which any request can be made to fail, before or after it did its work.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use headwater_sink_offline::Lake;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use url::Url;

/// What happens to the request whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and fails.
    Before,
    /// It does its work and its answer is lost.
    After,
}

#[derive(Debug)]
pub struct Faulty {
    inner: InMemory,
    /// Requests until the fault; below zero for none.
    countdown: AtomicI64,
    after: AtomicI64,
    /// Every request from the fault on fails, as for a process that was killed.
    dead: AtomicI64,
    /// Whether the fault kills.
    kills: AtomicI64,
    pub requests: AtomicU64,
}

impl Faulty {
    pub fn new() -> Arc<Faulty> {
        let never = || AtomicI64::new(-1);
        Arc::new(Faulty {
            inner: InMemory::new(),
            countdown: never(),
            after: never(),
            dead: AtomicI64::new(0),
            kills: AtomicI64::new(1),
            requests: AtomicU64::new(0),
        })
    }

    pub fn lake(self: &Arc<Self>) -> Lake {
        Lake::new(Arc::clone(self) as Arc<dyn ObjectStore>, Url::parse("memory:///lake/").unwrap())
    }

    /// The `nth` request from now on fails, and every one after it: the process is dead.
    pub fn kill_at(&self, nth: i64, fault: Fault) {
        self.kills.store(1, Ordering::SeqCst);
        self.set(nth, fault);
    }

    /// The `nth` request from now on fails, and no other.
    pub fn fail_at(&self, nth: i64, fault: Fault) {
        self.kills.store(0, Ordering::SeqCst);
        self.set(nth, fault);
    }

    fn set(&self, nth: i64, fault: Fault) {
        self.after.store(if fault == Fault::After { 1 } else { 0 }, Ordering::SeqCst);
        self.countdown.store(nth, Ordering::SeqCst);
    }

    /// Everything works again; whether the fault had happened.
    pub fn heal(&self) -> bool {
        self.dead.store(0, Ordering::SeqCst);
        self.countdown.swap(-1, Ordering::SeqCst) < 0
    }

    /// Whether this request fails, and when.
    fn fate(&self) -> Option<Fault> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.dead.load(Ordering::SeqCst) == 1 {
            return Some(Fault::Before);
        }
        if self.countdown.load(Ordering::SeqCst) < 0 || self.countdown.fetch_sub(1, Ordering::SeqCst) != 0 {
            return None;
        }
        self.dead.store(self.kills.load(Ordering::SeqCst), Ordering::SeqCst);
        Some(if self.after.load(Ordering::SeqCst) == 1 { Fault::After } else { Fault::Before })
    }
}

fn fault() -> Error {
    Error::Generic { store: "faulty", source: "injected".into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        match self.fate() {
            None => self.inner.put_opts(location, payload, opts).await,
            Some(Fault::Before) => Err(fault()),
            Some(Fault::After) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(fault())
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if self.fate().is_some() { Err(fault()) } else { self.inner.get_opts(location, options).await }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        if self.fate().is_some() { Err(fault()) } else { self.inner.get_ranges(location, ranges).await }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.fate() {
            Some(_) => futures::stream::once(async { Err(fault()) }).boxed(),
            None => self.inner.delete_stream(locations),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.fate() {
            Some(_) => futures::stream::once(async { Err(fault()) }).boxed(),
            None => self.inner.list(prefix),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
