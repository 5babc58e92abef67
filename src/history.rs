//! `headwater history`: the changes of one item.

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::value::Item;
use headwater_lake::query::{AsOf, HistoryEntry, Settings};
use serde_json::json;
use serde_json::value::RawValue;

use crate::Context;
use crate::args::{By, History};
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::sql;
use crate::stores::Stores;

pub async fn run(context: Context, history: History) -> Result<(), Failure> {
    let stores = Stores::of(&context)?;
    let table: TableName = stores.entity(&history.table)?.table();
    let as_of = history.as_of.as_deref().map(moment).transpose()?;
    let by = match history.by {
        By::EventTime => AsOf::EventTime,
        By::KnownAt => AsOf::KnownAt,
    };
    let reader = sql::reader(&stores, Settings::default())?;
    let key: Vec<&str> = history.key.iter().map(String::as_str).collect();
    let entries = reader.history(&table, &key, as_of, by).await.map_err(sql::failure)?;
    for entry in entries.iter().take(history.limit) {
        match context.format {
            Format::Json => output::line(&document(entry)?)?,
            Format::Text => output::line(&text(entry))?,
        }
    }
    match (context.format, entries.len()) {
        (Format::Json, _) => Ok(()),
        (Format::Text, 0) => output::line("no change of this key is known by then"),
        (Format::Text, all) if all > history.limit => {
            output::line(&format!("{} of {all} changes; --limit gives more", history.limit))
        }
        (Format::Text, all) => output::line(&format!("{all} changes")),
    }
}

fn moment(text: &str) -> Result<Timestamp, Failure> {
    Timestamp::parse_rfc3339(text)
        .ok_or_else(|| Failure::usage(format!("{text:?} is no time")).at("--as-of").remedy("2013-01-15T12:00:00Z, say"))
}

fn document(entry: &HistoryEntry) -> Result<String, Failure> {
    let item = entry.item.clone().map(RawValue::from_string).transpose();
    let item = item.map_err(|error| Failure::failed(format!("an item in the lake is no JSON: {error}")))?;
    output::json(&json!({
        "version": entry.version,
        "op": entry.op,
        "event_ts": entry.event_ts.map(|moment| moment.to_rfc3339()),
        "event_time": entry.event_time.map(|moment| moment.to_rfc3339()),
        "commit_ts": entry.commit_ts.map(|moment| moment.to_rfc3339()),
        "changed": entry.changed,
        "item": item,
    }))
}

fn text(entry: &HistoryEntry) -> String {
    let what = match entry.op.as_str() {
        "c" => "inserted",
        "u" => "modified",
        "d" => "deleted",
        "x" => "expired",
        "r" => "snapshot",
        other => other,
    };
    let at = entry.event_time.or(entry.event_ts).map(|moment| moment.to_rfc3339()).unwrap_or_default();
    let item = entry.item.as_deref().and_then(|json| Item::from_json(json).ok()).unwrap_or_default();
    let shown = |name: &&String| entry.changed.as_ref().is_none_or(|changed| changed.contains(name));
    let attributes: Vec<String> = item
        .0
        .iter()
        .filter(|(name, _)| shown(name))
        .map(|(name, value)| format!("{name}={}", output::value(value)))
        .collect();
    format!("{at}  {what:<8}  {}", attributes.join("  "))
}
