#!/usr/bin/env bash
# Installs what building Tollgate needs on Debian and Ubuntu: a C and C++ compiler, cmake, perl and
# pkg-config (OpenSSL and the crypto library are built from source); with `tests` also what only tests
# need. Does nothing where all is there.
set -euo pipefail

declare -A package=([gcc]=gcc [g++]=g++ [make]=make [cmake]=cmake [perl]=perl [pkg-config]=pkg-config [curl]=curl [openssl]=openssl)
[[ ${1:-} != tests ]] || package+=([valgrind]=valgrind [taskset]=util-linux)
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
echo '#include <stdio.h>' | ${CC:-cc} -E - >/dev/null 2>&1 || missing+=(libc6-dev)

if ((${#missing[@]})); then
  if ! command -v apt-get >/dev/null; then
    echo "Please install: ${missing[*]}" >&2
    exit 1
  fi
  root=()
  ((EUID == 0)) || root=(sudo)
  echo "Installing ${missing[*]}"
  "${root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

command -v cargo >/dev/null || {
  echo "Please install a Rust toolchain (https://rustup.rs), 1.92 or newer." >&2
  exit 1
}
