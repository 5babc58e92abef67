//! Where the stores of a question lie: in a data folder, or on the servers that the settings name.

use std::sync::Arc;

use headwater_common::definition::Entity;
use headwater_sink_offline::Lake;
use headwater_sink_search::{EmbeddedIndex, SearchIndex};

use crate::Context;
use crate::definitions;
use crate::failure::Failure;
use crate::folder::DataFolder;
use crate::servers::Servers;

pub enum Stores {
    Folder(DataFolder),
    Servers(Box<Servers>),
}

impl Stores {
    /// `--data` means that folder, whatever the settings say.
    pub fn of(context: &Context) -> Result<Stores, Failure> {
        match Servers::named(&context.settings) {
            Some(servers) if context.data.is_none() => Ok(Stores::Servers(Box::new(servers))),
            _ => DataFolder::existing(&context.data_folder()).map(Stores::Folder),
        }
    }

    pub fn entities(&self) -> Result<Vec<Entity>, Failure> {
        match self {
            Stores::Folder(folder) => folder.entities(),
            Stores::Servers(servers) => servers.entities(),
        }
    }

    pub fn entity(&self, name: &str) -> Result<Entity, Failure> {
        definitions::named(self.entities()?, name)
    }

    pub fn lake(&self) -> Result<Lake, Failure> {
        match self {
            Stores::Folder(folder) => {
                let place = folder.lake();
                Lake::local(&place).map_err(|error| Failure::environment(error).at(place.display()))
            }
            Stores::Servers(servers) => servers.lake(),
        }
    }

    /// For reading; a stack or workers may write to it meanwhile.
    pub async fn index(&self, entity: &Entity) -> Result<Arc<dyn SearchIndex>, Failure> {
        match self {
            Stores::Folder(folder) => {
                let place = folder.index_of(&entity.table());
                let index = EmbeddedIndex::open_read_only(&place, entity)
                    .map_err(|error| Failure::environment(error).at(place.display()))?;
                Ok(Arc::new(index))
            }
            Stores::Servers(servers) => servers.index(entity).await,
        }
    }
}
