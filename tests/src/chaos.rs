//! Kills of the real process at random moments of a run, planned from a seed.
//!
//! A kill is due when a random number of writes has been made, so that every planned one happens before the writes
//! end, and comes a random few milliseconds later, so that it meets any step. Some kills strike a process that is still
//! starting.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::watch;

use crate::error::Error;
use crate::process::{Launch, Process};

#[derive(Clone, Debug)]
pub struct Kills {
    pub seed: u64,
    pub count: usize,
    /// The share of kills that strike within half a second of a start.
    pub while_starting: f64,
}

/// One planned kill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// When so many writes were made, and so long after.
    Running { writes: u64, delay: Duration },
    /// So long after the start that followed the last kill.
    Starting { delay: Duration },
}

impl Kills {
    /// The kills of a run of `writes` writes, in order.
    pub fn plan(&self, writes: u64) -> Vec<Kill> {
        let mut rng = StdRng::seed_from_u64(self.seed);
        let mut starting = Vec::with_capacity(self.count);
        // The first kill needs a running process.
        starting.extend((0..self.count).map(|at| at > 0 && rng.random_bool(self.while_starting)));
        let running = starting.iter().filter(|starting| !**starting).count();
        let mut moments: Vec<u64> = (0..running).map(|_| rng.random_range(0..writes.max(1))).collect();
        moments.sort_unstable();
        let mut moments = moments.into_iter();
        let mut delay = |limit| Duration::from_millis(rng.random_range(0..limit));
        starting
            .into_iter()
            .map(|starting| match starting {
                true => Kill::Starting { delay: delay(500) },
                false => Kill::Running { writes: moments.next().unwrap_or_default(), delay: delay(40) },
            })
            .collect()
    }
}

/// Carries out the plan and gives the last process back, alive.
pub async fn kill_along(
    launch: &Launch,
    mut process: Process,
    plan: &[Kill],
    mut progress: watch::Receiver<u64>,
) -> Result<Process, Error> {
    for kill in plan {
        match *kill {
            Kill::Running { writes, delay } => {
                process.wait_for("/livez").await?;
                let reached = progress.wait_for(|made| *made >= writes).await;
                reached.map_err(|_| Error::process("the writers", "they ended before a kill that was due"))?;
                // The moment is the fault that is injected, not something that is waited for.
                tokio::time::sleep(delay).await;
            }
            Kill::Starting { delay } => tokio::time::sleep(delay).await,
        }
        process.kill().await?;
        process = Process::start(launch)?;
    }
    process.wait_for("/livez").await?;
    Ok(process)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_has_every_kill_within_the_run_and_is_the_same_for_its_seed() {
        let kills = Kills { seed: 4, count: 30, while_starting: 0.25 };
        let plan = kills.plan(1000);
        assert_eq!(plan, kills.plan(1000));
        assert_eq!(plan.len(), 30);
        assert!(matches!(plan[0], Kill::Running { .. }));
        assert!(plan.iter().any(|kill| matches!(kill, Kill::Starting { .. })));
        let moments: Vec<u64> = plan
            .iter()
            .filter_map(|kill| match kill {
                Kill::Running { writes, .. } => Some(*writes),
                Kill::Starting { .. } => None,
            })
            .collect();
        assert!(moments.is_sorted() && moments.iter().all(|moment| *moment < 1000), "{moments:?}");
    }
}
