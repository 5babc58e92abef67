# The commands of CONTRIBUTING.md, by name. `just` is a convenience: each line also works as it stands.

# Everything that CI checks.
test:
    .ci/test

# The demo.
demo *arguments:
    cargo run -- demo {{arguments}}

# The long kill test.
kills count="300":
    HEADWATER_KILLS={{count}} cargo test --test whole kills -- --nocapture
    HEADWATER_KILLS={{count}} cargo test -p headwater-common --test log kills -- --nocapture

# Spark reads the lake as `deltalake` does.
spark:
    HEADWATER_SPARK=1 cargo test --all-features --test whole spark -- --nocapture

# The long fault test of workers on real servers, with three brokers.
faults count="300":
    infra/servers/up --brokers 3
    . headwater-servers/env && HEADWATER_EVENTS={{count}} cargo test --all-features --test whole workers -- --nocapture
    infra/servers/down

# Throughput and lag of the whole stack, then of its parts.
bench:
    cargo run -- demo --flights all
    cargo run -- demo --flights 15000 --rate 500
    cargo run -p headwater-sink-offline --example bench_log_to_lake
    cargo run -p headwater-sink-offline --example bench_commits
    cargo run -p headwater-local-store --example writes
