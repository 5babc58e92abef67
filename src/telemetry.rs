//! Logs on standard error and metrics for `/metrics`.

use std::io::IsTerminal;
use std::time::Duration;

use headwater_common::metric::{self, Metric};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use metrics_util::MetricKindMask;
use tracing_subscriber::EnvFilter;

use crate::args::Command;
use crate::failure::Failure;
use crate::settings::{LogFormat, Logs};

/// Whether a person watches, who wants the answer and warnings rather than a log.
pub fn is_interactive(command: &Command) -> bool {
    use Command::{Dev, Ingest, Maintain, SinkOffline, SinkSearch};
    !matches!(command, Dev(_) | Ingest | SinkOffline | SinkSearch | Maintain)
}

/// Interactive commands log warnings only, unless the settings ask for more than the default.
///
/// A level alone is that of Headwater's own lines, which never show values of items. What others log at `debug` may
/// show them, so they stay at `info` until directives name them.
pub fn start_logs(logs: &Logs, interactive: bool) -> Result<(), Failure> {
    // The lake's kernel tells of every snapshot at `info`.
    const OTHERS: &str = "buoyant_kernel=warn";
    let level = match (logs.level.as_str(), interactive) {
        (level, true) if level == Logs::default().level => "warn,dynoxide=error".to_owned(),
        ("debug" | "trace", _) => format!("info,{OTHERS},headwater={}", logs.level),
        ("info", _) => format!("info,{OTHERS}"),
        (directives, _) => directives.to_owned(),
    };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::usage(format!("not a log level: {error}"))
            .at("setting logs.level")
            .remedy("error, warn, info, debug, trace, or directives such as info,hyper=debug")
    })?;
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let started = match logs.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::failed(format!("can't start the log: {error}")))
}

/// A gauge that nobody has set for this long is not shown any more: its shard or partition is another worker's now.
const GAUGES_KEPT: Duration = Duration::from_secs(600);

/// Upper bounds of the buckets of lags and durations, in seconds.
const BUCKETS: [f64; 14] = [0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0];

/// The time between two upkeeps of what was recorded.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// Collects metrics from here on. One process has one collector.
pub fn start_metrics() -> Result<PrometheusHandle, Failure> {
    collect(UPKEEP_EVERY)
}

fn collect(upkeep_every: Duration) -> Result<PrometheusHandle, Failure> {
    let unable = |error: BuildError| Failure::failed(format!("can't collect metrics: {error}"));
    let builder = PrometheusBuilder::new().idle_timeout(MetricKindMask::GAUGE, Some(GAUGES_KEPT));
    let named = |name: &str| Matcher::Full(name.to_owned());
    let builder = metric::HISTOGRAMS
        .into_iter()
        .try_fold(builder, |builder, name| builder.set_buckets_for_metric(named(name), &BUCKETS))
        .map_err(unable)?;
    let handle = builder.install_recorder().map_err(unable)?;
    for &Metric { name, help } in metric::ALL {
        match name {
            _ if name.ends_with("_total") => metrics::describe_counter!(name, help.trim()),
            _ if metric::HISTOGRAMS.contains(&name) => metrics::describe_histogram!(name, help.trim()),
            _ => metrics::describe_gauge!(name, help.trim()),
        }
    }
    for proof in metric::PROOFS {
        metrics::counter!(proof).absolute(0);
    }
    tokio::spawn(keep_up(handle.clone(), upkeep_every));
    Ok(handle)
}

/// Sums up what was recorded since, whether anybody asks for it or not: until then every record takes room.
async fn keep_up(handle: PrometheusHandle, every: Duration) {
    let mut turns = tokio::time::interval(every);
    loop {
        turns.tick().await;
        handle.run_upkeep();
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;

    fn resident_bytes() -> usize {
        let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
        pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    }

    /// GIVEN a process whose metrics nobody asks for WHEN it records millions of durations THEN they take no room.
    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_recorded_takes_no_room_though_nobody_asks() {
        const ROUNDS: usize = 100;
        const RECORDS: usize = 200_000;
        let handle = collect(Duration::from_millis(1)).unwrap();
        let before = resident_bytes();
        for round in 0..ROUNDS {
            let lag = metrics::histogram!(metric::SINK_LAG, "sink" => "test");
            (0..RECORDS).for_each(|at| lag.record((round + at) as f64 / 1e6));
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let grown = resident_bytes().saturating_sub(before);
        // Eight bytes each, if they were kept.
        assert!(grown < ROUNDS * RECORDS * 4, "{grown} bytes more");
        assert!(handle.render().contains("headwater_sink_lag_seconds_count{sink=\"test\"}"));
    }
}
