//! The lake as something to ask.

use std::collections::{BTreeMap, BTreeSet};

use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use headwater_common::change::TableName;
use headwater_common::definition::Entity;
use headwater_common::nearest::nearest;
use headwater_sink_offline::lake::{Lake, current_name, history_name};
use serde::{Deserialize, Serialize};
use url::Url;

use super::answer::SqlAnswer;
use super::error::QueryError;
use super::provider::STORE;
use super::snapshot::{Logs, Snapshot};
use super::statement;
use super::view::ViewError;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Rows of one answer at most. Default 10000.
    pub max_rows: usize,
    /// Bytes that one query may hold; sorts and joins beyond spill to the disk where they can. Default 256 MiB.
    pub memory_bytes: usize,
    /// Threads' worth of work at once. Default 2.
    pub parallelism: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { max_rows: 10_000, memory_bytes: 256 << 20, parallelism: 2 }
    }
}

impl Settings {
    pub fn check(&self) -> Result<(), String> {
        let least = |name: &str, value: usize, least: usize| match value >= least {
            true => Ok(()),
            false => Err(format!("{name} is {value}: give at least {least}")),
        };
        least("max_rows", self.max_rows, 1)?;
        least("memory_bytes", self.memory_bytes, 1 << 20)?;
        least("parallelism", self.parallelism, 1)
    }
}

/// Which of a table's three forms a name in a query means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Live,
    History,
    Current,
}

/// Reads a lake's folder. Cheap to keep: a query reads only what was committed since the one before.
pub struct LakeReader {
    lake: Lake,
    pub(super) entities: BTreeMap<TableName, Entity>,
    pub(super) settings: Settings,
    logs: tokio::sync::Mutex<BTreeMap<TableName, Logs>>,
}

impl LakeReader {
    pub fn open(lake: Lake, entities: &[Entity]) -> LakeReader {
        LakeReader::with(lake, entities, Settings::default())
    }

    pub fn with(lake: Lake, entities: &[Entity], settings: Settings) -> LakeReader {
        let entities = entities.iter().map(|entity| (entity.table(), entity.clone())).collect();
        LakeReader { lake, entities, settings, logs: tokio::sync::Mutex::default() }
    }

    /// Answers one statement that only reads.
    pub async fn sql(&self, query: &str) -> Result<SqlAnswer, QueryError> {
        let engine = self.engine()?;
        let failed = |error| QueryError::of(error, self.settings.memory_bytes);
        let state = engine.state();
        let dialect = state.config().options().sql_parser.dialect;
        let parsed = state.sql_to_statement(query, &dialect);
        let parsed = parsed.map_err(|error| failed(error).at_end_of(query))?;
        if let Some(statement) = statement::refused(&parsed) {
            return Err(QueryError::ReadOnly { statement });
        }
        let asked = self.asked(&engine, &parsed)?;
        let as_of = self.register(&engine, asked).await?;
        // Again with the tables in place.
        let plan = engine.state().statement_to_plan(parsed).await.map_err(failed)?;
        let reads = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        reads.verify_plan(&plan).map_err(failed)?;
        let frame = engine.execute_logical_plan(plan).await.map_err(failed)?;
        let mut rows = frame.execute_stream().await.map_err(failed)?;
        let mut answer = SqlAnswer { schema: rows.schema(), batches: Vec::new(), truncated: false, as_of };
        while let Some(batch) = rows.next().await.transpose().map_err(failed)? {
            let room = self.settings.max_rows - answer.rows();
            answer.truncated = batch.num_rows() > room;
            answer.batches.push(batch.slice(0, batch.num_rows().min(room)));
            if answer.truncated {
                break;
            }
        }
        Ok(answer)
    }

    /// The tables that a statement names; every one where it asks for the list of tables.
    fn asked(&self, engine: &SessionContext, parsed: &Statement) -> Result<BTreeSet<(TableName, Form)>, QueryError> {
        let references = engine.state().resolve_table_references(parsed);
        let references = references.map_err(|error| QueryError::of(error, self.settings.memory_bytes))?;
        let offered = self.offered();
        if references.iter().any(|reference| reference.schema() == Some("information_schema")) {
            return Ok(offered.into_values().collect());
        }
        let mut asked = BTreeSet::new();
        for reference in references {
            let name = reference.table();
            let Some(found) = offered.get(name) else {
                let hint = match nearest(name, offered.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("there are {}", offered.keys().cloned().collect::<Vec<_>>().join(", ")),
                };
                let position = statement::positions(parsed).get(name).copied();
                return Err(QueryError::UnknownTable { name: name.to_owned(), hint, position });
            };
            asked.insert(found.clone());
        }
        Ok(asked)
    }

