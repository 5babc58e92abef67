use headwater_sink_search::mapping::Mapping;
use headwater_sink_search::query::{parse, parse_sort};

use crate::generate::entity;

fn mapping() -> Mapping {
    Mapping::of(&entity())
}

fn query(text: &str) -> String {
    format!("{:?}", parse(text, &mapping()).unwrap_or_else(|error| panic!("{error}")))
}

/// The message, the column and the carets.
fn refused(text: &str) -> (String, usize, usize) {
    let error = parse(text, &mapping()).expect_err(text);
    let shown = error.to_string();
    let carets = shown.lines().nth(2).unwrap().chars().filter(|letter| *letter == '^').count();
    assert_eq!(shown.lines().nth(2).unwrap().find('^').unwrap(), error.column + 1, "the caret stands below its column");
    (error.message.clone(), error.column, carets)
}

#[test]
fn two_ways_of_writing_a_query_are_one_query() {
    let same = [
        ("", "*"),
        ("carrier = \"UA\"", "carrier='UA'"),
        ("carrier = \"UA\" AND count > 1", "carrier = \"UA\" and count>1"),
        ("count = 1 or count = 2 and flag = true", "count = 1 or (count = 2 and flag = TRUE)"),
        ("not flag = true and count = 1", "(not flag = true) and count = 1"),
        ("count in (1, 2)", "count = 1 or count = 2"),
        ("count != 1", "not count = 1"),
        ("count <> 1", "not count = 1"),
        ("distance(place, 40.64, -73.78) < 500km", "distance(place, 40.64, -73.78) < 500000 m"),
        ("distance(place, 1, 2) > 5mi", "exists(place) and not distance(place, 1, 2) <= 5mi"),
        ("`odd name.x` = \"a\"", "`odd name.x` = 'a'"),
        ("carrier = \"a\\\"\\u{e9}\\n\"", "carrier = 'a\"é\\n'"),
    ];
    for (one, other) in same {
        assert_eq!(query(one), query(other), "{one} | {other}");
    }
}

#[test]
fn the_parts_of_the_documented_example_are_understood() {
    let text = "carrier = \"UA\" and delay >= 30 and distance(place, 40.64, -73.78) < 500km and not flag = true";
    let shown = query(text);
    assert!(shown.contains("Term { field: \"carrier\", value: Text(\"UA\") }"), "{shown}");
    assert!(shown.contains("Range { field: \"delay\", lower: Included(Number(Number(\"30\")))"), "{shown}");
    assert!(shown.contains("metres: 500000.0, inclusive: false"), "{shown}");
    assert!(query("carrier prefix \"N1\"").starts_with("Prefix"));
    assert!(query("name : \"two words\"").starts_with("Match"));
    assert!(query("at >= \"2013-01-31T10:00:00Z\" and day < \"2013-02-01\"").starts_with("And"));
}

#[test]
fn a_number_keeps_every_digit() {
    assert!(query("count = 9223372036854775807").contains("\"9223372036854775807\""));
    assert!(
        query("price = 123456789012345678901234567890123456.78")
            .contains("\"123456789012345678901234567890123456.78\"")
    );
    assert!(query("delay > -1.5e-3").contains("\"-1.5e-3\""));
}

