use std::time::Instant;

use headwater_common::clock::Clock;
use headwater_lake::LakeReader;
use headwater_lake::current::Settings;
use tokio_util::sync::CancellationToken;

use crate::fixture::{Fixture, change, entity_with, table};

fn wide() -> headwater_common::definition::Entity {
    let features: Vec<_> = (0..20)
        .map(|at| match at % 4 {
            0 => serde_json::json!({"name": format!("f{at}"), "type": "long"}),
            1 => serde_json::json!({"name": format!("f{at}"), "type": "double"}),
            2 => serde_json::json!({"name": format!("f{at}"), "type": "keyword"}),
            _ => serde_json::json!({"name": format!("f{at}"), "type": {"vector": {"dims": 4}}}),
        })
        .collect();
    entity_with(serde_json::json!(features))
}

fn attributes(seed: u64) -> String {
    (0..20)
        .map(|at| match at % 4 {
            0 => format!(r#""f{at}":{{"N":"{}"}}"#, seed * 7 + at),
            1 => format!(r#""f{at}":{{"N":"{}.{}"}}"#, seed % 1000, at * 17),
            2 => format!(r#""f{at}":{{"S":"value {}"}}"#, (seed * 31 + at) % 997),
            _ => format!(r#""f{at}":{{"L":[{{"N":"{}"}},{{"N":"0.5"}},{{"N":"0.25"}},{{"N":"1"}}]}}"#, seed % 10),
        })
        .collect::<Vec<_>>()
        .join(",")
}

#[tokio::test(flavor = "multi_thread")]
async fn measure_fold() {
    if std::env::var("MEASURE").is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lake = headwater_sink_offline::Lake::local(folder.path()).unwrap();
    let mut fixture = Fixture::on(lake, wide()).await;
    let keys: u64 = std::env::var("KEYS").map(|k| k.parse().unwrap()).unwrap_or(200_000);
    let mut version = 0;
    let batch = |from: u64, count: u64, version: &mut u64| {
        (from..from + count)
            .map(|key| {
                *version += 1;
                change(&format!("key-{:08}", key % keys), *version, Some(&attributes(*version)))
            })
            .collect::<Vec<_>>()
    };
    let started = Instant::now();
    let mut fold = fixture.fold_with(Settings::default());
    let stop = CancellationToken::new();
    let now = fixture.clock.now();
    for at in (0..keys).step_by(20_000) {
        let b = batch(at, 20_000.min(keys - at), &mut version);
        fixture.flush(&b).await;
        fixture.written.clear();
    }
    eprintln!("written {keys} keys in {:?}", started.elapsed());
    let started = Instant::now();
    let folded = fold.catch_up(now, &stop).await.unwrap();
    eprintln!("first fold {:?} {folded:?}", started.elapsed());
    for round in 0..3_u64 {
        for at in 0..30_u64 {
            let b = batch(round * 77_777 + at * 5_000, 5_000, &mut version);
            fixture.flush(&b).await;
            fixture.written.clear();
        }
        let reader = LakeReader::open(fixture.lake.clone(), std::slice::from_ref(&fixture.entity));
        let started = Instant::now();
        let n = reader.row_count(&table()).await.unwrap();
        eprintln!("count with tail of 150k: {n} in {:?}", started.elapsed());
        let started = Instant::now();
        let cpu = cpu();
        let folded = fold.catch_up(now, &stop).await.unwrap();
        eprintln!("fold 150k rows of 30 files: {:?} cpu {:.2}s {folded:?}", started.elapsed(), self::cpu() - cpu);
        let started = Instant::now();
        let n = reader.row_count(&table()).await.unwrap();
        eprintln!("count folded: {n} in {:?}", started.elapsed());
        let started = Instant::now();
        let a =
            reader.sql("SELECT f2, count(*), avg(f1) FROM aircraft GROUP BY f2 ORDER BY 2 DESC LIMIT 5").await.unwrap();
        eprintln!("group by: {} in {:?}", a.rows(), started.elapsed());
        let started = Instant::now();
        let a = reader.sql("SELECT * FROM aircraft_current WHERE _pk = 'key-00000077'").await.unwrap();
        eprintln!("point: {} in {:?}", a.rows(), started.elapsed());
        let started = Instant::now();
        let a =
            reader.history(&table(), &["key-00000077"], None, headwater_lake::query::AsOf::EventTime).await.unwrap();
        eprintln!("history: {} in {:?}", a.len(), started.elapsed());
    }
    let size: u64 = headwater_lake::table::log::TableLog::new(
        fixture.lake.current(&table()),
        headwater_lake::table::state::Keep::Bounds,
    )
    .refresh()
    .await
    .unwrap()
    .unwrap()
    .bytes();
    eprintln!(
        "current {} MB, rss {}",
        size >> 20,
        std::fs::read_to_string("/proc/self/status")
            .unwrap()
            .lines()
            .filter(|l| l.starts_with("VmHWM"))
            .collect::<String>()
    );
}

fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let f: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (f[11].parse::<f64>().unwrap() + f[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test(flavor = "multi_thread")]
async fn measure_load() {
    if std::env::var("MEASURE").is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lake = headwater_sink_offline::Lake::local(folder.path()).unwrap();
    let mut fixture = Fixture::on(lake, wide()).await;
    let commits: u64 = 5000;
    let started = Instant::now();
    for at in 1..=commits {
        fixture.flush(&[change(&format!("k{}", at % 50), at, Some(&attributes(at)))]).await;
    }
    fixture.written.clear();
    eprintln!("{commits} commits in {:?}", started.elapsed());
    let started = Instant::now();
    let reader = LakeReader::open(fixture.lake.clone(), std::slice::from_ref(&fixture.entity));
    reader.complete_until(&table()).await.unwrap();
    eprintln!("cold snapshot of {commits} commits: {:?}", started.elapsed());
    let started = Instant::now();
    reader.complete_until(&table()).await.unwrap();
    eprintln!("again (tail re-read): {:?}", started.elapsed());
    let mut fold = fixture.fold_with(Settings::default());
    let started = Instant::now();
    let folded = fold.catch_up(fixture.clock.now(), &CancellationToken::new()).await.unwrap();
    eprintln!("fold {:?} {folded:?}", started.elapsed());
    let started = Instant::now();
    reader.complete_until(&table()).await.unwrap();
    eprintln!("warm snapshot: {:?}", started.elapsed());
    let started = Instant::now();
    reader.sql("SELECT count(*) FROM aircraft_history").await.unwrap();
    eprintln!("count history: {:?}", started.elapsed());
    let started = Instant::now();
    reader.sql("SELECT max(f0) FROM aircraft_history WHERE _version > 4990").await.unwrap();
    eprintln!("pruned history: {:?}", started.elapsed());
    let started = Instant::now();
    let mut d = fixture.lake.history(&table()).delta().unwrap();
    d.load().await.unwrap();
    eprintln!("deltalake load: {:?}", started.elapsed());
    let started = Instant::now();
    let m = headwater_lake::Maintenance {
        lake: fixture.lake.clone(),
        entities: vec![fixture.entity.clone()],
        settings: Default::default(),
        clock: fixture.clock.clone(),
        health: Default::default(),
    };
    let r = m.run_once(&table()).await.unwrap();
    eprintln!("upkeep with checkpoint: {:?} {r:?}", started.elapsed());
    let started = Instant::now();
    let reader = LakeReader::open(fixture.lake.clone(), std::slice::from_ref(&fixture.entity));
    reader.complete_until(&table()).await.unwrap();
    eprintln!("cold snapshot after checkpoint of {commits} files: {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn measure_python() {
    let Ok(folder) = std::env::var("KEEP_AT") else { return };
    let lake = headwater_sink_offline::Lake::local(std::path::Path::new(&folder)).unwrap();
    let mut fixture = Fixture::on(lake, crate::fixture::entity()).await;
    for at in 1..=130_u64 {
        let attributes = format!(
            r#""delay":{{"N":"9007199254740993"}},"exact":{{"N":"123456789012345678901234567890123456.78"}},"tailNumber":{{"S":"N{at}"}},"place":{{"M":{{"lat":{{"N":"40.6"}},"lon":{{"N":"-73.8"}}}}}},"seen":{{"N":"1357034400123"}}"#
        );
        let key = format!("k{}", at % 40);
        fixture
            .flush(&[
                change(&key, 2 * at, Some(&attributes)),
                crate::fixture::delete(&format!("k{}", at % 7), 2 * at + 1),
            ])
            .await;
        fixture.fold().await;
    }
    let m = headwater_lake::Maintenance {
        lake: fixture.lake.clone(),
        entities: vec![fixture.entity.clone()],
        settings: Default::default(),
        clock: fixture.clock.clone(),
        health: Default::default(),
    };
    let r = m.run_once(&table()).await.unwrap();
    fixture.flush(&[crate::fixture::put("after", 1000)]).await;
    fixture.fold().await;
    eprintln!("{r:?} live {}", crate::fixture::naive(&fixture.written).len());
}
