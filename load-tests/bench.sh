#!/usr/bin/env bash
# CPU per request on one pinned core, against a bare Pingora proxy built with the same flags, in one
# run: core 0 has the gateway under test, core 1 the load (wrk) and the backend. CPU is the operating
# system's accounting of the gateway's process, so it doesn't matter how fast the load is.
#
#   make bench            five repeats of 5 s; the median counts
#   REPEATS=3 SECONDS_EACH=3 make bench
#   BIN=folder           where tollgate, demo-bank and examples/bench-peer are; without it they are built
#   PROGRAM=path/to/tollgate make bench         another build of the gateway
set -euo pipefail
[[ -z ${BIN:-} ]] || BIN=$(cd "$BIN" && pwd)
cd "$(dirname "$0")/.."
# shellcheck source=load-tests/programs.sh
source load-tests/programs.sh

repeats=${REPEATS:-5}
seconds=${SECONDS_EACH:-5}
connections=${CONNECTIONS:-32}

need_wrk
need_programs --bin tollgate --bin demo-bank --example bench-peer
program=${PROGRAM:-$BIN/tollgate}

work=$(mktemp -d)
pids=()
# At once: the bare proxy would wait minutes for connections to end.
trap 'kill -9 "${pids[@]}" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"' EXIT
export TOLLGATE_STATE="$work/state" TOLLGATE_ADMIN_TOKEN=bench
peer=$BIN/examples/bench-peer

await() {
  for _ in $(seq 200); do curl -s -o /dev/null "$1" && return; sleep 0.05; done
  echo "$1 did not come up" >&2; exit 1
}

taskset -c 1 "$BIN/demo-bank" >"$work/bank.log" 2>&1 & pids+=($!)
taskset -c 1 "$peer" backend 127.0.0.1:7201 >"$work/backend.log" 2>&1 & pids+=($!)
taskset -c 0 "$peer" proxy 127.0.0.1:7202 127.0.0.1:7201 >"$work/bare.log" 2>&1 & bare=$!; pids+=($bare)
await http://127.0.0.1:7106/jwks.json; await http://127.0.0.1:7201/; await http://127.0.0.1:7202/

# One route, and the same among 10,000.
load-tests/bench/config.sh 1 >"$work/one.yaml"
load-tests/bench/config.sh 10000 >"$work/many.yaml"

token=$(curl -sf -u budget-app:budget-secret -d 'grant_type=client_credentials&scope=accounts:read' http://127.0.0.1:7106/token |
  sed 's/.*"access_token":"\([^"]*\)".*/\1/')

ticks() { awk '{print $14 + $15}' "/proc/$1/stat"; }
hertz=$(getconf CLK_TCK)

# Microseconds of CPU per request: pid, url.
measure() {
  local before after requests
  before=$(ticks "$1")
  requests=$(taskset -c 1 wrk -t 1 -c "$connections" -d "${seconds}s" -H "Authorization: Bearer $token" "$2" |
    awk '/requests in/{n=$1} /Non-2xx/{bad=1} END{if (bad) n=0; print n}')
  after=$(ticks "$1")
  ((requests > 0)) || { echo "requests to $2 failed" >&2; exit 1; }
  awk -v t=$((after - before)) -v hz="$hertz" -v n="$requests" 'BEGIN{printf "%.2f\n", t * 1e6 / hz / n}'
}

gateway=
with() { # configuration
  [[ -z $gateway ]] || { kill "$gateway"; wait "$gateway" 2>/dev/null || true; }
  rm -rf "$TOLLGATE_STATE"
  taskset -c 0 "$program" run --config "$1" >"$work/tollgate.log" 2>&1 & gateway=$!; pids+=($gateway)
  for _ in $(seq 200); do curl -sf -o /dev/null http://127.0.0.1:9901/ready && return; sleep 0.05; done
  tail -n 20 "$work/tollgate.log" >&2; exit 1
}

declare -A samples
take() { # name, pid, url
  local value; value=$(measure "$2" "$3")
  samples[$1]+="$value "
}

base=http://127.0.0.1:8080
for repeat in $(seq "$repeats"); do
  echo "repeat $repeat of $repeats" >&2
  with "$work/one.yaml"
  take bare "$bare" http://127.0.0.1:7202/plain/1
  take plain "$gateway" $base/plain/1
  take full "$gateway" $base/full/1
  curl -s -o /dev/null -H "Authorization: Bearer $token" $base/cached/1
  take hit "$gateway" $base/cached/1
  with "$work/many.yaml"
  take plain10000 "$gateway" $base/plain/1
done

median() { tr ' ' '\n' <<<"$1" | grep . | sort -n | awk '{v[NR]=$1} END{print (NR%2) ? v[(NR+1)/2] : (v[NR/2]+v[NR/2+1])/2}'; }
bare_median=$(median "${samples[bare]}")
printf '\n| work | us of CPU per request (median of %s) | x bare Pingora |\n|---|---|---|\n' "$repeats"
for name in bare plain plain10000 full hit; do
  value=$(median "${samples[$name]}")
  case $name in
    bare) what="bare Pingora, proxied" ;;
    plain) what="Tollgate, no policies, 1 route" ;;
    plain10000) what="Tollgate, no policies, 10,000 routes" ;;
    full) what="Tollgate, everything on (JWT, scope, rate, fast quota, metrics, access log), proxied" ;;
    hit) what="Tollgate, everything on, answered from the cache's memory" ;;
  esac
  awk -v w="$what" -v v="$value" -v b="$bare_median" 'BEGIN{printf "| %s | %.1f | %.2f |\n", w, v, v / b}'
done
