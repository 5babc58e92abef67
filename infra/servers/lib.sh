# shellcheck shell=bash
# What the commands share: messages, ports, processes, packages. Sourced by load.sh.
#
# A server's folder `<run folder>/<name>` holds `pid`, `log`, `port` and its data. A process is known by its id and the
# time it started, so that an id which the system gave to somebody else is never signalled.

# Exit code 3: a tool is missing, nothing was started. Callers may go on without servers.
MISSING_TOOL=3

say() { echo "servers: $*" >&2; }
fail() { say "$*"; exit 1; }
need() { command -v "$1" >/dev/null || { say "$1 is missing: $2"; exit "$MISSING_TOOL"; }; }

# Every kind's functions, called as <kind>_<verb>: tools (looks for what it needs), build (packages), ports (chooses
# them), prepare NAME (its folder), command NAME (sets COMMAND), answers NAME, exports and yaml (its addresses).
COMMAND=()
kind_of() { echo "${1%%-[0-9]*}"; }
folder_of() { echo "$RUN_FOLDER/$1"; }

# --- ports ---

listening() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# port_of FILE WANTED DEFAULT: the port in FILE, or a new one that is then written there.
port_of() {
  local file=$1 wanted=$2 port=$3
  if [ -s "$file" ]; then cat "$file"; return; fi
  if [ -n "$wanted" ]; then
    ! listening "$wanted" || fail "port $wanted is taken; set another one or none (infra/servers/settings.sh lists the variables)"
    port=$wanted
  else
    # Below the range that the system gives to outgoing connections.
    while listening "$port" || grep -qsx "$port" "$RUN_FOLDER"/*/port "$RUN_FOLDER"/*/*-port; do
      port=$((10000 + (RANDOM * 32768 + RANDOM) % 22000))
    done
  fi
  mkdir -p "$(dirname "$file")"
  echo "$port" >"$file"
  echo "$port"
}

# --- processes ---

started_at() { LC_ALL=C ps -o lstart= -p "$1" 2>/dev/null || true; }

# The process id of a running server; nothing and false where it does not run.
pid_of() {
  local file pid started
  file=$(folder_of "$1")/pid
  [ -s "$file" ] || return 1
  { read -r pid && read -r started; } <"$file" || return 1
  [ -n "$started" ] && [ "$(started_at "$pid" | xargs)" = "$started" ] || return 1
  # A process that ended and was not yet collected by its parent is gone for every purpose.
  case $(ps -o stat= -p "$pid" 2>/dev/null) in Z* | '') return 1 ;; esac
  echo "$pid"
}

# A process group of its own: a Ctrl-C in the terminal that started it does not reach it.
launch() {
  local folder=$1 pid
  shift
  set -m
  nohup "$@" >>"$folder/log" 2>&1 </dev/null &
  pid=$!
  set +m
  disown "$pid" 2>/dev/null || true
  { echo "$pid"; started_at "$pid" | xargs; } >"$folder/pid"
}

wait_until_gone() {
  local name=$1 end=$((SECONDS + $2))
  while pid_of "$name" >/dev/null; do
    [ "$SECONDS" -lt "$end" ] || return 1
    sleep 0.1
  done
}

start_server() {
  local name=$1 kind folder end
  kind=$(kind_of "$name")
  folder=$(folder_of "$name")
  if ! pid_of "$name" >/dev/null; then
    "${kind}_build"
    mkdir -p "$folder"
    "${kind}_prepare" "$name"
    "${kind}_command" "$name"
    launch "$folder" "${COMMAND[@]}"
  fi
  end=$((SECONDS + START_SECONDS))
  until "${kind}_answers" "$name"; do
    pid_of "$name" >/dev/null || { tail -n 20 "$folder/log" >&2; fail "$name ended while it started; its log is $folder/log"; }
    [ "$SECONDS" -lt "$end" ] || { tail -n 20 "$folder/log" >&2; fail "$name did not answer within $START_SECONDS s; its log is $folder/log"; }
    sleep 0.1
  done
}

# stop_server NAME SIGNAL: ends it, and it is gone when this returns. Its data and its port stay.
stop_server() {
  local name=$1 signal=$2 pid
  if ! pid=$(pid_of "$name"); then return 0; fi
  kill "-$signal" "$pid" 2>/dev/null || true
  # A stopped (SIGSTOP) process acts on a signal only when it goes on.
  kill -CONT "$pid" 2>/dev/null || true
  if ! wait_until_gone "$name" 30; then
    say "$name still runs 30 s after SIG$signal, so it is killed"
    kill -KILL "$pid" 2>/dev/null || true
    wait_until_gone "$name" 10 || fail "process $pid of $name cannot be killed"
  fi
  rm -f "$(folder_of "$name")/pid"
}

# The servers that were started in this run folder, whether they run now or not.
known_servers() {
  local folder
  for folder in "$RUN_FOLDER"/*/; do
    if [ -e "$folder/port" ]; then basename "$folder"; fi
  done
}

# --- packages ---

java_tools() {
  local remedy="install a JDK of version 17 or later (Debian: apt-get install openjdk-17-jdk-headless, macOS: brew install openjdk@17)" version
  need javac "$remedy"
  need java "$remedy"
  version=$(javac -version 2>&1 | sed -n 's/^javac \([0-9]*\).*/\1/p')
  [ "${version:-0}" -ge 17 ] || { say "javac is of version ${version:-unknown}: $remedy"; exit "$MISSING_TOOL"; }
  need mvn "install Maven (Debian: apt-get install maven, macOS: brew install maven)"
  need curl "install curl"
}

# jars_of POM [SOURCE...]: sets JARS to a folder with `lib` (the pom's packages), `classes` (the compiled sources) and
# whatever else the pom unpacks. It is made once for each content, in a folder aside that is renamed when it is whole.
jars_of() {
  local pom=$1 aside
  JARS=$CACHE_FOLDER/$(basename "$(dirname "$pom")")-$(cat "$@" | cksum | cut -d' ' -f1)
  [ ! -d "$JARS" ] || return 0
  say "fetching the packages of ${pom#"$ROOT"/}"
  aside=$(mktemp -d "$CACHE_FOLDER/making.XXXXXX")
  cp "$pom" "$aside/pom.xml"
  mvn -q -B -Dstyle.color=never -f "$aside/pom.xml" package </dev/null >&2 || { rm -rf "$aside"; fail "mvn could not fetch the packages of $pom; its messages are above"; }
  shift
  if [ $# -gt 0 ]; then
    javac -nowarn -proc:none -d "$aside/classes" -cp "$aside/lib/*" "$@" >&2 || { rm -rf "$aside"; fail "javac could not compile $*; its messages are above"; }
  fi
  mv "$aside" "$JARS"
}

# --- one at a time ---

# Two commands that start servers wait for each other, on the whole machine: they share packages and look for ports.
lock() {
  local holder
  mkdir -p "$CACHE_FOLDER"
  until mkdir "$CACHE_FOLDER/lock" 2>/dev/null; do
    holder=$(cat "$CACHE_FOLDER/lock/pid" 2>/dev/null || true)
    if [ -n "$holder" ] && ! kill -0 "$holder" 2>/dev/null; then rm -rf "$CACHE_FOLDER/lock"; continue; fi
    sleep 0.2
  done
  trap 'rm -rf "$CACHE_FOLDER/lock"' EXIT
  echo "$$" >"$CACHE_FOLDER/lock/pid"
}
