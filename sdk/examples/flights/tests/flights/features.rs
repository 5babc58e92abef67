//! Features worked out by hand from the source's rows.

use headwater_example_flights::data;
use headwater_example_flights::events::moments;
use headwater_example_flights::features::{Features, Write};
use headwater_sdk::{Item, Timestamp};

/// What the first flights write.
pub fn writes(flights: usize) -> impl Iterator<Item = Write> {
    let mut features = Features::new(data::airports().unwrap(), data::planes().unwrap());
    moments(data::flights().unwrap().take(flights)).flat_map(move |moment| features.apply(&moment.unwrap()).unwrap())
}

/// The history of one item.
fn history(flights: usize, entity: &str, key: &str) -> Vec<(Timestamp, Item)> {
    writes(flights)
        .filter(|write| write.entity == entity && write.key == key)
        .map(|write| (write.event_time, write.item.build().unwrap()))
        .collect()
}

fn as_of<'a>(history: &'a [(Timestamp, Item)], moment: &str) -> &'a Item {
    let moment = Timestamp::parse_rfc3339(moment).unwrap();
    let (_, item) = history.iter().rev().find(|(time, _)| *time <= moment).unwrap();
    item
}

fn assert_holds(item: &Item, expected: &str) {
    let expected = Item::from_json(expected).unwrap();
    for (name, value) in &expected.0 {
        assert_eq!(item.get(name), Some(value), "{name}");
    }
}

/// N14228 in January: (day, departure, arrival, arrival delay, destination, miles)
/// 1 517 830 11 IAH 1400 · 8 1435 1717 -29 MIA 1085 · 9 717 812 -3 BOS 200 · 9 1143 1425 -20 TPA 997 ·
/// 13 835 1030 39 BOS 200 · 16 1829 2117 54 TPA 997 · 22 1902 2214 68 PBI 1023 · 23 1050 1143 -25 BOS 200 ·
/// 23 1533 1641 -4 BOS 200 · 25 724 1000 -23 PBI 1023 · 25 1525 1818 -19 FLL 1065 · 26 1235 1558 -11 PHX 2133 ·
/// 28 1832 2147 -1 LAX 2454 · 29 1438 1724 -28 RSW 1068 · 31 1736 2057 8 PDX 2434
#[test]
fn an_aircraft_is_followed_through_january() {
    let history = history(27_500, "aircraft", "N14228");
    let aircraft = |moment| as_of(&history, moment);
    assert_eq!(history.len(), 30);

    let first = aircraft("2013-01-01T10:17:00Z");
    assert_holds(
        first,
        r#"{"tailnum":{"S":"N14228"},"carrier":{"S":"UA"},"manufacturer":{"S":"BOEING"},"model":{"S":"737-824"},
            "seats":{"N":"149"},"last_flight":{"S":"UA1545"},"last_airport":{"S":"EWR"},"airborne":{"BOOL":true},
            "last_position":{"M":{"lat":{"N":"40.6925"},"lon":{"N":"-74.168667"}}},
            "flights_today":{"N":"1"},"flights_total":{"N":"1"},"distance_flown_km":{"N":"0"},
            "recent_destinations":{"SS":["IAH"]}}"#,
    );
    let unknown = r#"{"delay_mean_10":{"NULL":true},"delay_max_10":{"NULL":true},"delay_profile":{"NULL":true}}"#;
    assert_holds(first, unknown); // before the first arrival

    // Four arrivals: (11 - 29 - 3 - 20) / 4; 3,682 miles are 5,925.6 km; -29 and -20, -3, 11.
    assert_holds(
        aircraft("2013-01-09T19:25:00Z"),
        r#"{"last_flight":{"S":"UA1707"},"last_airport":{"S":"TPA"},"airborne":{"BOOL":false},
            "last_position":{"M":{"lat":{"N":"27.975472"},"lon":{"N":"-82.53325"}}},
            "flights_today":{"N":"2"},"flights_total":{"N":"4"},"distance_flown_km":{"N":"5925.6"},
            "delay_mean_10":{"N":"-10.25"},"delay_max_10":{"N":"11"},
            "delay_profile":{"L":[{"N":"0.5"},{"N":"0.25"},{"N":"0.25"},{"N":"0"},{"N":"0"},{"N":"0"},{"N":"0"},{"N":"0"}]},
            "recent_destinations":{"SS":["BOS","IAH","MIA","TPA"]}}"#,
    );

    // Los Angeles at 21:47 is 0:47 of the next day in New York.
    assert_holds(
        aircraft("2013-01-29T05:47:00Z"),
        r#"{"last_airport":{"S":"LAX"},"flights_today":{"N":"0"},"flights_total":{"N":"13"}}"#,
    );

    // The last ten of fifteen: (54 + 68 - 25 - 4 - 23 - 19 - 11 - 1 - 28 + 8) / 10; 16,479 miles are 26,520.4 km.
    assert_holds(
        aircraft("2013-02-01T04:57:00Z"),
        r#"{"last_airport":{"S":"PDX"},"flights_today":{"N":"1"},"flights_total":{"N":"15"},
            "distance_flown_km":{"N":"26520.4"},"delay_mean_10":{"N":"1.9"},"delay_max_10":{"N":"68"},
            "delay_profile":{"L":[{"N":"0.4"},{"N":"0.26666668"},{"N":"0.13333334"},{"N":"0"},{"N":"0.13333334"},{"N":"0.06666667"},{"N":"0"},{"N":"0"}]},
            "recent_destinations":{"SS":["FLL","LAX","PDX","PHX","RSW"]}}"#,
    );
}

