//! `headwater dev`: the stack for good, with the reader's own tables and definitions.

use headwater_common::definition::{self, Entity};

use crate::Context;
use crate::args::Dev;
use crate::failure::Failure;
use crate::folder::{DataFolder, Purpose};
use crate::output;
use crate::stack::Stack;
use crate::telemetry;

pub async fn run(context: Context, dev: Dev) -> Result<(), Failure> {
    let path = dev.definitions.unwrap_or_else(|| context.settings.definitions.clone());
    let entities = definitions(&path)?;
    let lock = DataFolder::take(&context.data_folder(), Purpose::Dev)?;
    let stack = Stack::start(lock, &context.settings, entities, Some(telemetry::start_metrics()?)).await?;
    context.format.answer(&stack.running, || {
        format!(
            "table store  http://{} (any AWS SDK, any credentials)\nstatus       http://{}/status\nCtrl-C drains and stops.",
            stack.running.store, stack.running.http
        )
    })?;
    until_stopped(stack).await
}

pub fn definitions(path: &std::path::Path) -> Result<Vec<Entity>, Failure> {
    definition::load(path)
        .map_err(|error| Failure::usage(error).remedy("the README shows a feature definition to start from"))
}

/// Waits for Ctrl-C or SIGTERM, then drains. A second one ends the process at once, which loses nothing.
pub async fn until_stopped(mut stack: Stack) -> Result<(), Failure> {
    let ended = tokio::select! {
        biased;
        asked = stop_signal() => { asked?; None }
        failure = stack.stage_ended() => Some(failure),
    };
    output::note("draining; once more to stop at once");
    let drained = tokio::select! {
        biased;
        outcome = stack.drain() => outcome,
        _ = stop_signal() => Err(Failure::failed("stopped without draining; nothing is lost")),
    };
    match ended {
        Some(failure) => Err(failure),
        None => drained,
    }
}

pub async fn stop_signal() -> Result<(), Failure> {
    let unavailable = |error| Failure::environment(format!("can't wait for signals: {error}"));
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate()).map_err(unavailable)?;
        tokio::select! {
            outcome = tokio::signal::ctrl_c() => outcome.map_err(unavailable),
            _ = terminate.recv() => Ok(()),
        }
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await.map_err(unavailable)
}
