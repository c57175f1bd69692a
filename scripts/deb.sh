#!/usr/bin/env bash
# A Debian package of a program that is built already: target/debian/tollgate_VERSION_ARCH.deb, or in another folder.
#
#   scripts/deb.sh FOLDER_WITH_THE_PROGRAM [FOLDER_FOR_THE_PACKAGE]
set -euo pipefail
program=$(cd "$1" && pwd)/tollgate
folder=${2:+$(cd "$2" && pwd)}
cd "$(dirname "$0")/.."

command -v cargo-deb >/dev/null || cargo install --quiet --locked cargo-deb --version 3.8.0
extra=target/package
mkdir -p $extra
cp "$program" $extra/tollgate
"$program" man >$extra/tollgate.1
"$program" completions bash >$extra/tollgate.bash
"$program" completions zsh >$extra/_tollgate
"$program" completions fish >$extra/tollgate.fish
cargo deb --no-build --quiet ${folder:+--output "$folder"}