/// Newark on 1 January: 305 flights were scheduled, the one at 16:30 was cancelled, the last left at 23:43. Its first
/// eleven left with delays of 2 -4 -5 -2 -1 1 -4 0 8 0 -8, the eleventh at 6:22.
#[test]
fn an_airport_is_followed_through_a_day() {
    let newark = history(1_000, "airport", "EWR");
    let airport = |moment| as_of(&newark, moment);
    assert_holds(
        airport("2013-01-01T10:17:00Z"),
        r#"{"faa":{"S":"EWR"},"name":{"S":"Newark Liberty Intl"},"timezone":{"S":"America/New_York"},
            "position":{"M":{"lat":{"N":"40.6925"},"lon":{"N":"-74.168667"}}},
            "departures_today":{"N":"1"},"arrivals_today":{"N":"0"},"cancelled_today":{"N":"0"},
            "departure_delay_mean_10":{"N":"2"},"carriers":{"SS":["UA"]}}"#,
    );
    assert_holds(
        airport("2013-01-01T11:22:00Z"),
        r#"{"departures_today":{"N":"11"},"departure_delay_mean_10":{"N":"-1.5"},
            "carriers":{"SS":["AA","B6","DL","MQ","UA","US"]}}"#,
    );
    assert_holds(
        airport("2013-01-02T04:43:00Z"),
        r#"{"departures_today":{"N":"304"},"cancelled_today":{"N":"1"},
            "carriers":{"SS":["AA","AS","B6","DL","EV","MQ","UA","US","WN"]}}"#,
    );
    assert_holds(airport("2013-01-02T09:58:00Z"), r#"{"departures_today":{"N":"1"},"cancelled_today":{"N":"0"}}"#);

    // Albany, where nothing departs in this data: arrivals of 13:58 and 18:04 on the 1st.
    let albany = history(1_000, "airport", "ALB");
    assert_holds(
        as_of(&albany, "2013-01-02T00:00:00Z"),
        r#"{"arrivals_today":{"N":"2"},"departures_today":{"N":"0"},"departure_delay_mean_10":{"NULL":true},
            "carriers":{"SS":["EV"]}}"#,
    );
}

#[test]
fn every_item_is_what_the_definitions_declare() {
    let entities = headwater_example_flights::definitions().unwrap();
    let of = |name: &str| entities.iter().find(|entity| entity.entity == name).unwrap();
    let (aircraft, airport) = (of("aircraft"), of("airport"));
    for Write { entity, key, item, .. } in writes(5_000) {
        let entity = if entity == "aircraft" { aircraft } else { airport };
        let item = item.build().unwrap();
        for (name, value) in &item.0 {
            let feature = entity.feature(name).unwrap_or_else(|| panic!("{name} is not declared"));
            let read = feature.feature_type.read(value);
            assert!(read.is_ok(), "{} {key}: {name} {read:?}", entity.entity);
        }
        assert_eq!(item.0.len(), entity.features.len());
        assert_eq!(item.get(&entity.key.partition.name).unwrap().as_str(), Some(key.as_str()));
    }
}

/// As the script that made the data counts them.
#[test]
fn each_key_is_written_once_for_each_minute_that_changes_it() {
    let (mut aircraft, mut airport, mut last) = (0, 0, Timestamp::EPOCH);
    for write in writes(20_000) {
        *(if write.entity == "aircraft" { &mut aircraft } else { &mut airport }) += 1;
        assert!(write.event_time >= last);
        last = write.event_time;
    }
    assert_eq!((aircraft, airport), (39_571, 36_506));
}
