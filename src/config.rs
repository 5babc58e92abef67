//! `headwater config`: check and print.

use serde_json::json;

use crate::Context;
use crate::args::Config;
use crate::definitions;
use crate::failure::Failure;
use crate::output;

pub fn run(context: Context, config: Config) -> Result<(), Failure> {
    match config {
        // The settings were checked when they were loaded.
        Config::Check { definitions: path } => {
            let path = path.unwrap_or_else(|| context.settings.definitions.clone());
            let entities = definitions::load(&path)?;
            let tables: Vec<_> = entities.iter().map(|entity| {
                json!({ "entity": entity.entity, "table": entity.table(), "features": entity.features.len() })
            }).collect();
            context.format.answer(&json!({ "settings": "ok", "entities": tables }), || {
                let lines = entities.iter().map(|entity| {
                    format!("{}: table {}, {} features", entity.entity, entity.table(), entity.features.len())
                });
                std::iter::once("settings and definitions are well-formed".to_owned())
                    .chain(lines)
                    .collect::<Vec<_>>()
                    .join("\n")
            })
        }
        Config::Print => {
            let text = serde_saphyr::to_string(&context.settings)
                .map_err(|error| Failure::failed(format!("can't print the settings: {error}")))?;
            match context.format {
                output::Format::Json => output::line(&output::json(&context.settings)?),
                output::Format::Text => output::line(text.trim_end()),
            }
        }
    }
}
