use std::sync::Arc;

use headwater_common::clock::SystemClock;
use headwater_tests::check::Expected;
use headwater_tests::client;
use headwater_tests::history::{History, Outcome, Trait};
use headwater_tests::net::{Cuts, Proxy};
use headwater_tests::observed::Observed;
use headwater_tests::run;
use headwater_tests::workload::{Settings, Workload, seed_or};
use headwater_tests::writer::Writer;

use crate::server::{self, Server};

/// The whole harness but for the pipeline: the table's own stream must bear out the history, whatever answers were lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_answers_are_cut_off_is_borne_out_by_the_tables_own_stream() {
    let server = Server::start().await;
    let workload = Workload::new(Settings { seed: seed_or(5), keys: 80, large_share: 0.005, ..Settings::default() });
    for entity in &workload.entities {
        client::ensure_table(&client::at(&server.endpoint()), entity).await.unwrap();
        client::ensure_table(&client::at(&server.endpoint()), entity).await.unwrap();
    }
    let cuts = Cuts { seed: workload.settings.seed, requests: 0.01, answers: 0.02 };
    let proxy = Proxy::start(server.address, cuts).await.unwrap();
    let writer = Writer::new(client::at(&format!("http://{}", proxy.address)), workload.clone(), Arc::new(SystemClock));
    let mut progress = writer.progress();
    let writing = tokio::spawn(async move { writer.write(1500).await });
    // The time to live strikes a few times on the way.
    let mut swept = 0;
    for made in (100..1500).step_by(200) {
        progress.wait_for(|count| *count >= made).await.unwrap();
        swept += server.database.sweep_ttl().unwrap();
    }
    let written = writing.await.unwrap().unwrap();

    let tally = written.history.tally();
    assert!(proxy.cuts() > 10 && tally.unknown > 10 && swept > 0, "{} {swept} {tally:?}", proxy.cuts());
    assert!(tally.traits.contains_key(&Trait::Large), "{tally:?}");
    let refused: Vec<_> =
        written.history.writes.iter().filter(|write| matches!(write.outcome, Outcome::Failed { .. })).collect();
    assert!(refused.is_empty(), "{:?}", refused.first().map(|write| &write.outcome));
    let observed = Observed {
        scan: run::scan(&server.endpoint(), &workload).await.unwrap(),
        history: server::history(&server.endpoint(), &workload.entities).await,
        current: None,
        index: None,
    };
    let expected = Expected::writes(1200);
    run::verdict(&workload, &written.history, 0, &observed, &expected).unwrap_or_else(|report| panic!("{report}"));

    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.jsonl");
    written.history.save(&file).unwrap();
    assert_eq!(History::load(&file).unwrap(), written.history);
}

#[tokio::test]
async fn a_write_that_the_server_refuses_has_failed_and_one_that_meets_no_server_is_unknown() {
    let server = Server::start().await;
    let workload = Workload::new(Settings { tasks: 1, ..Settings::default() });
    let writer = Writer::new(client::at(&server.endpoint()), workload.clone(), Arc::new(SystemClock));
    let tally = writer.write(3).await.unwrap().history.tally();
    assert_eq!((tally.failed, tally.unknown), (3, 0), "there is no table");
    let mut writer = Writer::new(client::at("http://127.0.0.1:1"), workload, Arc::new(SystemClock));
    writer.patience = std::time::Duration::from_millis(1);
    assert_eq!(writer.write(3).await.unwrap().history.tally().unknown, 3);
}
