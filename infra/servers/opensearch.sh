# shellcheck shell=bash disable=SC2034 # COMMAND is read in lib.sh
# One OpenSearch node with k-NN (Lucene's engine), from the libraries on Maven Central (OpenSearchNode.java).

opensearch_tools() { java_tools; }
opensearch_build() { jars_of "$HERE/opensearch/pom.xml" "$HERE/opensearch/OpenSearchNode.java"; }
opensearch_ports() { port_of "$(folder_of opensearch)/port" "$OPENSEARCH_PORT" "$OPENSEARCH_DEFAULT_PORT" >/dev/null; }
opensearch_prepare() { mkdir -p "$(folder_of opensearch)/tmp"; }

opensearch_command() {
  local folder
  folder=$(folder_of opensearch)
  COMMAND=(java "${JVM_FLAGS[@]}" "-Xms$OPENSEARCH_HEAP" "-Xmx$OPENSEARCH_HEAP" "-Djava.io.tmpdir=$folder/tmp"
    "-Dlog4j2.configurationFile=$HERE/opensearch/log4j2.properties" -Dlog4j2.disable.jmx=true
    -Dio.netty.noUnsafe=true -Dio.netty.recycler.maxCapacityPerThread=0 -Djna.nosys=true -Dfile.encoding=UTF-8
    -Djava.net.preferIPv4Stack=true -cp "$JARS/classes:$JARS/lib/*:$JARS/knn/*"
    OpenSearchNode "$folder" "$(cat "$folder/port")")
}

opensearch_answers() {
  curl -fsS -o /dev/null --max-time 10 "$(opensearch_url)/_cluster/health?wait_for_status=yellow&timeout=5s" 2>/dev/null
}

opensearch_url() { echo "http://127.0.0.1:$(cat "$(folder_of opensearch)/port")"; }
opensearch_exports() { echo "export OPENSEARCH_URL=$(opensearch_url)"; }
opensearch_yaml() { printf 'opensearch:\n  urls: ["%s"]\n  replicas: 0\n' "$(opensearch_url)"; }
