//! A log filled with changes that no ingest wrote: the same ones wherever they are asked for by number.

use headwater_common::change::{Change, Op, ShardId, Source, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::codec;
use headwater_common::completeness::Mark;
use headwater_common::definition::{Entity, parse};
use headwater_common::key::ItemKey;
use headwater_common::ledger::Slot;
use headwater_common::log::{ChangeLog, CommitBatch, LogEvent, Ownership};
use headwater_common::order::{SequenceNumber, Version};
use headwater_common::value::{Item, Value};

use crate::error::Error;

/// Changes of one commit.
const BATCH: u64 = 1000;

/// When the first change was made, in seconds since the epoch.
const FIRST_SECOND: u64 = 1_700_000_000;

/// Change `n` of `table`: an insert of `item`, whose key attributes are named, in the envelope that ingest would write.
pub fn change(table: &TableName, key: (&str, Option<&str>), item: Item, n: u64) -> Result<Change, Error> {
    let impossible = |what: &str| Error::answer(format!("change {n} of {table}"), what);
    let (high, low) = (scattered(n), scattered(n ^ 0x5555));
    let sequence = (100_000_000_000_000_000_000_u128 + u128::from(n)).to_string();
    Ok(Change {
        table: table.clone(),
        key: ItemKey::of(&item, key.0, key.1).ok_or_else(|| impossible("no key"))?,
        op: Op::Insert,
        version: Version::new((FIRST_SECOND << 30) + n).ok_or_else(|| impossible("a version past 2^63"))?,
        created: Timestamp::from_millis((FIRST_SECOND * 1000 + n) as i64),
        after: Some(item),
        before: None,
        changed: None,
        source: Source {
            stream: StreamArn::new(format!("arn:aws:dynamodb:eu-west-1:1:table/{table}/stream/2024")),
            generation: 1,
            shard: ShardId::new("shardId-00000001700000000000-0123abcd"),
            sequence: SequenceNumber::parse(&sequence).map_err(|_| impossible("no sequence number"))?,
            event_id: format!("{high:016x}{low:016x}"),
            identity: None,
        },
    })
}

/// Commits `count` changes as ingest does, and marks the log complete up to `complete`. Gives the bytes of a record.
pub async fn fill(
    log: &dyn ChangeLog,
    table: &TableName,
    count: u64,
    complete: Timestamp,
    change: impl Fn(u64) -> Result<Change, Error>,
) -> Result<u64, Error> {
    log.open_table(table).await.map_err(fault)?;
    // Makes the topic that the slots are partitions of.
    drop(log.ledger().await.map_err(fault)?);
    let mut member = log.join().await.map_err(fault)?;
    let Ownership::Acquired(mut writer) = member.changed().await.map_err(fault)? else {
        return Err(fault("a slot was taken away before one was given"));
    };
    let mut bytes = 0;
    for first in (0..count).step_by(BATCH as usize) {
        let mut events = Vec::new();
        for n in first..(first + BATCH).min(count) {
            let change = change(n)?;
            let value = codec::encode(&change);
            bytes += value.len() as u64;
            events.push(LogEvent { table: change.table, key: change.key.canonical(), value });
        }
        let _durable = writer.commit(CommitBatch { events, ..CommitBatch::default() }).await.map_err(fault)?;
    }
    let slots = (0..log.slots()).map(|slot| (Slot(slot), complete)).collect();
    log.mark(table, &Mark { of: log.slots(), slots }).await.map_err(fault)?;
    Ok(bytes / count.max(1))
}

fn fault(reason: impl ToString) -> Error {
    Error::server("the log that is filled", reason)
}

/// Items of twelve numbers and a text: about 1 KB as a record on the log.
pub mod measurements {
    use super::*;

    pub const TABLE: &str = "measurements";
    const KEY: &str = "id";
    const LONGS: usize = 4;
    const NUMBERS: usize = 12;
    const WORDS: [&str; 16] = [
        "pressure", "rises", "slowly", "after", "valve", "change", "sensor", "north", "of", "the", "third", "pump",
        "reports", "steady", "flow", "again",
    ];

    pub fn entity() -> Result<Entity, Error> {
        let number =
            |at: usize| format!("  - {{name: n{at:02}, type: {}}}\n", if at < LONGS { "long" } else { "double" });
        let yaml = format!(
            "entity: {TABLE}\nkey: {{partition: {{name: {KEY}, type: string}}}}\nevent_time: at\nfeatures:\n{}",
            (0..NUMBERS).map(number).collect::<String>() + "  - {name: note, type: text}\n"
        );
        let fault = |reason: &str| Error::answer("the definition of measurements", reason);
        let mut entities = parse(&[("measurements.yaml", &*yaml)]).map_err(|error| fault(&error.to_string()))?;
        entities.pop().ok_or_else(|| fault("no entity"))
    }

    /// Every change is of another item.
    pub fn change(n: u64) -> Result<Change, Error> {
        let x = scattered(n);
        let number = |at: usize| {
            let digits = scattered(x ^ at as u64) % 1_000_000;
            let point = if at < LONGS { String::new() } else { format!(".{}{}", digits % 10, 1 + digits % 9) };
            format!(r#""n{at:02}":{{"N":"{digits}{point}"}},"#)
        };
        let word = |at: u32| WORDS[(x.rotate_left(at * 5) % WORDS.len() as u64) as usize];
        let json = format!(
            r#"{{"at":{{"N":"{}"}},"{KEY}":{{"S":"pump-{n:08}"}},{}"note":{{"S":"{}"}}}}"#,
            FIRST_SECOND * 1000 + n,
            (0..NUMBERS).map(number).collect::<String>(),
            (0..24).map(word).collect::<Vec<_>>().join(" "),
        );
        let item = Item::from_json(&json).map_err(|error| Error::answer(format!("item {n}"), error))?;
        super::change(&TableName::new(TABLE), (KEY, None), item, n)
    }

    /// Of the change that wrote the item.
    pub fn number(item: &Item) -> Option<u64> {
        match item.get(KEY)? {
            Value::S(id) => id.strip_prefix("pump-")?.parse().ok(),
            _ => None,
        }
    }
}

/// A number that has nothing of its neighbour's.
fn scattered(n: u64) -> u64 {
    let mixed = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_about_a_kilobyte_on_the_log_and_each_is_another() {
        let of = |n| codec::encode(&measurements::change(n).unwrap());
        let sizes: Vec<usize> = (0..1000).map(|n| of(n).len()).collect();
        assert!(sizes.iter().all(|bytes| (850..1200).contains(bytes)), "{sizes:?}");
        assert_ne!(of(1), of(2));
        assert_eq!(measurements::change(7).unwrap().after.as_ref().and_then(measurements::number), Some(7));
        assert_eq!(measurements::entity().unwrap().features.len(), 13);
    }
}
