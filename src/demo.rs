//! `headwater demo`: real flights through the whole stack, and the proof that the three stores agree.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_common::clock::{Clock, SystemClock, Timestamp};
use headwater_common::progress::LagSummary;
use headwater_example_flights::{self as example, Replay, Summary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::args::{Demo, Flights};
use crate::dev;
use crate::failure::{Exit, Failure};
use crate::folder::{DataFolder, Purpose};
use crate::output::{self, grouped};
use crate::stack::{SINKS, Stack};
use crate::telemetry;
use crate::verify::{self, Sources};

const REPLAY: Duration = Duration::from_secs(60);
/// How long lake and index may take to be complete up to the last write before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(300);

/// Three questions that the stores answer after any replay of a day or more.
const QUESTIONS: [&str; 3] = [
    r#"sql "select model, count(*) as aircraft, sum(distance_flown_km) as km, round(avg(delay_mean_10), 1) as delay from aircraft where model is not null group by model order by aircraft desc limit 5""#,
    r#"search aircraft "delay_mean_10 >= 30 and flights_total >= 3 and distance(last_position, 40.64, -73.78) < 500km" --sort "delay_mean_10 desc""#,
    r#"history aircraft N228JB --as-of 2013-01-02T00:00:00Z"#,
];

#[derive(Debug, Serialize)]
struct Report {
    changes_written: u64,
    refused_as_older: u64,
    seconds: f64,
    writes_per_second: f64,
    /// Of a replay of two minutes or more: whether it slowed down.
    first_and_last_minute: Option<(f64, f64)>,
    /// The most memory that the process held; where the system says.
    peak_memory_mib: Option<u64>,
    lake_rows: u64,
    index_documents: u64,
    put_to_lake: LagSummary,
    put_to_searchable: LagSummary,
    differences: usize,
    complete_until: Timestamp,
    try_next: Vec<String>,
}

pub async fn run(context: Context, demo: Demo) -> Result<(), Failure> {
    let folder = context.data.clone().unwrap_or_else(|| PathBuf::from("headwater-demo"));
    let entities = example::definitions().map_err(Failure::failed)?;
    let lock = DataFolder::take(&folder, Purpose::Demo)?;
    let mut settings = context.settings.clone();
    settings.store.address.set_port(demo.port.unwrap_or(0));
    settings.http.address.set_port(0);
    let stack = Stack::start(lock, &settings, entities, Some(telemetry::start_metrics()?)).await?;
    output::note(&format!(
        "table store http://{} (any AWS SDK, any credentials) · status http://{}/status · data {}",
        stack.running.store,
        stack.running.http,
        folder.display()
    ));
    let stop = CancellationToken::new();
    let asked = async {
        dev::stop_signal().await.ok();
        stop.cancel();
    };
    let report = tokio::select! {
        biased;
        () = asked => Err(Failure::failed("stopped before the end").remedy("`headwater demo` starts over")),
        report = replay_and_prove(&stack, &demo, &folder, stop.clone()) => report,
    };
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            stack.drain().await?;
            return Err(failure);
        }
    };
    context.format.answer(&report, || text(&report, &folder))?;
    if demo.keep_running {
        output::note("running until Ctrl-C");
        dev::until_stopped(stack).await?;
    } else {
        stack.drain().await?;
    }
    match report.differences {
        0 => Ok(()),
        differences => Err(Failure::new(Exit::Different, format!("{differences} keys differ"))),
    }
}

async fn replay_and_prove(
    stack: &Stack,
    demo: &Demo,
    folder: &std::path::Path,
    stop: CancellationToken,
) -> Result<Report, Failure> {
    let (summary, pace) = replay(stack, demo, stop).await?;
    let written_at = SystemClock.now();
    let entities = stack.entities.clone();
    let data = DataFolder::existing(folder)?;
    let sources = Sources::open(&data, &format!("http://{}", stack.running.store), &entities).await?;
    let waiting = bar(
        ProgressStyle::with_template(
            "{spinner} waiting until lake and index are complete up to the last write ({elapsed})",
        ),
        None,
    );
    for entity in &entities {
        sources.complete_past(entity, written_at, PATIENCE).await?;
    }
    waiting.finish_and_clear();
    let proof = verify::all(&sources, &entities, PATIENCE).await?;
    let lake_rows = sources.history_rows(&entities).await?;
    Ok(report(stack, (summary, &pace), &proof, lake_rows, folder))
}

