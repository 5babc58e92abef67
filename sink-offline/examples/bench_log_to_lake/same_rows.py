"""same_rows.py LAKE_TABLE LAKE_TABLE: whether two tables hold the same rows, by their place in the log.

Prints {"rows": N, "different": [COLUMN, ...]}. The time of the commit is each table's own.
"""

import json
import sys

import pyarrow as pa
from deltalake import DeltaTable

OWN = {"_commit_ts", "_date"}
PLACE = ["_log_partition", "_log_offset"]


def rows_of(path):
    table = pa.table(DeltaTable(path).to_pyarrow_table()).sort_by([(name, "ascending") for name in PLACE])
    return table.select(sorted(set(table.column_names) - OWN))


def main():
    one, other = (rows_of(path) for path in sys.argv[1:])
    different = sorted(set(one.column_names) ^ set(other.column_names))
    for name in one.column_names:
        if name in different:
            continue
        if one[name].combine_chunks().cast(other.schema.field(name).type) != other[name].combine_chunks():
            different.append(name)
    print(json.dumps({"rows": one.num_rows, "different": different}))


main()
