//! The command `headwater`: one file per subcommand, wiring only.
//!
//! Two phases: the command line, the settings and the definitions are checked first; then the runtime starts.

mod args;
mod config;
mod definitions;
mod demo;
mod dev;
mod failure;
mod folder;
mod history;
mod http;
mod output;
mod rebuild;
mod search;
mod servers;
mod settings;
mod signals;
mod sql;
mod stack;
mod stages;
mod status;
mod stores;
mod telemetry;
mod verify;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use args::{Cli, Command};
use failure::Failure;
use output::Format;
use settings::Settings;
use worker::Role;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// What every subcommand gets.
pub struct Context {
    pub settings: Settings,
    /// `--settings`, where it was given.
    pub settings_file: Option<PathBuf>,
    /// `--data`, where it was given.
    pub data: Option<PathBuf>,
    pub format: Format,
}

impl Context {
    pub fn data_folder(&self) -> PathBuf {
        self.data.clone().unwrap_or_else(|| self.settings.data_folder.clone())
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = Format::of(cli.common.json);
    match run(cli, format) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            match format {
                Format::Text => eprintln!("error: {failure}"),
                Format::Json => eprintln!("{}", serde_json::json!({ "error": failure })),
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn run(cli: Cli, format: Format) -> Result<(), Failure> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "headwater", &mut std::io::stdout());
        return Ok(());
    }
    let settings = Settings::load(cli.common.settings.as_deref())?;
    telemetry::start_logs(&settings.logs, telemetry::is_interactive(&cli.command))?;
    let context = Context { settings, settings_file: cli.common.settings, data: cli.common.data, format };
    if matches!(cli.command, Command::Demo(_) | Command::Dev(_))
        && let Err(error) = headwater_local_store::give_way()
    {
        tracing::debug!(%error, "the pipeline's threads may interrupt the store's");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::environment(format!("can't start the runtime: {error}")))?;
    let outcome = runtime.block_on(async {
        match cli.command {
            Command::Demo(demo) => demo::run(context, demo).await,
            Command::Dev(dev) => dev::run(context, dev).await,
            Command::Ingest => worker::run(context, Role::Ingest).await,
            Command::SinkOffline => worker::run(context, Role::SinkOffline).await,
            Command::SinkSearch => worker::run(context, Role::SinkSearch).await,
            Command::Maintain => worker::run(context, Role::Maintain).await,
            Command::Verify(verify) => verify::run(context, verify).await,
            Command::Rebuild(rebuild) => rebuild::run(context, rebuild).await,
            Command::Sql(sql) => sql::run(context, sql).await,
            Command::Search(search) => search::run(context, search).await,
            Command::History(history) => history::run(context, history).await,
            Command::Status => status::run(context).await,
            Command::Config(config) => config::run(context, config),
            Command::Completions { .. } => Ok(()),
        }
    });
    // Whatever still blocks on a disk must not keep the process: what is durable is durable.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    outcome
}
