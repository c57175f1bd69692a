# shellcheck shell=bash
# What the load tests run against: two banks, and one gateway or three on a real Kafka, all on this
# machine. Sourced by run.sh, which sets root, bin and work, and keeps them if keep is set. PORT_SHIFT
# moves all ports.
# shellcheck disable=SC2034,SC2154

declare -A pids=()
shift_by=${PORT_SHIFT:-0}

port() { echo $(($1 + shift_by)); }
at() { echo "127.0.0.1:$(port "$1")"; }

# Whose end is shown if something does not come up.
die() { # what, log
  keep=1
  echo "$1; its log ends with:" >&2
  tail -n 20 "$2" >&2
  exit 1
}

await() { # name of a process, url; its log has its name
  for _ in {1..600}; do
    curl -sf -o /dev/null "$2" && return
    kill -0 "${pids[$1]}" 2>/dev/null || die "$1 ended" "$work/$1.log"
    sleep 0.1
  done
  die "$1 did not come up" "$work/$1.log"
}

free() { # ports
  local each
  for each in "$@"; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$(port "$each")") 2>/dev/null; then
      echo "Port $(port "$each") is in use; the tests need it (PORT_SHIFT=4000 takes others)." >&2
      exit 1
    fi
  done
}

kill_hard() { # name: as a crash does, without a chance to tidy up
  local status=0
  kill -9 "${pids[$1]}" 2>/dev/null || true
  wait "${pids[$1]}" 2>/dev/null || status=$?
  # Any other status than that of this signal: it was gone before.
  ((status == 137)) || die "$1 had ended by itself before it was to be killed (exit status $status)" "$work/$1.log"
  unset "pids[$1]"
}

stop_stack() {
  local name
  # At once: what they keep is of no use to anybody, and a fleet's gateways would wait for somebody who
  # takes their accounts over.
  for name in "${!pids[@]}"; do kill -9 "${pids[$name]}" 2>/dev/null || true; done
  exec 9>&- # Kafka ends with its standard input.
  for name in "${!pids[@]}"; do wait "${pids[$name]}" 2>/dev/null || true; done
  [[ -z ${kafka:-} ]] || wait "$kafka" 2>/dev/null || true
  pids=() kafka=
}

# ---- banks

start_bank() { # 1 or 2
  "$bin/demo-bank" --port-base "$(port "71$(($1 - 1))1")" --delay 5ms --keys-dir "$work/keys-$1" >>"$work/bank-$1.log" 2>&1 &
  pids[bank-$1]=$!
}

start_banks() {
  free 7101 7102 7103 7104 7105 7106 7107 7111 7112 7113 7114 7115 7116 7117
  start_bank 1
  start_bank 2
  await_bank 1
  await_bank 2
}

await_bank() { # 1 or 2
  await "bank-$1" "http://$(at "71$(($1 - 1))6")/healthz"
}

bank_requests() { # 1 or 2: how many it has had for accounts
  curl -sf "http://$(at "71$(($1 - 1))7")/counts" | sed 's/.*"total":\([0-9]*\).*/\1/'
}

# ---- gateways

# A file with all its ports of this machine moved.
moved() {
  awk -v by="$shift_by" '{
    line = ""
    while (match($0, /127\.0\.0\.1:[0-9]+/)) {
      line = line substr($0, 1, RSTART + 9) (substr($0, RSTART + 10, RLENGTH - 10) + by)
      $0 = substr($0, RSTART + RLENGTH)
    }
    print line $0
  }' "$1"
}

# A fleet's gateways serve what the one of load.yaml does.
fleet_configuration() { # number
  cat <<YAML
include: [routes.yaml]
listen: [{ address: $(at "808$1"), limits: { max_connections_per_address: 10000 } }]
admin: { address: $(at "990$1"), token: "\${env:TOLLGATE_ADMIN_TOKEN}" }
state: { directory: $work/state-$1, account_key: 0123456789abcdef0123456789abcdef }
observe: { access_log: off }
cache: { sealing_keys: [fedcba9876543210fedcba9876543210] }
kafka: { brokers: [$(at 19092)], topic_prefix: load, partitions: 12, replication: 1 }
fleet:
  listen: $(at "844$1")
  advertise: $(at "844$1")
  authorities: $work/fleet-ca.pem
  certificate: $work/gateway-$1.pem
  key: $work/gateway-$1.key
YAML
}

