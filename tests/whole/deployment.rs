//! The image and the Kubernetes manifests against the command: what they say is what a worker takes and answers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::{http, wait};
use serde_json::Value;

use crate::stack::{BINARY, PATIENCE, headwater};

pub const WORKERS: [&str; 4] = ["ingest", "sink-offline", "sink-search", "maintain"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every document of a manifest.
fn manifest(name: &str) -> Vec<Value> {
    let documents = serde_saphyr::from_multiple(&read(Path::new("infra/kubernetes").join(name)));
    documents.unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn texts<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    let element = |element: &'a Value| if field.is_empty() { element } else { &element[field] };
    list.as_array().into_iter().flatten().filter_map(|one| element(one).as_str()).collect()
}

/// What a pod sees at a path.
pub enum Mount {
    /// Made of these files of the repository.
    ConfigMap(Vec<PathBuf>),
    EmptyDir,
}

/// A worker's pod as its Deployment describes it.
pub struct Worker {
    pub name: &'static str,
    pod: Value,
    template: Value,
}

impl Worker {
    pub fn of(name: &'static str) -> Worker {
        let documents = manifest(&format!("{name}.yaml"));
        let deployment = documents.iter().find(|document| document["kind"] == "Deployment").unwrap();
        assert_eq!(deployment["metadata"]["name"], format!("headwater-{name}"));
        let template = deployment["spec"]["template"].clone();
        assert_eq!(deployment["spec"]["selector"]["matchLabels"], template["metadata"]["labels"], "{name}");
        Worker { name, pod: template["spec"].clone(), template }
    }

    fn container(&self) -> &Value {
        &self.pod["containers"][0]
    }

    /// What is mounted: the volume, where, and what.
    pub fn mounts(&self) -> Vec<(String, String, Mount)> {
        let kustomization = &manifest("kustomization.yaml")[0];
        let volumes = self.pod["volumes"].as_array().unwrap();
        let mount = |mount: &Value| {
            let volume = volumes.iter().find(|known| known["name"] == mount["name"]).unwrap();
            let what = if volume["emptyDir"].is_object() {
                Mount::EmptyDir
            } else {
                assert_eq!(mount["readOnly"], true, "{}: nobody writes to a ConfigMap", self.name);
                let map = volume["configMap"]["name"].as_str().unwrap();
                let made = kustomization["configMapGenerator"].as_array().unwrap();
                let made = made.iter().find(|made| made["name"] == map).unwrap_or_else(|| panic!("no ConfigMap {map}"));
                let files = texts(&made["files"], "").into_iter();
                Mount::ConfigMap(files.map(|file| root().join("infra/kubernetes").join(file)).collect())
            };
            (volume["name"].as_str().unwrap().to_owned(), mount["mountPath"].as_str().unwrap().to_owned(), what)
        };
        self.container()["volumeMounts"].as_array().unwrap().iter().map(mount).collect()
    }

    /// A path in the container as the file or folder that the ConfigMap mounted there is made of.
    fn mounted(&self, path: &str) -> PathBuf {
        let mounts = self.mounts();
        let found = mounts.iter().find_map(|(_, at, mount)| Some((path.strip_prefix(at.as_str())?, mount)));
        let Some((rest, Mount::ConfigMap(files))) = found else {
            panic!("{}: nothing is mounted at {path}", self.name)
        };
        match rest.trim_start_matches('/') {
            "" => files[0].parent().unwrap().to_owned(),
            name => files.iter().find(|file| file.file_name().unwrap() == name).unwrap().clone(),
        }
    }

    /// The arguments as the container gives them.
    pub fn given(&self) -> Vec<String> {
        texts(&self.container()["args"], "").into_iter().map(str::to_owned).collect()
    }

    /// The same, with files of this machine for those that are mounted.
    fn arguments(&self) -> Vec<String> {
        let on_this_machine = |argument: String| match argument.starts_with('/') {
            true => self.mounted(&argument).display().to_string(),
            false => argument,
        };
        self.given().into_iter().map(on_this_machine).collect()
    }

    /// Its environment, with something for each secret.
    pub fn environment(&self) -> BTreeMap<String, String> {
        let variables = self.container()["env"].as_array().unwrap();
        let value = |variable: &Value| match variable["value"].as_str() {
            Some(value) => value.to_owned(),
            None => variable["valueFrom"]["secretKeyRef"]["key"].as_str().unwrap().to_owned(),
        };
        variables.iter().map(|variable| (variable["name"].as_str().unwrap().to_owned(), value(variable))).collect()
    }

    /// The settings as the worker takes them, every default filled in.
    fn settings(&self) -> Value {
        let mut arguments = self.arguments();
        assert_eq!(arguments.pop().as_deref(), Some(self.name), "the last argument is the worker");
        arguments.extend(["--json", "config", "print"].map(str::to_owned));
        let environment = self.environment();
        let environment = environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let printed = headwater(&arguments, &environment);
        assert!(printed.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&printed.stderr));
        let printed: Value = serde_json::from_slice(&printed.stdout).unwrap();
        // What is mounted for the definitions is well-formed too.
        let definitions = self.mounted(printed["definitions"].as_str().unwrap()).display().to_string();
        let checked = headwater(
            &arguments[..arguments.len() - 2]
                .iter()
                .copied()
                .chain(["config", "check", &definitions])
                .collect::<Vec<_>>(),
            &environment,
        );
        assert!(checked.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&checked.stderr));
        printed
    }

    /// The number of the port that a probe or an annotation names.
    fn port(&self, named: &Value) -> u64 {
        if let Some(number) = named.as_u64().or_else(|| named.as_str()?.parse().ok()) {
            return number;
        }
        let ports = self.container()["ports"].as_array().unwrap();
        ports.iter().find(|port| port["name"] == *named).unwrap()["containerPort"].as_u64().unwrap()
    }

    /// What is asked of the worker from outside: who asks, where, and whether the answer must be good while no server
    /// is there.
    pub fn questions(&self) -> Vec<(&'static str, String, u64, bool)> {
        let probe = |name: &'static str, alive| {
            let get = &self.container()[name]["httpGet"];
            (name, get["path"].as_str().unwrap().to_owned(), self.port(&get["port"]), alive)
        };
        let annotations = &self.template["metadata"]["annotations"];
        assert_eq!(annotations["prometheus.io/scrape"], "true");
        let metrics = annotations["prometheus.io/path"].as_str().unwrap().to_owned();
        vec![
            probe("startupProbe", true),
            probe("livenessProbe", true),
            probe("readinessProbe", false),
            ("prometheus", metrics, self.port(&annotations["prometheus.io/port"]), true),
        ]
    }
}

