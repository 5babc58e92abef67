//! One flush: encode, upload, commit. Runs beside the loop, and tries until it is done or not wanted any more.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::clock::{Clock, Timestamp};
use headwater_common::failure::{Directive, backoff};
use object_store::path::Path;
use object_store::{ObjectStore as _, PutMode, PutOptions, PutPayload};
use tokio_util::sync::CancellationToken;

use crate::buffer::Taken;
use crate::commit::{Committed, Committer};
use crate::error::Error;
use crate::file::{DataFile, data_file};
use crate::readiness::Readiness;
use crate::settings::Settings;

/// Rows that wait longer for their commit are written anew with a later `_commit_ts`, so that it never speaks of a time
/// long before the rows could be seen.
const RESTAMP_AFTER: Duration = Duration::from_secs(60);

/// What tasks share with the loop.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) settings: Arc<Settings>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) readiness: Readiness,
}

impl Context {
    /// Logs the error, turns readiness off, and waits before the next attempt. `false` if it is not wanted any more.
    pub(crate) async fn pause(&self, of: &str, error: &Error, attempt: u32, cancel: &CancellationToken) -> bool {
        let delay = match error.directive() {
            Directive::Halt => Duration::from_millis(self.settings.halt_retry_ms),
            Directive::Retry | Directive::Rebuild | Directive::DeadLetter | Directive::Hold | Directive::Abandon => {
                let (base, cap) = (self.settings.retry_base_ms, self.settings.retry_cap_ms);
                backoff(attempt, Duration::from_millis(base), Duration::from_millis(cap), jitter())
            }
        };
        let kind = error.kind();
        tracing::warn!(table = of, ?kind, attempt, retry_ms = delay.as_millis() as u64, %error, "the lake is held up");
        self.readiness.trouble(of, error.to_string(), self.clock.now());
        tokio::select! {
            biased;
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(delay) => true,
        }
    }
}

/// 0 to 1, from the randomness that names files.
fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / f64::from(u32::MAX)
}

pub(crate) enum Outcome {
    Committed(Committed),
    /// Another sink has moved the table: what was read is not this sink's to write.
    Superseded(Error),
    Cancelled,
}

/// The committer comes back whatever happened, and with it the table's state.
pub(crate) struct Flushed {
    pub(crate) committer: Committer,
    pub(crate) taken: Taken,
    pub(crate) outcome: Outcome,
}

pub(crate) async fn flush(
    mut committer: Committer,
    taken: Taken,
    table: String,
    context: Context,
    cancel: CancellationToken,
) -> Flushed {
    let mut upload = None;
    let mut attempt = 0;
    let outcome = loop {
        match once(&mut committer, &taken, &mut upload, &context).await {
            Ok(committed) => {
                context.readiness.well(&table, context.clock.now());
                break Outcome::Committed(committed);
            }
            Err(error) if error.directive() == Directive::Abandon => break Outcome::Superseded(error),
            Err(error) => {
                if !context.pause(&table, &error, attempt, &cancel).await {
                    break Outcome::Cancelled;
                }
                attempt += 1;
            }
        }
    };
    Flushed { committer, taken, outcome }
}

struct Upload {
    file: DataFile,
    stamp: Timestamp,
    done: bool,
}

async fn once(
    committer: &mut Committer,
    taken: &Taken,
    upload: &mut Option<Upload>,
    context: &Context,
) -> Result<Committed, Error> {
    let now = context.clock.now();
    if taken.rows.rows == 0 {
        return committer.commit(&taken.moves, None, &*context.clock).await;
    }
    let fresh = upload.take().filter(|upload| now.since(upload.stamp) <= RESTAMP_AFTER);
    let upload = match fresh {
        Some(fresh) => upload.insert(fresh),
        None => upload.insert(encoded(committer, taken, context.settings.zstd_level, now).await?),
    };
    if !upload.done {
        put_file(committer, &mut upload.file).await?;
        upload.done = true;
    }
    committer.commit(&taken.moves, Some(&upload.file.add), &*context.clock).await
}

async fn encoded(committer: &Committer, taken: &Taken, level: i32, now: Timestamp) -> Result<Upload, Error> {
    let (rows, stamp) = (taken.rows.clone(), committer.stamp(now));
    let work = move || data_file(&rows.stamped(stamp)?, level, stamp).map_err(|error| Error::Encode(error.to_string()));
    let encoded = tokio::task::spawn_blocking(work).await.map_err(|error| Error::Encode(error.to_string()))?;
    Ok(Upload { file: encoded?, stamp, done: false })
}

/// Writes the file under a name that nothing else has, so that doing it twice does no harm.
async fn put_file(committer: &Committer, file: &mut DataFile) -> Result<(), Error> {
    let location = committer.location();
    let path = Path::from(file.add.path.as_str());
    let payload = PutPayload::from_bytes(file.bytes.clone());
    let put = location.store.put_opts(&path, payload, PutOptions::from(PutMode::Overwrite)).await;
    put.map_err(|error| Error::store(format!("{location}{path}"), error))?;
    file.bytes.clear();
    Ok(())
}
