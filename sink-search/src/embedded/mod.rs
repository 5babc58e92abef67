//! The index of one process, on tantivy: one folder for each table.
//!
//! Promises what [`crate::index`] asks. Progress is the payload of tantivy's commit, which replaces one file: data and
//! progress are there together or not at all, after kill -9 too. Versions are looked up in the index itself, so there
//! is nothing beside it that could go wrong or grow. One process writes; any number of others read meanwhile.

mod document;
mod failure;
mod filter;
mod folder;
mod plan;
mod ranking;
mod scan;
mod schema;
mod search;
mod versions;
mod writer;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use headwater_common::clock::Timestamp;
use headwater_common::definition::Entity;
use headwater_common::log::{ChangeLog, LogError};
use parking_lot::Mutex;
use tantivy::{Index, IndexReader, ReloadPolicy, Searcher, TantivyError};

use self::folder::Otherwise;
use self::schema::Layout;
use self::writer::WriterSlot;
use crate::index::{Applied, Flush, IndexError, Progress, Scanned, SearchError, SearchIndex};
use crate::mapping::Mapping;
use crate::query::{Answer, Search};

/// Memory of the writer that is used unless the settings say otherwise.
pub const DEFAULT_WRITER_HEAP: usize = 50_000_000;

/// One table's index in a local folder.
#[derive(Clone)]
pub struct EmbeddedIndex {
    core: Arc<Core>,
}

/// Why an index could not be opened for a log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(
        "the search index in {place} was built for other feature definitions: {differences}, and the log no longer \
         reaches back to its start, from which it would be built again: set the definitions back, or make a new data \
         folder and write the items again"
    )]
    CannotRebuild { place: String, differences: String },
}

pub(super) struct Core {
    place: String,
    mapping: Mapping,
    layout: Layout,
    index: Index,
    reader: IndexReader,
    view: Mutex<View>,
    /// `None` where it was opened for reading only.
    writer: Option<Mutex<WriterSlot>>,
}

/// What searches see: documents, and progress that is not later than they are.
#[derive(Clone)]
pub(super) struct View {
    searcher: Searcher,
    progress: Progress,
    /// `None` before the first.
    commit: Option<u64>,
}

impl EmbeddedIndex {
    /// Opens the entity's index in `folder` for writing, and makes it if there is none. An index that was built for
    /// other definitions is refused. `writer_heap` is in bytes.
    pub fn open(folder: &Path, entity: &Entity, writer_heap: usize) -> Result<EmbeddedIndex, IndexError> {
        EmbeddedIndex::open_for_writing(folder, entity, writer_heap, Otherwise::Refuse)
    }

    /// The same, but an index that was built for other definitions is built again from the log, as long as the log
    /// still holds everything.
    pub async fn open_or_rebuild(
        folder: &Path,
        entity: &Entity,
        writer_heap: usize,
        log: &dyn ChangeLog,
    ) -> Result<EmbeddedIndex, OpenError> {
        let (place, differences) = match EmbeddedIndex::open(folder, entity, writer_heap) {
            Err(IndexError::MappingChanged { place, differences, .. }) => (place, differences),
            opened => return Ok(opened?),
        };
        log.open_table(&entity.table()).await?;
        let extents = log.extents(&entity.table()).await?;
        if extents.iter().any(|extent| extent.start.0 > 0) {
            return Err(OpenError::CannotRebuild { place, differences });
        }
        tracing::warn!(
            table = %entity.table(), differences,
            "the search index was built for other feature definitions and is built again from the log"
        );
        Ok(EmbeddedIndex::open_for_writing(folder, entity, writer_heap, Otherwise::Replace)?)
    }

    fn open_for_writing(
        folder: &Path,
        entity: &Entity,
        writer_heap: usize,
        otherwise: Otherwise,
    ) -> Result<EmbeddedIndex, IndexError> {
        let mapping = Mapping::of(entity);
        let layout = Layout::of(&mapping);
        let index = folder::open_or_make(folder, &mapping, &layout, otherwise)?;
        let slot = WriterSlot::open(&folder.display().to_string(), &index, writer_heap)?;
        EmbeddedIndex::new(folder, mapping, layout, index, Some(Mutex::new(slot)))
    }

