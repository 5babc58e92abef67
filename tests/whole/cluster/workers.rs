//! Two workers of each stage and one for maintenance, as processes on real servers under names of their own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use headwater_common::change::TableName;
use headwater_common::clock::Timestamp;
use headwater_common::definition::Entity;
use headwater_lake::query::LakeReader;
use headwater_sdk::FeatureStore;
use headwater_sink_offline::{Lake, S3};
use headwater_sink_search::SearchIndex;
use headwater_sink_search::opensearch::{OpenSearch, OpenSearchIndex, names};
use headwater_tests::error::Error;
use headwater_tests::faults::Role;
use headwater_tests::observed::IndexDocument;
use headwater_tests::process::{Launch, Process, free_port};
use headwater_tests::{http, servers, wait, workload};
use serde_json::json;

use super::PATIENCE;
use super::flow::Flow;
use crate::stack::{BINARY, documents, fold};

/// Workers of each stage.
const EACH: usize = 2;
/// Of each table's topic.
pub const PARTITIONS: u16 = 4;

pub struct Cluster {
    pub endpoint: String,
    pub dynamodb: servers::DynamoDb,
    pub brokers: usize,
    pub entities: Vec<Entity>,
    pub settings: PathBuf,
    lake: Lake,
    lake_folder: PathBuf,
    pub opensearch: headwater_sink_search::opensearch::Settings,
    launches: Vec<(Option<Role>, Launch)>,
    processes: Vec<Option<Process>>,
}

impl Cluster {
    /// `None` where the environment names no servers. Makes the tables; nothing is started yet.
    pub async fn prepare(folder: &Path, entities: Vec<Entity>) -> Option<Cluster> {
        let (kafka, dynamodb) = (servers::kafka()?, servers::dynamodb()?);
        let (opensearch_url, s3) = (servers::opensearch()?, servers::s3()?);
        let servers_folder = PathBuf::from(std::env::var("SERVERS_FOLDER").unwrap());
        let name = format!("whole-{}-{}", std::process::id(), crate::stack::now().as_millis());
        let definitions = folder.join("features");
        std::fs::create_dir_all(&definitions).unwrap();
        for entity in &entities {
            std::fs::write(definitions.join(format!("{}.yaml", entity.entity)), workload::yaml(entity)).unwrap();
        }
        let brokers = kafka.split(',').count();
        let opensearch = headwater_sink_search::opensearch::Settings {
            urls: vec![opensearch_url.clone()],
            prefix: name.clone(),
            replicas: 0,
            ..Default::default()
        };
        // JSON is YAML. Small and often, so that faults meet every step.
        let settings = json!({
            "definitions": definitions,
            "dynamodb": {"endpoint": dynamodb.endpoint},
            "kafka": {
                "bootstrap": kafka, "prefix": name, "slots": 4, "partitions": PARTITIONS,
                "replication": brokers, "min_insync": brokers.div_ceil(2),
            },
            "lake": s3.lake(&name),
            "opensearch": {"urls": [opensearch_url], "prefix": name, "replicas": 0},
            "sink_offline": {"flush_ms": 300, "idle_complete_ms": 500},
            "sink_search": {"flush_ms": 300, "idle_complete_ms": 500},
            "maintenance": {"fold_ms": 2000, "checkpoint_commits": 20},
        });
        let file = folder.join("headwater.yaml");
        std::fs::write(&file, settings.to_string()).unwrap();
        let access: S3 = serde_json::from_value(settings["lake"]["s3"].clone()).unwrap();
        let features = FeatureStore::connect(Some(&dynamodb.endpoint), entities.clone()).await.unwrap();
        remove_tables(&features, &entities).await;
        features.ensure_tables().await.unwrap();
        let roles = Role::ALL.into_iter().flat_map(|role| std::iter::repeat_n(Some(role), EACH)).chain([None]);
        let launches: Vec<_> = roles.enumerate().map(|(at, role)| (role, launch(folder, &file, role, at))).collect();
        Some(Cluster {
            endpoint: dynamodb.endpoint.clone(),
            dynamodb,
            brokers,
            entities,
            settings: file,
            lake: Lake::open(settings["lake"]["place"].as_str().unwrap(), &access).unwrap(),
            lake_folder: servers_folder.join("s3/data").join(&s3.bucket).join(&name),
            opensearch,
            processes: launches.iter().map(|_| None).collect(),
            launches,
        })
    }

