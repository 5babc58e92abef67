//! Finding a table's index, making it, and holding it to the definitions.

use std::collections::BTreeMap;
use std::sync::Arc;

use headwater_common::change::TableName;
use parking_lot::Mutex;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::audit::{Described, audit};
use super::layout::{LIVE, Layout, Meta};
use super::progress::Held;
use super::transport::Request;
use super::verdict::{Halt, Overall, error_of, overall};
use super::{Server, names};
use crate::index::IndexError;
use crate::mapping::Mapping;

/// One making of a table's index, which no other is taken for.
pub(super) struct Making {
    pub write_alias: String,
    pub layout: Layout,
    /// Progress documents as they were seen last.
    pub held: Mutex<BTreeMap<u16, Held>>,
}

/// What the table's read alias leads to.
pub(super) enum Standing {
    Index {
        index: String,
        write_alias: String,
    },
    /// There is an index of that name, and the alias does not lead to it.
    Astray(String),
    Nothing,
}

#[derive(Deserialize)]
struct Aliases {
    aliases: BTreeMap<String, serde_json::Value>,
}

const FIRST: u32 = 1;

impl Server {
    pub(super) fn read_alias(&self, table: &TableName) -> String {
        names::read_alias(&self.settings.prefix, table.as_str())
    }

    pub(super) fn place(&self, name: &str) -> String {
        format!("{}/{name}", self.transport.place())
    }

