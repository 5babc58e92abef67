//! Commits to one table: one file is put if it is absent, and nothing else.
//!
//! Promises that the moves of a commit happen once, whatever becomes of its request. A commit of version N is a file
//! that can be made only once, so a request that is still on its way can do harm to nobody: either it makes version N
//! and this side finds that, or somebody else has made N and it can't. After every answer but "done" the table is read
//! and [`position::judge`](crate::position::judge) says whether it happened; a commit whose answer was lost is done.
//!
//! Conflicts are only with what others did in between (maintenance, a change of properties): the same file is then added
//! in the next version.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::{Clock, Timestamp};
use headwater_common::log::LogId;
use object_store::{ObjectStore as _, PutMode, PutOptions, PutPayload};

use crate::create::create;
use crate::delta::{Add, CommitInfo, Contents, Line, Metadata, Txn, body, commit_path, lines};
use crate::error::Error;
use crate::lake::TableLocation;
use crate::origin::Origin;
use crate::plan::Plan;
use crate::position::{Moves, Txns, Verdict, complete_app, judge, offset_app, stored_complete};
use crate::schema::SCHEMA_VERSION;
use crate::state::{TableState, load, read_commit};

/// After this long without a look at it the table is loaded again before a commit: log clean-up could have removed the
/// file whose presence keeps an old version from being made anew. Far below any log retention.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// Commits of others in a row that one commit gives way to.
const MAX_CONFLICTS: usize = 64;

/// The pause after a conflict with a commit that is not to be seen yet: a store may answer so while another's is on its way.
const UNSEEN_PAUSE: Duration = Duration::from_millis(50);

/// The one writer of a table in this process.
pub struct Committer {
    location: TableLocation,
    plan: Arc<Plan>,
    log: LogId,
    state: TableState,
    /// Of the log, where that is known.
    partitions: Option<u16>,
    /// When `state` was last known to be the newest.
    confirmed: Timestamp,
}

/// What a commit brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    pub version: u64,
    /// Commits of others that it had to give way to.
    pub conflicts: usize,
}

impl Committer {
    /// Opens the table: makes it if there is none, and adds the columns that it lacks. Refuses one that is written from
    /// another log.
    pub async fn open(
        location: TableLocation,
        plan: Arc<Plan>,
        log: LogId,
        clock: &dyn Clock,
    ) -> Result<Committer, Error> {
        Committer::open_of(location, plan, log, None, clock).await
    }

    /// The same, of a log of so many partitions: the table says how many, so that who reads it knows when each of them
    /// has said how far it is complete.
    pub async fn open_of(
        location: TableLocation,
        plan: Arc<Plan>,
        log: LogId,
        partitions: Option<u16>,
        clock: &dyn Clock,
    ) -> Result<Committer, Error> {
        let confirmed = clock.now();
        let state = match load(&location).await? {
            Some(state) => state,
            None => create(&location, &plan, &Origin { log: Some(log.clone()), partitions }, confirmed).await?,
        };
        let mut committer = Committer { location, plan, log, state, partitions, confirmed };
        committer.fit(clock).await?;
        Ok(committer)
    }

    pub fn txns(&self) -> &Txns {
        &self.state.txns
    }

    pub fn log(&self) -> &LogId {
        &self.log
    }

    pub fn version(&self) -> u64 {
        self.state.version
    }

    pub fn location(&self) -> &TableLocation {
        &self.location
    }

