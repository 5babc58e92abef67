//! Finding a table's index, making it, and holding it to the definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::change::TableName;
use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::audit::{Described, audit};
use super::layout::{LIVE, Layout, Meta};
use super::progress::Held;
use super::roles::{self, Known, Role};
use super::transport::Request;
use super::verdict::{Halt, Overall, error_of, overall};
use super::{Server, names};
use crate::index::IndexError;
use crate::mapping::Mapping;

/// One making of a table's index, which no other is taken for.
pub(super) struct Making {
    pub write_alias: String,
    pub layout: Layout,
    /// Of the log, as the index notes it.
    pub partitions: u16,
    /// Progress documents as they were seen last.
    pub held: Mutex<BTreeMap<u16, Held>>,
}

/// What an index is held to.
pub(super) struct Wanted<'a> {
    pub table: &'a TableName,
    pub mapping: &'a Mapping,
    /// Of the log; `None` where the index is opened for reading, and then nothing of it is changed.
    pub partitions: Option<u16>,
}

/// What the table's read alias leads to.
pub(super) enum Standing {
    Index {
        index: String,
        write_alias: String,
    },
    /// There is an index of the table's, and the alias does not lead to it.
    Astray(String),
    /// None serves, and this one is being built.
    Building(String),
    /// What one would be called.
    Nothing(String),
}

#[derive(Deserialize)]
struct Aliases {
    aliases: BTreeMap<String, serde::de::IgnoredAny>,
}

impl Server {
    pub(super) fn read_alias(&self, table: &TableName) -> String {
        names::read_alias(&self.settings.prefix, table.as_str())
    }

    /// Leads nowhere else than to an index with a write alias of its own.
    pub(super) async fn find(&self, table: &TableName) -> Result<Standing, IndexError> {
        let alias = self.read_alias(table);
        let path = format!("/_alias/{alias}");
        let reply = self.call(&alias, Request::new(Method::GET, &path)).await?;
        if reply.status == 404 {
            return self.without_alias(table).await;
        }
        let found: BTreeMap<String, Aliases> = self.expect(&alias, &reply)?;
        let mut indexes = found.into_keys();
        let (Some(index), None) = (indexes.next(), indexes.next()) else {
            return Err(self.refused(
                &alias,
                "the alias leads to several indexes".to_owned(),
                "leave it the one that is to be read",
            ));
        };
        let path = format!("/{index}/_alias");
        let reply = self.call(&alias, Request::new(Method::GET, &path)).await?;
        let found: BTreeMap<String, Aliases> = self.expect(&alias, &reply)?;
        let all = found.into_values().flat_map(|aliases| aliases.aliases.into_keys());
        match all.into_iter().find(|alias| names::is_write_alias(alias, &index)) {
            Some(write_alias) => Ok(Standing::Index { index, write_alias }),
            None => Err(self.refused(
                &alias,
                format!("index {index} has no write alias of ours"),
                "put it back, or build the index again with `headwater rebuild`",
            )),
        }
    }

    async fn without_alias(&self, table: &TableName) -> Result<Standing, IndexError> {
        let known = self.indexes(table).await?;
        let last = |role: fn(&Role) -> bool| known.iter().rev().find(|known| role(&known.role));
        if let Some(astray) = last(|role| matches!(role, Role::Astray { .. })) {
            return Ok(Standing::Astray(astray.name.clone()));
        }
        if let Some(building) = last(|role| matches!(role, Role::Builds { .. })) {
            return Ok(Standing::Building(building.name.clone()));
        }
        let next = roles::next_generation(&known);
        Ok(Standing::Nothing(names::index(&self.settings.prefix, table.as_str(), next)))
    }

    /// All of the table's indexes, the oldest first.
    pub(super) async fn indexes(&self, table: &TableName) -> Result<Vec<Known>, IndexError> {
        let alias = self.read_alias(table);
        let path = format!("/{alias},{alias}-*/_alias?ignore_unavailable=true");
        let reply = self.call(&alias, Request::new(Method::GET, &path)).await?;
        if reply.status == 404 {
            return Ok(Vec::new());
        }
        let found: BTreeMap<String, Aliases> = self.expect(&alias, &reply)?;
        let names = |(index, aliases): (String, Aliases)| (index, aliases.aliases.into_keys().collect());
        Ok(roles::known(&found.into_iter().map(names).collect(), &alias))
    }

