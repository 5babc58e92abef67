//! The producer by itself, against any server that speaks DynamoDB's API.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use headwater_common::clock::SystemClock;
use headwater_example_flights::{Flights, Progress, Replay, definitions, replay};
use headwater_sdk::FeatureStore;
use tokio_util::sync::CancellationToken;

/// Replays the flights that left New York in 2013 and writes running features of aircraft and airports.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// The DynamoDB API; AWS, by the environment's region and credentials, where absent.
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// How many flights, from the first of January; `all` for the year.
    #[arg(long, default_value = "10000", value_parser = flights)]
    flights: Flights,
    /// Writes a second at most; as many as the store takes where absent.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Writes under way at a time.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..))]
    writers: u16,
}

fn flights(text: &str) -> Result<Flights, String> {
    match (text, text.parse()) {
        ("all", _) => Ok(Flights::All),
        (_, Ok(count)) if count > 0 => Ok(Flights::First(count)),
        _ => Err("a number above 0, or `all`".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && f64::is_finite(rate) => Ok(rate),
        _ => Err("a number above 0".to_owned()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let store = FeatureStore::connect(arguments.endpoint.as_deref(), definitions()?).await?;
    store.ensure_tables().await?;
    let stop = CancellationToken::new();
    tokio::spawn({
        let stop = stop.clone();
        async move {
            // Without a handler for Ctrl-C the system ends the process, which does no harm either.
            if tokio::signal::ctrl_c().await.is_ok() {
                stop.cancel();
            }
        }
    });
    let replay_of = Replay { flights: arguments.flights, writers: arguments.writers.into(), rate: arguments.rate };
    let told = std::sync::atomic::AtomicU64::new(0);
    let tell = |progress: Progress| {
        let second = progress.elapsed.as_secs();
        if told.swap(second, std::sync::atomic::Ordering::Relaxed) != second {
            eprintln!("{progress}");
        }
    };
    let summary = replay(&store, &replay_of, Arc::new(SystemClock), &tell, stop).await?;
    println!("{summary}, in {:.1} s", Duration::as_secs_f64(&summary.elapsed));
    Ok(())
}
