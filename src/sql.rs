//! `headwater sql`: asks the lake, whether anything writes to it or not.

use std::io::{self, Read as _};

use headwater_lake::output as rows;
use headwater_lake::query::{LakeReader, QueryError, Settings, SqlAnswer};
use serde_json::json;

use crate::Context;
use crate::args::Sql;
use crate::failure::{Exit, Failure};
use crate::output::{self, Format};
use crate::stores::Stores;

pub async fn run(context: Context, sql: Sql) -> Result<(), Failure> {
    let stores = Stores::of(&context)?;
    let reader = reader(&stores, Settings { max_rows: sql.limit, ..Settings::default() })?;
    let query = match sql.query.as_str() {
        "-" => {
            let mut text = String::new();
            io::stdin()
                .read_to_string(&mut text)
                .map_err(|error| Failure::usage(format!("can't read the query: {error}")))?;
            text
        }
        text => text.to_owned(),
    };
    print(context.format, &reader.sql(&query).await.map_err(failure)?)
}

pub fn reader(stores: &Stores, settings: Settings) -> Result<LakeReader, Failure> {
    settings.check().map_err(Failure::usage)?;
    Ok(LakeReader::with(stores.lake()?, &stores.entities()?, settings))
}

pub fn failure(error: QueryError) -> Failure {
    let exit = match &error {
        QueryError::Query { .. }
        | QueryError::UnknownTable { .. }
        | QueryError::ReadOnly { .. }
        | QueryError::Key(_) => Exit::Usage,
        QueryError::Empty { .. } | QueryError::Lake(_) => Exit::Environment,
        QueryError::Memory { .. } | QueryError::Failed(_) => Exit::Failed,
    };
    Failure::new(exit, error)
}

fn print(format: Format, answer: &SqlAnswer) -> Result<(), Failure> {
    let unprintable = |error| Failure::failed(format!("can't print the rows: {error}"));
    let as_of: serde_json::Map<_, _> = answer
        .as_of
        .iter()
        .map(|(table, moment)| (table.to_string(), json!(moment.map(|moment| moment.to_rfc3339()))))
        .collect();
    match format {
        Format::Json => {
            let mut lines = Vec::new();
            rows::json_lines(&answer.batches, &mut lines).map_err(unprintable)?;
            output::block(&lines)?;
        }
        Format::Text => output::line(&rows::text_table(&answer.schema, &answer.batches).map_err(unprintable)?)?,
    }
    // Beside the rows, so that what reads them gets rows alone.
    if answer.truncated {
        output::note(&format!("cut after {} rows; --limit gives more", answer.rows()));
    }
    for (table, moment) in as_of {
        output::note(&format!("{table} as of {}", moment.as_str().unwrap_or("nothing complete yet")));
    }
    Ok(())
}