/// GIVEN a worker started as its manifest says WHEN no server is there THEN it takes its settings, answers every probe at
/// its path and port, is alive and not ready, and ends well at SIGTERM within its grace period.
#[tokio::test(flavor = "multi_thread")]
async fn every_worker_of_the_manifests_starts_with_their_settings_and_answers_their_probes() {
    for name in WORKERS {
        let worker = Worker::of(name);
        let settings = worker.settings();
        let address: SocketAddr = settings["http"]["address"].as_str().unwrap().parse().unwrap();
        assert!(address.ip().is_unspecified(), "probes come from outside of the pod");
        let drain = settings["drain_ms"].as_u64().unwrap();
        let grace = worker.pod["terminationGracePeriodSeconds"].as_u64().unwrap() * 1000;
        assert!(grace >= drain + 5_000, "{name}: killed {grace} ms after SIGTERM, and may drain for {drain} ms");

        let folder = tempfile::tempdir().unwrap();
        let status = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
        let mut environment = worker.environment();
        let definitions = worker.mounted(settings["definitions"].as_str().unwrap());
        environment.insert("HEADWATER_DEFINITIONS".into(), definitions.display().to_string());
        environment.insert("HEADWATER_HTTP__ADDRESS".into(), status.to_string());
        // Nobody is asked outside of this machine.
        environment.insert("HEADWATER_KAFKA__BOOTSTRAP".into(), format!("127.0.0.1:{}", free_port().unwrap()));
        environment
            .insert("HEADWATER_OPENSEARCH__URLS".into(), format!("['http://127.0.0.1:{}']", free_port().unwrap()));
        environment.insert("HEADWATER_LAKE__PLACE".into(), folder.path().join("lake").display().to_string());
        let launch = Launch {
            binary: BINARY.into(),
            arguments: worker.arguments(),
            environment: environment.into_iter().collect(),
            status,
            log: folder.path().join("log.txt"),
            patience: PATIENCE,
        };
        let mut process = Process::start(&launch).unwrap();
        process.wait_for("/livez").await.unwrap();
        for (who, path, port, alive) in worker.questions() {
            assert_eq!(port, u64::from(address.port()), "{name}: {who} asks another port than http.address");
            let answer = http::get(status, &path).await.unwrap();
            let expected: &[u16] = match (alive, name) {
                (true, _) => &[200],
                // Maintenance waits for a table's log and needs nothing else.
                (false, "maintain") => &[200, 503],
                (false, _) => &[503],
            };
            assert!(
                expected.contains(&answer.status),
                "{name}: {who} at {path} gets {}: {}",
                answer.status,
                answer.body
            );
        }
        assert_eq!(settings["logs"]["format"], "json");
        // One of them is enough, and this one has something to say.
        if name == "ingest" {
            let told = async || {
                let log = read(&launch.log);
                if log.lines().any(is_json) { Ok(()) } else { Err(log) }
            };
            wait::until("a line of the log in JSON", PATIENCE, told).await.unwrap();
        }
        let ended = process.stop(PATIENCE).await.unwrap();
        let log = read(&launch.log);
        assert_eq!(ended.code(), Some(0), "{name}: {log}");
    }
}

