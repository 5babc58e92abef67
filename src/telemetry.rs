//! Logs on standard error and metrics for `/metrics`.

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
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
pub fn start_logs(logs: &Logs, interactive: bool) -> Result<(), Failure> {
    let level = match (logs.level == Logs::default().level, interactive) {
        (true, true) => "warn,dynoxide=error",
        // The lake's kernel tells of every snapshot at this level.
        (true, false) => "info,buoyant_kernel=warn",
        (false, _) => &logs.level,
    };
    let filter = EnvFilter::try_new(level).map_err(|error| {
        Failure::usage(format!("not a log level: {error}"))
            .at("setting logs.level")
            .remedy("error, warn, info, debug or trace")
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let started = match logs.format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    started.map_err(|error| Failure::failed(format!("can't start the log: {error}")))
}

/// Collects metrics from here on. One process has one collector.
pub fn start_metrics() -> Result<PrometheusHandle, Failure> {
    PrometheusBuilder::new()
        .install_recorder()
        .map_err(|error| Failure::failed(format!("can't collect metrics: {error}")))
}
