//! Where partitions begin and end.

use std::sync::Arc;
use std::time::Duration;

use headwater_common::log::{LogError, Offset};
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaResult;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use tokio::time::{Instant, sleep};

use crate::client::Context;
use crate::errors::{blocking, failed};

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The first offset that is still held.
    Start,
    /// What the next record will get, or for a client that sees committed records only: what it may read up to.
    End,
}

/// The edges of partitions `0..partitions`, one request for each broker that leads some. Tries again for as long as
/// `timeout` allows: a partition has no leader for a moment when it moves.
pub(crate) async fn edges<C>(
    client: &Arc<C>,
    topic: &str,
    partitions: u16,
    edge: Edge,
    timeout: Duration,
) -> Result<Vec<Offset>, LogError>
where
    C: Consumer<Context> + Send + Sync + 'static,
{
    let deadline = Instant::now() + timeout;
    loop {
        let (asked, name) = (client.clone(), topic.to_owned());
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100));
        let outcome = blocking(move || {
            ask(&*asked, &name, partitions, edge, left)
                .map_err(|error| failed(&format!("the offsets of topic {name} can't be read"), &error))
        })
        .await;
        match outcome {
            Err(LogError::Unavailable(_)) if Instant::now() < deadline => sleep(Duration::from_millis(100)).await,
            outcome => return outcome,
        }
    }
}

fn ask(
    client: &impl Consumer<Context>,
    topic: &str,
    partitions: u16,
    edge: Edge,
    timeout: Duration,
) -> KafkaResult<Vec<Offset>> {
    let at = match edge {
        Edge::Start => KafkaOffset::Beginning,
        Edge::End => KafkaOffset::End,
    };
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition.into(), at)?;
    }
    let found = client.offsets_for_times(list, timeout)?;
    let mut edges = Vec::with_capacity(partitions.into());
    for partition in 0..partitions {
        let Some(place) = found.find_partition(topic, partition.into()) else { continue };
        place.error()?;
        let offset = match place.offset() {
            KafkaOffset::Offset(offset) => offset.max(0) as u64,
            _ => 0,
        };
        edges.push(Offset(offset));
    }
    Ok(edges)
}
