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
use crate::streams::{KeySchema, Listing, StreamPage, StreamStatus, Streams, ViewType};

/// DescribeStream is allowed ten times a second for an account, and others ask too.
const BETWEEN_PAGES: Duration = Duration::from_millis(120);

const ATTEMPTS: u32 = 8;

/// What was found out about one table.
pub(crate) struct Discovered {
    pub table: TableName,
    pub outcome: Result<Found, String>,
}

pub(crate) struct Found {
    pub current: StreamArn,
    pub listings: Vec<Listing>,
}

pub(crate) async fn discover(
    streams: Arc<dyn Streams>,
    clock: Arc<dyn Clock>,
    table: TableName,
    older: Vec<StreamArn>,
) -> Discovered {
    let outcome = find(&*streams, &*clock, &table, older).await;
    Discovered { table, outcome }
}

async fn find(
    streams: &dyn Streams,
    clock: &dyn Clock,
    table: &TableName,
    mut wanted: Vec<StreamArn>,
) -> Result<Found, String> {
    let current = persist(|| streams.current(table)).await.map_err(|error| match error.fault {
        Fault::NotFound => format!("table {table} does not exist: create it with a stream of new images"),
        _ => format!("the stream of table {table} is not known: {error}"),
    })?;
    let Some((current, table_keys)) = current else {
        return Err(format!("table {table} has no stream: switch it on with view type NEW_AND_OLD_IMAGES"));
    };
    if !wanted.contains(&current) {
        wanted.push(current.clone());
    }
    let mut listings = Vec::with_capacity(wanted.len());
    for stream in wanted {
        let listing = list(streams, clock, &stream, &table_keys).await;
        listings.push(listing.map_err(|error| format!("the shards of table {table} are not known: {error}"))?);
    }
    let unfit = listings.iter().find_map(|listing| match &listing.view {
        ViewType::Unfit(view) if listing.stream == current && listing.status != StreamStatus::Absent => Some(view),
        _ => None,
    });
    match unfit {
        Some(view) => Err(format!(
            "the stream of table {table} has view type {view}, which lacks new images: switch the stream off, and on with view type NEW_AND_OLD_IMAGES"
        )),
        None => Ok(Found { current, listings }),
    }
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