fn report(
    stack: &Stack,
    (summary, pace): (Summary, &Pace),
    proof: &verify::Report,
    lake_rows: u64,
    folder: &std::path::Path,
) -> Report {
    let seconds = summary.elapsed.as_secs_f64();
    Report {
        changes_written: summary.applied,
        refused_as_older: summary.older,
        seconds,
        writes_per_second: summary.writes as f64 / seconds.max(0.001),
        first_and_last_minute: pace.first_and_last_minute(),
        peak_memory_mib: peak_memory_mib(),
        lake_rows,
        index_documents: proof.tables.iter().map(|table| table.index_items).sum(),
        put_to_lake: lag(stack, SINKS[0]),
        put_to_searchable: lag(stack, SINKS[1]),
        differences: proof.differences(),
        complete_until: proof.tables.iter().map(|table| table.complete_until).min().unwrap_or(Timestamp::EPOCH),
        try_next: try_next(folder),
    }
}

/// The largest of the tables' quantiles: none was later.
fn lag(stack: &Stack, sink: &str) -> LagSummary {
    stack.progress(sink).tables.into_values().fold(LagSummary::default(), |sum, table| LagSummary {
        count: sum.count + table.lag.count,
        p50: sum.p50.max(table.lag.p50),
        p99: sum.p99.max(table.lag.p99),
        max: sum.max.max(table.lag.max),
    })
}

async fn replay(stack: &Stack, demo: &Demo, stop: CancellationToken) -> Result<(Summary, Pace), Failure> {
    let replay = Replay {
        flights: match demo.flights {
            Flights::Minute => example::Flights::For(REPLAY),
            Flights::First(count) => example::Flights::First(count),
            Flights::All => example::Flights::All,
        },
        rate: demo.rate,
        ..Replay::default()
    };
    let (style, length) = match demo.flights {
        Flights::Minute => ("{bar:30} {elapsed} of 1 m · {msg}", Some(REPLAY.as_secs())),
        Flights::First(count) => ("{bar:30} {pos} of {len} flights · {msg}", Some(count as u64)),
        Flights::All => ("{bar:30} {pos} of {len} flights · {msg}", Some(example::FLIGHTS_OF_THE_YEAR)),
    };
    let bar = bar(ProgressStyle::with_template(style), length);
    let seen = Arc::new(Seen::default());
    let observer = |progress: example::Progress| {
        seen.writes.store(progress.writes, Ordering::Relaxed);
        seen.flights.store(progress.flights, Ordering::Relaxed);
    };
    let running = example::replay(&stack.features, &replay, Arc::new(SystemClock), &observer, stop);
    tokio::pin!(running);
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    let (mut last, mut pace) = (0, Pace::default());
    loop {
        tokio::select! {
            biased;
            summary = &mut running => {
                bar.finish_and_clear();
                let summary = summary.map_err(|error| Failure::failed(format!("the replay stopped: {error}")))?;
                pace.note(summary.elapsed, summary.writes);
                return Ok((summary, pace));
            }
            _ = tick.tick() => {
                let writes = seen.writes.load(Ordering::Relaxed);
                pace.note(bar.elapsed(), writes);
                bar.set_position(match demo.flights {
                    Flights::Minute => bar.elapsed().as_secs(),
                    _ => seen.flights.load(Ordering::Relaxed),
                });
                bar.set_message(format!("{} writes/s · {}", grouped((writes - last) * 2), behind(stack)));
                last = writes;
            }
        }
    }
}