    /// Starts every worker and waits until all are ready.
    pub async fn start(&mut self) -> Result<(), Error> {
        for at in 0..self.launches.len() {
            self.replace(at)?;
        }
        self.ready().await
    }

    /// Waits until every worker is ready. One that ended by itself is an error.
    pub async fn ready(&mut self) -> Result<(), Error> {
        for process in self.processes.iter_mut().flatten() {
            process.wait_for("/readyz").await?;
        }
        Ok(())
    }

    /// Where lake and index show what the workers made of the writes.
    pub fn flow(&self) -> Flow {
        let address = http::address(&self.opensearch.urls[0]).unwrap();
        let alias = |table: &TableName| names::read_alias(&self.opensearch.prefix, table.as_str());
        let aliases = self.tables().into_iter().map(|table| (table.clone(), alias(&table))).collect();
        Flow::new(&self.lake_folder, address, aliases)
    }

    /// The worker that a fault strikes. Of ingest it is one that reads: one without an open shard would not be missed.
    pub async fn victim(&self, role: Role, which: usize) -> Result<usize, Error> {
        let places = self.of(role);
        if role != Role::Ingest {
            return Ok(places[which % places.len()]);
        }
        let before = self.records(&places).await?;
        let reading = wait::until("an ingest worker that reads", PATIENCE, async || {
            let now = self.records(&places).await.map_err(|error| error.to_string())?;
            let reading: Vec<usize> = places
                .iter()
                .zip(before.iter().zip(&now))
                .filter(|(_, (before, now))| now > before)
                .map(|(at, _)| *at)
                .collect();
            if reading.is_empty() { Err(format!("{before:?} and then {now:?} records")) } else { Ok(reading) }
        })
        .await?;
        Ok(reading[which % reading.len()])
    }

    /// Changes that each of these ingest workers has committed.
    async fn records(&self, places: &[usize]) -> Result<Vec<u64>, Error> {
        let mut records = Vec::new();
        for at in places {
            records.push(sum(&self.status(*at).await?, "records"));
        }
        Ok(records)
    }

    /// Shards of all tables that were read to their end, as an ingest worker knows it from the ledger.
    pub async fn shards_finished(&self) -> Result<u64, Error> {
        let at = self.launches.iter().position(|(role, _)| *role == Some(Role::Ingest)).unwrap();
        Ok(sum(&self.status(at).await?, "shards_finished"))
    }

    async fn status(&self, at: usize) -> Result<serde_json::Value, Error> {
        self.processes[at].as_ref().unwrap().status().await
    }

    /// The workers of a stage.
    pub fn of(&self, role: Role) -> Vec<usize> {
        (0..self.launches.len()).filter(|at| self.launches[*at].0 == Some(role)).collect()
    }

    /// Where a worker answers.
    pub fn address(&self, at: usize) -> SocketAddr {
        self.launches[at].1.status
    }

    pub fn take(&mut self, at: usize) -> Process {
        self.processes[at].take().unwrap()
    }

    pub fn put_back(&mut self, at: usize, process: Process) {
        self.processes[at] = Some(process);
    }

    pub fn replace(&mut self, at: usize) -> Result<(), Error> {
        self.processes[at] = Some(Process::start(&self.launches[at].1)?);
        Ok(())
    }

    pub fn tables(&self) -> Vec<TableName> {
        self.entities.iter().map(Entity::table).collect()
    }

    /// The bucket's files, as the S3 server keeps them.
    pub fn lake_folder(&self) -> &Path {
        &self.lake_folder
    }

