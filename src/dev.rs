//! `headwater dev`: the stack for good, with the reader's own tables and definitions.

use serde_json::json;

use crate::Context;
use crate::args::Dev;
use crate::definitions;
use crate::failure::Failure;
use crate::folder::{DataFolder, Purpose};
use crate::signals;
use crate::stack::Stack;
use crate::telemetry;

pub async fn run(context: Context, dev: Dev) -> Result<(), Failure> {
    let path = dev.definitions.unwrap_or_else(|| context.settings.definitions.clone());
    let entities = definitions::load(&path)?;
    let lock = DataFolder::take(&context.data_folder(), Purpose::Dev)?;
    let mut signals = signals::Stop::listen()?;
    let stack = Stack::in_folder(lock, &context.settings, entities, Some(telemetry::start_metrics()?)).await?;
    let running =
        json!({ "pid": std::process::id(), "store": stack.endpoint.trim_start_matches("http://"), "http": stack.http });
    context.format.answer(&running, || {
        format!(
            "table store  {} (any AWS SDK, any credentials)\nstatus       http://{}/status\nCtrl-C drains and stops.",
            stack.endpoint, stack.http
        )
    })?;
    stack.until_stopped(&mut signals).await
}
