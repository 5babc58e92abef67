//! What happens to the workers and servers of a run, planned from a seed.
//!
//! The first faults of a plan are each kind once, in a random order; what follows is drawn from all kinds, workers more
//! often than servers.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom as _, SliceRandom as _};
use rand::{Rng, SeedableRng};
use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    Ingest,
    SinkOffline,
    SinkSearch,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Ingest, Role::SinkOffline, Role::SinkSearch];

    /// The command that runs it.
    pub fn command(self) -> &'static str {
        match self {
            Role::Ingest => "ingest",
            Role::SinkOffline => "sink-offline",
            Role::SinkSearch => "sink-search",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// SIGKILL, and another in its place at once.
    Kill(Role),
    /// SIGSTOP for longer than the session time-out, then SIGCONT: a zombie.
    Pause(Role),
    /// SIGTERM, a drain within its deadline, and another in its place.
    Drain(Role),
    /// A Kafka broker is killed and returns on its data.
    Broker,
    /// OpenSearch is killed and returns on its data.
    Index,
    /// The S3 server is away for a while.
    Bucket,
    /// Every open shard of the table's stream is closed and has a child.
    Roll,
}

impl Fault {
    pub fn all() -> Vec<Fault> {
        let workers =
            Role::ALL.into_iter().flat_map(|role| [Fault::Kill(role), Fault::Pause(role), Fault::Drain(role)]);
        workers.chain([Fault::Broker, Fault::Index, Fault::Bucket, Fault::Roll]).collect()
    }

    fn weight(&self) -> u32 {
        match self {
            Fault::Kill(_) => 4,
            Fault::Pause(_) | Fault::Drain(_) | Fault::Roll => 2,
            Fault::Broker | Fault::Index | Fault::Bucket => 1,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Kill(role) => write!(f, "kill {}", role.command()),
            Fault::Pause(role) => write!(f, "pause {}", role.command()),
            Fault::Drain(role) => write!(f, "drain {}", role.command()),
            Fault::Broker => f.write_str("kill a broker"),
            Fault::Index => f.write_str("kill opensearch"),
            Fault::Bucket => f.write_str("s3 away"),
            Fault::Roll => f.write_str("roll shards"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Planned {
    pub fault: Fault,
    /// Which worker of the role, or which broker: the remainder by how many there are.
    pub which: usize,
    /// After the run recovered from the last one.
    pub delay: Duration,
}

/// `count` faults, at least one of each kind where there are that many.
pub fn plan(seed: u64, count: usize) -> Vec<Planned> {
    let mut rng = StdRng::seed_from_u64(seed);
    let all = Fault::all();
    let mut first = all.clone();
    first.shuffle(&mut rng);
    let mut drawn = || all.choose_weighted(&mut rng, Fault::weight).copied().ok();
    let rest: Vec<Fault> = std::iter::from_fn(&mut drawn).take(count.saturating_sub(first.len())).collect();
    first
        .into_iter()
        .chain(rest)
        .take(count)
        .map(|fault| Planned {
            fault,
            which: rng.random_range(0..64),
            delay: Duration::from_millis(rng.random_range(0..1500)),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_plan_has_every_kind_and_is_the_same_for_its_seed() {
        let planned = plan(3, 40);
        assert_eq!(planned, plan(3, 40));
        assert_ne!(planned, plan(4, 40));
        let kinds: BTreeSet<Fault> = planned.iter().take(13).map(|planned| planned.fault).collect();
        assert_eq!(kinds, Fault::all().into_iter().collect());
        assert_eq!(planned.len(), 40);
        assert_eq!(plan(3, 5).len(), 5);
    }
}
