//! The workers as Kubernetes runs the image, without Docker: as its user, without rights, on a read-only root that has
//! what the image's base has (`infra/docker/confine`). Whatever they write lies where their manifests mount something.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::{http, skip};

use crate::deployment::{Mount, WORKERS, Worker};
use crate::stack::{BINARY, PATIENCE};

const CONFINE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/infra/docker/confine");

/// Whether this machine can confine a process; says why where it can't.
fn can_confine() -> bool {
    let tried = std::process::Command::new(CONFINE).arg("/bin/true").output().unwrap();
    let said = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
    match tried.status.code() {
        Some(0) => true,
        Some(3) => {
            skip::skipped(&said);
            false
        }
        other => panic!("{other:?}: {said}"),
    }
}

/// A worker as its manifest has it, with the folders of this machine that stand for its ConfigMaps.
fn launch(worker: &Worker, folder: &Path, config_map: impl Fn(&str) -> PathBuf, settings: &[(&str, String)]) -> Launch {
    let status = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let mut arguments = Vec::new();
    for (volume, path, mount) in worker.mounts() {
        match mount {
            Mount::ConfigMap(_) => arguments.extend(["--file".into(), config_map(&volume).display().to_string(), path]),
            Mount::EmptyDir => arguments.extend(["--empty".into(), path]),
        }
    }
    arguments.push(BINARY.to_owned());
    arguments.extend(worker.given());
    let mut environment = worker.environment();
    environment.insert("HEADWATER_HTTP__ADDRESS".into(), status.to_string());
    environment.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    Launch {
        binary: CONFINE.into(),
        arguments,
        environment: environment.into_iter().collect(),
        status,
        log: folder.join(format!("{}.log", worker.name)),
        patience: PATIENCE,
    }
}

/// Ends well, and nobody told it that it may not write somewhere.
async fn stop(process: Process, log: &Path) {
    let ended = process.stop(PATIENCE).await.unwrap();
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(ended.code(), Some(0), "{log}");
    let refused =
        log.lines().find(|line| ["ead-only file system", "ermission denied"].iter().any(|it| line.contains(it)));
    assert_eq!(refused, None, "{log}");
}

/// GIVEN a worker with the mounts of its manifest and none of its servers WHEN it runs as the image's user on a read-only
/// root THEN it finds what it needs in the base image, answers every probe, and ends well.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_finds_all_it_needs_in_the_image_and_its_mounts() {
    if !can_confine() {
        return;
    }
    let nobody = format!("127.0.0.1:{}", free_port().unwrap());
    let settings = [
        ("HEADWATER_KAFKA__BOOTSTRAP", nobody.clone()),
        ("HEADWATER_OPENSEARCH__URLS", format!("['http://{nobody}']")),
        ("HEADWATER_DYNAMODB__ENDPOINT", format!("http://{nobody}")),
        ("HEADWATER_LAKE__S3__ENDPOINT", format!("http://{nobody}")),
        ("HEADWATER_LAKE__S3__ALLOW_HTTP", "true".to_owned()),
        ("HEADWATER_LAKE__S3__ACCESS_KEY", "key".to_owned()),
        ("HEADWATER_LAKE__S3__SECRET_KEY", "secret".to_owned()),
    ];
    for name in WORKERS {
        let (worker, folder) = (Worker::of(name), tempfile::tempdir().unwrap());
        for (volume, _, mount) in worker.mounts() {
            let Mount::ConfigMap(files) = mount else { continue };
            let made = folder.path().join(volume);
            std::fs::create_dir_all(&made).unwrap();
            for file in files {
                std::fs::copy(&file, made.join(file.file_name().unwrap())).unwrap();
            }
        }
        let launch = launch(&worker, folder.path(), |volume| folder.path().join(volume), &settings);
        let mut process = Process::start(&launch).unwrap();
        process.wait_for("/livez").await.unwrap();
        for (who, path, _, alive) in worker.questions() {
            let answer = http::get(launch.status, &path).await.unwrap();
            assert!(!alive || answer.status == 200, "{name}: {who} gets {}: {}", answer.status, answer.body);
        }
        stop(process, &launch.log).await;
    }
}

