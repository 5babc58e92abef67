//! Documents per second of `apply` at commits as the pipeline makes them, beside tantivy alone in the same run.
//!
//! `cargo run -p headwater-sink-search --example apply [commits]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::definition::{Entity, parse};
use headwater_common::key::ItemKey;
use headwater_common::log::{LogId, Offset};
use headwater_common::order::Version;
use headwater_common::value::Item;
use headwater_sink_search::index::{Flush, Operation, PartitionProgress, Progress};
use headwater_sink_search::query::{Search, parse as parse_query, parse_sort};
use headwater_sink_search::{EmbeddedIndex, SearchIndex};

const PER_COMMIT: u64 = 2500;
const HEAP: usize = 50_000_000;

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let commits = std::env::args().nth(1).map_or(Ok(20), |text| text.parse())?;
    println!("{commits} commits of {PER_COMMIT} operations");
    for keys in [4_000, 100_000] {
        let tantivy = median(tantivy_alone(keys, commits)?);
        println!("{keys:>7} keys  tantivy add + commit  {:>7.0} docs/s", rate(tantivy));
        let (times, index) = apply(keys, commits).await?;
        let (early, late) = times.split_at(times.len() / 2);
        println!(
            "{keys:>7} keys  apply                 {:>7.0} docs/s  ({:.0} % of tantivy alone; first half {:.0} ms, second half {:.0} ms a commit)",
            rate(median(times.clone())),
            100.0 * tantivy.as_secs_f64() / median(times.clone()).as_secs_f64(),
            median(early.to_vec()).as_secs_f64() * 1e3,
            median(late.to_vec()).as_secs_f64() * 1e3,
        );
        searches(keys, &index).await?;
    }
    Ok(())
}