    /// Waits until lake and index of every table say that they are complete past `moment`.
    pub async fn complete_past(&self, moment: Timestamp) -> Result<(), Error> {
        let reader = LakeReader::with(self.lake.clone(), &self.entities, Default::default());
        wait::until(&format!("lake and index complete past {moment}"), PATIENCE, async || {
            for entity in &self.entities {
                let table = entity.table();
                let lake = reader.complete_until(&table).await.map_err(|error| error.to_string())?;
                let index = self.index(entity).await?.progress().await.map_err(|error| error.to_string())?;
                let index = index.complete_until();
                if lake.is_none_or(|until| until <= moment) || index.is_none_or(|until| until <= moment) {
                    return Err(format!("{table}: the lake is complete until {lake:?}, the index until {index:?}"));
                }
            }
            Ok(())
        })
        .await
    }

    async fn index(&self, entity: &Entity) -> Result<OpenSearchIndex, String> {
        let server = OpenSearch::connect(&self.opensearch).await.map_err(|error| error.to_string())?;
        server.open_read_only(entity).await.map_err(|error| error.to_string())
    }

    /// The command's own verdict, while the workers run.
    pub async fn verified(&self) -> Result<(), Error> {
        let settings = self.settings.to_str().unwrap().to_owned();
        let verify =
            move || crate::stack::headwater(&["verify", "--json", "--settings", &settings], &Default::default());
        let output = tokio::task::spawn_blocking(verify).await.unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() && said.contains("\"differences\":[]") {
            return Ok(());
        }
        Err(Error::process("headwater verify", format!("{said}{}", String::from_utf8_lossy(&output.stderr))))
    }

    /// SIGTERM to all, each of which drains.
    pub async fn stop(&mut self) -> Result<(), Error> {
        for process in self.processes.iter_mut().filter_map(Option::take) {
            let ended = process.stop(PATIENCE).await?;
            if !ended.success() {
                return Err(Error::process("the drain at the end", ended));
            }
        }
        Ok(())
    }

    pub async fn fold(&self) {
        fold(&self.lake, &self.entities).await;
    }

    pub async fn index_documents(&self) -> Vec<IndexDocument> {
        let mut all = Vec::new();
        for entity in &self.entities {
            all.extend(documents(&self.index(entity).await.unwrap(), &entity.table()).await);
        }
        all
    }

    /// What the servers hold of this run, as far as it would be in another run's way.
    pub async fn remove(&self) {
        let features = FeatureStore::connect(Some(&self.endpoint), self.entities.clone()).await.unwrap();
        remove_tables(&features, &self.entities).await;
    }
}

/// The sum of a number over all tables of an ingest worker's status.
fn sum(status: &serde_json::Value, name: &str) -> u64 {
    let tables = status.pointer("/status/ingest/tables").and_then(serde_json::Value::as_object);
    tables.into_iter().flat_map(|tables| tables.values()).filter_map(|table| table[name].as_u64()).sum()
}

async fn remove_tables(features: &FeatureStore, entities: &[Entity]) {
    for entity in entities {
        let removed = features.client().delete_table().table_name(entity.table().as_str()).send().await;
        if let Err(error) = removed {
            let error = error.into_service_error();
            assert!(error.is_resource_not_found_exception(), "{error}");
        }
    }
}

fn launch(folder: &Path, settings: &Path, role: Option<Role>, at: usize) -> Launch {
    let status = SocketAddr::from(([127, 0, 0, 1], free_port().unwrap()));
    let command = role.map_or("maintain", Role::command);
    Launch {
        binary: BINARY.into(),
        arguments: [command, "--settings", settings.to_str().unwrap()].map(str::to_owned).into(),
        environment: vec![("HEADWATER_HTTP__ADDRESS".into(), status.to_string())],
        status,
        log: folder.join(format!("{command}-{at}.log")),
        patience: PATIENCE,
    }
}