/// GIVEN the four workers so confined, on real servers WHEN items are written and deleted THEN they reach lake and index,
/// are folded, and no worker was ever refused a write.
#[cfg(feature = "kafka")]
#[tokio::test(flavor = "multi_thread")]
async fn workers_do_their_work_on_a_file_system_that_they_can_not_write() {
    use aws_sdk_dynamodb::types::AttributeValue;
    use headwater_tests::{client, run, servers, wait, workload};
    use serde_json::{Value, json};

    let (Some(kafka), Some(dynamodb)) = (servers::kafka(), servers::dynamodb()) else { return };
    let (Some(opensearch), Some(s3)) = (servers::opensearch(), servers::s3()) else { return };
    if !can_confine() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let name = format!("confined-{}-{}", std::process::id(), crate::stack::now().as_millis());
    let entity = client::keyed(&name, "id");
    let client = client::at(&dynamodb.endpoint);
    client::ensure_table(&client, &entity).await.unwrap();
    let settings = json!({
        "definitions": "/etc/headwater/features",
        "dynamodb": {"endpoint": dynamodb.endpoint},
        "kafka": {"bootstrap": kafka, "prefix": name, "slots": 2, "partitions": 2, "replication": 1, "min_insync": 1},
        "lake": s3.lake(&name),
        "opensearch": {"urls": [opensearch], "prefix": name, "replicas": 0},
        "sink_offline": {"flush_ms": 300, "idle_complete_ms": 500},
        "sink_search": {"flush_ms": 300, "idle_complete_ms": 500},
        "maintenance": {"fold_ms": 500, "checkpoint_commits": 1},
    });
    let volume = |name: &str| folder.path().join(name);
    for (name, file, text) in
        [("settings", "headwater.yaml", settings.to_string()), ("features", "items.yaml", workload::yaml(&entity))]
    {
        std::fs::create_dir_all(volume(name)).unwrap();
        std::fs::write(volume(name).join(file), text).unwrap();
    }
    let mut workers = Vec::new();
    for name in WORKERS {
        let mut launch = launch(&Worker::of(name), folder.path(), volume, &[]);
        // These servers know no users.
        launch.environment.retain(|(name, _)| !name.ends_with("PASSWORD"));
        workers.push((name, Process::start(&launch).unwrap(), launch));
    }
    for (_, process, _) in &mut workers {
        process.wait_for("/readyz").await.unwrap();
    }
    for at in 0..40 {
        let id = || AttributeValue::S(format!("i{at}"));
        let put = client.put_item().table_name(&name).item("id", id());
        put.item("n", AttributeValue::N(at.to_string())).send().await.unwrap();
        if at % 4 == 0 {
            client.delete_item().table_name(&name).key("id", id()).send().await.unwrap();
        }
    }
    let written = crate::stack::now();
    for (name, process, _) in workers.iter().filter(|(name, ..)| crate::stack::SINKS.contains(name)) {
        run::wait_complete(process.address(), &[*name], &[entity.table()], written, PATIENCE).await.unwrap();
    }
    let outside = folder.path().join("outside.yaml");
    let mut settings = settings;
    settings["definitions"] = Value::from(volume("features").display().to_string());
    std::fs::write(&outside, settings.to_string()).unwrap();
    let ask = |arguments: &[&str]| -> Result<Value, String> {
        let arguments = [arguments, &["--json", "--settings", outside.to_str().unwrap()]].concat();
        let output = crate::stack::headwater(&arguments, &[].into());
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(said);
        }
        serde_json::from_slice(&output.stdout).map_err(|_| said)
    };
    let verified = ask(&["verify"]).unwrap();
    assert_eq!(verified["tables"][0]["table_items"], 30, "{verified}");
    wait::until("the fold", PATIENCE, async || {
        let counted = ask(&["sql", &format!("select count(*) as n from \"{name}_current\"")])?;
        if counted["n"] == 30 { Ok(()) } else { Err(counted.to_string()) }
    })
    .await
    .unwrap();
    for (_, process, launch) in workers {
        stop(process, &launch.log).await;
    }
    client.delete_table().table_name(&name).send().await.unwrap();
}
