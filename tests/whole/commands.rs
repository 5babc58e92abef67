//! The commands as a newcomer types them, right and wrong.

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;

use headwater_tests::process::Process;
use headwater_tests::{http, wait};
use serde_json::Value;

use crate::stack::{Dev, PATIENCE, headwater};

fn run(arguments: &[&str]) -> Output {
    headwater(arguments, &[].into())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn lines(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The exit code and the message.
fn refusal(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    (output.status.code().unwrap(), text(&output.stderr))
}

fn shell(command: &str) -> Output {
    std::process::Command::new("sh").args(["-c", command]).output().unwrap()
}

#[test]
fn the_demo_proves_itself_and_what_it_prints_to_try_next_works() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let data = data.to_str().unwrap();
    let report = &lines(&run(&["demo", "--flights", "1500", "--data", data, "--json"]))[0];
    assert_eq!(report["differences"], 0, "{report}");
    let written = report["changes_written"].as_u64().unwrap();
    assert!(written > 3000, "{report}");
    assert_eq!(report["lake_rows"].as_u64().unwrap(), written, "a change is a row");
    assert_eq!(report["put_to_lake"]["count"].as_u64().unwrap(), written, "each change's lag was measured");
    let tries: Vec<&str> = report["try_next"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(tries.len(), 3);
    for command in tries {
        let output = shell(command);
        assert!(output.status.success(), "{command}: {}", text(&output.stderr));
        assert!(text(&output.stdout).lines().count() > 1, "{command} answers nothing: {}", text(&output.stdout));
    }
    let rows = lines(&run(&["sql", "select count(*) as n from aircraft", "--data", data, "--json"]));
    let found = lines(&run(&["search", "aircraft", "--count", "--data", data, "--json"]));
    assert_eq!(rows[0]["n"], found[0]["total"], "lake and index hold as many aircraft");
    let verified = lines(&run(&["verify", "--data", data, "--json"]));
    assert_eq!(verified[0]["tables"][0]["differences"].as_array().unwrap().len(), 0);
    query_errors_have_their_place(data);
}

fn query_errors_have_their_place(data: &str) {
    let (code, message) = refusal(&["sql", "select carier from aircraft", "--data", data]);
    assert_eq!(code, 2, "{message}");
    assert!(message.contains("carrier"), "the nearest column: {message}");
    let (code, message) = refusal(&["sql", "select *\nfrm aircraft", "--data", data]);
    assert!(code == 2 && message.contains("line 2"), "{message}");
    let (code, message) = refusal(&["sql", "drop table aircraft", "--data", data]);
    assert!(code == 2 && message.contains("only read"), "{message}");
    let (code, message) = refusal(&["search", "aircraft", "delay_meen_10 > 3", "--data", data]);
    assert!(code == 2 && message.contains("delay_mean_10"), "{message}");
    let (code, message) = refusal(&["search", "airplanes", "--data", data]);
    assert!(code == 2 && message.contains("one of aircraft, airport"), "{message}");
    let (code, message) = refusal(&["history", "aircraft", "N1", "--as-of", "yesterday", "--data", data]);
    assert!(code == 2 && message.contains("yesterday"), "{message}");
}

#[test]
fn bad_settings_and_definitions_are_refused_with_their_place_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let settings = file("settings.yaml", "http:\n  adress: 127.0.0.1:1\n");
    let (code, message) = refusal(&["config", "print", "--settings", &settings]);
    assert!(code == 2 && message.contains("settings.yaml:2") && message.contains("`address`"), "{message}");
    let output = headwater(&["config", "print"], &[("HEADWATER_HTTP__ADRESS", "127.0.0.1:1")].into());
    assert!(text(&output.stderr).contains("HEADWATER_HTTP__ADRESS"), "{}", text(&output.stderr));
    let definition = file(
        "bad.yaml",
        "entity: a\nkey:\n  partition: {name: id, type: string}\nfeatures:\n  - {name: x, type: lnog}\n",
    );
    let (code, message) = refusal(&["config", "check", &definition]);
    assert!(code == 2 && message.contains("bad.yaml:5") && message.contains("`long`"), "{message}");
    let (_, message) = refusal(&["config", "check", &definition, "--json"]);
    let error = &serde_json::from_str::<Value>(&message).unwrap()["error"];
    assert!(error["cause"].is_string() && error.to_string().contains("`long`"), "the same for programs: {message}");
    let printed = run(&["config", "print"]);
    let again = file("again.yaml", &text(&printed.stdout));
    assert!(run(&["config", "print", "--settings", &again]).status.success(), "what is printed can be read");
}

#[test]
fn a_folder_that_is_none_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let (code, message) = refusal(&["sql", "select 1", "--data", none.to_str().unwrap()]);
    assert!(code == 3 && message.contains("no Headwater data folder"), "{message}");
    assert!(!Path::new(&none).exists());
    std::fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
    let (code, message) = refusal(&["demo", "--flights", "10", "--data", folder.path().to_str().unwrap()]);
    assert!(code == 3 && message.contains("something else"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_or_folder_in_use_is_refused_while_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::new(folder.path(), headwater_tests::workload::Workload::new(Default::default()).entities);
    let mut process = Process::start(&dev.launch).unwrap();
    process.wait_for("/readyz").await.unwrap();
    let definitions = folder.path().join("features");
    let definitions = definitions.to_str().unwrap();
    let data = dev.data.to_str().unwrap();
    let free = [("HEADWATER_STORE__ADDRESS", "127.0.0.1:0"), ("HEADWATER_HTTP__ADDRESS", "127.0.0.1:0")];
    let second = headwater(&["dev", "--data", data, "--definitions", definitions], &free.into());
    let message = text(&second.stderr);
    assert!(second.status.code() == Some(3) && message.contains("in use by process"), "{message}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["HEADWATER_STORE__ADDRESS", "HEADWATER_HTTP__ADDRESS"] {
        let other = folder.path().join(setting);
        let mut environment: std::collections::BTreeMap<_, _> = free.into();
        environment.insert(setting, &address);
        let refused =
            headwater(&["dev", "--data", other.to_str().unwrap(), "--definitions", definitions], &environment);
        let message = text(&refused.stderr);
        assert!(refused.status.code() == Some(3) && message.contains(&address), "{message}");
    }
    let status = lines(&run(&["status", "--data", data, "--json"]));
    assert_eq!(status[0]["running"], true);
    wait::until("completeness in the metrics", PATIENCE, async || {
        let metrics = http::get(dev.launch.status, "/metrics").await.map_err(|error| error.to_string())?;
        let named = metrics.body.contains("headwater_sink_complete_until_seconds");
        if named { Ok(()) } else { Err(metrics.body) }
    })
    .await
    .unwrap();
    assert!(process.stop(PATIENCE).await.unwrap().success());
    let status = lines(&run(&["status", "--data", data, "--json"]));
    assert_eq!(status[0]["running"], false);
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("verify"));
    }
}
