#!/usr/bin/env bash
# A short run of every fuzz target (SECONDS_EACH, 30 by default). Needs a nightly toolchain.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${SECONDS_EACH:-30}
rustup toolchain list 2>/dev/null | grep -q nightly || {
  echo "Please install a nightly toolchain: rustup toolchain install nightly" >&2
  exit 1
}
cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz
for target in config path token template json_edits record; do
  echo "== $target"
  cargo +nightly fuzz run --fuzz-dir . "$target" -- -max_total_time="$seconds" -verbosity=0 -print_final_stats=1
done
