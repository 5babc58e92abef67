//! Appends numbered events to an embedded log until it is killed, going on from the position in the ledger.
//! Prints each number once it is durable: `append FOLDER`.

use std::io::Write as _;

use headwater_common::change::{ShardId, StreamArn, TableName};
use headwater_common::clock::Timestamp;
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::key::{ItemKey, KeyValue};
use headwater_common::ledger::{LedgerEntry, ShardEntry, ShardStatus};
use headwater_common::log::{ChangeLog, CommitBatch, LedgerUpdate, LogEvent, Ownership};
use headwater_common::order::{SequenceNumber, Version};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: append FOLDER")?;
    tokio::runtime::Builder::new_current_thread().build()?.block_on(append(&folder))
}

async fn append(folder: &str) -> Result<(), Box<dyn std::error::Error>> {
    let log = EmbeddedLog::open(folder.as_ref(), Layout::default())?;
    let table = TableName::new("numbers");
    let mut state = ShardEntry {
        table: table.clone(),
        stream: StreamArn::new("arn"),
        generation: 1,
        shard: ShardId::new("shard"),
        parents: vec![],
        status: ShardStatus::Open,
        position: None,
        last_version: Version::ZERO,
        complete_until: Timestamp::EPOCH,
        since: Timestamp::EPOCH,
    };
    for update in log.ledger().await?.next().await? {
        if let LedgerUpdate::Entry(entry) = update
            && let LedgerEntry::Shard(entry) = *entry
        {
            state = entry;
        }
    }
    let slot = LedgerEntry::Shard(state.clone()).slot(log.slots());
    let mut member = log.join().await?;
    let mut writer = loop {
        if let Ownership::Acquired(writer) = member.changed().await?
            && writer.slot() == slot
        {
            break writer;
        }
    };
    loop {
        let mut events = Vec::new();
        for _ in 0..=state.last_version.get() % 7 {
            state.last_version = state.last_version.next(Timestamp::EPOCH);
            let number = state.last_version.to_string();
            let key = ItemKey { partition: ("n".into(), KeyValue::S(number.clone())), sort: None }.canonical();
            events.push(LogEvent { table: table.clone(), key, value: number.into_bytes().into() });
        }
        state.position = Some(SequenceNumber::parse(&state.last_version.to_string())?);
        let entries = vec![LedgerEntry::Shard(state.clone())];
        let _durable = writer.commit(CommitBatch { events, entries, forgotten: vec![] }).await?;
        writeln!(std::io::stdout(), "{}", state.last_version)?;
    }
}
