//! A `headwater dev` of its own: folder, ports, definitions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use headwater_common::change::TableName;
use headwater_common::clock::{Clock, SystemClock};
use headwater_common::definition::Entity;
use headwater_common::health::Health;
use headwater_common::key::KeyBytes;
use headwater_common::value::Item;
use headwater_lake::maintain::{Maintenance, Settings};
use headwater_sink_offline::Lake;
use headwater_sink_search::{EmbeddedIndex, SearchIndex};
use headwater_tests::observed::IndexDocument;
use headwater_tests::process::{Launch, free_port};
use headwater_tests::workload;

pub const BINARY: &str = env!("CARGO_BIN_EXE_headwater");
pub const PATIENCE: Duration = Duration::from_secs(120);
pub const SINKS: [&str; 2] = ["sink-offline", "sink-search"];

pub struct Dev {
    pub launch: Launch,
    pub endpoint: String,
    pub data: PathBuf,
    pub entities: Vec<Entity>,
}

impl Dev {
    /// Everything lies in `folder`; nothing is started yet.
    pub fn new(folder: &Path, entities: Vec<Entity>) -> Dev {
        let definitions = folder.join("features");
        std::fs::create_dir_all(&definitions).unwrap();
        for entity in &entities {
            std::fs::write(definitions.join(format!("{}.yaml", entity.entity)), workload::yaml(entity)).unwrap();
        }
        let (store, status) = (free_port().unwrap(), free_port().unwrap());
        let data = folder.join("data");
        let arguments = ["dev", "--data", data.to_str().unwrap(), "--definitions", definitions.to_str().unwrap()];
        let environment = [
            ("HEADWATER_STORE__ADDRESS", format!("127.0.0.1:{store}")),
            ("HEADWATER_HTTP__ADDRESS", format!("127.0.0.1:{status}")),
            // Small and often, so that faults meet every step.
            ("HEADWATER_SINK_OFFLINE__FLUSH_MS", "200".into()),
            ("HEADWATER_SINK_SEARCH__FLUSH_MS", "200".into()),
            ("HEADWATER_STORE__TTL_SWEEP_MS", "500".into()),
            ("HEADWATER_MAINTENANCE__FOLD_MS", "500".into()),
            ("HEADWATER_MAINTENANCE__CHECKPOINT_COMMITS", "20".into()),
        ];
        let launch = Launch {
            binary: BINARY.into(),
            arguments: arguments.map(str::to_owned).into(),
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            status: SocketAddr::from(([127, 0, 0, 1], status)),
            log: folder.join("log.txt"),
            patience: PATIENCE,
        };
        Dev { launch, endpoint: format!("http://127.0.0.1:{store}"), data, entities }
    }

    pub fn tables(&self) -> Vec<TableName> {
        self.entities.iter().map(Entity::table).collect()
    }

    pub fn lake(&self) -> PathBuf {
        self.data.join("lake")
    }

    /// The stack must be stopped.
    pub async fn fold(&self) {
        fold(&Lake::local(&self.lake()).unwrap(), &self.entities).await;
    }

    /// Every document and tombstone of every index.
    pub async fn index(&self) -> Vec<IndexDocument> {
        let mut all = Vec::new();
        for entity in &self.entities {
            let table = entity.table();
            let index = EmbeddedIndex::open_read_only(&self.data.join("index").join(table.as_str()), entity).unwrap();
            all.extend(documents(&index, &table).await);
        }
        all
    }
}

/// Every document and tombstone of an index.
pub async fn documents(index: &dyn SearchIndex, table: &TableName) -> Vec<IndexDocument> {
    let mut documents = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = index.scan(after.as_deref(), 500).await.unwrap();
        let Some(last) = page.last() else { return documents };
        after = Some(last.key.clone());
        documents.extend(page.into_iter().map(|found| IndexDocument {
            table: table.clone(),
            id: KeyBytes::from_text(&found.key).unwrap().document_id(),
            version: found.version.as_i64(),
            live: found.item.is_some(),
            item: found.item.map(|json| Item::from_json(&json).unwrap()),
        }));
    }
}

/// Runs one command to its end.
pub fn headwater(arguments: &[&str], environment: &BTreeMap<&str, &str>) -> Output {
    let mut command = std::process::Command::new(BINARY);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HEADWATER_")) {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment).output().unwrap()
}

pub fn now() -> headwater_common::clock::Timestamp {
    SystemClock.now()
}

/// Folds history into current once more, as maintenance does.
pub async fn fold(lake: &Lake, entities: &[Entity]) {
    let maintenance = Maintenance {
        lake: lake.clone(),
        entities: entities.to_vec(),
        settings: Settings::default(),
        clock: std::sync::Arc::new(SystemClock),
        health: Health::default(),
    };
    for entity in entities {
        maintenance.run_once(&entity.table()).await.unwrap();
    }
}
