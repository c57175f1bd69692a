#!/usr/bin/env bash
# The release program once more, laid out by a profile of its own work (PGO): built with counters,
# put to the work of `make bench`, built again by what they say, and compared with the plain release
# build. Takes two release builds from nothing; needs rustup's component llvm-tools.
#
#   scripts/pgo.sh            target/pgo/TRIPLE/release/tollgate, and the comparison
set -euo pipefail
cd "$(dirname "$0")/.."

triple=$(rustc -vV | sed -n 's/^host: //p')
merge=$(rustc --print sysroot)/lib/rustlib/$triple/bin/llvm-profdata
[[ -x $merge ]] || rustup component add llvm-tools

profile=$PWD/target/pgo/profile
counted=target/pgo-counted/$triple/release/tollgate
laid_out=target/pgo/$triple/release/tollgate
rm -rf "$profile" && mkdir -p "$profile"

# With a target named, build scripts and macros are left as they are.
RUSTFLAGS="-Cprofile-generate=$profile" \
  cargo build --release --bin tollgate --target "$triple" --target-dir target/pgo-counted
PROGRAM=$counted REPEATS=1 SECONDS_EACH=${SECONDS_EACH:-10} load-tests/bench.sh >/dev/null
"$merge" merge -o "$profile/merged" "$profile"/*.profraw
RUSTFLAGS="-Cprofile-use=$profile/merged" \
  cargo build --release --bin tollgate --target "$triple" --target-dir target/pgo

for program in target/release/tollgate "$laid_out"; do
  printf '\n%s\n' "$program"
  PROGRAM=$program load-tests/bench.sh 2>/dev/null
done
