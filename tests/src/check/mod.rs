//! One checker per promise: pure functions from what was written and what was found to what is wrong.
//!
//! What breaks several promises at once is told by the one that explains it, so that a violation names its cause: a
//! deleted item in a sink is P6 and not also P4, a row with a rounded number is P11 and not also P5. P3 and P6 both
//! speak when a replay brings a deleted item back in the history, for both are true then.
//!
//! [`premise`] and [`vacuity`] judge the run itself: a table that contradicts its own answers, or a run in which
//! nothing happened, proves nothing.

mod align;
mod convergence;
mod deletes;
mod duplicates;
mod loss;
mod lossless;
mod order;
mod phantoms;
mod premise;
#[cfg(test)]
mod tests;

use std::fmt;

pub use convergence::convergence;
pub use deletes::deletes_stick;
pub use duplicates::effectively_once;
pub use loss::no_loss;
pub use lossless::lossless;
pub use order::order_per_item;
pub use phantoms::no_phantom;
pub use premise::{Expected, premise, vacuity};

use crate::history::Key;
use crate::model::Model;
use crate::observed::Observed;

/// The promises of the design that these checkers hold a run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// Not a promise: the run can be judged at all.
    Premise,
    P1NoLoss,
    P2Order,
    P3Once,
    P4Convergence,
    P5NoPhantom,
    P6DeletesStick,
    P11Lossless,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Promise::Premise => "premise",
            Promise::P1NoLoss => "P1 no loss",
            Promise::P2Order => "P2 order per item",
            Promise::P3Once => "P3 effectively once",
            Promise::P4Convergence => "P4 convergence",
            Promise::P5NoPhantom => "P5 no phantom",
            Promise::P6DeletesStick => "P6 deletes stick",
            Promise::P11Lossless => "P11 lossless",
        })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Violation {
    pub promise: Promise,
    /// The item, as people read it; empty where no item is concerned.
    pub key: String,
    /// What is wrong, with versions and offsets.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.promise, self.key, self.text)
    }
}

impl Violation {
    fn new(promise: Promise, model: &Model, key: &Key, text: impl Into<String>) -> Violation {
        Violation { promise, key: model.label(key), text: text.into() }
    }
}

/// Every checker, the premise first.
pub fn all(model: &Model, observed: &Observed) -> Vec<Violation> {
    [
        premise(model, observed),
        no_loss(model, observed),
        order_per_item(model, observed),
        effectively_once(model, observed),
        convergence(model, observed),
        no_phantom(model, observed),
        deletes_stick(model, observed),
        lossless(model, observed),
    ]
    .concat()
}

/// The first violations of each promise as text, with their count; empty when there are none.
pub fn report(violations: &[Violation]) -> String {
    const SHOWN: usize = 10;
    let mut text = String::new();
    let mut promises: Vec<Promise> = violations.iter().map(|violation| violation.promise).collect();
    promises.sort();
    promises.dedup();
    for promise in promises {
        let of: Vec<&Violation> = violations.iter().filter(|violation| violation.promise == promise).collect();
        text.push_str(&format!("{promise}: {} violations\n", of.len()));
        for violation in of.iter().take(SHOWN) {
            text.push_str(&format!("  {}: {}\n", violation.key, violation.text));
        }
    }
    text
}
