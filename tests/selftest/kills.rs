//! Kills of a real process: this binary started again as a server on a database file.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Json;
use axum::routing::get;
use headwater_common::clock::{Clock, SystemClock};
use headwater_tests::chaos::Kills;
use headwater_tests::check::Expected;
use headwater_tests::observed::Observed;
use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::run;
use headwater_tests::workload::{Settings, Workload, seed_or};
use headwater_tests::{client, process};

use crate::server;

const ROLE: &str = "HEADWATER_SELFTEST_SERVER";

/// Does nothing as a test; serves until it is killed when the environment asks for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_that_is_killed() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let parts: Vec<&str> = role.split(' ').collect();
    let [file, endpoint, status] = parts[..] else { panic!("{role}") };
    let database = dynoxide::Database::new(file).unwrap();
    let listener = tokio::net::TcpListener::bind(endpoint).await.unwrap();
    let serving = tokio::spawn(dynoxide::server::serve_on(listener, database));
    let complete = || async {
        let until = SystemClock.now();
        let lag = serde_json::json!({"count": 0, "p50": 0, "p99": 0, "max": 0});
        let table =
            serde_json::json!({"complete_until": until, "applied": 0, "behind": 0, "dead_letters": 0, "lag": lag});
        Json(serde_json::json!({"sinks": {"sink-offline": {"tables": {"profiles": table, "readings": table}}}}))
    };
    let app = axum::Router::new().route("/livez", get(|| async { "" })).route("/status", get(complete));
    let listener = tokio::net::TcpListener::bind(status).await.unwrap();
    axum::serve(listener, app).await.unwrap();
    serving.await.unwrap();
}

fn launch(folder: &tempfile::TempDir) -> (Launch, SocketAddr) {
    let address = || SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let (endpoint, status) = (address(), address());
    let role = format!("{} {endpoint} {status}", folder.path().join("table.db").display());
    let launch = Launch {
        binary: std::env::current_exe().unwrap(),
        arguments: ["--exact", "kills::the_server_that_is_killed", "--nocapture"].map(str::to_owned).into(),
        environment: vec![(ROLE.into(), role)],
        status,
        log: folder.path().join("log"),
        patience: Duration::from_secs(60),
    };
    (launch, endpoint)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_under_kills_ends_with_every_kill_struck_and_a_history_that_the_table_bears_out() {
    let folder = tempfile::tempdir().unwrap();
    let (launch, endpoint) = launch(&folder);
    let endpoint_url = format!("http://{endpoint}");
    let workload = Workload::new(Settings { seed: seed_or(3), keys: 60, large_share: 0.0, ..Settings::default() });
    let mut process = Process::start(&launch).unwrap();
    process.wait_for("/livez").await.unwrap();
    for entity in &workload.entities {
        client::ensure_table(&client::at(&endpoint_url), entity).await.unwrap();
    }
    let kills = Kills { seed: workload.settings.seed, count: 8, while_starting: 0.3 };
    let (written, process) =
        run::write_under_kills(&launch, process, &endpoint_url, &workload, 800, &kills).await.unwrap();

    let tally = written.history.tally();
    assert!(tally.unknown > 0, "{tally:?}");
    let tables: Vec<_> = workload.entities.iter().map(|entity| entity.table()).collect();
    let patience = Duration::from_secs(20);
    run::wait_complete(launch.status, &["sink-offline"], &tables, written.ended, patience).await.unwrap();
    let late = run::wait_complete(launch.status, &["sink-search"], &tables, written.ended, Duration::ZERO).await;
    assert!(late.unwrap_err().to_string().contains("no sink-search"));
    assert!(process.status().await.unwrap().is_object());
    let observed = Observed {
        scan: run::scan(&endpoint_url, &workload).await.unwrap(),
        history: server::history(&endpoint_url, &workload.entities).await,
        current: None,
        index: None,
    };
    let expected = Expected::writes(600).kills(8);
    run::verdict(&workload, &written.history, 8, &observed, &expected).unwrap_or_else(|report| panic!("{report}"));
    process.kill().await.unwrap();
    assert!(process::status(launch.status).await.is_err(), "it is gone");
}
