"""Reads a lake's table with others' readers and prints rows and sums as JSON: the `deltalake` package, Polars, and DuckDB
over Arrow.

    readers.py LAKE TABLE [--rows]

Of `<TABLE>_history` and `<TABLE>_current` each reader reports the version of the Delta table, the columns with their
types, the number of rows, of distinct keys and of rows by `_op`, the smallest and largest `_version`, and a digest of
all rows; a table that is not there is null. Polars and DuckDB are also asked for the rows that have the smallest and the
largest value of each column: files that they pass over by their statistics must have none. With --rows the rows too,
sorted by `_key` and `_version`. Decimals, times and dates are text and binary is base64, so that nothing passes through a
double. Exit code 1 when the readers differ, or do not find what is there, after printing.
"""

import json
import sys

import duckdb
import polars
from deltalake import DeltaTable, QueryBuilder

from plain_rows import options, report, unfound


class Deltalake:
    def __init__(self, path):
        self.table = DeltaTable(str(path))

    def types(self):
        return {field.name: json.loads(field.to_json())["type"] for field in self.table.schema().fields}

    def rows(self):
        batches = QueryBuilder().register("rows", self.table).execute("select * from rows").read_all()
        # Arrow to plain values by way of Polars' importer of the Arrow stream, which keeps decimals and times.
        return polars.DataFrame(batches).to_dicts() if batches.num_rows else []


class Polars:
    def __init__(self, path):
        self.frame = polars.scan_delta(str(path))

    def types(self):
        return {name: str(kind) for name, kind in self.frame.collect_schema().items()}

    def rows(self):
        return self.frame.collect().to_dicts()

    def count(self, column, values):
        named = polars.any_horizontal([polars.col(column) == value for value in values])
        return self.frame.filter(named).select(polars.len()).collect().item()


class DuckDb:
    def __init__(self, path):
        self.connection = duckdb.connect()
        self.relation = self.connection.from_arrow(DeltaTable(str(path)).to_pyarrow_dataset())

    def types(self):
        return {name: str(kind) for name, kind in zip(self.relation.columns, self.relation.types)}

    def rows(self):
        return [dict(zip(self.relation.columns, row)) for row in self.relation.fetchall()]

    def count(self, column, values):
        named = duckdb.ColumnExpression(column).isin(*[duckdb.ConstantExpression(value) for value in values])
        return self.relation.filter(named).count("*").fetchall()[0][0]


READERS = {"deltalake": Deltalake, "polars": Polars, "duckdb": DuckDb}


def main():
    asked = options(__doc__)
    found, agree = {}, True
    for kind in ("history", "current"):
        path = asked.lake / f"{asked.table}_{kind}"
        if not (path / "_delta_log").is_dir():
            found[kind] = None
            continue
        readers = {}
        for name, make in READERS.items():
            reader = make(path)
            as_read = reader.rows()
            summed, rows = report(reader.types(), as_read)
            summed["table_version"] = DeltaTable(str(path)).version()
            if hasattr(reader, "count"):
                summed["unfound"] = unfound(as_read, reader.count)
            readers[name] = summed
        first = readers["deltalake"]
        agree &= all(one[part] == first[part] for one in readers.values() for part in ("rows", "keys", "digest"))
        agree &= not any(one.get("unfound") for one in readers.values())
        if asked.rows:
            readers["rows_as_read"] = rows
        found[kind] = readers
    found["agree"] = agree
    print(json.dumps(found, sort_keys=True))
    for kind in filter(None, (found["history"], found["current"])):
        kind.pop("rows_as_read", None)
    if not agree:
        sys.exit(f"the readers read different rows, or do not find what is there: {json.dumps(found, sort_keys=True)}")


if __name__ == "__main__":
    main()
