"""Writes items of every type with plain boto3 and prints, as JSON, what the table should hold.

    writer.py ENDPOINT TABLE PARTITION_NAME [--sort NAME] [--count N] [--prefix TEXT]

For a table whose partition key is a string; --sort names a number sort key. Of every ten items one is deleted again
and two are updated. Prints {"puts": n, "updates": n, "deletes": n, "items": {key: DynamoDB JSON}, "deleted": [key]},
the key being "partition" or "partition|sort".
"""

import argparse
import base64
import json
import time
from decimal import Decimal

import boto3
from boto3.dynamodb.types import Binary, TypeSerializer
from botocore.config import Config


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("table")
    parser.add_argument("partition")
    parser.add_argument("--sort")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--prefix", default="boto3")
    return parser.parse_args()


def attributes(at):
    return {
        "text": ["", "plain", "Größe 🧊", "a\u0000b\n\"c\""][at % 4],
        "whole": at,
        "big": Decimal("12345678901234567890123456789012345678"),
        "decimal": Decimal(at) / Decimal(8),
        "tiny": Decimal("1E-130"),
        "flag": at % 2 == 0,
        "nothing": None,
        "bytes": Binary(bytes([0, 255, at % 256])),
        "empty_bytes": Binary(b""),
        "list": [1, "two", None, [Decimal("3.5")], {}],
        "map": {"inner": {"deep": [True, Binary(b"x")]}, "empty": []},
        "strings": {"a", "b", f"c{at}"},
        "numbers": {Decimal(1), Decimal("2.5"), Decimal(at + 10)},
        "binaries": {Binary(b"\x00"), Binary(b"\xff\xfe")},
        "moment": f"2026-01-02T03:04:{at % 60:02}.678Z",
        "day": f"2026-02-{at % 28 + 1:02}",
        "place": {"lat": Decimal("-33.5"), "lon": Decimal(at)},
        "vector": [Decimal("0.5"), Decimal(-at)],
        "written_at": int(time.time() * 1000),
        "write_id": f"boto3-{at}",
    }


def plain(value):
    """DynamoDB JSON with binary as base64, sets sorted."""
    [(kind, inner)] = value.items()
    if kind == "B":
        return {kind: base64.b64encode(bytes(inner)).decode()}
    if kind == "BS":
        return {kind: sorted(base64.b64encode(bytes(one)).decode() for one in inner)}
    if kind in ("SS", "NS"):
        return {kind: sorted(inner)}
    if kind == "M":
        return {kind: {name: plain(one) for name, one in inner.items()}}
    if kind == "L":
        return {kind: [plain(one) for one in inner]}
    return value


def main():
    options = arguments()
    resource = boto3.resource(
        "dynamodb",
        endpoint_url=options.endpoint,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 5, "mode": "standard"}),
    )
    table = resource.Table(options.table)
    items, deleted, updates = {}, [], 0
    for at in range(options.count):
        key = {options.partition: f"{options.prefix}-{at}"}
        if options.sort:
            key[options.sort] = Decimal(at) + Decimal("0.50")
        name = "|".join(str(part) for part in key.values())
        item = {**key, **attributes(at)}
        table.put_item(Item=item)
        if at % 10 == 3:
            table.delete_item(Key=key)
            deleted.append(name)
            continue
        if at % 10 in (5, 6):
            answer = table.update_item(
                Key=key,
                UpdateExpression="SET #text = :text, write_id = :id ADD strings :more, whole :one REMOVE flag",
                ExpressionAttributeNames={"#text": "text"},
                ExpressionAttributeValues={":text": "updated", ":id": f"boto3-{at}-u", ":more": {"more"}, ":one": 1},
                ReturnValues="ALL_NEW",
            )
            item = answer["Attributes"]
            updates += 1
        serializer = TypeSerializer()
        items[name] = {attribute: plain(serializer.serialize(value)) for attribute, value in item.items()}
    report = {
        "puts": options.count,
        "updates": updates,
        "deletes": len(deleted),
        "items": items,
        "deleted": deleted,
    }
    print(json.dumps(report, sort_keys=True))


if __name__ == "__main__":
    main()
