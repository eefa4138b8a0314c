# Shorthands; each line is the whole command, so `just` is not needed.

# List them.
default:
    @just --list

# Everything that must hold before a change goes in.
ci:
    .ci/run

test:
    cargo test --release --workspace

fmt:
    cargo fmt --all

clippy:
    cargo clippy --release --workspace --all-targets --features ftl-trainer/cli,ftl-client/cli -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps

# Which crate imports what, against docs/architecture.md.
imports:
    scripts/check-imports

# The service, from an empty directory to an adapter.
demo *ARGS:
    cargo run --release -p ftl-server -- demo {{ARGS}}

# Train the small model on the small dataset, without the service.
first-run DIR="runs/first":
    cargo run --release -p ftl-trainer --features cli --bin ftl-train -- run examples/first-run.toml --out {{DIR}}

# Training speed and memory on random tokens, as in `just bench --model examples/base-model`.
bench *ARGS:
    cargo run --release -p ftl-trainer --features cli --bin ftl-train -- bench {{ARGS}}
