# shellcheck shell=bash disable=SC2034 # COMMAND is read in lib.sh
# An S3 server over a folder: versitygw, whose conditional puts have one winner (a race of 20 writers over 1,000 keys).

s3_binary() { echo "$CACHE_FOLDER/versitygw-$VERSITYGW_VERSION/versitygw"; }
s3_tools() {
  need curl "install curl"
  [ -x "$(s3_binary)" ] || need go "install Go (https://go.dev/dl), it builds the S3 server once"
}

s3_build() {
  local binary aside
  binary=$(s3_binary)
  [ ! -x "$binary" ] || return 0
  say "building versitygw $VERSITYGW_VERSION (some minutes, once)"
  aside=$(mktemp -d "$CACHE_FOLDER/making.XXXXXX")
  GOBIN=$aside go install "github.com/versity/versitygw/cmd/versitygw@$VERSITYGW_VERSION" >&2 ||
    { rm -rf "$aside"; fail "go could not build versitygw; its messages are above"; }
  mv "$aside" "$(dirname "$binary")"
}

s3_ports() { port_of "$(folder_of s3)/port" "$S3_PORT" "$S3_DEFAULT_PORT" >/dev/null; }
s3_prepare() { mkdir -p "$(folder_of s3)/data"; }

s3_command() {
  local folder
  folder=$(folder_of s3)
  export ROOT_ACCESS_KEY=$S3_ACCESS_KEY ROOT_SECRET_KEY=$S3_SECRET_KEY
  COMMAND=("$(s3_binary)" --port "127.0.0.1:$(cat "$folder/port")" --region "$S3_REGION" -q posix "$folder/data")
}

# It answers when the bucket is there, made by this very request or before.
s3_answers() {
  local status
  status=$(curl -sS -o /dev/null -w '%{http_code}' --max-time 10 -X PUT "$(s3_endpoint)/$S3_BUCKET" \
    -H "x-amz-content-sha256: UNSIGNED-PAYLOAD" --aws-sigv4 "aws:amz:$S3_REGION:s3" --user "$S3_ACCESS_KEY:$S3_SECRET_KEY" 2>/dev/null) || return 1
  [ "$status" = 200 ] || [ "$status" = 409 ]
}

s3_endpoint() { echo "http://127.0.0.1:$(cat "$(folder_of s3)/port")"; }
s3_exports() {
  echo "export S3_ENDPOINT=$(s3_endpoint)"
  echo "export S3_ACCESS_KEY=$S3_ACCESS_KEY"
  echo "export S3_SECRET_KEY=$S3_SECRET_KEY"
  echo "export S3_BUCKET=$S3_BUCKET"
  echo "export S3_REGION=$S3_REGION"
}
s3_yaml() {
  cat <<YAML
lake:
  place: "s3://$S3_BUCKET/lake"
  s3:
    endpoint: "$(s3_endpoint)"
    region: "$S3_REGION"
    access_key: "$S3_ACCESS_KEY"
    secret_key: "$S3_SECRET_KEY"
    allow_http: true
YAML
}
