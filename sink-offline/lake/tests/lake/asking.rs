//! SQL, the history of an item, and what verification asks.

use std::time::Duration;

use headwater_common::clock::Timestamp;
use headwater_lake::query::{AsOf, LakeReader, Position, QueryError, Settings};

use crate::fixture::{Fixture, START, change, delete, put, rows, table};
use crate::on_each_store;
use crate::place::Place;

async fn types_come_back_exactly(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    let attributes = concat!(
        r#""delay":{"N":"9007199254740993"},"exact":{"N":"123456789012345678901234567890123456.78"},"#,
        r#""tailNumber":{"S":"N1"},"place":{"M":{"lat":{"N":"40.6"},"lon":{"N":"-73.8"}}},"seen":{"N":"1357034400123"}"#
    );
    fixture.flush(&[change("a", 1, Some(attributes)), put("b", 2)]).await;
    fixture.fold().await;
    let ask = |from: &str, more: &str| {
        format!("SELECT delay, exact, tailNumber, place, _event_time FROM {from} WHERE {more}")
    };
    let expected = concat!(
        r#"{"delay":9007199254740993,"exact":123456789012345678901234567890123456.78,"tailNumber":"N1","#,
        r#""place":{"lat":40.6,"lon":-73.8},"_event_time":"2013-01-01T10:00:00.123Z"}"#,
        "\n"
    );
    let reader = fixture.reader();
    for from in ["aircraft", "aircraft_current", "aircraft_history"] {
        for more in
            ["_pk = 'a'", "delay = 9007199254740993", "exact = 123456789012345678901234567890123456.78", "exact > 1.5"]
        {
            let answer = reader.sql(&ask(from, more)).await.unwrap();
            let mut out = Vec::new();
            headwater_lake::output::json_lines(&answer.batches, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected, "{from} {more}");
        }
        for more in ["delay = 9007199254740992", "exact = 123456789012345678901234567890123456.77"] {
            assert_eq!(reader.sql(&ask(from, more)).await.unwrap().rows(), 0, "{from} {more}");
        }
    }
}

async fn what_a_query_counts_is_what_lives(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1), put("b", 2), put("c", 3)]).await;
    fixture.fold().await;
    fixture.flush(&[delete("a", 4), put("d", 5), put("b", 6)]).await;
    let reader = fixture.reader();
    let answer = reader.sql("SELECT count(*) AS n, sum(delay) AS s FROM aircraft").await.unwrap();
    assert_eq!(rows(&answer), [serde_json::json!({"n": 3, "s": 14})]);
    let answer = reader.sql("SELECT count(*) AS n FROM aircraft_history").await.unwrap();
    assert_eq!(rows(&answer), [serde_json::json!({"n": 6})]);
    assert_eq!(reader.row_count(&table()).await.unwrap(), 3);
    let until = reader.complete_until(&table()).await.unwrap();
    assert_eq!(until, Some(START.plus(Duration::from_secs(2))));
    assert_eq!(answer.as_of[&table()], until);
    let grouped = "SELECT a._pk, count(*) AS n FROM aircraft a JOIN aircraft_history h ON a._key = h._key GROUP BY a._pk ORDER BY 1";
    let expected = [("b", 2), ("c", 1), ("d", 1)].map(|(key, n)| serde_json::json!({"_pk": key, "n": n}));
    assert_eq!(rows(&reader.sql(grouped).await.unwrap()), expected);
}

async fn a_query_is_one_snapshot_of_a_table_however_often_it_names_it(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1), put("b", 2)]).await;
    fixture.fold().await;
    fixture.flush(&[put("a", 3), delete("b", 4), put("c", 5)]).await;
    // Each item that lives is the newest row of history, and the other way round.
    let differ = "WITH newest AS (SELECT _key, max(_version) AS v FROM aircraft_history GROUP BY _key), \
        alive AS (SELECT h._key, h._version FROM aircraft_history h JOIN newest n ON h._key = n._key AND h._version = n.v \
        WHERE h._op NOT IN ('d', 'x')) \
        SELECT count(*) AS n FROM alive FULL JOIN aircraft a ON alive._key = a._key AND alive._version = a._version \
        WHERE alive._key IS NULL OR a._key IS NULL";
    assert_eq!(rows(&fixture.reader().sql(differ).await.unwrap()), [serde_json::json!({"n": 0})]);
    let filtered =
        fixture.reader().sql("SELECT _pk FROM aircraft WHERE delay > 1 ORDER BY delay LIMIT 1").await.unwrap();
    assert_eq!(rows(&filtered), [serde_json::json!({"_pk": "a"})]);
}

async fn an_answer_is_bounded_and_says_so(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&(1..=50).map(|at| put(&format!("k{at}"), at)).collect::<Vec<_>>()).await;
    let entities = [fixture.entity.clone()];
    let reader = LakeReader::with(fixture.lake.clone(), &entities, Settings { max_rows: 10, ..Settings::default() });
    let answer = reader.sql("SELECT * FROM aircraft_history").await.unwrap();
    assert_eq!((answer.rows(), answer.truncated), (10, true));
    let answer = reader.sql("SELECT * FROM aircraft LIMIT 10").await.unwrap();
    assert_eq!((answer.rows(), answer.truncated), (10, false));
}

