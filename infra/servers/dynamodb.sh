# shellcheck shell=bash disable=SC2034 # COMMAND is read in lib.sh
# DynamoDB Local with streams, its tables in a file, and a control port for what it does only with time (Launcher.java).

dynamodb_tools() { java_tools; }
dynamodb_build() {
  local pom=$HERE/dynamodb/$DYNAMODB_VERSION/pom.xml
  [ -e "$pom" ] || fail "DYNAMODB_VERSION is $DYNAMODB_VERSION; known are 2.6.1 and 3.3.1"
  jars_of "$pom" "$HERE/dynamodb/Launcher.java"
}

dynamodb_ports() {
  port_of "$(folder_of dynamodb)/port" "$DYNAMODB_PORT" "$DYNAMODB_DEFAULT_PORT" >/dev/null
  port_of "$(folder_of dynamodb)/control-port" "$DYNAMODB_CONTROL_PORT" "$DYNAMODB_CONTROL_DEFAULT_PORT" >/dev/null
}

dynamodb_prepare() {
  local data memory=$DYNAMODB_MEMORY_FOLDER room=0
  data=$(folder_of dynamodb)/data
  [ ! -d "$data" ] || return 0
  rm -f "$data" # a link to a folder that is gone
  if [ -n "$memory" ] && [ -w "$memory" ]; then room=$(df -Pk "$memory" | awk 'NR == 2 { print $4 }'); fi
  if [ "$room" -ge 524288 ]; then
    ln -s "$(mktemp -d "$memory/headwater-dynamodb.XXXXXX")" "$data"
  else
    mkdir "$data"
  fi
}

dynamodb_command() {
  local folder
  folder=$(folder_of dynamodb)
  COMMAND=(java "${JVM_FLAGS[@]}" "-Xmx$DYNAMODB_HEAP" "-Djava.library.path=$JARS/lib" "-Djava.io.tmpdir=$folder"
    -cp "$JARS/classes:$JARS/lib/*" Launcher "$(cat "$folder/control-port")"
    -dbPath "$folder/data" -sharedDb -port "$(cat "$folder/port")" -disableTelemetry)
}

# The control port works after the first request only, so one is sent here.
dynamodb_answers() {
  curl -fsS -o /dev/null --max-time 10 "$(dynamodb_endpoint)" -d '{}' -H 'Content-Type: application/x-amz-json-1.0' \
    -H 'X-Amz-Target: DynamoDB_20120810.ListTables' \
    -H 'Authorization: AWS4-HMAC-SHA256 Credential=local/20200101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0' 2>/dev/null &&
    listening "$(cat "$(folder_of dynamodb)/control-port")"
}

dynamodb_endpoint() { echo "http://127.0.0.1:$(cat "$(folder_of dynamodb)/port")"; }
dynamodb_exports() {
  echo "export DYNAMODB_ENDPOINT=$(dynamodb_endpoint)"
  echo "export DYNAMODB_CONTROL=http://127.0.0.1:$(cat "$(folder_of dynamodb)/control-port")"
}
dynamodb_yaml() { printf 'dynamodb:\n  endpoint: "%s"\n' "$(dynamodb_endpoint)"; }
