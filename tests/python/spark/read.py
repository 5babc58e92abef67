"""Reads a lake's tables with Spark and prints rows and sums as JSON, as `readers.py` does.

    read.py LAKE TABLE [--rows]

Besides the rows as they are now it reads each table at its first version that is still there, by a filter for the
smallest and the largest value of each column, and history as a stream. Needs a Java and, the first time, Maven for the
packages of pom.xml, which are kept under ~/.cache/headwater. Exit code 1 when these do not agree, after printing.
"""

import datetime
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from pyspark.sql import SparkSession, functions

# Spark gives times without a zone, by this machine's clock.
os.environ["TZ"] = "UTC"
time.tzset()
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
import plain_rows  # noqa: E402


def jars():
    """Delta's packages, fetched once."""
    pom = HERE / "pom.xml"
    folder = pathlib.Path.home() / f".cache/headwater/spark-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    if not folder.is_dir():
        with tempfile.TemporaryDirectory(dir=folder.parent) as aside:
            copy = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={aside}/lib"]
            subprocess.run(copy, check=True, stdout=sys.stderr)
            (pathlib.Path(aside) / "lib").rename(folder)
    wanted = [jar for jar in folder.iterdir() if jar.name.startswith(("delta-", "unitycatalog-"))]
    return ",".join(str(jar) for jar in sorted(wanted))


def session():
    settings = {
        "spark.jars": jars(),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "2",
    }
    builder = SparkSession.builder.master("local[2]").appName("headwater")
    for name, value in settings.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    return spark


def rows_of(frame):
    def aware(value):
        return value.replace(tzinfo=datetime.timezone.utc) if isinstance(value, datetime.datetime) else value

    return [{name: aware(value) for name, value in row.asDict(recursive=True).items()} for row in frame.collect()]


def streamed(spark, path):
    """What a stream that begins at the table's first commit gives until there is no more."""
    with tempfile.TemporaryDirectory() as checkpoint:
        writer = spark.readStream.format("delta").load(path).writeStream.format("memory").queryName("streamed")
        writer.option("checkpointLocation", checkpoint).trigger(availableNow=True).start().awaitTermination()
        return rows_of(spark.table("streamed"))


def main():
    asked = plain_rows.options(__doc__)
    started = time.monotonic()
    spark = session()
    found, agree = {}, True
    for kind in ("history", "current"):
        path = str(asked.lake / f"{asked.table}_{kind}")
        frame = spark.read.format("delta").load(path)
        as_read = rows_of(frame)
        summed, rows = plain_rows.report({name: of for name, of in frame.dtypes}, as_read)

        def count(column, values, frame=frame):
            return frame.filter(functions.col(column).isin(values)).count()

        summed["unfound"] = plain_rows.unfound(as_read, count)
        versions = [row["version"] for row in spark.sql(f"describe history delta.`{path}`").select("version").collect()]
        summed["versions_there"] = [min(versions), max(versions)]
        earliest = spark.read.format("delta").option("versionAsOf", min(versions)).load(path).count()
        agree &= not summed["unfound"] and earliest <= len(rows)
        if kind == "history":
            summed["streamed"] = plain_rows.report({}, streamed(spark, path))[0]["digest"]
            agree &= summed["streamed"] == summed["digest"]
        found[kind] = {"spark": summed}
        if asked.rows:
            found[kind]["rows_as_read"] = rows
    spark.stop()
    found["agree"] = agree
    found["seconds"] = round(time.monotonic() - started)
    print(json.dumps(found, sort_keys=True))
    if not agree:
        sums = json.dumps({kind: found[kind]["spark"] for kind in ("history", "current")}, sort_keys=True)
        sys.exit(f"Spark reads different rows in different ways, or does not find what is there: {sums}")


if __name__ == "__main__":
    main()
