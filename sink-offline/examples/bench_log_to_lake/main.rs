//! Log → Delta on the local disk: the sink beside Parquet encoding alone and, on Kafka, beside a Python loop (confluent-kafka
//! and deltalake, one commit a flush), with Python's own `json` and with `orjson`, all on the same rows with the same columns.
//!
//! `bench_log_to_lake [--log kafka|embedded] [--rows N] [--runs N] [--only encoding|sink|json|orjson] [--flush-bytes N]`. Kafka is
//! the one of `infra/servers/up`; where the environment names none, the log is the embedded one, without Python.
//!
//! Each way is a process of its own, so that its processor time (of all its threads: librdkafka's are the client's) and the
//! peak of its resident memory are its own. The runs of all are interleaved; each is printed, then the medians and the
//! ratios. The sink and the loop are measured from the moment that they have their partitions until everything is
//! committed. Encoding alone is one thread that does nothing but encode finished columns into Parquet in memory; building
//! the columns is not counted. The sink's table and the loop's are compared row by row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod ways;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use headwater_common::change::TableName;
use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::embedded::{EmbeddedLog, Layout};
use headwater_common::health::Health;
use headwater_common::log::ChangeLog;
use headwater_kafka::KafkaLog;
use headwater_tests::filled::{self, measurements};
use headwater_tests::measure::{self, Running, median};
use headwater_tests::python::Python;

type Any = Box<dyn Error + Send + Sync>;

const PARTITIONS: u16 = 4;
/// The Python loop, by its JSON library.
const LOOPS: [&str; 2] = ["json", "orjson"];

#[derive(Clone)]
struct Plan {
    /// Empty for the embedded log.
    brokers: String,
    /// Of the topic and the groups.
    prefix: String,
    /// Of the embedded log, and of the lakes.
    folder: PathBuf,
    rows: u64,
    runs: usize,
    only: Option<String>,
    flush_bytes: usize,
    /// What this process is to do, and the lake to do it in.
    child: Option<(String, PathBuf)>,
}

impl Plan {
    fn of(folder: &Path) -> Result<Plan, Any> {
        let mut plan = Plan {
            brokers: std::env::var("KAFKA_BOOTSTRAP").unwrap_or_default(),
            prefix: format!("bench-{}", uuid::Uuid::new_v4().simple()),
            folder: folder.to_owned(),
            rows: 300_000,
            runs: 5,
            only: None,
            flush_bytes: headwater_sink_offline::Settings::default().flush_bytes,
            child: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--log" if value()? == "embedded" => plan.brokers.clear(),
                "--log" if plan.brokers.is_empty() => {
                    return Err("no Kafka: infra/servers/up --only kafka && source headwater-servers/env".into());
                }
                "--log" => {}
                "--rows" => plan.rows = value()?.parse()?,
                "--runs" => plan.runs = value()?.parse()?,
                "--only" => plan.only = Some(value()?),
                "--flush-bytes" => plan.flush_bytes = value()?.parse()?,
                "--prefix" => plan.prefix = value()?,
                "--folder" => plan.folder = value()?.into(),
                "--child" => plan.child = Some((value()?, value()?.into())),
                _ => return Err(format!("unknown argument {name}").into()),
            }
        }
        Ok(plan)
    }

    fn is_kafka(&self) -> bool {
        !self.brokers.is_empty()
    }

    async fn log(&self) -> Result<Arc<dyn ChangeLog>, Any> {
        if !self.is_kafka() {
            let layout = Layout { partitions: PARTITIONS, ..Layout::default() };
            return Ok(Arc::new(EmbeddedLog::open(&self.folder.join("log"), layout)?));
        }
        let settings = headwater_kafka::Settings {
            bootstrap: self.brokers.clone(),
            prefix: self.prefix.clone(),
            slots: 1,
            partitions: PARTITIONS,
            replication: 1,
            min_insync: 1,
            ..headwater_kafka::Settings::default()
        };
        Ok(Arc::new(KafkaLog::connect(&settings, Health::default(), Arc::new(SystemClock)).await?))
    }

    fn ways(&self) -> Vec<&'static str> {
        let all = ["encoding", "sink", "json", "orjson"];
        let here = all.into_iter().filter(|way| self.is_kafka() || !LOOPS.contains(way));
        here.filter(|way| self.only.as_deref().is_none_or(|only| only == *way)).collect()
    }

    fn command(&self, way: &str, python: Option<&Python>, lake: &Path) -> Result<Command, Any> {
        if LOOPS.contains(&way) {
            let mut command = python.ok_or("no Python")?.command("python_loop.py");
            let topic = format!("{}.{}.changes", self.prefix, measurements::TABLE);
            command.args([&self.brokers, &topic]).arg(lake).args([&self.rows.to_string(), way]);
            return Ok(command);
        }
        let mut command = Command::new(std::env::current_exe()?);
        if !self.is_kafka() {
            command.env_remove("KAFKA_BOOTSTRAP");
        }
        command.args(["--prefix", &self.prefix, "--rows", &self.rows.to_string()]);
        command.args(["--flush-bytes", &self.flush_bytes.to_string(), "--folder"]).arg(&self.folder);
        command.args(["--child", way]).arg(lake);
        Ok(command)
    }

    fn run(&self, way: &str, python: Option<&Python>, lake: &Path) -> Result<Run, Any> {
        let brokers = || measure::brokers().into_iter().map(measure::processor_seconds).sum::<f64>();
        let before = brokers();
        let mut child = Running::start(&mut self.command(way, python, lake)?)?;
        let done = child.line("done ")?;
        let figures: Vec<f64> = done.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [seconds, processor, memory] = figures[..] else { return Err(format!("{way} says {done:?}").into()) };
        let (broker, rows) = (brokers() - before, self.rows as f64);
        let with_brokers = self.is_kafka() && way != "encoding";
        Ok(Run {
            rate: rows / seconds,
            of_a_core: rows / processor,
            memory: memory / f64::from(1 << 20),
            broker: if with_brokers { broker * 1e6 / rows } else { f64::NAN },
        })
    }
}

