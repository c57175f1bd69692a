#!/usr/bin/env bash
# A fleet of this version and another, on a real Kafka: counts, cached answers, hand-over and
# take-over, on the way up and on the way back. The other is any tag, branch or commit.
#
#   scripts/two-versions.sh v0.1.0
set -euo pipefail
cd "$(dirname "$0")/.."

ref=${1:?which other version: a tag, branch or commit}
commit=$(git rev-parse --verify "$ref^{commit}")
tree=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate/versions/$commit
if [[ ! -x $tree/target/debug/tollgate ]]; then
    mkdir -p "$tree"
    git archive "$commit" | tar -x -C "$tree"
    (cd "$tree" && TOLLGATE_COMMIT=$commit CARGO_TARGET_DIR=target cargo build --locked --bin tollgate)
fi
scripts/kafka.sh fetch >/dev/null
TOLLGATE_OTHER=$tree/target/debug/tollgate \
    cargo test --test e2e two_versions -- --ignored --nocapture
