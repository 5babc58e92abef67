//! Carries out a workload against a DynamoDB endpoint and records what came of each write.
//!
//! A foreign client on purpose: the AWS SDK itself, not the product's. Survives restarts of the server: after an answer
//! that never came it reads the item, as soon as the server is back, and records what it found.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::ReturnValue;
use headwater_common::clock::{Clock, Timestamp};
use headwater_common::value::Item;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::attribute;
use crate::error::Error;
use crate::history::{Action, Before, Found, History, Intent, Outcome, Write, WriteId};
use crate::wait;
use crate::workload::{Workload, Writes};

#[derive(Clone)]
pub struct Writer {
    pub client: Client,
    pub workload: Workload,
    pub clock: Arc<dyn Clock>,
    /// How long a server may be away before an outcome is left open.
    pub patience: Duration,
    /// A pause of each task after each write.
    pub pause: Duration,
    progress: Arc<watch::Sender<u64>>,
}

/// A history, and a time that no write of it came after.
#[derive(Clone, Debug)]
pub struct Written {
    pub history: History,
    pub ended: Timestamp,
}

impl Writer {
    pub fn new(client: Client, workload: Workload, clock: Arc<dyn Clock>) -> Writer {
        let progress = Arc::new(watch::Sender::new(0));
        Writer { client, workload, clock, patience: Duration::from_secs(120), pause: Duration::ZERO, progress }
    }

    /// Counts the writes that have an outcome, as they come.
    pub fn progress(&self) -> watch::Receiver<u64> {
        self.progress.subscribe()
    }

    /// Makes `count` writes, shared evenly over the workload's tasks.
    pub async fn write(&self, count: usize) -> Result<Written, Error> {
        self.write_until(count, &CancellationToken::new()).await
    }

    /// The same, and ends early when `stop` is cancelled: each write that was begun gets its outcome.
    pub async fn write_until(&self, count: usize, stop: &CancellationToken) -> Result<Written, Error> {
        let tasks = self.workload.settings.tasks.max(1);
        let running: Vec<_> = (0..tasks)
            .map(|task| {
                let (writer, writes, stop) = (self.clone(), self.workload.task(task), stop.clone());
                let share = count / tasks + usize::from(task < count % tasks);
                tokio::spawn(async move { writer.task(writes, share, &stop).await })
            })
            .collect();
        let mut history = History::default();
        for task in running {
            let writes = task.await.map_err(|error| Error::process("a writer's task", error))?;
            history.writes.extend(writes);
        }
        Ok(Written { history, ended: self.clock.now().plus(Duration::from_millis(1)) })
    }

    async fn task(&self, writes: Writes, count: usize, stop: &CancellationToken) -> Vec<Write> {
        let mut made = Vec::new();
        for intent in writes.take(count) {
            if stop.is_cancelled() {
                break;
            }
            made.push(self.make(intent).await);
            self.progress.send_modify(|count| *count += 1);
            if !self.pause.is_zero() {
                tokio::time::sleep(self.pause).await;
            }
        }
        made
    }

    /// Makes one write and tells what came of it.
    pub async fn make(&self, intent: Intent) -> Write {
        let intent = intent.stamped(self.clock.now());
        let outcome = match self.attempt(&intent).await {
            Outcome::Unknown { error, .. } => Outcome::Unknown { error, found: self.look(&intent).await },
            outcome => outcome,
        };
        Write { intent, outcome }
    }

    async fn attempt(&self, intent: &Intent) -> Outcome {
        match &intent.action {
            Action::Put(item) => {
                let request = self.client.put_item().table_name(intent.key.table.as_str());
                let request = request.set_item(Some(attribute::to_sdk(item)));
                match request.return_values(ReturnValue::AllOld).send().await {
                    Ok(answer) => before(answer.attributes()),
                    Err(error) => no_answer(error),
                }
            }
            Action::Delete => {
                let request = self.client.delete_item().table_name(intent.key.table.as_str());
                let request = request.set_key(Some(attribute::to_sdk(&intent.key_item)));
                match request.return_values(ReturnValue::AllOld).send().await {
                    Ok(answer) => before(answer.attributes()),
                    Err(error) => no_answer(error),
                }
            }
            Action::Update { set, remove } => self.update(intent, set, remove).await,
        }
    }

    async fn update(&self, intent: &Intent, set: &Item, remove: &[String]) -> Outcome {
        let mut request = self
            .client
            .update_item()
            .table_name(intent.key.table.as_str())
            .set_key(Some(attribute::to_sdk(&intent.key_item)))
            .return_values(ReturnValue::AllNew);
        let mut sets = Vec::new();
        for (at, (name, value)) in set.0.iter().enumerate() {
            sets.push(format!("#s{at} = :s{at}"));
            request = request
                .expression_attribute_names(format!("#s{at}"), name)
                .expression_attribute_values(format!(":s{at}"), attribute::value_to_sdk(value));
        }
        let mut removes = Vec::new();
        for (at, name) in remove.iter().enumerate() {
            removes.push(format!("#r{at}"));
            request = request.expression_attribute_names(format!("#r{at}"), name);
        }
        let mut expression = format!("SET {}", sets.join(", "));
        if !removes.is_empty() {
            expression.push_str(&format!(" REMOVE {}", removes.join(", ")));
        }
        match request.update_expression(expression).send().await {
            Ok(answer) => match answer.attributes().map(attribute::from_sdk) {
                Some(Ok(after)) => Outcome::Acknowledged { before: Before::NotTold, after: Some(after) },
                Some(Err(error)) => unknown(error),
                None => unknown("an answer without the item"),
            },
            Err(error) => no_answer(error),
        }
    }

    /// What is there now, as soon as the server answers again.
    async fn look(&self, intent: &Intent) -> Found {
        let read = wait::until("the server's return", self.patience, async || {
            let request = self.client.get_item().table_name(intent.key.table.as_str()).consistent_read(true);
            let answer = request.set_key(Some(attribute::to_sdk(&intent.key_item))).send().await;
            let answer = answer.map_err(|error| DisplayErrorContext(error).to_string())?;
            match answer.item().map(attribute::from_sdk) {
                None => Ok(Found::Absent),
                Some(Ok(item)) => Ok(Found::Present(Box::new(item))),
                Some(Err(error)) => Err(error.to_string()),
            }
        });
        read.await.unwrap_or(Found::NotRead)
    }
}

fn before(attributes: Option<&std::collections::HashMap<String, aws_sdk_dynamodb::types::AttributeValue>>) -> Outcome {
    let before = match attributes {
        None => Before::Absent,
        Some(attributes) if attributes.is_empty() => Before::Absent,
        Some(attributes) => {
            let id = attributes.get(crate::history::WRITE_ID).and_then(|value| value.as_s().ok());
            Before::Present(id.map(|text| WriteId(text.clone())))
        }
    };
    Outcome::Acknowledged { before, after: None }
}

/// A refusal changed nothing; anything else than a refusal may have happened.
fn no_answer<E, R>(error: SdkError<E, R>) -> Outcome
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
    R: std::fmt::Debug,
{
    let refused = match &error {
        SdkError::ConstructionFailure(_) => true,
        SdkError::ServiceError(refusal) => !matches!(refusal.err().code(), None | Some("InternalServerError")),
        _ => false,
    };
    let error = DisplayErrorContext(error).to_string();
    if refused { Outcome::Failed { error } } else { unknown(error) }
}

fn unknown(error: impl ToString) -> Outcome {
    Outcome::Unknown { error: error.to_string(), found: Found::NotRead }
}
