"""The loader that a user would write: messages by confluent-kafka into opensearch-py's streaming_bulk.

bulk_loader.py BROKERS TOPIC GROUP URL INDEX DOCUMENTS

Indexes the same documents under the same external versions as the sink does. Prints `began` when it has its partitions
and `done SECONDS_OF_CPU` when everything is searchable.
"""

import base64
import datetime
import json
import re
import sys
import time

from confluent_kafka import Consumer
from opensearchpy import OpenSearch
from opensearchpy.helpers import streaming_bulk

WORD = re.compile(r"[^\W_]+")
EPOCH = datetime.datetime(1970, 1, 1)


def key_of(tail):
    raw = tail.encode()
    return base64.urlsafe_b64encode(b"S" + len(raw).to_bytes(4, "big") + raw).rstrip(b"=").decode()


def moment(number):
    millis = int(number)
    date = (EPOCH + datetime.timedelta(milliseconds=millis)).isoformat(timespec="milliseconds") + "Z"
    return {"long": millis, "date": date}


def document(change, key):
    item = change["after"]
    place = item["last_position"]["M"]
    lat, lon = float(place["lat"]["N"]), float(place["lon"]["N"])
    return {
        "_hw": {"key": key, "version": change["version"], "live": True, "has": ["model"], "item": item},
        "tail": {"keyword": [item["tail"]["S"]]},
        "carrier": {"keyword": [item["carrier"]["S"]]},
        "model": {"text": " ".join(WORD.findall(item["model"]["S"].lower()))},
        "flights": {"long": int(item["flights"]["N"])},
        "delay_mean_10": {"double": [float(item["delay_mean_10"]["N"])]},
        "speed": {"double": [float(item["speed"]["N"])]},
        "airborne": {"boolean": item["airborne"]["BOOL"]},
        "last_seen": moment(item["last_seen"]["N"]),
        "last_position": {"lat": lat, "lon": lon, "geo_point": {"lat": lat, "lon": lon}},
    }


def actions(consumer, index, wanted):
    seen = 0
    while seen < wanted:
        for message in consumer.consume(1000, 0.2):
            if message.error():
                raise SystemExit(message.error())
            change = json.loads(message.value())
            if change["op"] == "m":
                continue
            seen += 1
            key = key_of(change["key"][0]["value"]["S"])
            yield {
                "_op_type": "index",
                "_index": index,
                "_id": key,
                "version": change["version"],
                "version_type": "external",
                "_source": document(change, key),
            }


def main():
    brokers, topic, group, url, index, documents = sys.argv[1:]
    client = OpenSearch(url, timeout=60)
    consumer = Consumer({
        "bootstrap.servers": brokers,
        "group.id": group,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    })
    assigned = []
    consumer.subscribe([topic], on_assign=lambda _, partitions: assigned.extend(partitions))
    while not assigned:
        consumer.poll(0.01)
    print("began", flush=True)
    began = time.process_time()
    failed = 0
    source = actions(consumer, index, int(documents))
    for taken, _ in streaming_bulk(client, source, chunk_size=2000, max_chunk_bytes=4 << 20, raise_on_error=False):
        failed += not taken
    client.indices.refresh(index=index)
    print(f"done {time.process_time() - began}", flush=True)
    consumer.close()
    if failed:
        raise SystemExit(f"{failed} documents were not taken")


main()
