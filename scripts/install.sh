#!/usr/bin/env bash
# Installs Tollgate on this machine, or takes it away again. State, logs, configuration (with that of
# logrotate) and the user stay until `purge`; what the administrator made (/etc/systemd/system/tollgate.*.d,
# tollgate.previous) stays for good.
#
#   scripts/install.sh install FOLDER_WITH_THE_PROGRAM
#   scripts/install.sh uninstall
#   scripts/install.sh purge
#
# PREFIX (default /usr) is where the program goes; with DESTDIR the files go under that folder, as
# packagers need it, and nothing else is done.
set -euo pipefail
cd "$(dirname "$0")/.."
# What is installed is for everybody to read, whatever the caller's own files are.
umask 022

prefix=${PREFIX:-/usr}
dest=${DESTDIR:-}
units=$dest/usr/lib/systemd/system
share=$dest$prefix/share
etc=$dest/etc/tollgate
rotation=$dest/etc/logrotate.d/tollgate
[[ -n $dest ]] || ((EUID == 0)) || { echo "Run it as root, or with DESTDIR." >&2; exit 1; }

has_systemd() { [[ -z $dest && -d /run/systemd/system ]]; }

files=("$dest$prefix/bin/tollgate" "$units/tollgate.service" "$units/tollgate.socket" "$dest/usr/lib/sysusers.d/tollgate.conf"
  "$share/man/man1/tollgate.1.gz" "$share/bash-completion/completions/tollgate"
  "$share/zsh/site-functions/_tollgate" "$share/fish/vendor_completions.d/tollgate.fish")

# A file of conf/ with the prefix in its paths.
with_prefix() { # file, where to
  sed -e "s#/usr/bin/tollgate#$prefix/bin/tollgate#g" -e "s#/usr/share/doc/tollgate#$prefix/share/doc/tollgate#g" "$1" >"$2"
  chmod 0644 "$2"
}

install_all() {
  local program=$1/tollgate
  [[ -x $program ]] || { echo "$program is not there: build it first." >&2; exit 1; }
  # Moved into its place: a gateway that is started, or upgraded, at this moment finds a whole program.
  install -D -m 0755 "$program" "$dest$prefix/bin/tollgate.new"
  mv -f "$dest$prefix/bin/tollgate.new" "$dest$prefix/bin/tollgate"
  install -d "$units"
  with_prefix conf/systemd/tollgate.service "$units/tollgate.service"
  with_prefix conf/systemd/tollgate.socket "$units/tollgate.socket"
  install -D -m 0644 conf/sysusers/tollgate.conf "$dest/usr/lib/sysusers.d/tollgate.conf"
  install -d "$share"/{man/man1,bash-completion/completions,zsh/site-functions,fish/vendor_completions.d,doc/tollgate/{performance,prometheus}}
  "$program" man | gzip -9n >"$share/man/man1/tollgate.1.gz"
  "$program" completions bash >"$share/bash-completion/completions/tollgate"
  "$program" completions zsh >"$share/zsh/site-functions/_tollgate"
  "$program" completions fish >"$share/fish/vendor_completions.d/tollgate.fish"
  install -m 0644 README.md LICENSE CHANGELOG.md docs/*.md docs/*.json "$share/doc/tollgate/"
  install -m 0644 docs/performance/* "$share/doc/tollgate/performance/"
  install -m 0644 conf/prometheus/* "$share/doc/tollgate/prometheus/"
  if [[ -z $dest ]]; then
    getent passwd tollgate >/dev/null || systemd-sysusers tollgate.conf
  fi
  install -d -m 0755 "$etc"
  if [[ ! -e $etc/tollgate.yaml ]]; then
    install -m 0640 conf/example.yaml "$etc/tollgate.yaml"
    [[ -n $dest ]] || chgrp tollgate "$etc/tollgate.yaml"
  fi
  [[ -e $rotation ]] || install -D -m 0644 conf/logrotate/tollgate "$rotation"
  if has_systemd; then systemctl daemon-reload; fi
  if has_systemd && systemctl --quiet is-active tollgate.service; then
    echo "Installed. The gateway that runs is still the earlier one. To replace it without downtime:"
    echo "  systemctl kill -s USR2 --kill-whom=main tollgate"
    echo "Gateways of a fleet are restarted instead, one after the other: systemctl restart tollgate"
  else
    echo "Installed. Edit /etc/tollgate/tollgate.yaml, then: systemctl enable --now tollgate"
  fi
}

# Both units are down and no longer enabled, or this ends here. Both in one call: a socket that is left
# starts the service again with the next connection.
stop_units() {
  local unit state said
  # Units that are not loaded are an error to it, and as good as stopped.
  said=$(systemctl stop tollgate.socket tollgate.service 2>&1) || true
  for unit in tollgate.socket tollgate.service; do
    state=$(systemctl is-active "$unit") || true
    case $state in
      inactive | failed | unknown) ;;
      *)
        [[ -z $said ]] || echo "$said" >&2
        echo "$unit is ${state:-unknown to systemctl}: nothing was removed. \`systemctl status $unit\` may say why it" \
          "was not stopped; stop it, then run this again." >&2
        exit 1
        ;;
    esac
  done
  for unit in tollgate.socket tollgate.service; do
    if [[ -e $units/$unit ]]; then systemctl disable --quiet "$unit"; fi
  done
}

uninstall() {
  local each
  if has_systemd; then stop_units; fi
  rm -f "${files[@]}"
  rm -rf "$share/doc/tollgate"
  if has_systemd; then
    # One that failed would be shown for ever.
    systemctl reset-failed tollgate.socket tollgate.service 2>/dev/null || true
    systemctl daemon-reload
  fi
  for each in "$dest"/etc/systemd/system/tollgate.*.d "$dest$prefix/bin/tollgate.previous"; do
    if [[ -e $each ]]; then echo "Left to you: $each"; fi
  done
}

purge() {
  uninstall
  rm -rf "$etc" "$rotation" "$dest/var/lib/tollgate" "$dest/var/log/tollgate"
  if [[ -z $dest ]] && getent passwd tollgate >/dev/null; then userdel tollgate; fi
}

case ${1:-} in
  install) install_all "${2:?where is the program?}" ;;
  uninstall) uninstall ;;
  purge) purge ;;
  *) sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p' >&2; exit 2 ;;
esac