fn rate(commit: Duration) -> f64 {
    PER_COMMIT as f64 / commit.as_secs_f64()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn entity() -> Result<Entity, Failure> {
    let yaml = "
entity: aircraft
key: {partition: {name: tail, type: string}}
features:
  - {name: carrier, type: keyword}
  - {name: model, type: text}
  - {name: flights, type: long}
  - {name: delay_mean_10, type: double}
  - {name: airborne, type: bool}
  - {name: last_seen, type: timestamp}
  - {name: last_position, type: geo_point}
  - {name: profile, type: vector(8)}
";
    parse(&[("aircraft.yaml", yaml)])?.pop().ok_or_else(|| "no entity".into())
}

fn operation(id: u64, version: u64) -> Result<Operation, Failure> {
    let lat = -60.0 + (id % 1200) as f64 / 10.0;
    let lon = -170.0 + (id % 3400) as f64 / 10.0;
    let profile = [r#"{"N":"0.125"}"#; 8].join(",");
    let json = format!(
        r#"{{"tail":{{"S":"N{id:06}"}},"carrier":{{"S":"C{}"}},"model":{{"S":"Boeing 737 variant {}"}},"flights":{{"N":"{version}"}},"delay_mean_10":{{"N":"{}.25"}},"airborne":{{"BOOL":{}}},"last_seen":{{"N":"{}"}},"last_position":{{"M":{{"lat":{{"N":"{lat:.2}"}},"lon":{{"N":"{lon:.2}"}}}}}},"profile":{{"L":[{profile}]}}}}"#,
        id % 16,
        id % 40,
        (id * 7 + version) % 90,
        version.is_multiple_of(2),
        1_357_000_000_000 + version * 1000,
    );
    let item = Item::from_json(&json)?;
    let key = ItemKey::of(&item, "tail", None).ok_or("an item without its key")?.canonical();
    Ok(Operation { key, version: Version::new(version).ok_or("a version above 2^63")?, body: Some(item) })
}

/// The same keys in the same order for both: a stride that visits all of them.
fn batch(keys: u64, commit: u64) -> Result<Vec<Operation>, Failure> {
    let ids = (0..PER_COMMIT).map(|at| (commit * PER_COMMIT + at) * 7919 % keys);
    ids.map(|id| operation(id, commit + 1)).collect()
}

async fn apply(keys: u64, commits: u64) -> Result<(Vec<Duration>, Kept), Failure> {
    let folder = tempfile::tempdir()?;
    let index = EmbeddedIndex::open(folder.path(), &entity()?, HEAP)?;
    for commit in 0..keys.div_ceil(PER_COMMIT) {
        index.apply(Arc::new(Flush { operations: batch(keys, commit)?, progress: Progress::default() })).await?;
    }
    let mut times = Vec::new();
    for commit in 0..commits {
        let commit = commit + keys.div_ceil(PER_COMMIT);
        let reached = PartitionProgress { next: Offset(commit), complete_until: None };
        let progress = Progress { log: Some(LogId("l".into())), of: 1, partitions: [(0, reached)].into() };
        let flush = Arc::new(Flush { operations: batch(keys, commit)?, progress });
        let started = Instant::now();
        index.apply(flush).await?;
        times.push(started.elapsed());
    }
    Ok((times, Kept { index, _folder: folder }))
}

struct Kept {
    index: EmbeddedIndex,
    _folder: tempfile::TempDir,
}

/// Documents with the same fields, added and committed, with neither versions nor deletes.
fn tantivy_alone(keys: u64, commits: u64) -> Result<Vec<Duration>, Failure> {
    use tantivy::schema::{FAST, STORED, STRING, Schema, TEXT};
    let folder = tempfile::tempdir()?;
    let mut schema = Schema::builder();
    let key = schema.add_text_field("key", STRING | FAST);
    let item = schema.add_text_field("item", STORED);
    let carrier = schema.add_text_field("carrier", STRING | FAST);
    let model = schema.add_text_field("model", TEXT);
    let longs: Vec<_> = ["flights", "airborne", "last_seen"].map(|name| schema.add_i64_field(name, FAST)).into();
    let doubles: Vec<_> = ["delay", "lat", "lon"].map(|name| schema.add_f64_field(name, FAST)).into();
    let index = tantivy::Index::create_in_dir(folder.path(), schema.build())?;
    let mut writer: tantivy::IndexWriter = index.writer_with_num_threads(1, HEAP)?;
    let mut times = Vec::new();
    for commit in 0..commits {
        let operations = batch(keys, commit)?;
        let started = Instant::now();
        for operation in &operations {
            let mut document = tantivy::TantivyDocument::default();
            document.add_text(key, operation.key.to_text());
            if let Some(body) = &operation.body {
                document.add_text(item, body.to_json());
            }
            document.add_text(carrier, "C1");
            document.add_text(model, "Boeing 737 variant 3");
            longs.iter().for_each(|field| document.add_i64(*field, commit as i64));
            doubles.iter().for_each(|field| document.add_f64(*field, commit as f64 / 3.0));
            writer.add_document(document)?;
        }
        writer.commit()?;
        times.push(started.elapsed());
    }
    Ok(times)
}

async fn searches(keys: u64, kept: &Kept) -> Result<(), Failure> {
    let mapping = kept.index.mapping();
    let queries = [
        ("delay_mean_10 >= 30 and distance(last_position, 40.64, -73.78) < 500km", "delay_mean_10 desc"),
        ("carrier = \"C3\"", "distance(last_position, 40.64, -73.78)"),
        ("tail prefix \"N0012\"", ""),
        ("", ""),
    ];
    for (query, sort) in queries {
        let search =
            Search { query: parse_query(query, mapping)?, sort: parse_sort(sort, mapping)?, ..Search::default() };
        let mut times = Vec::new();
        let mut total = 0;
        for _ in 0..20 {
            let started = Instant::now();
            total = kept.index.search(&search).await?.total;
            times.push(started.elapsed());
        }
        println!(
            "{keys:>7} keys  {:>6.2} ms  {total:>6} found by `{query}` sorted by `{sort}`",
            median(times).as_secs_f64() * 1e3
        );
    }
    Ok(())
}
