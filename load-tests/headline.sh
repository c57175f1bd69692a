#!/usr/bin/env bash
# The two headline figures, each next to its budget: cached account reads a minute with everything on, on the
# whole machine with the load generator; and a cached read against a cold one of five services of 100 ms, in
# the gateway's own time. They are figures and no tests: a budget that is missed is said, and the exit status
# is 0. Some three minutes; it should be the only thing that the machine does.
#
#   load-tests/headline.sh           prints both
#   WRITE=1 load-tests/headline.sh   and puts them into docs/performance.md
#
#   BIN=folder              where tollgate, demo-bank and examples/bench-peer are; without it they are built
#   ONLY=reads or ratio     one of them
#   SECONDS_EACH=60 ACCOUNTS=1000 CONNECTIONS=16,32,64,128,256 PROBE_SECONDS=4
#                           reads: for how long, of how many accounts; what is tried before, for how long each
#   COLD_READS=100 PAUSE=0.01
#                           ratio: how many, and seconds between two requests (the demo has a rate)
#   FIRST_PORT=18600 OUTPUT=target/figures DOCS=docs KEEP=1 (leaves logs and state)
set -euo pipefail
[[ -z ${BIN:-} ]] || BIN=$(cd "$BIN" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=load-tests/programs.sh
source load-tests/programs.sh

need_wrk
need_programs --bin tollgate --bin demo-bank --example bench-peer
export BIN PYTHONDONTWRITEBYTECODE=1
exec python3 load-tests/figures/headline.py
