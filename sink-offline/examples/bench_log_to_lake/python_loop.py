"""The loop that a user would write: messages by confluent-kafka, columns by pyarrow, commits by deltalake.

python_loop.py BROKERS TOPIC LAKE ROWS json|orjson

Writes the columns that the sink writes, one commit a flush of 50,000 rows or 10 s, zstd 1, the offsets as the table's
transactions. Prints `done SECONDS CPU_SECONDS PEAK_BYTES`, from its assignment until everything is committed.
"""

import base64
import json
import sys
import time
import uuid

import orjson
import pyarrow as pa
from confluent_kafka import Consumer
from deltalake import CommitProperties, PostCommitHookProperties, Transaction, WriterProperties, write_deltalake

FLUSH_ROWS = 50_000
FLUSH_SECONDS = 10
LONGS = [f"n{at:02}" for at in range(4)]
DOUBLES = [f"n{at:02}" for at in range(4, 12)]
MOMENT = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("_key", "_pk", "_sk")]
    + [("_version", pa.int64()), ("_op", pa.string()), ("_event_ts", MOMENT), ("_event_time", MOMENT)]
    + [("_commit_ts", MOMENT), ("_date", pa.date32())]
    + [(name, pa.string()) for name in ("_seq", "_shard", "_event_id")]
    + [("_log_partition", pa.int32()), ("_log_offset", pa.int64()), ("_changed", pa.list_(pa.string()))]
    + [("item", pa.string())]
    + [(name, pa.int64()) for name in LONGS]
    + [(name, pa.float64()) for name in DOUBLES]
    + [(name, pa.string()) for name in ("note", "_rescued", "_error")]
)
ZSTD = WriterProperties(compression="ZSTD", compression_level=1)
JSON = {
    "json": (json.loads, lambda item: json.dumps(item, separators=(",", ":"), sort_keys=True, ensure_ascii=False)),
    "orjson": (orjson.loads, lambda item: orjson.dumps(item, option=orjson.OPT_SORT_KEYS).decode()),
}
NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class Rows:
    def __init__(self):
        self.columns = {name: [] for name in SCHEMA.names if name not in ("_commit_ts", "_date")}
        self.count = 0
        self.offsets = {}
        self.since = time.monotonic()

    def take(self, message, loads, dumps):
        partition, offset = message.partition(), message.offset()
        self.offsets[partition] = offset
        change = loads(message.value())
        if change["op"] == "m":
            return
        add = {name: column.append for name, column in self.columns.items()}
        item, source = change["after"], change["source"]
        pk = change["key"][0]["value"]["S"]
        raw = pk.encode()
        key = b"S" + len(raw).to_bytes(4, "big") + raw
        add["_key"](base64.urlsafe_b64encode(key).rstrip(b"=").decode())
        add["_pk"](pk)
        add["_sk"](None)
        add["_version"](change["version"])
        add["_op"](change["op"])
        add["_event_ts"](change["ts_ms"] * 1000)
        add["_event_time"](int(item["at"]["N"]) * 1000)
        add["_seq"](source["seq"])
        add["_shard"](source["shard"])
        add["_event_id"](source["event_id"])
        add["_log_partition"](partition)
        add["_log_offset"](offset)
        add["_changed"](change.get("changed"))
        add["item"](dumps(item))
        for name in LONGS:
            add[name](int(item[name]["N"]))
        for name in DOUBLES:
            add[name](float(item[name]["N"]))
        add["note"](item["note"]["S"])
        add["_rescued"](None)
        add["_error"](None)
        self.count += 1

    def due(self):
        return self.count >= FLUSH_ROWS or self.count > 0 and time.monotonic() - self.since >= FLUSH_SECONDS

    def commit(self, lake, topic):
        now = time.time()
        self.columns["_commit_ts"] = [int(now * 1e6)] * self.count
        self.columns["_date"] = [int(now // 86400)] * self.count
        table = pa.table({name: self.columns[name] for name in SCHEMA.names}, schema=SCHEMA)
        offsets = [Transaction(f"{topic}/{partition}", offset) for partition, offset in self.offsets.items()]
        write_deltalake(
            lake,
            table,
            mode="append",
            partition_by=["_date"],
            writer_properties=ZSTD,
            commit_properties=CommitProperties(app_transactions=offsets),
            post_commithook_properties=NO_HOOKS,
        )


def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def main():
    brokers, topic, lake, wanted, library = sys.argv[1:]
    loads, dumps = JSON[library]
    lake = f"{lake}/measurements_history"
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": f"bench-{uuid.uuid4().hex}",
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
    })
    assigned = []
    consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    while not assigned:
        consumer.poll(0.01)
    began, before = time.monotonic(), time.process_time()
    committed, rows = 0, Rows()
    while committed < int(wanted):
        for message in consumer.consume(1000, 0.2):
            if message.error():
                raise SystemExit(message.error())
            rows.take(message, loads, dumps)
        if rows.due() or committed + rows.count == int(wanted):
            rows.commit(lake, topic)
            consumer.commit(asynchronous=True)
            committed += rows.count
            rows = Rows()
    print(f"done {time.monotonic() - began} {time.process_time() - before} {peak()}", flush=True)
    consumer.close()


main()