    /// Leads nowhere else than to an index with a write alias of its own.
    pub(super) async fn find(&self, table: &TableName) -> Result<Standing, IndexError> {
        let alias = self.read_alias(table);
        let path = format!("/_alias/{alias}");
        let reply = self.call(&alias, Request::new(Method::GET, &path)).await?;
        if reply.status == 404 {
            let index = names::index(&self.settings.prefix, table.as_str(), FIRST);
            let path = format!("/{index}");
            let reply = self.call(&alias, Request::new(Method::HEAD, &path)).await?;
            return Ok(if reply.status == 200 { Standing::Astray(index) } else { Standing::Nothing });
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
                "put it back, or remove the index, and it is built again from the log",
            )),
        }
    }

    /// The table's index as it is, with its mapping compared to the definitions and, where it may be, extended. One that
    /// can't keep the promises is refused.
    pub(super) async fn take(
        &self,
        table: &TableName,
        mapping: &Mapping,
        extend: bool,
    ) -> Result<Option<Making>, IndexError> {
        match self.find(table).await? {
            Standing::Index { index, write_alias } => {
                let layout = self.compare(table, mapping, (&index, &write_alias), extend).await?;
                Ok(Some(Making { write_alias, layout, held: Mutex::default() }))
            }
            Standing::Astray(index) => Err(self.astray(table, &index)),
            Standing::Nothing => Ok(None),
        }
    }

    fn astray(&self, table: &TableName, index: &str) -> IndexError {
        let alias = self.read_alias(table);
        let remedy = "put the alias back with the filter _hw.live = true, or remove the index, and it is built again \
                      from the log";
        self.refused(&alias, format!("index {index} is there, and alias {alias} does not lead to it"), remedy)
    }

    /// Makes the index with both its aliases at once. Another worker may be faster: then there is one all the same.
    pub(super) async fn make(&self, table: &TableName, mapping: &Mapping) -> Result<(), IndexError> {
        let alias = self.read_alias(table);
        let index = names::index(&self.settings.prefix, table.as_str(), FIRST);
        let write_alias = names::write_alias(&index, rand::random());
        let layout = Layout::of(mapping, self.knn);
        let meta = Meta::of(table.as_str(), self.knn, mapping);
        let body = json!({
            "settings": layout.settings_json(&self.settings),
            "mappings": layout.mapping_json(mapping, &meta),
            "aliases": { alias.clone(): { "filter": { "term": { LIVE: true } } }, write_alias: {} },
        });
        let path = format!("/{index}");
        let reply = self.call(&alias, Request::json(Method::PUT, &path, &body)).await?;
        let error = error_of(&reply.body);
        if reply.status == 400 && error.kind == "resource_already_exists_exception" {
            return Ok(());
        }
        self.judge(&alias, &reply)?;
        tracing::info!(%table, index, "made a search index");
        Ok(())
    }

    async fn compare(
        &self,
        table: &TableName,
        mapping: &Mapping,
        (index, write_alias): (&str, &str),
        extend: bool,
    ) -> Result<Layout, IndexError> {
        let alias = self.read_alias(table);
        let mut found = self.describe(&alias, index).await?;
        let held: Option<Meta> = serde_json::from_value(found.mappings["_meta"]["headwater"].clone()).ok();
        let Some(held) = held.filter(|held| held.table == table.as_str()) else {
            let remedy = "give another prefix, or remove the index, and it is built again from the log";
            return Err(self.refused(&alias, format!("index {index} was not made for table {table}"), remedy));
        };
        let wanted = Meta::of(table.as_str(), held.knn, mapping);
        let layout = Layout::of(mapping, held.knn);
        let changed = |differences| IndexError::MappingChanged { place: self.place(&alias), differences };
        if held.format != wanted.format {
            return Err(changed(format!("format {} and not {}", held.format, wanted.format)));
        }
        let Some(joined) = held.outline.joined(&wanted.outline) else {
            return Err(changed(held.outline.differences(&wanted.outline)));
        };
        if joined != held.outline {
            if !extend {
                return Err(changed(held.outline.differences(&wanted.outline)));
            }
            self.extend(table, mapping, index, &layout, &Meta { outline: joined, ..wanted.clone() }).await?;
            found = self.describe(&alias, index).await?;
            let differences = held.outline.differences(&wanted.outline);
            tracing::warn!(
                %table, index, differences,
                "the search index has new fields: items are found by them once they are written again"
            );
        }
        match audit(&found, &layout.mapping_json(mapping, &wanted), &alias, write_alias) {
            Ok(()) => Ok(layout),
            Err(fault) => Err(self.refused(&alias, format!("index {index}: {}", fault.reason), &fault.remedy)),
        }
    }

    async fn describe(&self, alias: &str, index: &str) -> Result<Described, IndexError> {
        let path = format!("/{index}?flat_settings=true");
        let reply = self.call(alias, Request::new(Method::GET, &path)).await?;
        let mut found: BTreeMap<String, Described> = self.expect(alias, &reply)?;
        found.remove(index).ok_or_else(|| self.unavailable(alias, format!("its answer does not describe {index}")))
    }

    async fn extend(
        &self,
        table: &TableName,
        mapping: &Mapping,
        index: &str,
        layout: &Layout,
        meta: &Meta,
    ) -> Result<(), IndexError> {
        let alias = self.read_alias(table);
        let path = format!("/{index}/_mapping");
        let body = layout.mapping_json(mapping, meta);
        let reply = self.call(&alias, Request::json(Method::PUT, &path, &body)).await?;
        match overall(reply.status, &error_of(&reply.body)) {
            Overall::Halt(Halt::Other { status: 400, kind }) => Err(IndexError::MappingChanged {
                place: self.place(&alias),
                differences: format!("the server does not take the new fields ({kind})"),
            }),
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
    /// The index as it stands; other than the one that was held where it was made anew.
    pub(super) async fn look(&self) -> Result<Arc<Making>, IndexError> {
        let held = self.making.lock().clone();
        let Some(found) = self.server.take(&self.table, &self.mapping, self.writes).await? else {
            return Err(self.refused(Halt::Missing.reason(), Halt::Missing.remedy()));
        };
        if found.write_alias == held.write_alias {
            return Ok(held);
        }
        let found = Arc::new(found);
        *self.making.lock() = found.clone();
        Ok(found)
    }
}
