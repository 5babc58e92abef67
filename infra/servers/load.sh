# shellcheck shell=bash source-path=SCRIPTDIR
# Sources the settings, the library and every server's file, for a command that may have set FOLDER.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
ROOT=$(cd "$HERE/../.." && pwd)
source "$HERE/settings.sh"
source "$HERE/lib.sh"
source "$HERE/kafka.sh"
source "$HERE/dynamodb.sh"
source "$HERE/opensearch.sh"
source "$HERE/s3.sh"

# The addresses of all servers of this run folder, for a shell and for the workers.
write_addresses() {
  local kind kinds
  kinds=$(known_servers | sed 's/-[0-9]*$//' | sort -u)
  {
    for kind in $kinds; do "${kind}_exports"; done
    echo "export SERVERS_FOLDER=$RUN_FOLDER" # for infra/servers/server
    # Credentials that any server on this machine takes; the S3 server takes these alone.
    echo "export AWS_ACCESS_KEY_ID=$S3_ACCESS_KEY"
    echo "export AWS_SECRET_ACCESS_KEY=$S3_SECRET_KEY"
    echo "export AWS_REGION=$S3_REGION"
    echo "export AWS_DEFAULT_REGION=$S3_REGION"
  } >"$RUN_FOLDER/env"
  {
    echo "# Settings of workers on these servers; the definitions are those of the demo."
    echo "definitions: \"$ROOT/sdk/examples/flights/definitions\""
    echo "http: {address: \"127.0.0.1:0\"}"
    for kind in $kinds; do "${kind}_yaml"; done
  } >"$RUN_FOLDER/headwater.yaml"
}
