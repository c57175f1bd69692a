#!/usr/bin/env bash
# A run of every fuzz target, from its seeds and from what earlier runs found worth keeping.
#
#   make fuzz                               every target for 30 s
#   SECONDS_EACH=300 fuzz/run.sh config     one target for longer
#   fuzz/run.sh config INPUT                one input again, to see what was found
#   SANITIZER=address fuzz/run.sh           with AddressSanitizer: needs a nightly toolchain
#
# README.md says what each target holds to be true, and what to do with a finding.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

seconds=${SECONDS_EACH:-30}
targets=(config condition path token template json_edits record)
(($#)) && targets=("$1")
input=${2:+$(realpath "$2")}

host=$(rustc -vV | sed -n 's/^host: //p')
built=target/${SANITIZER:-}
# What tells libFuzzer which branches an input has taken. These flags any compiler takes, so the
# toolchain that builds the product is enough; see README.md.
coverage=(level=4 inline-8bit-counters pc-table trace-compares stack-depth)
flags="--cfg fuzzing -Cpasses=sancov-module ${coverage[*]/#/-Cllvm-args=-sanitizer-coverage-}"
if [[ -n ${SANITIZER:-} ]]; then
  export RUSTUP_TOOLCHAIN=${RUSTUP_TOOLCHAIN:-nightly}
  flags="$flags -Zsanitizer=$SANITIZER"
fi

build() {
  # The same versions of everything as the product has; what only the fuzzers need is added.
  [[ Cargo.lock -nt ../Cargo.lock ]] || cp ../Cargo.lock .
  # With --target the flags stay away from build scripts and macros.
  RUSTFLAGS=$flags cargo build --quiet --release --target "$host" \
    --target-dir "$built" "${targets[@]/#/--bin=}"
}

# What the seeds of `config` name: certificates, keys and secrets, in a folder of their own. The
# secrets begin as the target expects, which looks for them in what is shown.
world() {
  world=$here/target/world
  export TOLLGATE_ADMIN_TOKEN=zq7-secret-of-the-fuzzer-in-the-environment
  [[ -e $world/done ]] && return
  mkdir -p "$world/conf.d" && cd "$world"
  cp "$here"/../tests/golden/config-full/conf.d/*.yaml conf.d
  local name
  for name in account.key kafka.password; do echo "zq7-secret-of-the-fuzzer-in-$name" >$name; done
  certificate ca -addext basicConstraints=critical,CA:TRUE
  certificate server -addext subjectAltName=DNS:backend.internal
  certificate gateway -CA ca.pem -CAkey ca.key -addext subjectAltName=DNS:gateway-1.bank.internal
  touch "$world/done"
  cd "$here"
}

certificate() {
  openssl req -config <(printf '[req]\ndistinguished_name=dn\n[dn]\n') -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 \
    -subj "/CN=$1" -keyout "$1.key" -out "$1.pem" "${@:2}" 2>/dev/null
}

# Seeds of a target. The configurations that the tests have are seeds as well.
seeds() {
  mkdir -p "seeds/$1" "target/seeds/$1" "corpus/$1" artifacts
  cp -r "seeds/$1/." "target/seeds/$1"
  [[ $1 == config ]] || return 0
  local file
  for file in ../conf/*.yaml ../tests/golden/config/*.yaml ../tests/golden/config-full/*.yaml; do
    cp "$file" "target/seeds/$1"
  done
}

# A slow input is a finding like a crash; what is found is kept in artifacts/.
run() {
  local program=$here/$built/$host/release/$1 log=$here/artifacts/$1.log
  if [[ -n $input ]]; then
    cd target/world && exec "$program" -timeout=10 "$input"
  fi
  echo "== $1, $seconds s"
  if ! (cd target/world && "$program" "$here/corpus/$1" "$here/target/seeds/$1" -timeout=10 \
    -max_total_time="$seconds" -artifact_prefix="$here/artifacts/$1-" -print_final_stats=1) \
    >"$log" 2>&1 </dev/null; then
    tail -n 60 "$log" >&2
    echo "A finding: again with fuzz/run.sh $1 ${log%.log}-…" >&2
    return 1
  fi
  grep -aP '^#\d+\s+DONE' "$log"
}

build
world
failed=()
for target in "${targets[@]}"; do
  seeds "$target"
  run "$target" || failed+=("$target")
done
((${#failed[@]} == 0)) || { echo "Findings in: ${failed[*]}" >&2; exit 1; }
