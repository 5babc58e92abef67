//! Asks which stream a table has and which shards its streams have. Every worker lists for the slots that it owns.
//!
//! A failed page is asked for again by itself, so that a long listing gets to its end although calls fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::{StreamArn, TableName};
use headwater_common::clock::{Clock, Timestamp};
use headwater_common::failure::backoff;
use headwater_common::metric;

use crate::errors::{Fault, StreamError};
use crate::streams::{KeySchema, Listing, SourceTable, StreamPage, StreamStatus, Streams, ViewType};

/// DescribeStream is allowed ten times a second for an account, and others ask too.
const BETWEEN_PAGES: Duration = Duration::from_millis(120);

const ATTEMPTS: u32 = 8;

/// What was found out about one table.
pub(crate) struct Discovered {
    pub table: TableName,
    pub outcome: Result<Found, String>,
}

/// What there is to read, whatever may be wrong with the table.
pub(crate) struct Found {
    pub current: Option<StreamArn>,
    pub listings: Vec<Listing>,
    /// Why the table's changes of now can't be followed.
    pub trouble: Option<String>,
}

/// `known`: the table's streams that may still have something to read.
pub(crate) async fn discover(
    streams: Arc<dyn Streams>,
    clock: Arc<dyn Clock>,
    table: TableName,
    known: Vec<StreamArn>,
) -> Discovered {
    let outcome = find(&*streams, &*clock, &table, known).await;
    Discovered { table, outcome }
}

async fn find(
    streams: &dyn Streams,
    clock: &dyn Clock,
    table: &TableName,
    mut wanted: Vec<StreamArn>,
) -> Result<Found, String> {
    const REMEDY: &str = "switch it on with view type NEW_AND_OLD_IMAGES";
    let (source, mut trouble) = match persist(|| streams.table(table)).await {
        Ok(source) => {
            let off = source.stream.is_none().then(|| format!("table {table} has no stream: {REMEDY}"));
            (source, off)
        }
        // Streams outlive their table for a day.
        Err(error) if error.fault == Fault::NotFound => {
            let missing = format!("table {table} does not exist: create it with a stream of new images");
            (SourceTable::default(), Some(missing))
        }
        Err(error) => return Err(format!("the stream of table {table} is not known: {error}")),
    };
    wanted.extend(source.stream.clone().filter(|current| !wanted.contains(current)));
    let mut listings = Vec::with_capacity(wanted.len());
    for stream in wanted {
        let listing = list(streams, clock, &stream, &source.keys).await;
        let listing = listing.map_err(|error| format!("the shards of table {table} are not known: {error}"))?;
        if let ViewType::Unfit(view) = &listing.view
            && listing.status != StreamStatus::Absent
        {
            trouble = Some(format!(
                "the stream of table {table} has view type {view}, which lacks new images: switch the stream off, then {REMEDY}"
            ));
            continue;
        }
        if source.stream.as_ref() == Some(&stream) && listing.status != StreamStatus::Enabled {
            trouble = Some(format!("the stream of table {table} is switched off: {REMEDY}"));
        }
        listings.push(listing);
    }
    Ok(Found { current: source.stream, listings, trouble })
}

async fn list(
    streams: &dyn Streams,
    clock: &dyn Clock,
    stream: &StreamArn,
    table_keys: &KeySchema,
) -> Result<Listing, StreamError> {
    let begun = clock.now();
    let mut page = match persist(|| streams.describe(stream, None)).await {
        Ok(page) => page,
        Err(error) if error.fault == Fault::NotFound => return Ok(absent(stream, begun)),
        Err(error) => return Err(error),
    };
    let mut shards = BTreeMap::new();
    loop {
        let StreamPage { status, view, keys, shards: listed, next } = page;
        shards.extend(listed.into_iter().map(|shard| (shard.id.clone(), shard)));
        let Some(next) = next else {
            let keys = keys.unwrap_or_else(|| table_keys.clone());
            return Ok(Listing { stream: stream.clone(), begun, status, view, keys, shards });
        };
        tokio::time::sleep(BETWEEN_PAGES).await;
        page = persist(|| streams.describe(stream, Some(&next))).await?;
    }
}

fn absent(stream: &StreamArn, begun: Timestamp) -> Listing {
    Listing {
        stream: stream.clone(),
        begun,
        status: StreamStatus::Absent,
        view: ViewType::Unfit(String::new()),
        keys: KeySchema::default(),
        shards: BTreeMap::new(),
    }
}

/// The same call again while the service is busy.
async fn persist<T, F>(call: impl Fn() -> F) -> Result<T, StreamError>
where
    F: Future<Output = Result<T, StreamError>>,
{
    let mut attempt = 0;
    loop {
        match call().await {
            Err(error) if error.fault == Fault::Busy && attempt < ATTEMPTS => {
                metrics::counter!(metric::STREAM_ERRORS, "kind" => error.fault.label()).increment(1);
                tracing::debug!(%error, attempt, "a call of discovery failed");
                let pause = backoff(attempt, BETWEEN_PAGES, Duration::from_secs(5), rand::random());
                tokio::time::sleep(pause).await;
                attempt += 1;
            }
            outcome => return outcome,
        }
    }
}