/// How many writes there were at which time.
#[derive(Default)]
struct Pace(Vec<(Duration, u64)>);

impl Pace {
    fn note(&mut self, elapsed: Duration, writes: u64) {
        self.0.push((elapsed, writes));
    }

    /// Writes a second in the first and in the last minute of two or more.
    fn first_and_last_minute(&self) -> Option<(f64, f64)> {
        const MINUTE: Duration = Duration::from_secs(60);
        let (end, all) = *self.0.last()?;
        let start = end.checked_sub(MINUTE).filter(|start| *start >= MINUTE)?;
        let at = |moment: Duration| self.0.iter().rfind(|(elapsed, _)| *elapsed <= moment).map(|(_, writes)| *writes);
        Some((at(MINUTE)? as f64 / 60.0, (all - at(start)?) as f64 / 60.0))
    }
}

/// Linux tells it in `/proc/self/status`, in KiB.
fn peak_memory_mib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kib| kib / 1024)
}

#[derive(Default)]
struct Seen {
    writes: AtomicU64,
    flights: AtomicU64,
}

/// How far each sink is behind the log.
fn behind(stack: &Stack) -> String {
    let of = |sink: &str| stack.progress(sink).tables.values().map(|table| table.behind).sum::<u64>();
    format!("lake {} behind · index {} behind", grouped(of(SINKS[0])), grouped(of(SINKS[1])))
}

fn bar<E>(style: Result<ProgressStyle, E>, length: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr());
    if let Ok(style) = style {
        bar.set_style(style);
    }
    bar
}

/// The questions in the words that start this program here.
fn try_next(folder: &std::path::Path) -> Vec<String> {
    let program = std::env::args().next().unwrap_or_else(|| "headwater".into());
    let data = folder.display();
    QUESTIONS.iter().map(|question| format!("{program} --data {data} {question}")).collect()
}

fn text(report: &Report, folder: &std::path::Path) -> String {
    let lag = |lag: &LagSummary| format!("p50 {} ms, p99 {} ms", lag.p50, lag.p99);
    let mut lines = vec![
        String::new(),
        format!(
            "{} changes written in {:.0} s ({} a second)",
            grouped(report.changes_written),
            report.seconds,
            grouped(report.writes_per_second as u64)
        ),
        steadiness(report),
        format!("{} rows in the lake's history, put to lake {}", grouped(report.lake_rows), lag(&report.put_to_lake)),
        format!(
            "{} documents in the index, put to searchable {}",
            grouped(report.index_documents),
            lag(&report.put_to_searchable)
        ),
        format!(
            "{} differences between table, lake and index, complete until {}",
            report.differences, report.complete_until
        ),
        String::new(),
        format!("Try next, on what is in {}:", folder.display()),
    ];
    lines.retain(|line| line != "-");
    lines.extend(report.try_next.iter().map(|command| format!("  {command}")));
    lines.join("\n")
}

/// `-` where there is nothing to say.
fn steadiness(report: &Report) -> String {
    let pace = report.first_and_last_minute.map(|(first, last)| {
        format!("{} a second in the first minute, {} in the last", grouped(first as u64), grouped(last as u64))
    });
    let memory = report.peak_memory_mib.map(|mib| format!("at most {mib} MiB of memory"));
    let said: Vec<String> = pace.into_iter().chain(memory).collect();
    if said.is_empty() { "-".into() } else { said.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_compares_the_first_with_the_last_minute_of_two() {
        let mut pace = Pace::default();
        for second in 0..=150 {
            let writes = if second <= 60 { second * 100 } else { 6000 + (second - 60) * 50 };
            pace.note(Duration::from_secs(second), writes);
        }
        assert_eq!(pace.first_and_last_minute(), Some((100.0, 50.0)));
        let short = Pace(vec![(Duration::from_secs(1), 10), (Duration::from_secs(90), 20)]);
        assert_eq!(short.first_and_last_minute(), None);
    }
}