async fn a_bad_query_is_answered_with_the_place_and_the_remedy(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1)]).await;
    let reader = fixture.reader();
    let failed = async |sql: &str| reader.sql(sql).await.unwrap_err();
    let at = |line, column| Some(Position { line, column });

    let error = failed("SELECT delay\nFROM aircraft WHERE").await;
    assert_eq!(error.to_string(), "line 2, column 20: Expected: an expression, found: EOF");
    let error = failed("SELECT delay FROM aircraft\nWHERE delay >> = 1").await;
    assert_eq!(error.position().map(|at| at.line), Some(2), "{error}");
    let error = failed("SELECT delay\n  FROM aircrafts").await;
    assert_eq!(error.to_string(), "line 2, column 8: there is no table aircrafts: did you mean aircraft?");
    let error = failed("SELECT _pk, dealy FROM aircraft").await;
    assert_eq!(
        (error.to_string().as_str(), error.position()),
        ("line 1, column 13: there is no column dealy: did you mean delay?", at(1, 13))
    );
    let error = failed("SELECT tailnumber FROM aircraft").await;
    assert!(error.to_string().contains("did you mean tailNumber?"), "{error}");
    let error = failed("SELECT nosuch(delay) FROM aircraft").await;
    assert!(error.to_string().contains("nosuch"), "{error}");
    let error = failed("").await;
    assert!(matches!(error, QueryError::Query { .. }), "{error}");
}

async fn nothing_but_reading_is_let_through(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    fixture.flush(&[put("a", 1)]).await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out.csv").display().to_string();
    let reader = fixture.reader();
    for sql in [
        "INSERT INTO aircraft_history VALUES (1)",
        "DELETE FROM aircraft",
        "UPDATE aircraft SET delay = 1",
        "DROP TABLE aircraft",
        "CREATE TABLE x AS SELECT 1",
        "SELECT 1 AS a INTO x",
        "SET datafusion.execution.batch_size = 1",
        &format!("COPY aircraft TO '{target}'"),
        &format!("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{target}'"),
        "EXPLAIN ANALYZE DELETE FROM aircraft",
    ] {
        let error = reader.sql(sql).await.unwrap_err();
        assert!(matches!(error, QueryError::ReadOnly { .. } | QueryError::Query { .. }), "{sql}: {error}");
    }
    assert!(!std::path::Path::new(&target).exists());
    assert!(reader.sql(&format!("SELECT * FROM '{target}'")).await.is_err());
    for sql in
        ["SHOW TABLES", "DESCRIBE aircraft", "EXPLAIN SELECT * FROM aircraft", "WITH x AS (SELECT 1) SELECT * FROM x"]
    {
        assert!(reader.sql(sql).await.unwrap().rows() > 0, "{sql}");
    }
}

async fn history_is_as_of_either_clock(place: Place) {
    let mut fixture = Fixture::new(&place).await;
    let seen = |key: &str, version, at: i64| change(key, version, Some(&format!(r#""seen":{{"N":"{at}"}}"#)));
    // The event at 50 became known last.
    fixture.flush(&[seen("a", 1, 10), put("b", 2)]).await;
    fixture.flush(&[seen("a", 3, 90)]).await;
    fixture.flush(&[seen("a", 4, 50)]).await;
    fixture.flush(&[delete("a", 5)]).await;
    let reader = fixture.reader();
    let versions = async |as_of: Option<i64>, by| {
        let entries = reader.history(&table(), &["a"], as_of.map(Timestamp::from_millis), by).await.unwrap();
        entries.into_iter().map(|entry| entry.version).collect::<Vec<_>>()
    };
    assert_eq!(versions(None, AsOf::EventTime).await, [5, 4, 3, 1]);
    assert_eq!(versions(Some(50), AsOf::EventTime).await, [4, 1]);
    assert_eq!(versions(Some(49), AsOf::EventTime).await, [1]);
    assert_eq!(versions(Some(START.as_millis() + 2000), AsOf::KnownAt).await, [3, 1]);
    assert_eq!(versions(Some(START.as_millis() + 999), AsOf::KnownAt).await, [] as [i64; 0]);

    let entries = reader.history(&table(), &["a"], None, AsOf::EventTime).await.unwrap();
    assert_eq!((entries[0].op.as_str(), entries[0].item.as_deref()), ("d", None));
    assert_eq!(entries[1].event_time, Some(Timestamp::from_millis(50)));
    assert_eq!(entries[1].changed.as_deref(), Some(&["delay".to_owned()][..]));
    assert_eq!(entries[1].item.as_deref(), Some(r#"{"seen":{"N":"50"},"tail":{"S":"a"}}"#));
    assert!(reader.history(&table(), &["a", "b"], None, AsOf::EventTime).await.is_err());
}

#[tokio::test]
async fn a_table_without_changes_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let lake = headwater_sink_offline::Lake::local(folder.path()).unwrap();
    let reader = LakeReader::open(lake, &[crate::fixture::entity()]);
    let error = reader.sql("SELECT * FROM aircraft").await.unwrap_err();
    assert!(matches!(error, QueryError::Empty { .. }), "{error}");
    assert_eq!(reader.complete_until(&table()).await.unwrap(), None);
}

on_each_store!(
    types_come_back_exactly,
    what_a_query_counts_is_what_lives,
    a_query_is_one_snapshot_of_a_table_however_often_it_names_it,
    an_answer_is_bounded_and_says_so,
    a_bad_query_is_answered_with_the_place_and_the_remedy,
    nothing_but_reading_is_let_through,
    history_is_as_of_either_clock,
);