#[test]
fn what_is_wrong_is_named_with_its_place_and_what_is_right() {
    let cases = [
        ("carier = \"UA\"", "unknown field `carier`; did you mean `carrier`?", 1, 6),
        ("flag = true and carier = 1", "unknown field `carier`; did you mean `carrier`?", 17, 6),
        ("name = \"x\"", "`name` is text, found by its words: write `name : \"x\"`", 8, 3),
        ("flag > true", "`flag` is bool, which has no order: write `flag = true`", 1, 4),
        ("flag = 1", "`flag` is bool: compare it with true or false", 8, 1),
        ("count = \"1\"", "`count` is long: compare it with a number", 9, 3),
        ("carrier = 1", "`carrier` is keyword: compare it with a text in quotes", 11, 1),
        ("day = \"2013-02-30\"", "`day` is date: compare it with a day such as \"2013-01-31\"", 7, 12),
        ("place = 1", "`place` is geo_point: write `distance(place, lat, lon) < 10km`", 9, 1),
        ("blob = \"x\"", "`blob` is binary, stored and not searched: only `exists(blob)` works", 8, 3),
        ("count prefix \"1\"", "`count` is long: only keywords have prefixes", 1, 5),
        ("carrier : \"x\"", "`carrier` is keyword: write `carrier = \"…\"` or `carrier prefix \"…\"`", 1, 7),
        ("distance(count, 1, 2) < 5km", "`count` is long: a distance needs a geo_point", 10, 5),
        ("distance(place, 91, 2) < 5km", "expected a latitude from -90 to 90", 17, 2),
        ("distance(place, 1, 2) < 5", "expected a unit: m, km, mi, nmi or ft, and here it ends", 26, 1),
        ("distance(place, 1, 2) < 5 parsec", "expected a unit: m, km, mi, nmi or ft", 27, 6),
        ("carrier", "expected `=`, `!=`, `<`, `<=`, `>`, `>=`, `:`, `prefix` or `in`, and here it ends", 8, 1),
        ("carrier = UA", "expected a value: a text in quotes, a number, true or false", 11, 2),
        ("carrier = \"UA", "this \" is never closed", 11, 1),
        ("(count = 1", "expected `and`, `or` or `)`, and here it ends", 11, 1),
        ("count = 1)", "expected `and`, `or` or the end", 10, 1),
        ("count = 1 adn flag = true", "expected `and`, `or` or the end; did you mean `and`?", 11, 3),
        ("count = 1 and", "expected a field's name, and here it ends", 14, 1),
        ("at > 2013-01-01", "a number and more together: write moments, days and texts in quotes", 10, 3),
        ("carrier = \"é\" and ü = 1", "unknown field `ü`", 19, 1),
        ("count ~ 1", "unexpected `~`: write texts in quotes, odd field names in backquotes", 7, 1),
        ("carrier = \"\\x\"", "unknown escape: use \\\\, \\\", \\n, \\t or \\u{…}", 12, 2),
    ];
    for (text, message, column, width) in cases {
        let (found, at, carets) = refused(text);
        assert!(found.starts_with(message), "{text}: {found}");
        assert_eq!((at, carets), (column, width), "{text}: {found}");
    }
}

#[test]
fn the_line_with_the_mistake_is_shown() {
    let error = parse("count = 1\n  and carier = \"UA\"", &mapping()).unwrap_err();
    let lines: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines[1..], ["    and carier = \"UA\"", "        ^^^^^^"]);
}

#[test]
fn an_order_is_read_and_what_has_no_order_refused() {
    let sorts = parse_sort("delay desc, distance(place, 40.64, -73.78) asc, id", &mapping()).unwrap();
    assert_eq!(sorts.iter().map(|sort| sort.descending).collect::<Vec<_>>(), [true, false, false]);
    assert!(parse_sort("", &mapping()).unwrap().is_empty());
    for (text, message) in [
        ("tags", "`tags` is keyword_set: a set has no order"),
        ("name desc", "`name` is text: it has no order"),
        ("place", "`place` is geo_point: sort by `distance(place, lat, lon)`"),
        ("delay down", "expected `asc`, `desc`, `,` or the end"),
    ] {
        let error = parse_sort(text, &mapping()).unwrap_err();
        assert!(error.message.starts_with(message), "{error}");
    }
}

#[test]
fn deep_nesting_is_refused_before_it_takes_the_stack() {
    for opening in ["(", "not "] {
        let (message, ..) = refused(&format!("{}count = 1", opening.repeat(100_000)));
        assert!(message.contains("nested"), "{message}");
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,60}") {
        let _ = parse(&text, &mapping()).map_err(|error| error.to_string());
        let _ = parse_sort(&text, &mapping()).map_err(|error| error.to_string());
    }

    #[test]
    fn any_mixture_of_the_languages_parts_is_read_or_refused(parts in proptest::collection::vec(
        proptest::sample::select(vec!["count", "carrier", "name", "=", "<", "1", "5km", "\"x", "\"x\"", "(", ")", "and", "or",
            "not", "in", "distance", "exists", "place", ",", "*", ":", "prefix", "`", "\\", "e", "-", ".", "\n", "é"]), 0..20)) {
        let _ = parse(&parts.join(" "), &mapping()).map_err(|error| error.to_string());
        let _ = parse(&parts.concat(), &mapping()).map_err(|error| error.to_string());
    }
}
