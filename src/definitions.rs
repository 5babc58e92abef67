//! Feature definitions as the commands take them.

use std::path::Path;

use headwater_common::definition::{self, Entity};

use crate::failure::Failure;

pub fn load(path: &Path) -> Result<Vec<Entity>, Failure> {
    definition::load(path)
        .map_err(|error| Failure::usage(error).remedy("the README shows a feature definition to start from"))
}

/// The entity of that table or name.
pub fn named(entities: Vec<Entity>, name: &str) -> Result<Entity, Failure> {
    let known: Vec<String> = entities.iter().map(|entity| entity.table().to_string()).collect();
    entities.into_iter().find(|entity| entity.table().as_str() == name || entity.entity == name).ok_or_else(|| {
        Failure::usage(format!("there is no table {name:?}")).remedy(format!("one of {}", known.join(", ")))
    })
}
