//! P2: along the log, an item's versions rise strictly and its states are those written, in the order written.

use super::align::{align, by_key};
use super::{Promise, Violation};
use crate::model::Model;
use crate::observed::Observed;

pub fn order_per_item(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (key, rows) in by_key(&observed.history) {
        let Some(timeline) = model.keys.get(&key) else { continue };
        let mut wrong = |text| violations.push(Violation::new(Promise::P2Order, model, &key, text));
        let placed = align(timeline, &rows);
        let rows = placed.iter().filter(|row| row.repeats.is_none()).collect::<Vec<_>>();
        for pair in rows.windows(2) {
            let [before, after] = pair else { continue };
            if after.row.version < before.row.version {
                wrong(format!("{} comes after {}", after.place(), before.place()));
            }
            if let (Some(first), Some(second)) = (before.step, after.step)
                && second < first
            {
                let places = (after.place(), before.place());
                wrong(format!("{} shows an older state than {} before it", places.0, places.1));
            }
            if before.row.log_partition != after.row.log_partition {
                wrong(format!("{} and {} lie in two partitions", before.place(), after.place()));
            }
        }
    }
    violations
}
