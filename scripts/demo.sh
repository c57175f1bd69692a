#!/usr/bin/env bash
# Plays the story against a real gateway and a real bank in a box, step by step, and says of each
# whether it went as promised. ONCE=1: exit afterwards, with 0 only if every step held.
set -euo pipefail

bin=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
gateway=http://127.0.0.1:8080
identity=http://127.0.0.1:7106
bank_control=http://127.0.0.1:7107
export TOLLGATE_STATE="$work/state" TOLLGATE_ADMIN_TOKEN="demo-admin-token"
bank_pid= tollgate_pid=
source "$root/scripts/demo-lib.sh"

stop() {
  # After Ctrl-C they may have gone already; what is left must be removed all the same.
  for pid in $tollgate_pid $bank_pid; do
    kill "$pid" 2>/dev/null || true
  done
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

free 8080 9901 7101 7102 7103 7104 7105 7106 7107

start_tollgate() {
  "$bin/tollgate" run --config "$root/conf/demo.yaml" >>"$work/tollgate.log" 2>&1 &
  tollgate_pid=$!
  await "Tollgate" http://127.0.0.1:9901/ready "$work/tollgate.log"
}

echo "Starting a bank in a box (five account services, an identity provider) and Tollgate ..."
"$bin/demo-bank" >"$work/bank.log" 2>&1 &
bank_pid=$!
await "The bank" "$identity/.well-known/openid-configuration" "$work/bank.log"
start_tollgate

bearer=$(token budget)
echo
table
ask "1  account 4711, first read: five services asked" 4711 200 backends 3
ask "2  the same again: no service asked" 4711 200 cache 2
ask "3  and again" 4711 200 cache 1
ask "4  and again" 4711 200 cache 0
ask "5  the fifth unattended read of the day" 4711 429 gateway 0
sed 's/^/       /; s/,"/,\n        "/g' "$work/body" && echo
[[ $(grep -c 'quota-exceeded' "$work/body") == 1 ]] || failed=1
ask "6  the customer is present: not counted" 4711 200 cache - -H 'x-fapi-customer-ip-address: 203.0.113.7'
ask "7  another account of the same client" 4712 200 backends 3
bearer=$(token ledger)
ask "8  another client, the first account" 4711 200 backends 3
bearer=$(token budget)

# Counts are durable before an answer is sent; answers reach the disk a moment later.
for _ in $(seq 100); do
  curl -sf http://127.0.0.1:9901/cache | grep -q '"queued":0' && break
  sleep 0.05
done
echo
echo "kill -9 of Tollgate, and a new start on the same directory ..."
kill -9 "$tollgate_pid"
wait "$tollgate_pid" 2>/dev/null || true
start_tollgate
echo
ask "9  the first account: its count is still there" 4711 429 gateway 0
ask "10 the second account: its answer is still there" 4712 200 cache 2

finish "$work/tollgate.log"
cat <<TRY
  curl -i -H "Authorization: Bearer \$TOKEN" $gateway/accounts/4713/summary
  ${bin#"$root"/}/tollgate quota show 4711
  ${bin#"$root"/}/tollgate cache show 4711
  TOLLGATE_ADMIN_TOKEN=$TOLLGATE_ADMIN_TOKEN ${bin#"$root"/}/tollgate quota reset 4711
  curl -s -X PUT -d '{"fault":"slow"}' -H 'content-type: application/json' $bank_control/fault/cards   # one service is slow
  curl -s http://127.0.0.1:9901/metrics | grep tollgate_quota
TRY
wait "$tollgate_pid"
