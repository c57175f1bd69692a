#!/usr/bin/env bash
# Installs Tollgate on this machine, or takes it away again. State, logs and configuration stay
# until `purge`.
#
#   scripts/install.sh install FOLDER_WITH_THE_PROGRAM
#   scripts/install.sh uninstall
#   scripts/install.sh purge
#
# PREFIX (default /usr) is where the program goes; with DESTDIR the files go under that folder, as
# packagers need it, and nothing else is done.
set -euo pipefail
cd "$(dirname "$0")/.."

prefix=${PREFIX:-/usr}
dest=${DESTDIR:-}
units=$dest/usr/lib/systemd/system
share=$dest$prefix/share
etc=$dest/etc/tollgate
[[ -n $dest ]] || ((EUID == 0)) || { echo "Run it as root, or with DESTDIR." >&2; exit 1; }

has_systemd() { [[ -z $dest && -d /run/systemd/system ]]; }

files=("$dest$prefix/bin/tollgate" "$units/tollgate.service" "$units/tollgate.socket" "$dest/usr/lib/sysusers.d/tollgate.conf"
  "$share/man/man1/tollgate.1.gz" "$share/bash-completion/completions/tollgate"
  "$share/zsh/site-functions/_tollgate" "$share/fish/vendor_completions.d/tollgate.fish")

install_all() {
  local program=$1/tollgate
  [[ -x $program ]] || { echo "$program is not there: build it first." >&2; exit 1; }
  install -D -m 0755 "$program" "$dest$prefix/bin/tollgate"
  install -d "$units"
  sed "s#/usr/bin/tollgate#$prefix/bin/tollgate#" conf/systemd/tollgate.service >"$units/tollgate.service"
  chmod 0644 "$units/tollgate.service"
  install -m 0644 conf/systemd/tollgate.socket "$units/tollgate.socket"
  install -D -m 0644 conf/systemd/tollgate.sysusers "$dest/usr/lib/sysusers.d/tollgate.conf"
  install -d "$share"/{man/man1,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,doc/tollgate}
  "$program" man | gzip -9n >"$share/man/man1/tollgate.1.gz"
  "$program" completions bash >"$share/bash-completion/completions/tollgate"
  "$program" completions zsh >"$share/zsh/site-functions/_tollgate"
  "$program" completions fish >"$share/fish/vendor_completions.d/tollgate.fish"
  install -m 0644 README.md LICENSE CHANGELOG.md docs/* "$share/doc/tollgate/"
  if [[ -z $dest ]]; then
    getent passwd tollgate >/dev/null || systemd-sysusers tollgate.conf
  fi
  install -d -m 0755 "$etc"
  if [[ ! -e $etc/tollgate.yaml ]]; then
    install -m 0640 conf/example.yaml "$etc/tollgate.yaml"
    [[ -n $dest ]] || chgrp tollgate "$etc/tollgate.yaml"
  fi
  if has_systemd; then systemctl daemon-reload; fi
  echo "Installed. Edit /etc/tollgate/tollgate.yaml, then: systemctl enable --now tollgate"
}

uninstall() {
  if has_systemd; then systemctl disable --now tollgate 2>/dev/null || true; fi
  rm -f "${files[@]}"
  rm -rf "$share/doc/tollgate"
  if has_systemd; then systemctl daemon-reload; fi
}

purge() {
  uninstall
  rm -rf "$etc" "$dest/var/lib/tollgate" "$dest/var/log/tollgate"
  if [[ -z $dest ]] && getent passwd tollgate >/dev/null; then userdel tollgate; fi
}

case ${1:-} in
  install) install_all "${2:?where is the program?}" ;;
  uninstall) uninstall ;;
  purge) purge ;;
  *) sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
