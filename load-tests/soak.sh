#!/usr/bin/env bash
# Whether memory stays flat: a steady load (wrk) for 20 minutes, with a reload that changes all endpoints and
# a purge every ten seconds, and resident memory looked at every five. Before that, what fills is filled by five
# minutes of load as fast as it goes. Passes if the mean of the last quarter
# is no more than 5 % and 4 MiB above that of the second one, and nothing went wrong meanwhile; the exit
# status says so. (`run.sh soak` is about what clients see; this is about memory.)
#
#   load-tests/soak.sh           prints the table and draws target/figures/soak.svg
#   WRITE=1 load-tests/soak.sh   and puts both into docs/
#
#   BIN=folder              where tollgate and demo-bank are; without it they are built
#   WARM_UP=300             seconds of load as fast as it goes, before anything is looked at
#   MINUTES=20 RATE=500 CONNECTIONS=32 ACCOUNTS=500 (at a time: each minute some are new)
#   FIRST_PORT=18600 OUTPUT=target/figures DOCS=docs KEEP=1 (leaves logs and state)
set -euo pipefail
[[ -z ${BIN:-} ]] || BIN=$(cd "$BIN" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=load-tests/programs.sh
source load-tests/programs.sh

need_wrk
need_programs --bin tollgate --bin demo-bank
export BIN PYTHONDONTWRITEBYTECODE=1
exec python3 load-tests/figures/soak.py
