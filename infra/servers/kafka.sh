# shellcheck shell=bash disable=SC2034 # COMMAND is read in lib.sh
# Kafka in KRaft mode: kafka-1 alone, or kafka-1 to kafka-3, each broker and controller in one.

kafka_tools() { java_tools; }
kafka_build() { jars_of "$HERE/kafka/pom.xml"; }
kafka_brokers() { cat "$RUN_FOLDER/brokers"; }
kafka_answers() { listening "$(cat "$(folder_of "$1")/port")"; } # opened last, when the broker may serve

# Ports of all brokers stand before the first starts: each one's settings name the controllers of all.
kafka_ports() {
  local n base=${KAFKA_PORT:-$KAFKA_DEFAULT_PORT} port control
  for ((n = 1; n <= $1; n++)); do
    port=$((base + 2 * (n - 1))) control=$((base + 2 * (n - 1) + 1))
    port_of "$(folder_of "kafka-$n")/port" "${KAFKA_PORT:+$port}" "$port" >/dev/null
    port_of "$(folder_of "kafka-$n")/control-port" "${KAFKA_PORT:+$control}" "$control" >/dev/null
  done
}

kafka_settings() {
  local id=${1#kafka-} folder brokers voters="" n copies=1 in_sync=1
  folder=$(folder_of "$1")
  brokers=$(kafka_brokers)
  for ((n = 1; n <= brokers; n++)); do
    voters+="${voters:+,}$n@127.0.0.1:$(cat "$(folder_of "kafka-$n")/control-port")"
  done
  if [ "$brokers" -ge 3 ]; then copies=3 in_sync=2; fi
  cat <<PROPERTIES
process.roles=broker,controller
node.id=$id
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$(cat "$folder/port"),CONTROLLER://127.0.0.1:$(cat "$folder/control-port")
controller.listener.names=CONTROLLER
log.dirs=$folder/data
auto.create.topics.enable=false
default.replication.factor=$copies
min.insync.replicas=$in_sync
offsets.topic.replication.factor=$copies
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=$copies
share.coordinator.state.topic.min.isr=$in_sync
share.coordinator.state.topic.num.partitions=1
# a topic sets its own max.message.bytes; what carries a record of 2.5 MB from broker to broker must allow for it
replica.fetch.max.bytes=$KAFKA_LARGEST_FETCH
replica.fetch.response.max.bytes=$((KAFKA_LARGEST_FETCH * 2))
# tests lose members and brokers on purpose and wait for the others to notice
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
group.consumer.min.session.timeout.ms=1000
group.consumer.min.heartbeat.interval.ms=200
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# a small heap and many short-lived topics
log.cleaner.dedupe.buffer.size=8388608
log.index.size.max.bytes=1048576
PROPERTIES
}

kafka_java() { COMMAND=(java "${JVM_FLAGS[@]}" "$1" -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true -cp "$JARS/lib/*"); }

kafka_prepare() {
  local folder
  folder=$(folder_of "$1")
  [ ! -e "$folder/data/meta.properties" ] || return 0
  kafka_settings "$1" >"$folder/server.properties"
  kafka_java -Xmx128m
  "${COMMAND[@]}" kafka.tools.StorageTool format --cluster-id 4L6g3nShT-eMCtK--X86sw -c "$folder/server.properties" >"$folder/format.log" 2>&1 ||
    { tail -n 20 "$folder/format.log" >&2; fail "$1's folder could not be formatted"; }
}

kafka_command() {
  kafka_java "-Xmx$KAFKA_HEAP"
  COMMAND+=(-Xms64m kafka.Kafka "$(folder_of "$1")/server.properties")
}

kafka_bootstrap() {
  local n list=""
  for ((n = 1; n <= $(kafka_brokers); n++)); do list+="${list:+,}127.0.0.1:$(cat "$(folder_of "kafka-$n")/port")"; done
  echo "$list"
}
# With the packages a test can start a broker of its own.
kafka_exports() {
  kafka_build
  printf 'export %s=%s\n' KAFKA_BOOTSTRAP "$(kafka_bootstrap)" KAFKA_JARS "$JARS/lib"
}
kafka_yaml() {
  local copies
  copies=$(kafka_brokers)
  cat <<YAML
kafka:
  bootstrap: "$(kafka_bootstrap)"
  replication: $copies
  min_insync: $(((copies + 1) / 2))
YAML
}
