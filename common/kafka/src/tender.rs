//! One thread that serves the clients that nobody else polls: their log lines, errors and token refreshes.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;

use crate::client::Context;

/// How long an event of an idle client may wait.
const EVERY: Duration = Duration::from_millis(500);

pub(crate) trait Served: Send + Sync {
    fn serve(&self);
}

impl Served for BaseConsumer<Context> {
    fn serve(&self) {
        while self.poll(Duration::ZERO).is_some() {}
    }
}

impl Served for BaseProducer<Context> {
    fn serve(&self) {
        // Takes in as many events as come in this time.
        self.poll(Duration::from_millis(1));
    }
}

/// Ends its thread when dropped.
pub(crate) struct Tender(Sender<Weak<dyn Served>>);

impl Tender {
    pub(crate) fn start() -> std::io::Result<Tender> {
        let (sender, newcomers) = channel::<Weak<dyn Served>>();
        let serve = move || {
            let mut clients: Vec<Weak<dyn Served>> = Vec::new();
            loop {
                match newcomers.recv_timeout(EVERY) {
                    Ok(client) => clients.push(client),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                clients.retain(|client| client.upgrade().inspect(|client| client.serve()).is_some());
            }
        };
        std::thread::Builder::new().name("kafka-tender".into()).spawn(serve)?;
        Ok(Tender(sender))
    }

    /// Serves the client for as long as somebody else holds it.
    pub(crate) fn serve<T: Served + 'static>(&self, client: &Arc<T>) {
        let served: Arc<dyn Served> = client.clone();
        // The thread ends with this sender alone.
        self.0.send(Arc::downgrade(&served)).ok();
    }
}

/// Drops a client where it may block: it waits for its threads, and a consumer for its group.
pub(crate) fn dispose<T: Send + 'static>(client: T) {
    let mut client = Some(client);
    let spawned = std::thread::Builder::new().name("kafka-close".into()).spawn({
        let client = client.take();
        move || drop(client)
    });
    if let Err(error) = spawned {
        tracing::debug!(%error, "a kafka client was closed in place");
    }
}
