# shellcheck shell=bash
# What bench.sh, headline.sh, memory.sh and soak.sh need before they measure. Sourced, in the repository's
# folder.

need_wrk() {
  command -v wrk >/dev/null && return
  local root=()
  ((EUID == 0)) || root=(sudo)
  "${root[@]}" apt-get update -qq && "${root[@]}" apt-get install -y -qq wrk
}

# Sets BIN, the folder of the programs, to an absolute path; without one they are built.
need_programs() { # what cargo builds
  if [[ -z ${BIN:-} ]]; then
    cargo build --release "$@"
    BIN=${CARGO_TARGET_DIR:-target}/release
  fi
  BIN=$(cd "$BIN" && pwd)
}
