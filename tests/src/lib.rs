//! The harness that holds the whole pipeline to its promises, with parts that the pipeline does not share.
//!
//! A run is: write a seeded workload while faults strike, wait until the sinks say that they are complete, read
//! everything by independent paths, and hold what was found against what was written.
//!
//! ```no_run
//! # use std::time::Duration;
//! # use headwater_tests::{chaos::Kills, check::Expected, process::{Launch, Process}, run, workload::{Settings, Workload}};
//! # async fn test(launch: Launch, endpoint: &str, lake: &std::path::Path) -> Result<(), Box<dyn std::error::Error>> {
//! let workload = Workload::new(Settings { seed: 7, ..Settings::default() });
//! // One definition file for each entity: `workload::yaml(entity)`. `launch` starts the binary with them, always on
//! // the same ports (`process::free_port`) and folder.
//! let mut process = Process::start(&launch)?;
//! process.wait_for("/readyz").await?;
//! let kills = Kills { seed: 7, count: 20, while_starting: 0.25 };
//! let (written, process) = run::write_under_kills(&launch, process, endpoint, &workload, 4000, &kills).await?;
//!
//! // The scan comes before the wait: what the time to live removes later is then in the history.
//! let scan = run::scan(endpoint, &workload).await?;
//! let tables: Vec<_> = workload.entities.iter().map(|entity| entity.table()).collect();
//! let sinks = ["sink-offline", "sink-search"];
//! run::wait_complete(launch.status, &sinks, &tables, written.ended, Duration::from_secs(60)).await?;
//! // Here: let maintenance fold the current table, and fill `index` from `headwater search --json`.
//! let index = None;
//! process.stop(Duration::from_secs(30)).await?;
//!
//! let observed = run::collect_lake(scan, lake, &tables, index)?;
//! run::verdict(&workload, &written.history, kills.count, &observed, &Expected::writes(3000).kills(20))?;
//! # Ok(())
//! # }
//! ```
//!
//! Reading order: [`history`] (what was written) → [`model`] (what that allows) → [`observed`] (what was found) →
//! [`check`] (one pure function per promise).

pub mod attribute;
pub mod chaos;
pub mod check;
pub mod client;
pub mod error;
pub mod faults;
pub mod filled;
pub mod history;
pub mod http;
pub mod http_faults;
pub mod lake;
pub mod measure;
pub mod model;
pub mod net;
pub mod observed;
pub mod over;
pub mod probe;
pub mod process;
pub mod python;
pub mod run;
pub mod servers;
pub mod skip;
pub mod small_disk;
pub mod streams;
pub mod table_scan;
pub mod wait;
pub mod workload;
pub mod writer;
