//! A whole run put together: write while killing, wait until complete, collect, judge.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::progress::SinkProgress;
use serde_json::Value as Json;

use crate::chaos::{Kills, kill_along};
use crate::check::{self, Expected};
use crate::client;
use crate::error::Error;
use crate::history::History;
use crate::lake;
use crate::model::Model;
use crate::observed::{IndexDocument, Observed};
use crate::process::{Launch, Process, status};
use crate::table_scan;
use crate::wait;
use crate::workload::Workload;
use crate::writer::{Writer, Written};

/// Writes `writes` writes to `endpoint` while the process is killed and started again; ends when all writes have an
/// outcome and all kills have struck, with the process alive.
pub async fn write_under_kills(
    launch: &Launch,
    process: Process,
    endpoint: &str,
    workload: &Workload,
    writes: usize,
    kills: &Kills,
) -> Result<(Written, Process), Error> {
    let writer = Writer::new(client::at(endpoint), workload.clone(), Arc::new(SystemClock));
    let plan = kills.plan(writes as u64);
    let killing = kill_along(launch, process, &plan, writer.progress());
    let (written, process) = tokio::join!(writer.write(writes), killing);
    Ok((written?, process?))
}

/// Waits until each of `sinks` says in `/status` that each of `tables` is complete up to `until` at least.
pub async fn wait_complete(
    address: SocketAddr,
    sinks: &[&str],
    tables: &[TableName],
    until: Timestamp,
    deadline: Duration,
) -> Result<(), Error> {
    wait::until(&format!("completeness up to {until}"), deadline, async || {
        let status = status(address).await.map_err(|error| error.to_string())?;
        for sink in sinks {
            let progress = progress_of(&status, sink).ok_or_else(|| format!("no {sink} in {status}"))?;
            for table in tables {
                let table_progress = progress.tables.get(table);
                let complete = table_progress.and_then(|progress| progress.complete_until);
                if complete.is_none_or(|complete| complete < until) {
                    return Err(format!("{sink} has {table} at {table_progress:?}"));
                }
            }
        }
        Ok(())
    })
    .await
}

/// A sink's progress wherever the status holds it: an object under the sink's name with tables.
pub fn progress_of(status: &Json, sink: &str) -> Option<SinkProgress> {
    let object = status.as_object()?;
    let here = object.get(sink).and_then(|part| serde_json::from_value(part.clone()).ok());
    here.or_else(|| object.values().find_map(|part| progress_of(part, sink)))
}

/// The table and the lake, read from the endpoint and from the lake's files in `lake`. Scan first, wait for
/// completeness, then collect the rest: [`Observed`] says why.
pub fn collect_lake(
    scan: std::collections::BTreeMap<crate::history::Key, headwater_common::value::Item>,
    lake: &Path,
    tables: &[TableName],
    index: Option<Vec<IndexDocument>>,
) -> Result<Observed, Error> {
    let (mut history, mut current) = (Vec::new(), Vec::new());
    for table in tables {
        history.extend(lake::history(lake, table)?);
        current.extend(lake::current(lake, table)?);
    }
    Ok(Observed { scan, history, current: Some(current), index })
}

/// See [`table_scan::scan`].
pub async fn scan(
    endpoint: &str,
    workload: &Workload,
) -> Result<std::collections::BTreeMap<crate::history::Key, headwater_common::value::Item>, Error> {
    table_scan::scan(&client::at(endpoint), &workload.entities).await
}

/// Every checker's verdict, and whether the run was no empty one. The error is the report, with the seed to run it
/// again.
pub fn verdict(
    workload: &Workload,
    history: &History,
    kills: usize,
    observed: &Observed,
    expected: &Expected,
) -> Result<(), String> {
    let mut violations = check::vacuity(history, kills, expected);
    violations.extend(check::all(&Model::of(history), observed));
    if violations.is_empty() {
        return Ok(());
    }
    Err(format!(
        "HEADWATER_TEST_SEED={} runs this again: {:?}, {:?}\n{}",
        workload.settings.seed,
        workload.settings,
        history.tally(),
        check::report(&violations)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sinks_progress_is_found_wherever_the_status_holds_it() {
        let progress = serde_json::json!({"tables": {"t": {
            "complete_until": 5, "applied": 1, "behind": 0, "dead_letters": 0,
            "lag": {"count": 0, "p50": 0, "p99": 0, "max": 0},
        }}});
        for status in [
            serde_json::json!({ "sink-offline": progress }),
            serde_json::json!({"ready": true, "stages": { "sink-offline": progress }}),
            serde_json::json!({"parts": {"sink-offline": {"ready": true}}, "stages": { "sink-offline": progress }}),
        ] {
            let found = progress_of(&status, "sink-offline").unwrap();
            assert_eq!(found.tables[&TableName::new("t")].complete_until, Some(Timestamp::from_millis(5)));
        }
        assert_eq!(progress_of(&serde_json::json!({"sink-offline": 3}), "sink-offline"), None);
    }
}
