#!/usr/bin/env bash
# What Tollgate's memory goes to, by the kernel's accounting: bytes for each idle connection (HTTP/1.1, TLS,
# HTTP/2), kept answer, account in the ledger and route, as slopes between few and many, and what a gateway
# takes that does nothing. Some twenty-five minutes; it should be the only thing that the machine does.
#
#   load-tests/memory.sh           prints the table
#   WRITE=1 load-tests/memory.sh   and puts it into docs/performance.md
#
#   BIN=folder              where tollgate, demo-bank and examples/bench-peer are; without it they are built
#   ONLY=connections,ledger parts: base, connections, cache, ledger, routes
#   REPEATS=3               gateways for each figure
#   CONNECTIONS=2000,10000 ENTRIES=25000,100000 ACCOUNTS=125000,1000000 ROUTES=1000,10000
#                           few and many. A power of two between them has hash tables as full at both
#   BOUNDS=32,256           MiB of cache.memory
#   FIRST_PORT=18600 OUTPUT=target/figures DOCS=docs KEEP=1 (leaves logs and state)
set -euo pipefail
[[ -z ${BIN:-} ]] || BIN=$(cd "$BIN" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=load-tests/programs.sh
source load-tests/programs.sh

need_programs --bin tollgate --bin demo-bank --example bench-peer
export BIN PYTHONDONTWRITEBYTECODE=1
exec python3 load-tests/figures/memory.py
