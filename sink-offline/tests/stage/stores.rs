//! An object store that counts what is asked of it, and fails where it is told to.

use std::any::Any;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

/// When a request fails: before it does anything, or after it has taken effect and only its answer is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// Which requests fail, counted from 0 in the order in which they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Once(usize, When),
    /// This one and every one after it, which fail before they do anything.
    Onwards(usize, When),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub puts: usize,
    pub gets: usize,
    pub lists: usize,
    pub failed: usize,
}

impl Counts {
    pub fn all(&self) -> usize {
        self.puts + self.gets + self.lists
    }
}

#[derive(Default)]
struct State {
    counts: Counts,
    fault: Option<Fault>,
    full: bool,
    /// Part of the paths of which every write fails.
    broken: Option<String>,
    /// Part of the paths of which every write waits, and how many do.
    gate: Option<String>,
    waiting: usize,
}

#[derive(Clone)]
pub struct WatchedStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
    /// Woken when [`State::gate`] opens.
    opened: Arc<Notify>,
    /// Of what the store lies in.
    _guard: Option<Arc<dyn Any + Send + Sync>>,
}

enum Kind {
    Put,
    Get,
    List,
}

impl WatchedStore {
    pub fn new(inner: Arc<dyn ObjectStore>) -> WatchedStore {
        WatchedStore { inner, state: Arc::default(), opened: Arc::default(), _guard: None }
    }

    /// Keeps the guard for as long as the store is used.
    pub fn guarding(inner: Arc<dyn ObjectStore>, guard: Arc<dyn Any + Send + Sync>) -> WatchedStore {
        WatchedStore { _guard: Some(guard), ..WatchedStore::new(inner) }
    }

    /// Another view of the same store, with counts, faults and gates of its own.
    pub fn beside(&self) -> WatchedStore {
        WatchedStore { state: Arc::default(), opened: Arc::default(), ..self.clone() }
    }

    /// Writes to paths with this part wait from now on, until there is no gate.
    pub fn set_gate(&self, part: Option<&str>) {
        self.state.lock().gate = part.map(str::to_owned);
        self.opened.notify_waiters();
    }

    /// Writes that wait at the gate.
    pub fn waiting(&self) -> usize {
        self.state.lock().waiting
    }

    async fn pass_gate(&self, path: &Path) {
        let held = || self.state.lock().gate.as_ref().is_some_and(|part| path.as_ref().contains(part));
        loop {
            let opened = self.opened.notified();
            if !held() {
                return;
            }
            self.state.lock().waiting += 1;
            opened.await;
            self.state.lock().waiting -= 1;
        }
    }

    pub fn counts(&self) -> Counts {
        self.state.lock().counts
    }

    /// Counts from 0 again.
    pub fn reset(&self, fault: Option<Fault>) {
        let mut state = self.state.lock();
        (state.counts, state.fault) = (Counts::default(), fault);
    }

    /// Whether there is no room: writes fail as those of a full disk.
    pub fn set_full(&self, full: bool) {
        self.state.lock().full = full;
    }

    pub fn set_broken(&self, part: Option<&str>) {
        self.state.lock().broken = part.map(str::to_owned);
    }

    fn arrives(&self, kind: &Kind, path: Option<&Path>) -> (Option<Error>, bool) {
        let mut state = self.state.lock();
        let number = state.counts.all();
        match kind {
            Kind::Put => state.counts.puts += 1,
            Kind::Get => state.counts.gets += 1,
            Kind::List => state.counts.lists += 1,
        }
        let write = matches!(kind, Kind::Put);
        let full = write && state.full;
        let broken = write && path.zip(state.broken.as_ref()).is_some_and(|(path, part)| path.as_ref().contains(part));
        let (before, after) = match state.fault {
            Some(Fault::Once(at, when)) if at == number => (when == When::Before, when == When::After),
            Some(Fault::Onwards(at, When::After)) if at == number => (false, true),
            Some(Fault::Onwards(at, _)) if at <= number => (true, false),
            _ => (false, false),
        };
        if before || after || full || broken {
            state.counts.failed += 1;
        }
        let error = if full { std::io::ErrorKind::StorageFull } else { std::io::ErrorKind::TimedOut };
        ((before || full || broken).then(|| failure(error)), after)
    }
}

fn failure(kind: std::io::ErrorKind) -> Error {
    Error::Generic { store: "watched", source: Box::new(std::io::Error::from(kind)) }
}

fn lost<T>(answer: Result<T>, after: bool) -> Result<T> {
    if after { answer.and(Err(failure(std::io::ErrorKind::TimedOut))) } else { answer }
}

impl fmt::Debug for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WatchedStore({:?})", self.inner)
    }
}

impl fmt::Display for WatchedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[async_trait]
impl ObjectStore for WatchedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.pass_gate(location).await;
        let (error, after) = self.arrives(&Kind::Put, Some(location));
        match error {
            Some(error) => Err(error),
            None => lost(self.inner.put_opts(location, payload, opts).await, after),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (error, after) = self.arrives(&Kind::Get, Some(location));
        match error {
            Some(error) => Err(error),
            None => lost(self.inner.get_opts(location, options).await, after),
        }
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let (error, after) = self.arrives(&Kind::Get, Some(location));
        match error {
            Some(error) => Err(error),
            None => lost(self.inner.get_ranges(location, ranges).await, after),
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list(prefix))
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listed(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

impl WatchedStore {
    fn listed(&self, listing: BoxStream<'static, Result<ObjectMeta>>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (error, after) = self.arrives(&Kind::List, None);
        match error {
            Some(error) => futures::stream::once(async { Err(error) }).boxed(),
            // The answer breaks off half-way.
            None if after => listing
                .take(1)
                .chain(futures::stream::once(async { Err(failure(std::io::ErrorKind::TimedOut)) }))
                .map_err(|error| error)
                .boxed(),
            None => listing,
        }
    }
}
