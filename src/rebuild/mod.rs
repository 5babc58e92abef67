//! `headwater rebuild`: a table's search index again from the log, beside the one that serves.
//!
//! The new index is fed by readers of its own while the workers go on writing the old one; it is compared with the table
//! key by key; only then the table moves to it, by one call, and the workers go over by themselves. Whatever ends this
//! before the move, kill -9 too, changes nothing of what serves: what was built is gone on with by the next start.

mod feeding;

use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{Clock, SystemClock, Timestamp};
use headwater_common::definition::Entity;
use headwater_common::health::Health;
use headwater_sink_search::opensearch::Moved;
use headwater_sink_search::{Building, OpenSearch};
use serde::Serialize;

use crate::Context;
use crate::args;
use crate::failure::{Exit, Failure};
use crate::output::{self, Format, grouped};
use crate::servers::Servers;
use crate::stores::Stores;
use crate::verify::{self, Against, Compared, Sources, Store};
use feeding::Feeding;

/// Keys that are shown to people; programs get all.
const SHOWN: usize = 20;

#[derive(Debug, Serialize)]
struct Report {
    table: TableName,
    /// The index that was built.
    index: String,
    /// An earlier rebuild had begun it.
    resumed: bool,
    /// Whether it serves now.
    moved: bool,
    /// What served before and is there still, by name.
    kept: Vec<String>,
    removed: Vec<String>,
    table_items: u64,
    index_items: u64,
    complete_until: Timestamp,
    differences: Vec<Difference>,
    /// Keys that were written to during every re-read, so that nothing can be said of them.
    unsettled: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Difference {
    key: String,
    in_index: Against,
}

pub async fn run(context: Context, rebuild: args::Rebuild) -> Result<(), Failure> {
    let Stores::Servers(servers) = Stores::of(&context)? else {
        return Err(Failure::usage("the index of a data folder has one reader, which builds it again by itself")
            .at(context.data_folder().display())
            .remedy("stop the stack, remove the table's folder in `index`, and start it again"));
    };
    let entities = verify::chosen(servers.entities()?, &rebuild.tables)?;
    let server = servers.open_search().await?;
    for entity in &entities {
        one(&context, &servers, &server, entity, &rebuild).await?;
    }
    Ok(())
}

async fn one(
    context: &Context,
    servers: &Servers,
    server: &OpenSearch,
    entity: &Entity,
    rebuild: &args::Rebuild,
) -> Result<(), Failure> {
    let (health, patience) = (Health::default(), Duration::from_secs(rebuild.patience));
    let log = servers.log(health.clone()).await?;
    let features = servers.features(vec![entity.clone()]).await?;
    let building = server.build_beside(entity, &*log, rebuild.anew).await.map_err(Failure::environment)?;
    begun(context.format, entity, &building);
    let settings = &context.settings.sink_search;
    let mut feeding = Feeding::start(log, &building, entity, settings, (health, context.format));
    feeding.complete_past(&building, entity, SystemClock.now(), patience).await?;
    let sources = Sources::of_index(features, building.index());
    let compared = verify::compare(&sources, entity, patience).await?;
    if !compared.differences.is_empty() {
        print(context.format, &report(entity, &building, compared, None))?;
        return Err(refusal(entity, &building));
    }
    feeding.caught_up(&building, patience).await?;
    // What it was writing is read again by the workers, from what the index says.
    drop(feeding);
    let moved = building.take_over(rebuild.keep).await.map_err(Failure::environment)?;
    for (index, reason) in &moved.left {
        output::note(&format!(
            "index {index} serves no more and could not be removed: {reason}; the next rebuild does"
        ));
    }
    print(context.format, &report(entity, &building, compared, Some(moved)))
}

fn begun(format: Format, entity: &Entity, building: &Building) {
    let table = entity.table();
    for (partition, start) in &building.lost {
        tracing::warn!(
            %table, partition, %start,
            "the log does not begin at its first record: items that were written before and not since are missing in \
             an index that is built now, and then it does not come to serve"
        );
    }
    if format == Format::Text {
        let goes_on = if building.resumed { ", which an earlier rebuild began" } else { "" };
        let beside = building.serving.as_ref().map_or_else(String::new, |index| format!(" beside {index}"));
        output::note(&format!("{table}: building {}{goes_on}{beside}", building.name()));
    }
}

fn refusal(entity: &Entity, building: &Building) -> Failure {
    let (table, index) = (entity.table(), building.name());
    let failure = Failure::new(Exit::Different, format!("the new index of {table} differs, so what served goes on"));
    let again = format!("start the rebuild again, which goes on with {index}; --anew begins another");
    failure.at(index).remedy(match building.lost.is_empty() {
        true => format!("see by `headwater verify` whether the others differ too, then {again}"),
        false => format!("the log has lost its beginning: write the items that are missing once more, then {again}"),
    })
}

fn report(entity: &Entity, building: &Building, compared: Compared, moved: Option<Moved>) -> Report {
    let items = |store| compared.items.get(&store).copied().unwrap_or_default();
    let (table_items, index_items) = (items(Store::Table), items(Store::Index));
    let difference = |(key, stands): (String, verify::Stands)| {
        let in_index = stands.get(&Store::Index).copied().unwrap_or(Against::Equal);
        Difference { key, in_index }
    };
    let is_moved = moved.is_some();
    let Moved { kept, removed, .. } = moved.unwrap_or_default();
    Report {
        table: entity.table(),
        index: building.name().to_owned(),
        resumed: building.resumed,
        moved: is_moved,
        kept,
        removed,
        table_items,
        index_items,
        complete_until: compared.complete_until,
        differences: compared.differences.into_iter().map(difference).collect(),
        unsettled: compared.unsettled,
    }
}

fn print(format: Format, report: &Report) -> Result<(), Failure> {
    format.answer(report, || {
        let Report { table, index, table_items, index_items, complete_until, differences, .. } = report;
        let mut lines = vec![format!(
            "{table}: {} items in the table, {} in {index}, {} differences, complete until {complete_until}",
            grouped(*table_items),
            grouped(*index_items),
            differences.len(),
        )];
        lines.extend(differences.iter().take(SHOWN).map(|it| format!("  {}: {:?}", it.key, it.in_index)));
        if differences.len() > SHOWN {
            lines.push(format!("  and {} more, which --json shows", differences.len() - SHOWN));
        }
        if !report.unsettled.is_empty() {
            let keys = report.unsettled.join(" ");
            lines.push(format!("  {} keys were written to during every re-read: {keys}", report.unsettled.len()));
        }
        if report.moved {
            lines.push(format!("{table}: {index} serves now"));
        }
        lines.extend(report.kept.iter().map(|old| format!("{table}: {old} is kept and not written any more")));
        lines.extend(report.removed.iter().map(|old| format!("{table}: {old} is removed")));
        lines.join("\n")
    })
}
