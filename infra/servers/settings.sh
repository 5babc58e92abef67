# shellcheck shell=bash disable=SC2034 # read by the files that source this one
# The settings, each an environment variable. A port that is not set is tried at its default and, where that is taken,
# replaced by a free one; a port that is set and taken is an error. A started server keeps its port until `down`.

# Where servers keep their data, logs and process ids. --folder goes before it.
RUN_FOLDER=${SERVERS_FOLDER:-$ROOT/headwater-servers}
case $RUN_FOLDER in /*) ;; *) RUN_FOLDER=$PWD/$RUN_FOLDER ;; esac
# Where packages and binaries are kept between runs.
CACHE_FOLDER=${SERVERS_CACHE:-$HOME/.cache/headwater/servers}
# How long a server may take to answer, seconds.
START_SECONDS=${START_SECONDS:-180}
# SERVER_JVM_FLAGS: flags of every JVM; short-lived small servers start in half the time with the first compiler alone.
read -ra JVM_FLAGS <<<"${SERVER_JVM_FLAGS:--XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto}"

# Kafka. Broker n listens on KAFKA_PORT + 2 (n - 1), its controller on the port after that.
KAFKA_PORT=${KAFKA_PORT:-}
KAFKA_DEFAULT_PORT=19092
KAFKA_HEAP=${KAFKA_HEAP:-384m}
# Records above this are refused by the replication of three brokers and by a client's request; bytes.
KAFKA_LARGEST_FETCH=${KAFKA_LARGEST_FETCH:-8388608}

# DynamoDB Local. 2.6.1 is the default: its time-to-live deletes carry the service's user identity, as on AWS, while
# 3.3.1 sends them as `UNKNOWN_TO_SDK_VERSION` without one. Streams, shard rolls and trimming are the same in both.
DYNAMODB_VERSION=${DYNAMODB_VERSION:-2.6.1}
DYNAMODB_PORT=${DYNAMODB_PORT:-}
DYNAMODB_DEFAULT_PORT=18000
DYNAMODB_CONTROL_PORT=${DYNAMODB_CONTROL_PORT:-}
DYNAMODB_CONTROL_DEFAULT_PORT=18001
DYNAMODB_HEAP=${DYNAMODB_HEAP:-512m}
# It syncs its file at every write (17 writes/s on a disk where memory gave 270), so the file lies on a memory file system
# where there is one with room: it outlives the process and not the machine. Empty: in the run folder.
DYNAMODB_MEMORY_FOLDER=${DYNAMODB_MEMORY_FOLDER-/dev/shm}

# OpenSearch.
OPENSEARCH_PORT=${OPENSEARCH_PORT:-}
OPENSEARCH_DEFAULT_PORT=19200
OPENSEARCH_HEAP=${OPENSEARCH_HEAP:-512m}

# S3. The server listens on loopback alone, so the keys protect nothing and stand here.
S3_PORT=${S3_PORT:-}
S3_DEFAULT_PORT=17070
S3_ACCESS_KEY=${S3_ACCESS_KEY:-headwater}
S3_SECRET_KEY=${S3_SECRET_KEY:-headwater-local}
S3_BUCKET=${S3_BUCKET:-headwater}
S3_REGION=${S3_REGION:-us-east-1}
VERSITYGW_VERSION=${VERSITYGW_VERSION:-v1.8.0}
