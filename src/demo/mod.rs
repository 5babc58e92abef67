//! `headwater demo`: real flights through the whole stack, and the proof that the three stores agree.

mod report;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use headwater_common::clock::{Clock, SystemClock};
use headwater_example_flights::{self as example, Replay, Summary};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio_util::sync::CancellationToken;

use crate::Context;
use crate::args::{Demo, Flights, On};
use crate::failure::{Exit, Failure};
use crate::folder::{DataFolder, Purpose};
use crate::output::{self, grouped};
use crate::signals;
use crate::stack::{SINKS, Stack};
use crate::telemetry;
use crate::verify::{self, Sources};
use report::{Pace, Report, report, text};

const REPLAY: Duration = Duration::from_secs(60);
/// How long lake and index may take to be complete up to the last write before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn run(context: Context, demo: Demo) -> Result<(), Failure> {
    let mut signals = signals::Stop::listen()?;
    let (stack, place) = start(&context, &demo).await?;
    output::note(&format!(
        "table store {} (any AWS SDK) · status http://{}/status · {}",
        stack.endpoint,
        stack.http,
        place.said()
    ));
    let stop = CancellationToken::new();
    let report = tokio::select! {
        biased;
        () = signals.asked() => {
            stop.cancel();
            Err(Failure::failed("stopped before the end").remedy("`headwater demo` starts over"))
        }
        report = replay_and_prove(&stack, &demo, &place, stop.clone()) => report,
    };
    let report = match report {
        Ok(report) => report,
        Err(failure) => {
            stack.drain().await?;
            return Err(failure);
        }
    };
    context.format.answer(&report, || text(&report, &place))?;
    if demo.keep_running {
        output::note("running until Ctrl-C");
        stack.until_stopped(&mut signals).await?;
    } else {
        stack.drain().await?;
    }
    match report.differences {
        0 => Ok(()),
        differences => Err(Failure::new(Exit::Different, format!("{differences} keys differ"))),
    }
}

/// Where the demo's stores lie, and how the commands to try next find them.
enum Place {
    Folder(PathBuf),
    Settings(PathBuf),
}

impl Place {
    fn said(&self) -> String {
        match self {
            Place::Folder(folder) => format!("data {}", folder.display()),
            Place::Settings(file) => format!("servers of {}", file.display()),
        }
    }

    fn option(&self) -> String {
        match self {
            Place::Folder(folder) => format!("--data {}", folder.display()),
            Place::Settings(file) => format!("--settings {}", file.display()),
        }
    }
}

async fn start(context: &Context, demo: &Demo) -> Result<(Stack, Place), Failure> {
    let entities = example::definitions().map_err(Failure::failed)?;
    let mut settings = context.settings.clone();
    settings.http.address.set_port(0);
    let metrics = Some(telemetry::start_metrics()?);
    if demo.on == On::Servers {
        let stack = Stack::on_servers(&settings, entities, metrics).await?;
        refuse_earlier_data(&stack).await?;
        return Ok((stack, Place::Settings(context.settings_file.clone().unwrap_or_default())));
    }
    let folder = context.data.clone().unwrap_or_else(|| PathBuf::from("headwater-demo"));
    settings.store.address.set_port(demo.port.unwrap_or(0));
    let lock = DataFolder::take(&folder, Purpose::Demo)?;
    Ok((Stack::in_folder(lock, &settings, entities, metrics).await?, Place::Folder(folder)))
}

/// Newer event times of an earlier replay would refuse this one's writes. A demo removes nothing on servers.
async fn refuse_earlier_data(stack: &Stack) -> Result<(), Failure> {
    for entity in stack.entities() {
        let table = entity.table();
        let found = stack.features.client().scan().table_name(table.as_str()).limit(1).send().await;
        let found = found.map_err(|error| {
            let error = aws_sdk_dynamodb::error::DisplayErrorContext(error);
            Failure::environment(format!("the table can't be read: {error}")).at(&table)
        })?;
        if found.count > 0 {
            return Err(Failure::environment("the table has items already, and a demo removes nothing on servers")
                .at(&table)
                .remedy("start afresh with `infra/servers/down` and `infra/servers/up`"));
        }
    }
    Ok(())
}

async fn replay_and_prove(
    stack: &Stack,
    demo: &Demo,
    place: &Place,
    stop: CancellationToken,
) -> Result<Report, Failure> {
    let (summary, pace) = replay(stack, demo, stop).await?;
    let written_at = SystemClock.now();
    let entities = stack.entities().to_vec();
    let sources = Sources::open(stack.stores()?, stack.features.clone())?;
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
    Ok(report(stack, (summary, &pace), &proof, lake_rows, place))
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
