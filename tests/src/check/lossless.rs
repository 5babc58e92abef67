//! P11: an item in the lake equals the item written: digits, sets, binary, empty strings, NULL and absent, key types.
//!
//! Numbers compare by value: DynamoDB itself settles on one spelling.

use headwater_common::value::{Item, Value};

use super::align::by_key;
use super::{Promise, Violation};
use crate::history::{Key, WriteId};
use crate::model::{Effect, Model, shortened};
use crate::observed::Observed;

pub fn lossless(model: &Model, observed: &Observed) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut differs = |key: &Key, item: &Item, place: String| {
        let Some(written) = written(model, key, item) else { return };
        let (written, found) = (written.normalised(), item.normalised());
        for name in Item::changed(&written, &found) {
            let text = format!(
                "attribute {:?} was written as {} and is {}, {place}",
                shortened(&name, 40),
                shown(written.get(&name)),
                shown(found.get(&name)),
            );
            violations.push(Violation::new(Promise::P11Lossless, model, key, text));
        }
    };
    for (key, rows) in by_key(&observed.history) {
        for row in rows {
            if let Some(item) = &row.item {
                let place = format!("version {} at {}/{}", row.version, row.log_partition, row.log_offset);
                differs(&key, item, place);
            }
        }
    }
    for row in observed.current.iter().flatten() {
        differs(&row.key(), &row.item, format!("version {} of the current table", row.version));
    }
    violations
}

fn written<'a>(model: &'a Model, key: &Key, item: &Item) -> Option<&'a Item> {
    let timeline = model.keys.get(key)?;
    let step = timeline.steps.get(timeline.step_of(&WriteId::of(item)?)?)?;
    match &step.effect {
        Effect::State { item, .. } => item.as_ref(),
        Effect::Removed(_) => None,
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("absent".to_owned(), |value| shortened(&serde_json::to_string(value).unwrap_or_default(), 80))
}
