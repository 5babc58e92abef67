//! The search sink once more, for one table and into an index that does not serve yet: readers of their own, who begin
//! at the log's start and do not disturb those that serve.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::definition::Entity;
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, Extent};
use headwater_sink_search::index::Progress;
use headwater_sink_search::{Building, SinkSearch};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;
use crate::output::{self, Format, grouped};

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Ends when dropped. What it was writing then is written again or not at all.
pub struct Feeding {
    running: JoinHandle<Result<(), headwater_sink_search::Error>>,
    health: Health,
    format: Format,
    extents: Vec<Extent>,
}

/// How far an index has come.
#[derive(Debug, Serialize)]
struct Progressed<'a> {
    table: &'a str,
    index: &'a str,
    /// Records of the log, marks among them.
    read: u64,
    /// Of so many as there were at the beginning.
    of: u64,
    complete_until: Option<Timestamp>,
    /// What holds it up.
    #[serde(skip_serializing_if = "String::is_empty")]
    trouble: String,
}

impl Feeding {
    pub fn start(
        log: Arc<dyn ChangeLog>,
        building: &Building,
        entity: &Entity,
        settings: &headwater_sink_search::Settings,
        (health, format): (Health, Format),
    ) -> Feeding {
        let table = entity.table();
        let group = format!("sink-search-rebuild-{table}");
        // How far it is complete decides when it serves.
        let idle_complete_ms = settings.idle_complete_ms.min(settings.flush_ms);
        let sink = SinkSearch {
            log,
            indexes: [(table, building.index())].into(),
            entities: vec![entity.clone()],
            settings: headwater_sink_search::Settings { idle_complete_ms, ..settings.clone() },
            clock: Arc::new(SystemClock),
            health: health.clone(),
        };
        let running = tokio::spawn(async move { sink.run_as(&group, CancellationToken::new()).await });
        Feeding { running, health, format, extents: building.extents.clone() }
    }

    /// Waits until the index is complete past `moment`, for as long as it goes on, and tells how far it is.
    pub async fn complete_past(
        &mut self,
        building: &Building,
        entity: &Entity,
        moment: Timestamp,
        patience: Duration,
    ) -> Result<(), Failure> {
        let (table, mut reached, mut moved, mut told) = (entity.table(), 0, Instant::now(), None);
        loop {
            let progress = self.progress(building).await?;
            let read: u64 = progress.partitions.values().map(|at| at.next.0).sum();
            if read > reached {
                (reached, moved) = (read, Instant::now());
            }
            let complete = progress.complete_until().is_some_and(|until| until > moment);
            if complete || told.is_none_or(|told: Instant| told.elapsed() >= TELL_EVERY) {
                told = Some(Instant::now());
                self.tell(building, table.as_str(), &progress)?;
            }
            if complete {
                return Ok(());
            }
            if moved.elapsed() >= patience {
                let until = progress.complete_until().map_or_else(|| "nothing".into(), |until| until.to_rfc3339());
                let trouble = self.trouble();
                let held = if trouble.is_empty() { String::new() } else { format!(" ({trouble})") };
                return Err(Failure::environment(format!(
                    "the new index of {table} is complete until {until} and does not come past {moment}{held}"
                ))
                .at(building.name())
                .remedy(
                    "see that ingest runs, then start the rebuild again: it goes on from there; --patience waits longer",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until the index holds what the one that serves holds, so that nothing that was found is missing for a
    /// moment after the move.
    pub async fn caught_up(&mut self, building: &Building, patience: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + patience;
        loop {
            self.progress(building).await?;
            match building.behind().await.map_err(Failure::environment)? {
                0 => return Ok(()),
                behind if Instant::now() >= deadline => {
                    return Err(Failure::environment(format!(
                        "the new index stays {behind} records behind the old one"
                    ))
                    .at(building.name())
                    .remedy("start the rebuild again when there is less to do: it goes on from there"));
                }
                _ => tokio::time::sleep(LOOK_EVERY / 4).await,
            }
        }
    }

    /// What the index holds; an error where it can't be built any further.
    async fn progress(&mut self, building: &Building) -> Result<Progress, Failure> {
        if self.running.is_finished() {
            let ended = (&mut self.running).await;
            return Err(match ended {
                Ok(Err(error)) => Failure::environment(error),
                Ok(Ok(())) | Err(_) => Failure::failed("the reading of the log broke off"),
            }
            .at(building.name()));
        }
        building.index().progress().await.map_err(Failure::environment)
    }

    fn trouble(&self) -> String {
        let parts = self.health.parts().into_values();
        parts.filter(|part| !part.ready).map(|part| part.reason).collect::<Vec<_>>().join("; ")
    }

    fn tell(&self, building: &Building, table: &str, progress: &Progress) -> Result<(), Failure> {
        let each = (0_u16..).zip(&self.extents);
        let read = |(partition, extent): (u16, &Extent)| {
            let next = progress.partitions.get(&partition).map_or(0, |at| at.next.0);
            next.clamp(extent.start.0, extent.end.0) - extent.start.0
        };
        let of = self.extents.iter().map(|extent| extent.end.0 - extent.start.0).sum();
        let progressed = Progressed {
            table,
            index: building.name(),
            read: each.map(read).sum(),
            of,
            complete_until: progress.complete_until(),
            trouble: self.trouble(),
        };
        output::note(&match self.format {
            Format::Json => output::json(&progressed)?,
            Format::Text => text(&progressed),
        });
        Ok(())
    }
}

impl Drop for Feeding {
    fn drop(&mut self) {
        self.running.abort();
    }
}

fn text(progressed: &Progressed<'_>) -> String {
    let Progressed { table, read, of, complete_until, trouble, .. } = progressed;
    let until = complete_until.map_or_else(|| "not complete yet".into(), |until| format!("complete until {until}"));
    let held = if trouble.is_empty() { String::new() } else { format!("; {trouble}") };
    format!("{table}: {} of {} records read, {until}{held}", grouped(*read), grouped(*of))
}