    /// Opens the entity's index for searching, whether or not another process is writing it. Each search sees the
    /// last commit.
    pub fn open_read_only(folder: &Path, entity: &Entity) -> Result<EmbeddedIndex, IndexError> {
        let mapping = Mapping::of(entity);
        let index = folder::open_existing(folder, &mapping)?;
        let layout = Layout::of(&mapping);
        EmbeddedIndex::new(folder, mapping, layout, index, None)
    }

    fn new(
        folder: &Path,
        mapping: Mapping,
        layout: Layout,
        index: Index,
        writer: Option<Mutex<WriterSlot>>,
    ) -> Result<EmbeddedIndex, IndexError> {
        let place = folder.display().to_string();
        let failed = |error: TantivyError| failure::index_error(&place, &error);
        let (commit, progress) = committed(&place, &index)?;
        let reader = index.reader_builder().reload_policy(ReloadPolicy::Manual).try_into().map_err(failed)?;
        let view = Mutex::new(View { searcher: reader.searcher(), progress, commit });
        Ok(EmbeddedIndex { core: Arc::new(Core { place, mapping, layout, index, reader, view, writer }) })
    }

    pub fn mapping(&self) -> &Mapping {
        &self.core.mapping
    }

    async fn blocking<T: Send + 'static, E: From<IndexError> + Send + 'static>(
        &self,
        work: impl FnOnce(&Core) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let core = self.core.clone();
        match tokio::task::spawn_blocking(move || work(&core)).await {
            Ok(outcome) => outcome,
            Err(error) => {
                let place = self.core.place.clone();
                Err(IndexError::Unavailable { place, reason: format!("the work did not finish: {error}") }.into())
            }
        }
    }
}

#[async_trait]
impl SearchIndex for EmbeddedIndex {
    async fn apply(&self, flush: Arc<Flush>) -> Result<Applied, IndexError> {
        self.blocking(move |core| core.apply(&flush)).await
    }

    async fn progress(&self) -> Result<Progress, IndexError> {
        self.blocking(|core| Ok(core.view()?.progress)).await
    }

    async fn search(&self, search: &Search) -> Result<Answer, SearchError> {
        let search = search.clone();
        self.blocking(move |core| core.search(&search)).await
    }

    async fn scan(&self, after: Option<&str>, limit: usize) -> Result<Vec<Scanned>, IndexError> {
        let after = after.map(str::to_owned);
        self.blocking(move |core| core.scan(after.as_deref(), limit)).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64, IndexError> {
        self.blocking(move |core| core.purge(before)).await
    }
}

impl Core {
    /// What there is to search now. A writer renews its view with each commit; a reader looks for a new one here.
    fn view(&self) -> Result<View, IndexError> {
        if self.writer.is_none() {
            self.renew()?;
        }
        Ok(self.view.lock().clone())
    }

    fn renew(&self) -> Result<(), IndexError> {
        // Read before the documents, so that it is never later than they are.
        let (commit, progress) = committed(&self.place, &self.index)?;
        let mut view = self.view.lock();
        if view.commit != commit {
            self.reader.reload().map_err(|error| self.failed(&error))?;
            *view = View { searcher: self.reader.searcher(), progress, commit };
        }
        Ok(())
    }

    fn failed(&self, error: &TantivyError) -> IndexError {
        failure::index_error(&self.place, error)
    }
}

/// The last commit's stamp and the progress that it carries. A new index has neither, and the stamp 0 all the same.
fn committed(place: &str, index: &Index) -> Result<(Option<u64>, Progress), IndexError> {
    let metas = index.load_metas().map_err(|error| failure::index_error(place, &error))?;
    let progress = match &metas.payload {
        None => Progress::default(),
        Some(payload) => serde_json::from_str(payload).map_err(|error| IndexError::Corrupt {
            place: place.to_owned(),
            reason: format!("the progress of its last commit can't be read: {error}"),
        })?,
    };
    Ok((metas.payload.map(|_| metas.opstamp), progress))
}
