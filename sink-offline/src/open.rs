//! Opens a table: its state, its columns, and where each of its partitions goes on.

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
    /// By partition.
    pub(crate) starts: Vec<Start>,
}

/// Tries until the table is open, the error is final, or nobody wants it any more (`None`).
pub(crate) async fn open(
    log: Arc<dyn ChangeLog>,
    table: TableName,
    location: TableLocation,
    plan: Arc<Plan>,
    context: Context,
    cancel: CancellationToken,
) -> Result<Option<Box<Opened>>, Error> {
    let mut attempt = 0;
    loop {
        match once(&*log, &table, &location, &plan, &context).await {
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
    context: &Context,
) -> Result<Opened, Error> {
    let log_id = log.open_table(table).await?;
    let extents = log.extents(table).await?;
    let partitions = Some(extents.len());
    let committer = Committer::open_of(location.clone(), plan.clone(), log_id, partitions, &*context.clock).await?;
    let starts = starts(committer.txns(), committer.log(), &extents)
        .map_err(|source| Error::Refused { place: location.to_string(), source })?;
    Ok(Opened { committer, starts })
}
