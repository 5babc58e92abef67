//! What a statement is and which tables it names, before anything is read. Pure.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::{ExplainStatement, Statement};
use datafusion::sql::sqlparser::ast::{self, ObjectName, ObjectNamePart, visit_relations};

use super::error::Position;

/// The kind of a statement that does not only read.
pub fn refused(statement: &Statement) -> Option<String> {
    let name = match statement {
        Statement::Explain(ExplainStatement { statement, .. }) => return refused(statement),
        Statement::Statement(inner) => match inner.as_ref() {
            ast::Statement::Query(_)
            | ast::Statement::ShowTables { .. }
            | ast::Statement::ShowColumns { .. }
            | ast::Statement::ShowVariable { .. }
            | ast::Statement::ShowFunctions { .. }
            | ast::Statement::ExplainTable { .. } => return None,
            ast::Statement::Explain { statement, .. } => {
                return refused(&Statement::Statement(statement.clone()));
            }
            other => other.to_string(),
        },
        other => other.to_string(),
    };
    // The statement's verb; what follows may be data.
    let verb = name.split(|letter: char| !letter.is_alphabetic()).next().unwrap_or_default();
    Some(verb.to_uppercase())
}

/// Where each name of a table occurs first.
pub fn positions(statement: &Statement) -> BTreeMap<String, Position> {
    let mut found = BTreeMap::new();
    let inner = match statement {
        Statement::Explain(explain) => return positions(&explain.statement),
        Statement::Statement(inner) => inner,
        _ => return found,
    };
    let seen: ControlFlow<()> = visit_relations(inner.as_ref(), |name: &ObjectName| {
        if let Some(ObjectNamePart::Identifier(last)) = name.0.last() {
            let start = last.span.start;
            let position = Position { line: start.line, column: start.column };
            found.entry(last.value.clone()).or_insert(position);
        }
        ControlFlow::Continue(())
    });
    debug_assert!(seen.is_continue());
    found
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn parse(sql: &str) -> Statement {
        DFParser::parse_sql(sql).unwrap().pop_front().unwrap()
    }

    #[test]
    fn only_what_reads_is_let_through() {
        for sql in
            ["SELECT 1", "EXPLAIN SELECT 1", "EXPLAIN ANALYZE SELECT 1", "SHOW TABLES", "DESCRIBE t", "VALUES (1)"]
        {
            assert_eq!(refused(&parse(sql)), None, "{sql}");
        }
        for (sql, verb) in [
            ("INSERT INTO t VALUES (1)", "INSERT"),
            ("DELETE FROM t", "DELETE"),
            ("UPDATE t SET a = 1", "UPDATE"),
            ("CREATE TABLE t (a INT)", "CREATE"),
            ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", "CREATE"),
            ("DROP TABLE t", "DROP"),
            ("COPY t TO '/tmp/x'", "COPY"),
            ("SET a = 1", "SET"),
            ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", "INSERT"),
        ] {
            assert_eq!(refused(&parse(sql)).as_deref(), Some(verb), "{sql}");
        }
    }

    #[test]
    fn a_tables_name_is_found_where_it_stands() {
        let found = positions(&parse("SELECT *\nFROM a JOIN public.b ON true"));
        assert_eq!(found["a"], Position { line: 2, column: 6 });
        assert_eq!(found["b"].line, 2);
    }
}