/// Rows a second by the clock, and by the processor time of the process; its peak in MiB; the brokers' µs for a row.
struct Run {
    rate: f64,
    of_a_core: f64,
    memory: f64,
    broker: f64,
}

impl Run {
    fn median(runs: &[Run]) -> Run {
        let of = |field: fn(&Run) -> f64| median(runs.iter().map(field));
        Run {
            rate: of(|run| run.rate),
            of_a_core: of(|run| run.of_a_core),
            memory: of(|run| run.memory),
            broker: of(|run| run.broker),
        }
    }

    fn print(&self, way: &str) {
        let broker = if self.broker.is_nan() { "-".into() } else { format!("{:.1}", self.broker) };
        println!("{way:<10}{:>10.0}{:>14.0}{:>12.0}{broker:>16}", self.rate, self.of_a_core, self.memory);
    }
}

#[tokio::main]
async fn main() -> Result<(), Any> {
    let folder = tempfile::tempdir()?;
    let plan = Plan::of(folder.path())?;
    if let Some((way, lake)) = &plan.child {
        return match way.as_str() {
            "encoding" => ways::encoding(plan.rows, plan.flush_bytes),
            _ => ways::sink(plan.log().await?, plan.rows, plan.flush_bytes, lake).await,
        };
    }
    let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/bench_log_to_lake"));
    let python =
        if plan.ways().iter().any(|way| LOOPS.contains(way)) { Some(Python::of(scripts).await?) } else { None };
    let log = plan.log().await?;
    let table = TableName::new(measurements::TABLE);
    let bytes = filled::fill(&*log, &table, plan.rows, Timestamp::from_millis(1), measurements::change).await?;
    drop(log);
    let name = if plan.is_kafka() { "Kafka" } else { "the embedded log" };
    println!("{} changes of {bytes} bytes in {PARTITIONS} partitions of {name}; {}", plan.rows, measure::load());
    println!("{} interleaved runs; processor time of the client's process alone, the brokers' beside it", plan.runs);
    println!("{:<10}{:>10}{:>14}{:>12}{:>16}", "", "rows/s", "rows/CPU-s", "peak MiB", "broker µs/row");
    let mut runs: BTreeMap<&str, Vec<Run>> = BTreeMap::new();
    for at in 0..plan.runs {
        let mut ways = plan.ways();
        let first = at % ways.len();
        ways.rotate_left(first);
        for way in &ways {
            let run = plan.run(way, python.as_ref(), &plan.folder.join(way))?;
            run.print(way);
            runs.entry(way).or_default().push(run);
        }
        if let Some(python) = python.as_ref().filter(|_| ways.contains(&"sink")) {
            for way in ways.iter().filter(|way| LOOPS.contains(way)) {
                compare(&plan, python, way).await?;
            }
        }
        for way in ways {
            std::fs::remove_dir_all(plan.folder.join(way)).ok();
        }
    }
    report(&runs);
    Ok(())
}

/// The sink's table and the loop's hold the same rows.
async fn compare(plan: &Plan, python: &Python, of: &str) -> Result<(), Any> {
    let history = |way: &str| plan.folder.join(way).join(format!("{}_history", measurements::TABLE));
    let same = python.run("same_rows.py", &[history("sink"), history(of)]).await?;
    if same["rows"] != plan.rows || same["different"] != serde_json::json!([]) {
        return Err(format!("the tables differ: {same}").into());
    }
    Ok(())
}

fn report(runs: &BTreeMap<&str, Vec<Run>>) {
    let medians: BTreeMap<&str, Run> = runs.iter().map(|(way, runs)| (*way, Run::median(runs))).collect();
    println!("medians; {}", measure::load());
    medians.iter().for_each(|(way, run)| run.print(way));
    let Some(sink) = medians.get("sink") else { return };
    for (way, name) in
        [("encoding", "encoding alone"), ("json", "the Python loop"), ("orjson", "the Python loop with orjson")]
    {
        let Some(other) = medians.get(way) else { continue };
        println!(
            "sink: {:.2} of {name} in rows a CPU-second, {:.2} by the clock, {:.2} of its memory",
            sink.of_a_core / other.of_a_core,
            sink.rate / other.rate,
            sink.memory / other.memory
        );
    }
}
