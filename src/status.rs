//! `headwater status`: asks the running stack, or says what a stopped one's folder holds.

use std::time::Duration;

use serde_json::{Value, json};

use crate::Context;
use crate::failure::Failure;
use crate::folder::{DataFolder, Running};

pub async fn run(context: Context) -> Result<(), Failure> {
    let folder = DataFolder::existing(&context.data_folder())?;
    let Some(running) = folder.running() else {
        let entities: Vec<_> = folder.entities()?.iter().map(|entity| entity.table()).collect();
        let answer = json!({ "running": false, "data": folder.path(), "tables": entities });
        return context
            .format
            .answer(&answer, || format!("not running; {} holds {} tables", folder.path().display(), entities.len()));
    };
    let status = ask(running.clone()).await?;
    let answer = json!({ "running": true, "data": folder.path(), "store": running.store, "http": running.http, "status": status });
    context.format.answer(&answer, || text(&running, &status))
}

async fn ask(running: Running) -> Result<Value, Failure> {
    let url = format!("http://{}/status", running.http);
    let unreachable = |error: String| {
        Failure::environment(format!("process {} does not answer: {error}", running.pid)).at(&url).remedy("see its log")
    };
    let asked = {
        let url = url.clone();
        tokio::task::spawn_blocking(move || {
            let agent: ureq::Agent =
                ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
            agent.get(&url).call()?.body_mut().read_to_string()
        })
        .await
    };
    let body =
        asked.map_err(|error| unreachable(error.to_string()))?.map_err(|error| unreachable(error.to_string()))?;
    serde_json::from_str(&body).map_err(|error| unreachable(error.to_string()))
}

fn text(running: &Running, status: &Value) -> String {
    let mut lines = vec![format!(
        "process {} · table store http://{} · status http://{}/status",
        running.pid, running.store, running.http
    )];
    for (part, state) in status["parts"].as_object().into_iter().flatten() {
        let word = if state["ready"] == true { "ready" } else { "NOT READY" };
        lines.push(format!("{part:<13} {word} {}", state["reason"].as_str().unwrap_or_default()).trim_end().to_owned());
    }
    for sink in crate::stack::SINKS {
        for (table, progress) in status["status"][sink]["tables"].as_object().into_iter().flatten() {
            lines.push(format!(
                "{sink:<13} {table}: complete until {}, {} records behind, lag p50 {} ms p99 {} ms",
                moment(&progress["complete_until"]),
                progress["behind"],
                progress["lag"]["p50"],
                progress["lag"]["p99"],
            ));
        }
    }
    lines.join("\n")
}

fn moment(value: &Value) -> String {
    value
        .as_i64()
        .map_or_else(|| "nothing yet".into(), |ms| headwater_common::clock::Timestamp::from_millis(ms).to_rfc3339())
}