    /// The moment for a commit that begins now: never before that of the one before, whatever the clock did.
    pub fn stamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.state.last_commit)
    }

    /// Makes the moves, with the rows of `add`, in one version. An error leaves it open whether it happened; the next call
    /// with the same moves finds out before it does anything.
    pub async fn commit(&mut self, moves: &Moves, add: Option<&Add>, clock: &dyn Clock) -> Result<Committed, Error> {
        if clock.now().since(self.confirmed) > STALE_AFTER {
            self.reload(clock).await?;
        }
        for conflicts in 0..MAX_CONFLICTS {
            if let Some(version) = self.settled(moves)? {
                return Ok(Committed { version, conflicts });
            }
            let lines = self.flush_lines(moves, add, clock.now());
            let Err(error) = self.put(lines, clock).await else {
                return Ok(Committed { version: self.state.version, conflicts });
            };
            let conflict = is_conflict(&error);
            let caught_up = self.catch_up(conflict, clock).await;
            if !conflict {
                // The request may have done its work all the same.
                if caught_up.is_ok() {
                    self.fit(clock).await?;
                    if let Some(version) = self.settled(moves)? {
                        return Ok(Committed { version, conflicts });
                    }
                }
                return Err(Error::store(self.place(), error));
            }
            if !caught_up? {
                tokio::time::sleep(UNSEEN_PAUSE).await;
            }
            self.fit(clock).await?;
        }
        let source = "others commit too often".into();
        Err(Error::store(self.place(), object_store::Error::Generic { store: "lake", source }))
    }

    fn place(&self) -> String {
        format!("{} version {}", self.location, self.state.version + 1)
    }

    /// The version in which the moves are, if they are.
    fn settled(&self, moves: &Moves) -> Result<Option<u64>, Error> {
        match judge(moves, &self.state.txns, &self.log) {
            Verdict::Absent => Ok(None),
            Verdict::Landed => Ok(Some(self.state.version)),
            Verdict::Superseded { partition, stored } => Err(Error::Superseded {
                place: self.location.to_string(),
                partition,
                stored: stored.map_or_else(|| "nothing".into(), |offset| format!("offset {offset}")),
            }),
        }
    }

    /// Makes the next version, and takes it in.
    async fn put(&mut self, lines: Vec<Line>, clock: &dyn Clock) -> object_store::Result<()> {
        let generic = |source: serde_json::Error| object_store::Error::Generic { store: "lake", source: source.into() };
        let body = body(&lines).map_err(generic)?;
        put_commit(&self.location, self.state.version + 1, &body).await?;
        self.confirmed = clock.now();
        self.state.advance(lines);
        Ok(())
    }

    /// Takes in what was committed since, if anything was. Where something must be there and is not, the log was cleaned
    /// up: load anew.
    async fn catch_up(&mut self, must_find: bool, clock: &dyn Clock) -> Result<bool, Error> {
        let asked = clock.now();
        let before = self.state.version;
        while let Some(body) = read_commit(&self.location, self.state.version + 1).await? {
            let read: Result<Vec<Line>, _> = lines(&body).collect();
            let read = read.map_err(|error| Error::Corrupt { place: self.place(), reason: error.to_string() })?;
            self.state.advance(read);
        }
        if must_find && self.state.version == before {
            self.reload(clock).await?;
        } else {
            self.confirmed = asked;
        }
        Ok(self.state.version > before)
    }

    async fn reload(&mut self, clock: &dyn Clock) -> Result<(), Error> {
        let asked = clock.now();
        let gone = || Error::Corrupt { place: self.location.to_string(), reason: "the table is gone".into() };
        self.state = load(&self.location).await?.ok_or_else(gone)?;
        self.confirmed = asked;
        self.fit(clock).await
    }

    /// Sees to it that the table is one that this release writes, is written from this log, and has every column.
    async fn fit(&mut self, clock: &dyn Clock) -> Result<(), Error> {
        for _ in 0..MAX_CONFLICTS {
            let protocol = &self.state.protocol;
            if !protocol.is_plain() {
                let (reader, writer) = (protocol.min_reader_version, protocol.min_writer_version);
                return Err(Error::Protocol { place: self.location.to_string(), reader, writer });
            }
            let Some(metadata) = self.wanted_metadata()? else { return Ok(()) };
            let wider = metadata.schema_string != self.state.metadata.schema_string;
            let info = self.info(if wider { "ADD COLUMNS" } else { "SET TBLPROPERTIES" }, clock.now());
            match self.put(vec![info.into(), metadata.into()], clock).await {
                Ok(()) => tracing::info!(table = self.location.name, version = self.state.version, "metadata changed"),
                Err(error) if is_conflict(&error) => {
                    if !Box::pin(self.catch_up_plainly(clock)).await? {
                        tokio::time::sleep(UNSEEN_PAUSE).await;
                    }
                }
                Err(error) => return Err(Error::store(self.place(), error)),
            }
        }
        let source = "others change the table too often".into();
        Err(Error::store(self.place(), object_store::Error::Generic { store: "lake", source }))
    }

    async fn catch_up_plainly(&mut self, clock: &dyn Clock) -> Result<bool, Error> {
        self.catch_up(true, clock).await
    }

    /// The metadata that the table shall have, if that is not what it has.
    fn wanted_metadata(&self) -> Result<Option<Metadata>, Error> {
        let found = &self.state.metadata;
        let evolved = self.plan.schema.evolve(&self.location.name, &found.schema_string);
        let schema_string =
            evolved.map_err(|source| Error::TableSchema { place: self.location.to_string(), source })?;
        let claim = Origin::of(found).claim(&self.state.txns, &self.log, self.partitions);
        let claim = claim.map_err(|source| Error::Refused { place: self.location.to_string(), source })?;
        if schema_string.is_none() && claim.is_none() {
            return Ok(None);
        }
        let mut metadata = found.clone();
        metadata.schema_string = schema_string.unwrap_or(metadata.schema_string);
        if let Some(origin) = claim {
            origin.write(&mut metadata);
        }
        Ok(Some(metadata))
    }

    fn info(&self, operation: &str, now: Timestamp) -> CommitInfo {
        CommitInfo {
            read_version: Some(self.state.version),
            is_blind_append: Some(false),
            ..CommitInfo::of(operation, self.stamp(now))
        }
    }

    fn flush_lines(&self, moves: &Moves, add: Option<&Add>, now: Timestamp) -> Vec<Line> {
        let epoch = (self.state.version + 1).to_string();
        let parameters = [("outputMode", "Append"), ("queryId", &self.log.0), ("epochId", &epoch)];
        let info = CommitInfo {
            operation_parameters: parameters.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            is_blind_append: Some(true),
            headwater: Some(Contents::Flush {
                schema_version: SCHEMA_VERSION,
                log_id: self.log.0.clone(),
                offsets: moves.steps.iter().map(|(partition, step)| (*partition, step.last.0)).collect(),
            }),
            ..self.info("STREAMING UPDATE", now)
        };
        let mut lines = vec![Line::from(info)];
        let txn = |app_id, version| Line::from(Txn { app_id, version });
        for (partition, step) in &moves.steps {
            lines.push(txn(offset_app(&self.log, *partition), i64::try_from(step.last.0).unwrap_or(i64::MAX)));
        }
        for (partition, until) in &moves.complete {
            if stored_complete(&self.state.txns, &self.log, *partition) < Some(*until) {
                lines.push(txn(complete_app(&self.log, *partition), until.as_millis()));
            }
        }
        lines.extend(add.cloned().map(Line::from));
        lines
    }
}

pub(crate) fn is_conflict(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
}

pub(crate) async fn put_commit(location: &TableLocation, version: u64, body: &[u8]) -> object_store::Result<()> {
    let payload = PutPayload::from(body.to_vec());
    let options = PutOptions::from(PutMode::Create);
    location.store.put_opts(&commit_path(version), payload, options).await?;
    Ok(())
}
