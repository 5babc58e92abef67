//! Makes a table that is not there yet.

use headwater_common::clock::Timestamp;

use crate::commit::{is_conflict, put_commit};
use crate::delta::{CommitInfo, Metadata, Protocol, body};
use crate::error::Error;
use crate::lake::TableLocation;
use crate::origin::Origin;
use crate::plan::Plan;
use crate::schema::DATE;
use crate::state::{TableState, load};

/// How long versions stay readable, and files that a version needs no more are kept.
const RETENTION: [(&str, &str); 2] =
    [("delta.logRetentionDuration", "interval 7 days"), ("delta.deletedFileRetentionDuration", "interval 7 days")];

/// Makes the table. Where another process was faster, its table is as good.
pub(crate) async fn create(
    location: &TableLocation,
    plan: &Plan,
    origin: &Origin,
    now: Timestamp,
) -> Result<TableState, Error> {
    let mut metadata = Metadata {
        id: uuid::Uuid::new_v4().to_string(),
        name: Some(location.name.clone()),
        description: Some("every change of every item".into()),
        format: Default::default(),
        schema_string: plan.schema.schema_string(),
        partition_columns: vec![DATE.to_owned()],
        configuration: RETENTION.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into(),
        created_time: Some(now.as_millis()),
    };
    origin.write(&mut metadata);
    let info = CommitInfo { is_blind_append: Some(true), ..CommitInfo::of("CREATE TABLE", now) };
    let body = body(&[info.into(), Protocol::PLAIN.into(), metadata.into()]);
    let body = body.map_err(|error| Error::Encode(error.to_string()))?;
    match put_commit(location, 0, &body).await {
        Ok(()) => tracing::info!(table = location.name, "table made"),
        Err(error) if is_conflict(&error) => {}
        Err(error) => return Err(Error::store(format!("{location} version 0"), error)),
    }
    let gone = || Error::Corrupt { place: location.to_string(), reason: "the table is gone".into() };
    load(location).await?.ok_or_else(gone)
}