    /// What each name means. A table that is called as another's form goes first.
    fn offered(&self) -> BTreeMap<String, (TableName, Form)> {
        let mut offered = BTreeMap::new();
        for table in self.entities.keys() {
            offered.insert(history_name(table), (table.clone(), Form::History));
            offered.insert(current_name(table), (table.clone(), Form::Current));
        }
        offered.extend(self.entities.keys().map(|table| (table.to_string(), (table.clone(), Form::Live))));
        offered
    }

    /// Registers the tables at one snapshot each, and says how far each is complete.
    async fn register(
        &self,
        engine: &SessionContext,
        asked: BTreeSet<(TableName, Form)>,
    ) -> Result<BTreeMap<TableName, Option<headwater_common::clock::Timestamp>>, QueryError> {
        let mut as_of = BTreeMap::new();
        let mut snapshots: BTreeMap<TableName, Snapshot> = BTreeMap::new();
        for (table, form) in asked {
            if !snapshots.contains_key(&table) {
                let snapshot = self.snapshot(&table).await?;
                as_of.insert(table.clone(), snapshot.complete_until());
                snapshots.insert(table.clone(), snapshot);
            }
            let Some(snapshot) = snapshots.get(&table) else { continue };
            let (name, provider) = match form {
                Form::Live => (table.to_string(), snapshot.live_table(engine).await),
                Form::History => (history_name(&table), snapshot.history_table()),
                Form::Current => (current_name(&table), snapshot.current_table()),
            };
            let provider = provider.map_err(|error| self.view_failed(error))?;
            let name = datafusion::common::TableReference::bare(name);
            engine.register_table(name, provider).map_err(|error| self.view_failed(error.into()))?;
        }
        Ok(as_of)
    }

    pub(super) async fn snapshot(&self, table: &TableName) -> Result<Snapshot, QueryError> {
        let mut logs = self.logs.lock().await;
        let logs = logs.entry(table.clone()).or_insert_with(|| Logs::new(&self.lake, table));
        logs.snapshot().await?.ok_or_else(|| QueryError::Empty { table: table.to_string() })
    }

    /// A session of its own for each query: nothing of one is seen by the next.
    pub(super) fn engine(&self) -> Result<SessionContext, QueryError> {
        let failed = |error| QueryError::of(error, self.settings.memory_bytes);
        let mut config = SessionConfig::new()
            .with_information_schema(true)
            .with_target_partitions(self.settings.parallelism)
            .with_batch_size(4096);
        let parser = &mut config.options_mut().sql_parser;
        // Attributes of DynamoDB differ by case.
        parser.enable_ident_normalization = false;
        parser.collect_spans = true;
        // A literal with a point is as exact as the column that it is compared with.
        parser.parse_float_as_decimal = true;
        let runtime = RuntimeEnvBuilder::new().with_memory_limit(self.settings.memory_bytes, 1.0).build_arc();
        let engine = SessionContext::new_with_config_rt(config, runtime.map_err(failed)?);
        let url = Url::parse(STORE).map_err(|error| QueryError::Failed(error.to_string()))?;
        engine.register_object_store(&url, self.lake.store());
        Ok(engine)
    }

    pub(super) fn view_failed(&self, error: ViewError) -> QueryError {
        match error {
            ViewError::Lake(error) => error.into(),
            ViewError::Engine(error) => QueryError::of(error, self.settings.memory_bytes),
        }
    }

    pub(super) fn entity(&self, table: &TableName) -> Result<&Entity, QueryError> {
        self.entities.get(table).ok_or_else(|| {
            let hint = match nearest(table.as_str(), self.entities.keys().map(TableName::as_str)) {
                Some(near) => format!("did you mean {near}?"),
                None => "no definition names it".to_owned(),
            };
            QueryError::UnknownTable { name: table.to_string(), hint, position: None }
        })
    }

    /// The lake that is read.
    pub fn lake(&self) -> &Lake {
        &self.lake
    }
}
