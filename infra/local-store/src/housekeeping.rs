//! What DynamoDB does by itself and dynoxide does not: old stream records and expired items go. And what dynoxide would
//! do while a client waits: the write-ahead log is written back.
//!
//! One loop, one piece of work at a time, each short. Trouble is said on the health board, logged when it begins and
//! when it ends, and tried again; it never stops the server.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dynoxide::Database;
use headwater_common::failure::Kind;
use rusqlite::Connection;
use serde::Serialize;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::environment::Environment;
use crate::error::Error;
use crate::settings::Settings;
use crate::{PART, connection, trim};

/// The share of the time that trimming may hold the store, one in so many.
const TRIM_SHARE: u32 = 4;
/// Pages that many writes touch are written back once for all of them.
const WRITE_BACK_EVERY: Duration = Duration::from_secs(2);
/// The share of the time that sweeps may take.
const SWEEP_SHARE: u32 = 20;

pub(crate) struct Housekeeping {
    file: PathBuf,
    /// Opened when it is first needed, and again after trouble.
    connection: Option<Connection>,
    database: Database,
    settings: Settings,
    environment: Environment,
    stop: CancellationToken,
    write_back_at: Instant,
    trim_at: Instant,
    sweep_at: Instant,
    trouble: Trouble,
    done: Done,
}

/// What went wrong last with each kind of work; empty when it works.
#[derive(Default)]
struct Trouble {
    write_back: Option<String>,
    trim: Option<String>,
    sweep: Option<String>,
}

/// Since the start.
#[derive(Clone, Copy, Default, Serialize)]
struct Done {
    trimmed_records: u64,
    expired_items: u64,
    returned_pages: u64,
}

impl Housekeeping {
    pub(crate) fn new(
        file: PathBuf,
        database: Database,
        settings: &Settings,
        environment: Environment,
        stop: CancellationToken,
    ) -> Housekeeping {
        let now = Instant::now();
        Housekeeping {
            file,
            connection: None,
            database,
            settings: settings.clone(),
            environment,
            stop,
            write_back_at: now,
            trim_at: now,
            sweep_at: now,
            trouble: Trouble::default(),
            done: Done::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(self.write_back_at) => {
                    self.write_back().await;
                    continue;
                }
                () = tokio::time::sleep_until(self.sweep_at) => self.sweep().await,
                () = tokio::time::sleep_until(self.trim_at) => self.trim().await,
            }
            self.environment.health.publish(PART, &self.done);
        }
    }

    async fn write_back(&mut self) {
        let written = self.on_file(|connection| Ok(connection::write_back(connection)?)).await;
        self.write_back_at = Instant::now() + WRITE_BACK_EVERY;
        let after = written.err().map(|error| describe("writing back", &error));
        let before = std::mem::replace(&mut self.trouble.write_back, after.clone());
        if before != after {
            self.tell(before, after);
        }
    }

    /// Works on the connection beside the server's, apart from its thread.
    async fn on_file<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (known, file) = (self.connection.take(), self.file.clone());
        let opened = move || {
            let connection = match known {
                Some(connection) => connection,
                None => connection::open(&file)?,
            };
            let done = work(&connection)?;
            Ok((connection, done))
        };
        let (connection, done) = apart(opened).await?;
        self.connection = Some(connection);
        Ok(done)
    }

    async fn trim(&mut self) {
        let began = Instant::now();
        let stepped = self.trim_step().await;
        let pause = match stepped {
            Ok((0, 0)) | Err(_) => self.settings.trim_interval(),
            Ok(_) => began.elapsed() * (TRIM_SHARE - 1),
        };
        self.trim_at = Instant::now() + pause;
        if let Ok((records, pages)) = stepped {
            self.done.trimmed_records += records;
            self.done.returned_pages += pages;
        }
        let after = stepped.err().map(|error| describe("trimming the streams", &error));
        let before = std::mem::replace(&mut self.trouble.trim, after.clone());
        self.tell(before, after);
    }

    async fn trim_step(&mut self) -> Result<(u64, u64), Error> {
        let before = self.environment.clock.now().minus(self.settings.stream_retention());
        let readers = Arc::clone(&self.environment.readers);
        self.on_file(move |connection| {
            let records = trim::step(connection, before, readers.as_ref())?;
            let pages = if records == 0 { trim::give_back(connection)? } else { 0 };
            Ok((records as u64, pages))
        })
        .await
    }

    async fn sweep(&mut self) {
        let (began, database) = (Instant::now(), self.database.clone());
        let swept = apart(move || database.sweep_ttl().map_err(from_dynoxide)).await;
        self.sweep_at = Instant::now() + self.settings.ttl_sweep().max(began.elapsed() * (SWEEP_SHARE - 1));
        if let Ok(expired) = swept {
            self.done.expired_items += expired as u64;
        }
        let after = swept.err().map(|error| describe("removing expired items", &error));
        let before = std::mem::replace(&mut self.trouble.sweep, after.clone());
        self.tell(before, after);
    }

    /// Logs a change of one kind of work from working to not and back, and says on the board what is wrong, if
    /// anything is.
    fn tell(&self, before: Option<String>, after: Option<String>) {
        match (&before, &after) {
            (None, Some(reason)) => tracing::warn!(%reason, "local store housekeeping failed, it is tried again"),
            (Some(_), None) => tracing::info!("local store housekeeping works again"),
            _ => {}
        }
        let (health, now) = (&self.environment.health, self.environment.clock.now());
        let trouble = [&self.trouble.write_back, &self.trouble.trim, &self.trouble.sweep];
        match trouble.into_iter().flatten().next() {
            Some(reason) => health.not_ready(PART, reason, now),
            None => health.ready(PART, now),
        }
    }
}

fn describe(work: &str, error: &Error) -> String {
    match error.kind() {
        Kind::NoSpace => format!("{work}: the disk of the local store is full, free some room: {error}"),
        Kind::Transient => format!("{work}: the local store is busy: {error}"),
        _ => format!("{work}: {error}"),
    }
}

fn from_dynoxide(error: dynoxide::DynoxideError) -> Error {
    match error {
        dynoxide::DynoxideError::SqliteError(error) => Error::Sqlite(error),
        error => Error::Server(error.to_string()),
    }
}

async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Server(error.to_string()))?
}
