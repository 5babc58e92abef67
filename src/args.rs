//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// One write, three stores in step: a DynamoDB table, a Delta lake and a search index that are proven to agree.
#[derive(Debug, Parser)]
#[command(name = "headwater", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub common: Common,
}

#[derive(Debug, Args)]
pub struct Common {
    /// The settings, a YAML file; each can also be set as HEADWATER_<NAME> (nested: HEADWATER_HTTP__ADDRESS).
    #[arg(long, global = true, value_name = "FILE")]
    pub settings: Option<PathBuf>,
    /// The data folder [default: the settings' data_folder; `demo` takes ./headwater-demo].
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// Answers and errors as JSON, one document a line.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Replays real flights through the whole stack, proves that the stores agree, and leaves them to be queried.
    Demo(Demo),
    /// Runs the stack for good, with your own tables and feature definitions. Ctrl-C drains.
    Dev(Dev),
    /// Reads the tables' change streams into the change log, for good. One of many workers.
    Ingest,
    /// Writes the change log to the lake, for good. One of many workers.
    SinkOffline,
    /// Writes the change log to the search index, for good. One of many workers.
    SinkSearch,
    /// Keeps the lake in shape, for good: current tables, checkpoints, clean-up. One worker is enough.
    Maintain,
    /// Compares table, lake and index, key by key. Exit code 1 if they differ.
    Verify(Verify),
    /// Builds a table's search index again from the log beside the one that serves, compares it with the table, and lets
    /// it serve. Exit code 1 if they differ; then nothing is changed. Killed and started again, it goes on.
    Rebuild(Rebuild),
    /// Asks the lake in SQL: `<table>`, `<table>_history`, `<table>_current`.
    Sql(Sql),
    /// Asks the search index: ranges, geo distances, words, sorted.
    Search(Search),
    /// The changes of one item, newest first.
    History(History),
    /// What a running stack says of itself, or what a stopped one holds.
    Status,
    /// Settings and feature definitions.
    #[command(subcommand)]
    Config(Config),
    /// Completions for a shell, on standard output.
    Completions { shell: clap_complete::Shell },
}

#[derive(Debug, Args)]
pub struct Demo {
    /// How many flights to replay: a number, `all` for the year 2013, or `minute` for what fits one.
    #[arg(long, default_value = "minute", value_parser = flights)]
    pub flights: Flights,
    /// Writes a second at most; without a limit where absent.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// The port of the DynamoDB API; any free one where absent.
    #[arg(long)]
    pub port: Option<u16>,
    /// Where the stack runs: in this process alone, or on the servers of --settings.
    #[arg(long, value_enum, default_value_t = On::Machine)]
    pub on: On,
    /// Keeps the stack running after the report, until Ctrl-C.
    #[arg(long)]
    pub keep_running: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum On {
    Machine,
    Servers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flights {
    Minute,
    First(usize),
    All,
}

fn flights(text: &str) -> Result<Flights, String> {
    match text {
        "minute" => Ok(Flights::Minute),
        "all" => Ok(Flights::All),
        number => match number.parse() {
            Ok(count) if count > 0 => Ok(Flights::First(count)),
            _ => Err("a number above 0, `minute` or `all`".into()),
        },
    }
}

fn rate(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0).ok_or_else(|| "a number above 0".into())
}

#[derive(Debug, Args)]
pub struct Dev {
    /// The feature definitions: a YAML file, or a folder of them [default: the settings' definitions].
    #[arg(long, value_name = "PATH")]
    pub definitions: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Verify {
    /// Only these tables.
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Seconds to wait for lake and index to be complete up to now.
    #[arg(long, default_value_t = 120)]
    pub patience: u64,
}

#[derive(Debug, Args)]
pub struct Rebuild {
    /// These tables, one after the other.
    #[arg(value_name = "TABLE", required_unless_present = "all")]
    pub tables: Vec<String>,
    /// All tables.
    #[arg(long, conflicts_with = "tables")]
    pub all: bool,
    /// Keeps the index that served, which nobody writes any more; it is removed otherwise.
    #[arg(long)]
    pub keep: bool,
    /// Does not go on with what an earlier rebuild left, and removes it.
    #[arg(long)]
    pub anew: bool,
    /// Seconds to wait where nothing moves.
    #[arg(long, default_value_t = 120)]
    pub patience: u64,
}

#[derive(Debug, Args)]
pub struct Sql {
    /// The query; `-` reads it from standard input.
    pub query: String,
    /// Rows at most.
    #[arg(long, default_value_t = 1000)]
    pub limit: usize,
}

#[derive(Debug, Args)]
pub struct Search {
    /// The entity's table.
    pub table: String,
    /// For example: `delay_mean_10 >= 30 and distance(last_position, 40.64, -73.78) < 500km`; everything where absent.
    pub query: Option<String>,
    /// For example: `delay_mean_10 desc, distance(last_position, 40.64, -73.78)`.
    #[arg(long)]
    pub sort: Option<String>,
    #[arg(long, default_value_t = 10)]
    pub limit: usize,
    #[arg(long, default_value_t = 0)]
    pub offset: usize,
    /// Only how many there are.
    #[arg(long)]
    pub count: bool,
}

#[derive(Debug, Args)]
pub struct History {
    /// The entity's table.
    pub table: String,
    /// The key: the partition key's value, then the sort key's. Binary as base64url.
    #[arg(required = true, num_args = 1..=2)]
    pub key: Vec<String>,
    /// Only what had happened by then, as RFC 3339.
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<String>,
    /// By which clock: the producer's event time, or when the lake knew it.
    #[arg(long, value_enum, default_value_t = By::EventTime)]
    pub by: By,
    #[arg(long, default_value_t = 20)]
    pub limit: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum By {
    EventTime,
    KnownAt,
}

#[derive(Debug, Subcommand)]
pub enum Config {
    /// Checks the settings and the feature definitions.
    Check {
        /// The feature definitions [default: the settings' definitions].
        #[arg(value_name = "PATH")]
        definitions: Option<PathBuf>,
    },
    /// Prints every setting with its value.
    Print,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        fn command() -> clap::Command {
            <Cli as clap::CommandFactory>::command()
        }
        command().debug_assert();
        assert!(command().try_get_matches_from(["headwater", "demo", "--flights", "0"]).is_err());
        assert!(command().try_get_matches_from(["headwater", "demo", "--flights", "all"]).is_ok());
        assert!(command().try_get_matches_from(["headwater", "sql", "select 1", "--json"]).is_ok());
    }
}
