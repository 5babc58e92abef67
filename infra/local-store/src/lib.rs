//! The one-machine stack's DynamoDB: an embedded DynamoDB-compatible server (dynoxide) over HTTP, on one SQLite file.
//!
//! Promises: any AWS SDK works against [`LocalStore::endpoint`] with any credentials; an acknowledged write survives
//! the end of the process, however it ends; the cost of a write does not grow with the number of writes before it;
//! stream records older than the retention go, and sequence numbers rise for as long as the table lives; a table that
//! is created again begins with an empty stream; expired items are removed as DynamoDB removes them.
//!
//! Assumes: a file system with working locks. Refuses: a folder that another process uses, an address in use, a file
//! of another layout.

mod connection;
mod environment;
mod error;
mod housekeeping;
mod ledger_readers;
mod scheduling;
mod schema;
mod server;
mod settings;
mod trim;

use std::fs::{File, TryLockError};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;

use dynoxide::{Database, DynoxideError};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use crate::environment::{Environment, Needs, NoReaders, Readers};
pub use crate::error::Error;
use crate::housekeeping::Housekeeping;
pub use crate::ledger_readers::LedgerReaders;
pub use crate::scheduling::give_way;
pub use crate::settings::Settings;

/// Its name on the health board.
pub const PART: &str = "local-store";
const LOCK_NAME: &str = "headwater-local-store.lock";

/// A running server. Dropped without [`LocalStore::shutdown`], it stops by itself a moment later.
#[derive(Debug)]
pub struct LocalStore {
    address: SocketAddr,
    stop: CancellationToken,
    end: oneshot::Receiver<Result<(), Error>>,
}

impl LocalStore {
    /// [`LocalStore::start_in`] with the machine's clock, for readers that keep up with the stream's retention.
    pub fn start(settings: Settings) -> Result<LocalStore, Error> {
        LocalStore::start_in(settings, Environment::default())
    }

    /// Opens or creates the store in the settings' folder and serves it. Blocks for as long as opening takes.
    pub fn start_in(settings: Settings, environment: Environment) -> Result<LocalStore, Error> {
        settings.check().map_err(Error::Settings)?;
        let stop = CancellationToken::new();
        let (started, start) = mpsc::sync_channel(1);
        let (ended, end) = oneshot::channel();
        let thread = {
            let stop = stop.clone();
            move || {
                // Nobody listens to the end of a store that was dropped.
                ended.send(run(&settings, environment, &stop, &started)).ok();
            }
        };
        thread::Builder::new()
            .name("local-store".to_owned())
            .spawn(thread)
            .map_err(|error| Error::Server(format!("cannot start a thread: {error}")))?;
        let address = start.recv().map_err(|_| Error::Server("its thread panicked".to_owned()))??;
        Ok(LocalStore { address, stop, end })
    }

    /// Where it listens, with the port that it was given.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint for an AWS SDK.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no more connections, finishes the requests under way within the settings' time, and closes the file.
    pub async fn shutdown(mut self) -> Result<(), Error> {
        self.stop.cancel();
        (&mut self.end).await.unwrap_or_else(|_| Err(Error::Server("its thread panicked".to_owned())))
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The server's thread: tells `started` the address or the refusal, then serves until `stop`.
fn run(
    settings: &Settings,
    environment: Environment,
    stop: &CancellationToken,
    started: &mpsc::SyncSender<Result<SocketAddr, Error>>,
) -> Result<(), Error> {
    if let Err(error) = scheduling::take_turns() {
        tracing::debug!(%error, "the server's thread can't take back that it gives way to others");
    }
    let (parts, address) = match prepare(settings) {
        Ok(prepared) => prepared,
        Err(error) => {
            started.send(Err(error)).ok();
            return Ok(());
        }
    };
    tracing::info!(%address, folder = %settings.folder.display(), "local store is serving");
    started.send(Ok(address)).ok();
    let (clock, health) = (Arc::clone(&environment.clock), environment.health.clone());
    health.ready(PART, clock.now());
    let file = settings.folder.join(connection::FILE_NAME);
    let housekeeping = Housekeeping::new(file, parts.database.clone(), settings, environment, stop.clone());
    let served = server::serve(parts, stop, settings.drain(), housekeeping.run());
    health.not_ready(PART, "the local store has stopped", clock.now());
    served
}

fn prepare(settings: &Settings) -> Result<(server::Parts, SocketAddr), Error> {
    let lock = lock(&settings.folder)?;
    let runtime = server::runtime()?;
    let listener = server::listen(&runtime, settings.address)?;
    let address = listener.local_addr().map_err(|source| Error::Listen { address: settings.address, source })?;
    let database = open(&settings.folder.join(connection::FILE_NAME), settings)?;
    Ok((server::Parts { runtime, listener, database, lock }, address))
}

fn lock(folder: &Path) -> Result<File, Error> {
    let refused = |source| Error::Folder { folder: folder.to_owned(), source };
    std::fs::create_dir_all(folder).map_err(refused)?;
    let file =
        File::options().create(true).truncate(false).write(true).open(folder.join(LOCK_NAME)).map_err(refused)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::FolderInUse(folder.to_owned())),
        Err(TryLockError::Error(source)) => Err(refused(source)),
    }
}

fn open(file: &Path, settings: &Settings) -> Result<Database, Error> {
    let refused = |reason: &str| Error::Refused { file: file.to_owned(), reason: reason.to_owned() };
    let sqlite = |source| Error::Open { file: file.to_owned(), source };
    if !connection::tune_new_connections(settings.cache_bytes) {
        return Err(refused("sqlite took no hook for new connections"));
    }
    let name = file.to_str().ok_or_else(|| refused("its path is not valid UTF-8"))?;
    connection::create(file).map_err(sqlite)?;
    let database = connection::open_database(name).map_err(|error| match error {
        DynoxideError::SqliteError(source) => sqlite(source),
        error => refused(&error.to_string()),
    })?;
    let own = connection::open(file).map_err(sqlite)?;
    let layout = |what| Error::Layout { file: file.to_owned(), what };
    if let Some(what) = schema::unexpected(&own).map_err(sqlite)? {
        return Err(layout(what));
    }
    schema::extend(&own).map_err(sqlite)?;
    match schema::unindexed(&own).map_err(sqlite)? {
        Some(statement) => Err(layout(format!("no index serves {statement}"))),
        None => Ok(database),
    }
}