    /// The table's index as it is, with its mapping compared to the definitions and, where it may be, extended. One that
    /// can't keep the promises is refused.
    pub(super) async fn take(&self, wanted: &Wanted<'_>) -> Result<Option<Making>, IndexError> {
        let alias = self.read_alias(wanted.table);
        match self.find(wanted.table).await? {
            Standing::Index { index, write_alias } => self.compare(wanted, &index, write_alias).await.map(Some),
            Standing::Astray(index) => Err(self.refused(
                &alias,
                format!("index {index} is there, and alias {alias} does not lead to it"),
                "put the alias back with the filter _hw.live = true, or build the index again with `headwater rebuild`",
            )),
            Standing::Building(index) => Err(self.refused(
                &alias,
                format!("index {index} is being built by `headwater rebuild`, and none serves before"),
                "let it end, or start it again where it has ended",
            )),
            Standing::Nothing(_) => Ok(None),
        }
    }

    /// Makes the index with both its aliases at once. Another worker may be faster: then there is one all the same.
    pub(super) async fn make(&self, wanted: &Wanted<'_>) -> Result<(), IndexError> {
        let Standing::Nothing(index) = self.find(wanted.table).await? else { return Ok(()) };
        let write_alias = names::write_alias(&index, rand::random());
        let live = json!({ "filter": { "term": { LIVE: true } } });
        let aliases = json!({ self.read_alias(wanted.table): live, write_alias: {} });
        if self.put(wanted, &index, aliases).await? {
            tracing::info!(table = %wanted.table, index, "made a search index");
        }
        Ok(())
    }

    /// False where an index of that name is there.
    pub(super) async fn put(&self, wanted: &Wanted<'_>, index: &str, aliases: Value) -> Result<bool, IndexError> {
        let layout = Layout::of(wanted.mapping, self.knn);
        let meta = self.meta(wanted);
        let body = json!({
            "settings": layout.settings_json(&self.settings),
            "mappings": layout.mapping_json(wanted.mapping, &meta),
            "aliases": aliases,
        });
        let path = format!("/{index}");
        let reply = self.call(index, Request::json(Method::PUT, &path, &body)).await?;
        if reply.status == 400 && error_of(&reply.body).kind == "resource_already_exists_exception" {
            return Ok(false);
        }
        self.judge(index, &reply).map(|()| true)
    }

    /// Of an index that is made now.
    pub(super) fn meta(&self, wanted: &Wanted<'_>) -> Meta {
        Meta::of(wanted.table.as_str(), self.knn, wanted.partitions.unwrap_or(0), wanted.mapping)
    }

    async fn compare(&self, wanted: &Wanted<'_>, index: &str, write_alias: String) -> Result<Making, IndexError> {
        let (table, mapping, alias) = (wanted.table, wanted.mapping, self.read_alias(wanted.table));
        let mut found = self.describe(&alias, index).await?;
        let Some(held) = found.meta().filter(|held| held.table == table.as_str()) else {
            return Err(self.not_of(table, index));
        };
        let partitions = wanted.partitions.unwrap_or(held.partitions);
        let meta = Meta::of(table.as_str(), held.knn, partitions, mapping);
        let layout = Layout::of(mapping, held.knn);
        let changed = |differences| self.changed(table, differences);
        if held.format != meta.format {
            return Err(changed(format!("format {} and not {}", held.format, meta.format)));
        }
        let differences = held.outline.differences(&meta.outline);
        let Some(joined) = held.outline.joined(&meta.outline) else { return Err(changed(differences)) };
        let more = joined != held.outline;
        if more && wanted.partitions.is_none() {
            return Err(changed(differences));
        }
        if more || partitions != held.partitions {
            self.extend(wanted, index, &layout, &Meta { outline: joined, ..meta.clone() }).await?;
            found = self.describe(&alias, index).await?;
        }
        if more {
            tracing::warn!(
                %table, index, differences,
                "the search index has new fields: items are found by them once they are written again, or the index \
                 is built again with `headwater rebuild`"
            );
        }
        match audit(&found, &layout.mapping_json(mapping, &meta), Some(&alias), &write_alias) {
            Ok(()) => Ok(Making { write_alias, layout, partitions, held: Mutex::default() }),
            Err(fault) => Err(self.refused(&alias, format!("index {index}: {}", fault.reason), &fault.remedy)),
        }
    }

