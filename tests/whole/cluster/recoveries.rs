//! How long the flow took to come back after each fault.

use std::fmt;
use std::time::Duration;

use headwater_tests::faults::{Fault, Role};

use super::flow::Arrived;

pub struct Recovery {
    pub fault: Fault,
    /// From the strike until what was written right after it was in lake and index.
    pub back: Arrived,
    /// How much of that the store took to take those writes.
    pub writing: Duration,
    /// From a write after everything was whole again until it was there.
    pub after: Arrived,
}

#[derive(Default)]
pub struct Recoveries(Vec<Recovery>);

impl Recoveries {
    pub fn note(&mut self, recovery: Recovery) {
        println!("{}. {recovery}", self.0.len() + 1);
        self.0.push(recovery);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    fn of(&self, fault: Fault) -> Vec<Duration> {
        self.0.iter().filter(|recovery| recovery.fault == fault).map(|recovery| recovery.back.both()).collect()
    }

    fn writing(&self) -> Vec<Duration> {
        self.0.iter().map(|recovery| recovery.writing).collect()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Recovery { fault, back, writing, after } = self;
        write!(
            f,
            "{fault}: back in the lake after {}, in the index after {}",
            seconds(back.lake),
            seconds(back.index)
        )?;
        write!(f, ", {} of it to write; then {} and {}", seconds(*writing), seconds(after.lake), seconds(after.index))
    }
}

impl fmt::Display for Recoveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "from the strike until a write after it was in lake and index:")?;
        for fault in Fault::all() {
            line(f, &fault.to_string(), self.of(fault))?;
        }
        line(f, "writing the probes, all faults", self.writing())?;
        line(f, "every killed worker", Role::ALL.into_iter().flat_map(|role| self.of(Fault::Kill(role))).collect())
    }
}

fn line(f: &mut fmt::Formatter<'_>, name: &str, mut times: Vec<Duration>) -> fmt::Result {
    times.sort_unstable();
    let Some(worst) = times.last() else { return Ok(()) };
    let (count, median) = (times.len(), seconds(times[times.len() / 2]));
    writeln!(f, "  {name}: {count} times, median {median}, worst {}", seconds(*worst))
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