# By these the gateways of a fleet know each other.
certificates() {
  local n new=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
  openssl req -x509 "${new[@]}" -days 2 -subj "/CN=load test fleet" \
    -keyout "$work/fleet-ca.key" -out "$work/fleet-ca.pem" 2>>"$work/openssl.log"
  for n in 1 2 3; do
    openssl req "${new[@]}" -subj "/CN=gateway $n" \
      -keyout "$work/gateway-$n.key" -out "$work/gateway-$n.csr" 2>>"$work/openssl.log"
    openssl x509 -req -in "$work/gateway-$n.csr" -CA "$work/fleet-ca.pem" -CAkey "$work/fleet-ca.key" -CAcreateserial \
      -days 2 -extfile <(echo "subjectAltName=IP:127.0.0.1") -out "$work/gateway-$n.pem" 2>>"$work/openssl.log"
  done
}

start_gateway() { # number; the one without a fleet is 0
  TOLLGATE_STATE="$work/state-$1" "$bin/tollgate" run --config "$work/gateway-$1.yaml" >>"$work/gateway-$1.log" 2>&1 &
  pids[gateway-$1]=$!
}

await_gateway() { # number
  local admin=990$1
  [[ $1 != 0 ]] || admin=9901
  await "gateway-$1" "http://$(at "$admin")/ready"
}

# Until each gateway owns something, so that nobody's share is about to move.
await_owners() { # how many
  local owners
  for _ in {1..600}; do
    owners=$(curl -sf "http://$(at 9901)/fleet" | sed 's/.*"owners":\[\([^]]*\)\].*/\1/' | tr ',' '\n' | grep -c '127.0.0.1:' || true)
    [[ $owners != "$1" ]] || { sleep 1; return; }
    sleep 0.1
  done
  die "The accounts were not shared out among the gateways" "$work/gateway-1.log"
}

# Each gateway's first requests to each other one, so that no test begins with them: on a busy machine
# a first connection may take so long that its owner seems to be gone.
warm_fleet() {
  local n account token
  token=$(curl -sf -d 'grant_type=client_credentials&client_id=client-0&client_secret=secret-0' "http://$(at 7106)/token" |
    sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  for account in {1..12}; do
    for n in 1 2 3; do
      curl -s -o /dev/null -H "Authorization: Bearer $token" "http://$(at "808$n")/accounts/warm-$account/transactions" || true
    done
  done
}

start_single() {
  free 8080 9901
  start_banks
  moved "$root/load-tests/load.yaml" >"$work/gateway-0.yaml"
  start_gateway 0
  await_gateway 0
  GATEWAYS=http://$(at 8080)
  ADMIN=http://$(at 9901)
  export GATEWAYS ADMIN
}

start_fleet() {
  local n
  free 8081 8082 8083 9901 9902 9903 8441 8442 8443 19092 19093 19094
  "$root/scripts/kafka.sh" fetch >/dev/null
  mkfifo "$work/kafka-input"
  "$root/scripts/kafka.sh" run "$work/kafka" --port "$(port 19092)" <"$work/kafka-input" >"$work/kafka.log" 2>&1 &
  kafka=$!
  exec 9>"$work/kafka-input"
  rm "$work/kafka-input"
  start_banks
  certificates
  moved "$root/load-tests/load.yaml" | sed -n '/^identity:/,$p' >"$work/routes.yaml"
  for n in 1 2 3; do fleet_configuration $n >"$work/gateway-$n.yaml"; done
  for _ in {1..1200}; do
    ! grep -q '^ready' "$work/kafka.log" || break
    sleep 0.1
  done
  grep -q '^ready' "$work/kafka.log" || die "Kafka did not come up" "$work/kafka.log"
  "$bin/tollgate" kafka init --config "$work/gateway-1.yaml" >"$work/kafka-init.log" 2>&1 ||
    die "Kafka could not be set up" "$work/kafka-init.log"
  for n in 1 2 3; do start_gateway $n; done
  for n in 1 2 3; do await_gateway $n; done
  await_owners 3
  warm_fleet
  GATEWAYS=http://$(at 8081),http://$(at 8082),http://$(at 8083)
  ADMIN=http://$(at 9901),http://$(at 9902),http://$(at 9903)
  # Kept answers belong to a host: behind a load balancer all gateways have the same.
  export GATEWAYS ADMIN HOST=api.bank.example
}
