#!/usr/bin/env bash
# A short run of every fuzz target, from its seeds and from what earlier runs found worth keeping.
#
#   make fuzz                             every target for 30 s
#   SECONDS_EACH=300 fuzz/run.sh token    one target for longer
set -euo pipefail
cd "$(dirname "$0")"

seconds=${SECONDS_EACH:-30}
if (($#)); then targets=("$@"); else targets=(config path token template json_edits record); fi

# Instrumentation (sanitizer, coverage) is asked for by compiler flags that only a nightly takes. A
# stable compiler has the same code behind them and takes them too if RUSTC_BOOTSTRAP says so. That
# is no promise of the Rust project's, so it is for these programs alone, which nobody ships.
if rustup toolchain list 2>/dev/null | grep -q '^nightly-[a-z]'; then
  export RUSTUP_TOOLCHAIN=nightly
else
  export RUSTC_BOOTSTRAP=1
fi
# The same versions of everything as the product has; what only the fuzzers need is added to them.
cp ../Cargo.lock .
cargo fuzz --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-fuzz

for target in "${targets[@]}"; do
  # The configurations that the tests have are seeds as well.
  seeds=()
  [[ -d seeds/$target ]] && seeds+=("seeds/$target")
  [[ $target == config ]] && seeds+=(../conf ../tests/golden/config)
  mkdir -p "corpus/$target"
  cargo fuzz build --fuzz-dir . "$target"
  echo "== $target, ${seconds} s"
  # A hang is a finding like a crash. What is found is kept in artifacts/.
  cargo fuzz run --fuzz-dir . "$target" "corpus/$target" "${seeds[@]}" -- \
    -max_total_time="$seconds" -timeout=10 -verbosity=0 -print_final_stats=1
done
