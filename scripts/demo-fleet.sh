#!/usr/bin/env bash
# The story through three gateways on a real Kafka, with the owner of an account killed in the middle.
# ONCE=1: exit afterwards, with 0 only if every step held.
set -euo pipefail

bin=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
identity=http://127.0.0.1:7106
bank_control=http://127.0.0.1:7107
kafka_port=19092
export TOLLGATE_ADMIN_TOKEN="demo-admin-token"
source "$root/scripts/demo-lib.sh"
bank_pid=
declare -A pids=()

stop() {
  local pid
  for pid in "${pids[@]}" $bank_pid; do kill "$pid" 2>/dev/null || true; done
  exec 9>&- 2>/dev/null || true # Kafka ends with its standard input.
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

free 8081 8082 8083 9901 9902 9903 8441 8442 8443 $kafka_port 7101 7102 7103 7104 7105 7106 7107

# Certificates of the fleet's own authority: by these gateways know each other.
certificates() {
  local n
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=demo fleet" \
    -keyout "$work/fleet-ca.key" -out "$work/fleet-ca.pem" 2>/dev/null
  for n in 1 2 3; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=gateway $n" \
      -keyout "$work/gateway-$n.key" -out "$work/gateway-$n.csr" 2>/dev/null
    openssl x509 -req -in "$work/gateway-$n.csr" -CA "$work/fleet-ca.pem" -CAkey "$work/fleet-ca.key" -CAcreateserial \
      -days 2 -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$work/gateway-$n.pem" 2>/dev/null
  done
}

# What the gateways serve is the story of conf/demo.yaml; each has ports and a folder of its own.
configuration() { # number
  sed -n '/^identity:/,$p' "$root/conf/demo.yaml" >"$work/bank.yaml"
  cat >"$work/gateway-$1.yaml" <<YAML
include: [bank.yaml]
listen: [{ address: 127.0.0.1:808$1 }]
admin: { address: 127.0.0.1:990$1, token: "\${env:TOLLGATE_ADMIN_TOKEN}" }
state: { directory: $work/state-$1, account_key: 0123456789abcdef0123456789abcdef }
cache: { sealing_keys: [fedcba9876543210fedcba9876543210] }
kafka: { brokers: [127.0.0.1:$kafka_port], topic_prefix: demo, partitions: 12, replication: 1 }
fleet:
  listen: 127.0.0.1:844$1
  advertise: 127.0.0.1:844$1
  authorities: $work/fleet-ca.pem
  certificate: $work/gateway-$1.pem
  key: $work/gateway-$1.key
YAML
}

start() { # number
  "$bin/tollgate" run --config "$work/gateway-$1.yaml" >>"$work/gateway-$1.log" 2>&1 &
  pids[$1]=$!
}

ready() { # number
  await "Gateway $1" "http://127.0.0.1:990$1/ready" "$work/gateway-$1.log"
}

# The number of the gateway that owns an account, as gateway $2 sees it.
owner_of() { # account, number
  curl -sf "http://127.0.0.1:990$2/quotas/$1" | sed 's/.*"owner":"127.0.0.1:844\([123]\)".*/\1/'
}

# Each gateway owns something, so that nobody's share is about to move.
shared_out() {
  local owners
  for _ in $(seq 300); do
    owners=$(curl -sf "http://127.0.0.1:9901/fleet" | sed 's/.*"owners":\[\([^]]*\)\].*/\1/' | tr ',' '\n' | grep -c 844 || true)
    [[ $owners == "$1" ]] && sleep 1 && return 0
    sleep 0.1
  done
  echo "The partitions were not shared out." >&2
  exit 1
}

via() { # number, then what `ask` takes
  local number=$1
  shift
  gateway=http://127.0.0.1:808$number
  ask "$@" -H 'Host: api.bank.example'
}

echo "Starting Apache Kafka, a bank in a box and three gateways ..."
mkfifo "$work/kafka-input"
"$root/scripts/kafka.sh" run "$work/kafka" --port $kafka_port <"$work/kafka-input" >"$work/kafka.log" 2>&1 &
exec 9>"$work/kafka-input"
"$bin/demo-bank" >"$work/bank.log" 2>&1 &
bank_pid=$!
certificates
for _ in $(seq 1200); do
  grep -q '^ready' "$work/kafka.log" && break
  sleep 0.1
done
grep -q '^ready' "$work/kafka.log" || { tail -n 20 "$work/kafka.log" >&2; exit 1; }
await "The bank" "$identity/.well-known/openid-configuration" "$work/bank.log"
for number in 1 2 3; do configuration $number; done
"$bin/tollgate" kafka init --config "$work/gateway-1.yaml"
for number in 1 2 3; do start $number; done
for number in 1 2 3; do ready $number; done
shared_out 3

bearer=$(token budget)
echo
table
via 1 "1  gateway 1: account 4711, first read" 4711 200 backends 3
via 2 "2  gateway 2: the same, no service asked" 4711 200 cache 2
via 3 "3  gateway 3: and again" 4711 200 cache 1

owner=$(owner_of 4711 1)
others=($(for number in 1 2 3; do [[ $number == "$owner" ]] || echo "$number"; done))
# The answer is on the topic a moment after it was given.
sleep 1
echo
echo "kill -9 of gateway $owner, which counts this account ..."
kill -9 "${pids[$owner]}"
wait "${pids[$owner]}" 2>/dev/null || true
echo
via "${others[0]}" "4  gateway ${others[0]}: takes over; count and answer are there" 4711 200 cache 0
via "${others[1]}" "5  gateway ${others[1]}: the fifth unattended read of the day" 4711 429 gateway 0
via "${others[0]}" "6  gateway ${others[0]}: the customer is present, not counted" 4711 200 cache - -H 'x-fapi-customer-ip-address: 203.0.113.7'
via "${others[1]}" "7  gateway ${others[1]}: another account of the same client" 4712 200 backends 3
echo
echo "gateway $owner is started again ..."
start "$owner"
ready "$owner"
shared_out 3
echo
via "$owner" "8  gateway $owner: the first account is still used up" 4711 429 gateway 0
via "$owner" "9  gateway $owner: the second account's answer is known" 4712 200 cache 2

echo
"$bin/tollgate" fleet --admin "http://127.0.0.1:990$owner" | cut -c1-110
finish "$work"/gateway-*.log
cat <<TRY
  curl -i -H "Authorization: Bearer \$TOKEN" -H 'Host: api.bank.example' http://127.0.0.1:8081/accounts/4713/summary
  ${bin#"$root"/}/tollgate fleet --admin http://127.0.0.1:9902
  ${bin#"$root"/}/tollgate quota show 4713 --admin http://127.0.0.1:9903
TRY
wait "${pids[1]}"
