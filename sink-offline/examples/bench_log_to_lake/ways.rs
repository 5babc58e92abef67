//! What the benchmark's own processes do. Each ends with `done SECONDS CPU_SECONDS PEAK_BYTES`.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_common::clock::{SystemClock, Timestamp};
use headwater_common::health::Health;
use headwater_common::log::{ChangeLog, Offset};
use headwater_common::progress::SinkProgress;
use headwater_sink_offline::encode::Rows;
use headwater_sink_offline::plan::Plan;
use headwater_sink_offline::{Lake, Settings, SinkOffline, file};
use headwater_tests::filled::measurements;
use headwater_tests::measure::{peak_memory, processor_seconds, say, thread_seconds};
use tokio_util::sync::CancellationToken;

use crate::Any;

fn done(seconds: f64, processor: f64) -> Result<(), Any> {
    Ok(say(&format!("done {seconds} {processor} {}", peak_memory(std::process::id())))?)
}

/// Encoding alone: one flush's finished columns after the other, by this thread.
pub fn encoding(rows: u64, flush_bytes: usize) -> Result<(), Any> {
    let mut gathered = Rows::new(Arc::new(Plan::of(&measurements::entity()?)?));
    let (mut seconds, mut processor) = (0.0, 0.0);
    for n in 0..rows {
        gathered.push(0, Offset(n), &measurements::change(n)?);
        if gathered.bytes() < flush_bytes && n + 1 < rows {
            continue;
        }
        let batches = gathered.finish().stamped(Timestamp::from_millis(1))?;
        let (began, before) = (Instant::now(), thread_seconds());
        std::hint::black_box(file::encode(&batches, file::properties(Settings::default().zstd_level)?)?);
        seconds += began.elapsed().as_secs_f64();
        processor += thread_seconds() - before;
    }
    done(seconds, processor)
}

/// The product's own pipeline, until everything is committed.
pub async fn sink(log: Arc<dyn ChangeLog>, rows: u64, flush_bytes: usize, lake: &Path) -> Result<(), Any> {
    std::fs::create_dir_all(lake)?;
    let health = Health::default();
    let sink = SinkOffline {
        log,
        lake: Lake::local(lake)?,
        entities: vec![measurements::entity()?],
        // The last rows are few, and nothing comes after them.
        settings: Settings { flush_ms: 500, flush_bytes, ..Settings::default() },
        clock: Arc::new(SystemClock),
        health: health.clone(),
    };
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(sink.run(shutdown.clone()));
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    while !health.is_ready() {
        looks.tick().await;
    }
    let (began, before) = (Instant::now(), processor_seconds(std::process::id()));
    loop {
        looks.tick().await;
        let Some(status) = health.status().remove("sink-offline") else { continue };
        let progress: SinkProgress = serde_json::from_value(status)?;
        if progress.tables.values().any(|table| table.applied == rows) {
            break;
        }
    }
    done(began.elapsed().as_secs_f64(), processor_seconds(std::process::id()) - before)?;
    shutdown.cancel();
    Ok(running.await??)
}