    pub(super) async fn describe(&self, alias: &str, index: &str) -> Result<Described, IndexError> {
        let path = format!("/{index}?flat_settings=true");
        let reply = self.call(alias, Request::new(Method::GET, &path)).await?;
        let mut found: BTreeMap<String, Described> = self.expect(alias, &reply)?;
        found.remove(index).ok_or_else(|| self.unavailable(alias, format!("its answer does not describe {index}")))
    }

    fn changed(&self, table: &TableName, differences: String) -> IndexError {
        let remedy = "set them back, or build the index by these with `headwater rebuild`";
        IndexError::MappingChanged { place: self.place(&self.read_alias(table)), differences, remedy }
    }

    /// The index is another table's.
    pub(super) fn not_of(&self, table: &TableName, index: &str) -> IndexError {
        let remedy = "give another prefix, or remove the index, and it is built again from the log";
        self.refused(&self.read_alias(table), format!("index {index} was not made for table {table}"), remedy)
    }

    async fn extend(&self, wanted: &Wanted<'_>, index: &str, layout: &Layout, meta: &Meta) -> Result<(), IndexError> {
        let alias = self.read_alias(wanted.table);
        let path = format!("/{index}/_mapping");
        let body = layout.mapping_json(wanted.mapping, meta);
        let reply = self.call(&alias, Request::json(Method::PUT, &path, &body)).await?;
        match overall(reply.status, &error_of(&reply.body)) {
            Overall::Halt(Halt::Other { status: 400, kind }) => {
                Err(self.changed(wanted.table, format!("the server does not take the new fields ({kind})")))
            }
            _ => self.judge(&alias, &reply),
        }
    }

    /// Whether this server searches vectors. Where it may not be asked, it is taken not to.
    pub(super) async fn has_knn(&self) -> Result<bool, IndexError> {
        #[derive(Deserialize)]
        struct Plugin {
            component: String,
        }
        let request = Request::new(Method::GET, "/_cat/plugins?format=json&h=component");
        let reply = self.call("", request).await?;
        if reply.status == 403 || reply.status == 404 {
            tracing::warn!("the server does not say which plugins it has: vectors are stored and not searched");
            return Ok(false);
        }
        let plugins: Vec<Plugin> = self.expect("", &reply)?;
        Ok(plugins.iter().any(|plugin| plugin.component.to_lowercase().contains("knn")))
    }
}

impl super::Core {
    /// The index as it stands; other than the one that was held where it was made anew or another has come to serve.
    pub(super) async fn look(&self) -> Result<Arc<Making>, IndexError> {
        let held = self.making.lock().clone();
        if self.building {
            return if self.is_built(&held).await? { Ok(held) } else { Err(self.gone()) };
        }
        let wanted = Wanted { table: &self.table, mapping: &self.mapping, partitions: self.partitions };
        let Some(found) = self.server.take(&wanted).await? else {
            return Err(self.refused(Halt::Missing.reason(), Halt::Missing.remedy()));
        };
        if found.write_alias == held.write_alias {
            return Ok(held);
        }
        let found = Arc::new(found);
        *self.making.lock() = found.clone();
        Ok(found)
    }

    /// Whether the index is still being built, and does not serve and is not retired.
    async fn is_built(&self, making: &Making) -> Result<bool, IndexError> {
        let path = format!("/{}/_alias/{}", self.name, making.write_alias);
        let reply = self.server.call(&self.name, Request::new(Method::HEAD, &path)).await?;
        if reply.status == 404 {
            return Ok(false);
        }
        self.server.judge(&self.name, &reply).map(|()| true)
    }

    /// An index that was being built and is not any more.
    pub(super) fn gone(&self) -> IndexError {
        self.refused(
            "another rebuild has let it serve or removed it".to_owned(),
            "let one rebuild of a table run at a time",
        )
    }
}