/// Whether a line of a log is one of the format that the manifests ask for.
fn is_json(line: &str) -> bool {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    line["level"].is_string() && line["fields"]["message"].is_string()
}

/// The pods have no rights that they do not need, and the image's user is theirs.
#[test]
fn workers_run_without_rights_on_a_file_system_that_they_can_not_write() {
    let dockerfile = read("infra/docker/Dockerfile");
    for name in WORKERS {
        let Worker { pod, .. } = &Worker::of(name);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        let user = format!("{}:{}", pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsGroup"]);
        assert!(dockerfile.contains(&format!("\nUSER {user}\n")), "{name} runs as {user}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        assert_eq!(pod["enableServiceLinks"], false, "{name}: a Service's variables would be taken for settings");
        let container = &pod["containers"][0]["securityContext"];
        assert_eq!(container["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(container["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(container["capabilities"], serde_json::json!({"drop": ["ALL"]}), "{name}");
    }
}

/// A memory limit as Kubernetes writes it, in bytes.
fn bytes(quantity: &Value) -> u64 {
    let text = quantity.as_str().unwrap();
    let (digits, shift) = match text.strip_suffix("Mi") {
        Some(digits) => (digits, 20),
        None => (text.strip_suffix("Gi").unwrap_or_else(|| panic!("{text}")), 30),
    };
    digits.parse::<u64>().unwrap() << shift
}

/// What a worker may hold by its settings leaves room for the rest of it, twice over, and it is asked for.
#[test]
fn memory_limits_leave_room_around_the_budgets_of_the_settings() {
    for (name, budget) in [
        ("ingest", "/ingest/memory_bytes"),
        ("sink-offline", "/sink_offline/memory_bytes"),
        ("sink-search", "/sink_search/buffer_bytes"),
        ("maintain", "/maintenance/current/step_bytes"),
    ] {
        let worker = Worker::of(name);
        let resources = &worker.container()["resources"];
        let budget = worker.settings().pointer(budget).and_then(Value::as_u64).unwrap();
        let (requested, limit) = (bytes(&resources["requests"]["memory"]), bytes(&resources["limits"]["memory"]));
        assert!(budget * 2 <= requested && requested <= limit, "{name}: {budget} of {requested}, at most {limit}");
    }
}

/// The image and the secret that the manifests name are those that their README and the kustomization make.
#[test]
fn workers_get_the_image_and_the_secrets_that_are_made_for_them() {
    let image = manifest("kustomization.yaml")[0]["images"][0]["name"].clone();
    let told = read("infra/kubernetes/README.md");
    let create = told.lines().find_map(|line| line.strip_prefix("kubectl create secret generic ")).unwrap();
    let (secret, literals) = create.split_once(' ').unwrap();
    for name in WORKERS {
        let worker = Worker::of(name);
        assert_eq!(worker.container()["image"], image, "{name}: kustomize leaves another image as it is");
        for variable in worker.container()["env"].as_array().unwrap() {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            assert_eq!(reference["name"], secret, "{name}");
            let key = reference["key"].as_str().unwrap();
            assert!(literals.contains(&format!("--from-literal={key}=")), "{name}: nobody is told to make {key}");
        }
    }
}

/// Whatever lies beside the manifests is applied, and what is to be applied is there.
#[test]
fn the_kustomization_names_every_manifest() {
    let kustomization = &manifest("kustomization.yaml")[0];
    let mut named = texts(&kustomization["resources"], "");
    named.sort_unstable();
    let folder = std::fs::read_dir(root().join("infra/kubernetes")).unwrap();
    let files = folder.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = files
        .filter(|name| name.ends_with(".yaml") && !["kustomization.yaml", "headwater.yaml"].contains(&&**name))
        .collect();
    files.sort_unstable();
    assert_eq!(named, files);
    for name in WORKERS {
        let documents = manifest(&format!("{name}.yaml"));
        let selector = &documents[0]["spec"]["selector"]["matchLabels"];
        let budgets: Vec<&Value> = documents.iter().filter(|one| one["kind"] == "PodDisruptionBudget").collect();
        // One of a single replica would hold up the draining of its node for good.
        assert_eq!(budgets.len(), usize::from(documents[0]["spec"]["replicas"] != 1), "{name}");
        assert!(budgets.iter().all(|budget| budget["spec"]["selector"]["matchLabels"] == *selector), "{name}");
        let account = Worker::of(name).pod["serviceAccountName"].clone();
        assert_eq!(manifest("service-account.yaml")[0]["metadata"]["name"], account);
    }
}

/// The image is built by the pinned toolchain, with what workers need, from folders that its build may see.
#[test]
fn the_image_is_built_from_this_source_by_the_pinned_toolchain() {
    let dockerfile = read("infra/docker/Dockerfile");
    let toolchain = read("rust-toolchain.toml");
    let channel = toolchain.lines().find_map(|line| line.strip_prefix("channel = ")).unwrap().trim_matches('"');
    assert!(dockerfile.contains(&format!("\nARG RUST_VERSION={channel}\n")), "the toolchain is {channel}");
    let builds: Vec<&str> =
        dockerfile.lines().filter(|line| line.contains("cargo build") || line.contains("chef cook")).collect();
    assert!(
        builds.len() == 2
            && builds.iter().all(|line| line.contains("--release --locked --features kafka,jemalloc --bin headwater"))
    );
    let command = "/usr/local/bin/headwater";
    let copied = format!("\nCOPY --from=build /headwater/target/release/headwater {command}\n");
    assert!(dockerfile.contains(&copied) && dockerfile.ends_with(&format!("\nENTRYPOINT [\"{command}\"]\n")));
    // The runtime has neither library, and the C library of one release of Debian.
    assert!(dockerfile.contains("\nENV LIBZ_SYS_STATIC=1\n"));
    assert!(dockerfile.contains("\nARG DEBIAN=bookworm\n") && dockerfile.contains("/cc-debian12:nonroot\n"));
    let port = Worker::of("ingest").port(&Value::from("http"));
    assert!(dockerfile.contains(&format!("\nEXPOSE {port}\n")));
    let ignored = read(".dockerignore");
    let manifest = read("Cargo.toml");
    let members = manifest.lines().find_map(|line| line.strip_prefix("members = ")).unwrap();
    for member in
        serde_json::from_str::<Vec<String>>(members).unwrap().iter().map(String::as_str).chain(["src", "Cargo.lock"])
    {
        assert!(root().join(member).exists());
        let hidden = ignored.lines().find(|line| Path::new(member).starts_with(line.trim_end_matches('/')));
        assert_eq!(hidden, None, "{member} is kept from the build");
    }
}
