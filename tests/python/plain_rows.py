"""Rows as plain values, whoever read them: what every reader's script prints, and how it is summed up."""

import argparse
import base64
import collections
import datetime
import decimal
import hashlib
import json
import pathlib


def options(description):
    """What every reader's script is told."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lake", type=pathlib.Path)
    parser.add_argument("table")
    parser.add_argument("--rows", action="store_true")
    return parser.parse_args()


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


def report(types, rows):
    """What a reader read, and its rows as plain values in order."""
    rows = [{name: plain(value) for name, value in sorted(row.items())} for row in rows]
    # An item of the history may stand twice under one version only in a broken table: the whole row breaks the tie.
    rows.sort(key=lambda row: (row.get("_key") or "", row.get("_version") or 0, json.dumps(row, sort_keys=True)))
    versions = [row["_version"] for row in rows if row.get("_version") is not None]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    summed = {
        "columns": types,
        "rows": len(rows),
        "keys": len({row.get("_key") for row in rows}),
        "ops": dict(collections.Counter(row["_op"] for row in rows if row.get("_op") is not None)),
        "versions": [min(versions), max(versions)] if versions else None,
        "digest": digest,
    }
    return summed, rows


def unfound(rows, count):
    """The columns of which `count`, a reader's filter by values, does not give the rows that have the smallest and the
    largest."""
    scalars = (str, int, float, decimal.Decimal, datetime.date, bytes)
    missed = []
    for column in rows[0] if rows else ():
        values = [row[column] for row in rows if isinstance(row[column], scalars)]
        ends = [min(values), max(values)] if values else []
        expected = sum(value in ends for value in values)
        found = count(column, ends) if ends else 0
        if expected != found:
            missed.append(f"{column}: {found} of {expected} rows by {plain(ends)}")
    return missed
