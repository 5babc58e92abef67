//! Why a query was not answered, and where in its text.

use headwater_common::nearest::nearest;
use std::fmt;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::error::Error;

/// A place in a query's text, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub line: u64,
    pub column: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The text is no SQL, or names what is not there.
    #[error("{}{message}", at(.position))]
    Query { message: String, position: Option<Position> },
    #[error("{}there is no table {name}: {hint}", at(.position))]
    UnknownTable { name: String, hint: String, position: Option<Position> },
    #[error("{statement} is refused: the lake is written by the change stream alone, queries only read")]
    ReadOnly { statement: String },
    #[error("{table} has no changes yet: nothing was written to it, or the sink has not committed yet")]
    Empty { table: String },
    #[error("{0}")]
    Key(String),
    #[error("the query needs more than the {limit} bytes that it may have: select less, or raise the query's memory")]
    Memory { limit: usize },
    #[error(transparent)]
    Lake(#[from] Error),
    #[error("the query failed: {0}")]
    Failed(String),
}

fn at(position: &Option<Position>) -> String {
    position.map(|position| format!("{position}: ")).unwrap_or_default()
}

impl QueryError {
    pub fn position(&self) -> Option<Position> {
        match self {
            QueryError::Query { position, .. } | QueryError::UnknownTable { position, .. } => *position,
            _ => None,
        }
    }

    /// Of a query that ends too early: the place is its end, which the parser does not give.
    pub(super) fn at_end_of(self, query: &str) -> QueryError {
        match self {
            QueryError::Query { message, position: None } if message.ends_with("found: EOF") => {
                let last = query.rsplit('\n').next().unwrap_or_default();
                let line = query.matches('\n').count() as u64 + 1;
                let position = Some(Position { line, column: last.chars().count() as u64 + 1 });
                QueryError::Query { message, position }
            }
            other => other,
        }
    }

    pub(super) fn of(error: DataFusionError, memory: usize) -> QueryError {
        let position = error
            .diagnostic()
            .and_then(|diagnostic| diagnostic.span)
            .map(|span| Position { line: span.start.line, column: span.start.column });
        match error.find_root() {
            DataFusionError::SQL(parser, _) => syntax(parser),
            DataFusionError::SchemaError(schema, _) => QueryError::Query { message: schema_message(schema), position },
            DataFusionError::Plan(message) | DataFusionError::NotImplemented(message) => {
                QueryError::Query { message: message.clone(), position }
            }
            DataFusionError::ResourcesExhausted(_) => QueryError::Memory { limit: memory },
            root => QueryError::Failed(root.to_string()),
        }
    }
}

/// The parser gives the place as part of its message only.
fn syntax(error: &ParserError) -> QueryError {
    let message = match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
        ParserError::RecursionLimitExceeded => "the query is nested too deeply".to_owned(),
    };
    let cut = message.rfind(" at Line: ");
    let position = cut.and_then(|cut| {
        let (line, column) = message[cut + " at Line: ".len()..].split_once(", Column: ")?;
        Some(Position { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    match (cut, position) {
        (Some(cut), Some(_)) => QueryError::Query { message: message[..cut].to_owned(), position },
        _ => QueryError::Query { message, position: None },
    }
}

fn schema_message(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => {
            let name = field.name();
            let known = valid_fields.iter().map(|column| column.name());
            match nearest(name, known) {
                Some(near) => format!("there is no column {name}: did you mean {near}?"),
                None => format!("there is no column {name}"),
            }
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parsers_place_becomes_a_position() {
        let error = ParserError::ParserError("Expected: an expression, found: FROM at Line: 2, Column: 8".into());
        let error = syntax(&error);
        assert_eq!(error.position(), Some(Position { line: 2, column: 8 }));
        assert_eq!(error.to_string(), "line 2, column 8: Expected: an expression, found: FROM");
    }

    #[test]
    fn the_nearest_name_is_named_only_when_it_is_near() {
        let known = ["aircraft", "aircraft_history", "airports"];
        assert_eq!(nearest("aircrafts", known), Some("aircraft"));
        assert_eq!(nearest("Airport", known), Some("airports"));
        assert_eq!(nearest("zebra", known), None);
    }
}
