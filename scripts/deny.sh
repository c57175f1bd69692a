#!/usr/bin/env bash
# Licences, bans and sources of all dependencies; known holes too, where their list can be fetched.
set -euo pipefail

version=0.20.2
if ! cargo deny --version 2>/dev/null | grep -qF "$version"; then
  echo "Installing cargo-deny $version"
  # Unoptimised: it runs for a second and would build for minutes.
  cargo install --quiet --locked --debug "cargo-deny@$version"
fi
cargo deny --log-level error check licenses bans sources

if cargo deny --log-level error fetch db >/dev/null 2>&1; then
  cargo deny --log-level error check advisories
else
  echo "advisories: skipped, their database can't be fetched from here"
fi
