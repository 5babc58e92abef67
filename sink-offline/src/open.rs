//! Opens a table: its state, its columns, and where each of this worker's partitions goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use headwater_common::change::TableName;
use headwater_common::log::ChangeLog;
use tokio_util::sync::CancellationToken;

use crate::commit::Committer;
use crate::error::Error;
use crate::flush::Context;
use crate::lake::TableLocation;
use crate::plan::Plan;
use crate::position::{Start, starts};

pub(crate) struct Opened {
    pub(crate) committer: Committer,
    /// By partition, of this worker's.
    pub(crate) starts: BTreeMap<u16, Start>,
    /// Of the whole log.
    pub(crate) partitions: u16,
}

/// Tries until the table is open, the error is final, or nobody wants it any more (`None`).
pub(crate) async fn open(
    log: Arc<dyn ChangeLog>,
    table: TableName,
    location: TableLocation,
    plan: Arc<Plan>,
    assigned: BTreeSet<u16>,
    context: Context,
    cancel: CancellationToken,
) -> Result<Option<Box<Opened>>, Error> {
    let mut attempt = 0;
    loop {
        match once(&*log, &table, &location, &plan, &assigned, &context).await {
            Err(error) if !error.is_final() => {
                if !context.pause(table.as_str(), &error, attempt, &cancel).await {
                    return Ok(None);
                }
                attempt += 1;
            }
            opened => return opened.map(|opened| Some(Box::new(opened))),
        }
    }
}

async fn once(
    log: &dyn ChangeLog,
    table: &TableName,
    location: &TableLocation,
    plan: &Arc<Plan>,
    assigned: &BTreeSet<u16>,
    context: &Context,
) -> Result<Opened, Error> {
    let log_id = log.open_table(table).await?;
    let partitions = Some(log.extents(table).await?.len() as u16);
    let committer = Committer::open_of(location.clone(), plan.clone(), log_id, partitions, &*context.clock).await?;
    // After the table's state: the log's end is then not before what others have committed.
    let extents = log.extents(table).await?;
    let starts = starts(committer.txns(), committer.log(), &extents, assigned)
        .map_err(|source| Error::Refused { place: location.to_string(), source })?;
    Ok(Opened { committer, starts, partitions: extents.len() as u16 })
}
