"""Reads a lake's table with the `deltalake` package and with Polars, and prints rows and sums as JSON.

    readers.py LAKE TABLE [--rows]

Of `<TABLE>_history` and `<TABLE>_current` each reader reports the version of the Delta table, the columns with their
types, the number of rows, of distinct keys and of rows by `_op`, the smallest and largest `_version`, and a digest of
all rows; a table that is not there is null. With --rows the rows too, sorted by `_key` and `_version`. Decimals, times and dates are text and binary is
base64, so that nothing passes through a double. Exit code 1 when the two readers differ, after printing.
"""

import argparse
import base64
import collections
import datetime
import decimal
import hashlib
import json
import pathlib
import sys

import polars
from deltalake import DeltaTable, QueryBuilder


def plain(value):
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(value)).decode()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            return value.isoformat(timespec="microseconds")
        return value.astimezone(datetime.timezone.utc).isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    return value


def with_deltalake(path):
    table = DeltaTable(str(path))
    types = {field.name: json.loads(field.to_json())["type"] for field in table.schema().fields}
    batches = QueryBuilder().register("rows", table).execute("select * from rows").read_all()
    # Arrow to plain values by way of Polars' importer of the Arrow stream, which keeps decimals and times.
    rows = polars.DataFrame(batches).to_dicts() if batches.num_rows else []
    return table.version(), types, rows


def with_polars(path):
    frame = polars.scan_delta(str(path)).collect()
    types = {name: str(kind) for name, kind in frame.schema.items()}
    return DeltaTable(str(path)).version(), types, frame.to_dicts()


def report(version, types, rows, with_rows):
    rows = [{name: plain(value) for name, value in sorted(row.items())} for row in rows]
    # An item of the history may stand twice under one version only in a broken table: the whole row breaks the tie.
    rows.sort(key=lambda row: (row.get("_key") or "", row.get("_version") or 0, json.dumps(row, sort_keys=True)))
    versions = [row["_version"] for row in rows if row.get("_version") is not None]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    summed = {
        "table_version": version,
        "columns": types,
        "rows": len(rows),
        "keys": len({row.get("_key") for row in rows}),
        "ops": dict(collections.Counter(row["_op"] for row in rows if row.get("_op") is not None)),
        "versions": [min(versions), max(versions)] if versions else None,
        "digest": digest,
    }
    return summed, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=pathlib.Path)
    parser.add_argument("table")
    parser.add_argument("--rows", action="store_true")
    options = parser.parse_args()
    found, agree = {}, True
    for kind in ("history", "current"):
        path = options.lake / f"{options.table}_{kind}"
        if not (path / "_delta_log").is_dir():
            found[kind] = None
            continue
        readers = {}
        for name, read in (("deltalake", with_deltalake), ("polars", with_polars)):
            summed, rows = report(*read(path), options.rows)
            readers[name] = summed
        same = all(readers["deltalake"][part] == readers["polars"][part] for part in ("rows", "keys", "digest"))
        agree = agree and same
        if options.rows:
            readers["rows_as_read"] = rows
        found[kind] = readers
    found["agree"] = agree
    print(json.dumps(found, sort_keys=True))
    if not agree:
        sys.exit("deltalake and Polars read different rows")


if __name__ == "__main__":
    main()
