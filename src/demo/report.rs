//! What the demo says at its end.

use std::time::Duration;

use headwater_common::clock::Timestamp;
use headwater_common::progress::LagSummary;
use headwater_example_flights::Summary;
use serde::Serialize;

use super::Place;
use crate::output::grouped;
use crate::stack::{SINKS, Stack};
use crate::verify;

/// Three questions that the stores answer after any replay of a day or more.
const QUESTIONS: [&str; 3] = [
    r#"sql "select model, count(*) as aircraft, sum(distance_flown_km) as km, round(avg(delay_mean_10), 1) as delay from aircraft where model is not null group by model order by aircraft desc limit 5""#,
    r#"search aircraft "delay_mean_10 >= 30 and flights_total >= 3 and distance(last_position, 40.64, -73.78) < 500km" --sort "delay_mean_10 desc""#,
    r#"history aircraft N228JB --as-of 2013-01-02T00:00:00Z"#,
];

#[derive(Debug, Serialize)]
pub struct Report {
    pub changes_written: u64,
    pub refused_as_older: u64,
    pub seconds: f64,
    pub writes_per_second: f64,
    /// Of a replay of two minutes or more: whether it slowed down.
    pub first_and_last_minute: Option<(f64, f64)>,
    /// The most memory that the process held; where the system says.
    pub peak_memory_mib: Option<u64>,
    pub lake_rows: u64,
    pub index_documents: u64,
    pub put_to_lake: LagSummary,
    pub put_to_searchable: LagSummary,
    pub differences: usize,
    pub complete_until: Timestamp,
    pub try_next: Vec<String>,
}

pub fn report(
    stack: &Stack,
    (summary, pace): (Summary, &Pace),
    proof: &verify::Report,
    lake_rows: u64,
    place: &Place,
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
        try_next: try_next(place),
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

/// How many writes there were at which time.
#[derive(Default)]
pub struct Pace(Vec<(Duration, u64)>);

impl Pace {
    pub fn note(&mut self, elapsed: Duration, writes: u64) {
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

/// The questions in the words that start this program here.
fn try_next(place: &Place) -> Vec<String> {
    let program = std::env::args().next().unwrap_or_else(|| "headwater".into());
    let place = place.option();
    QUESTIONS.iter().map(|question| format!("{program} {place} {question}")).collect()
}

pub fn text(report: &Report, place: &Place) -> String {
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
        format!("Try next, on the {}:", place.said()),
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
