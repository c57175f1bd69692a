#!/usr/bin/env bash
# Tries the unit in a real systemd: a small Debian is booted in a container, Tollgate installed into
# it by scripts/install.sh, and started, reloaded, stuck, killed and stopped there. Needs root.
#
#   scripts/systemd.sh FOLDER_WITH_THE_PROGRAM
set -euo pipefail

bin=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${TOLLGATE_TEST_CACHE:-$HOME/.cache/tollgate-tests}/bookworm-systemd
((EUID == 0)) || { echo "This boots a container: run it as root." >&2; exit 1; }
for tool in debootstrap systemd-nspawn; do
  command -v $tool >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq debootstrap systemd-container
  }
done

if [[ ! -e $cache/complete ]]; then
  rm -rf "$cache"
  mkdir -p "$(dirname "$cache")"
  debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,curl bookworm "$cache"
  touch "$cache/complete"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp -a "$cache" "$work/root"
machine=$work/root

# As `make install` does.
DESTDIR=$machine "$root/scripts/install.sh" install "$bin" >/dev/null
chroot "$machine" systemd-sysusers
chroot "$machine" chgrp tollgate /etc/tollgate/tollgate.yaml
mkdir -p "$machine"/etc/systemd/system/tollgate.{service,socket}.d
cat >"$machine/etc/tollgate/tollgate.yaml" <<'YAML'
listen: [{ address: 127.0.0.1:80 }]
admin: { address: 127.0.0.1:9901 }
state: { directory: /var/lib/tollgate, account_key: "${file:/run/credentials/tollgate.service/account.key}" }
observe: { access_log: { file: /var/log/tollgate/access.log } }
routes:
  - { id: hello, match: { path: /hello }, authenticate: none, answer: { body: hello } }
YAML
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$machine/etc/tollgate/account.key"
chmod 0600 "$machine/etc/tollgate/account.key"
# A short watchdog, so that nobody waits for it.
cat >"$machine/etc/systemd/system/tollgate.service.d/site.conf" <<'UNIT'
[Service]
LoadCredential=account.key:/etc/tollgate/account.key
WatchdogSec=2
UNIT

cat >"$machine/usr/local/bin/try" <<'TRY'
#!/bin/bash
yaml=/etc/tollgate/tollgate.yaml
good=$(mktemp)
failed=0
step() { # what, command
  if bash -c "$2"; then echo "  ok     $1"; else echo "  WRONG  $1"; failed=1; fi
}
pid() { systemctl show -p MainPID --value tollgate; }
hello() { curl -s --max-time 5 http://127.0.0.1/hello; }
waiting() { curl -s --max-time 60 http://127.0.0.1/hello; }
status() { systemctl show -p StatusText --value tollgate; }
restarts() { systemctl show -p NRestarts --value tollgate; }
# Waits for a condition, with a bound.
until_so() { for _ in $(seq 300); do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.1; done; return 1; }
export -f pid hello waiting status restarts until_so

step "starts, and serves when systemctl returns" 'systemctl start tollgate && [[ $(hello) == hello ]]'
step "runs as its own user, on port 80" '[[ $(stat -c %U /proc/$(pid)) == tollgate ]]'
step "takes its account key by LoadCredential" '[[ -e /var/lib/tollgate/account.fingerprint && ! -e /var/lib/tollgate/account.key ]]'
sed -i 's/body: hello/body: changed/' $yaml
step "reloads" 'systemctl reload tollgate && until_so "[[ \$(hello) == changed ]]"'
before=$(pid); export before
cp $yaml "$good"
sed -i 's/authenticate: none/authentcate: none/' $yaml
step "a bad reload leaves the old configuration in use" 'systemctl reload tollgate; until_so "status | grep -q refused" && [[ $(hello) == changed && $(pid) == "$before" ]]'
cp "$good" $yaml
step "is good again after the next reload" 'systemctl reload tollgate; until_so "[[ \$(status) == serving ]]" && [[ $(hello) == changed ]]'
step "upgrades, and systemd follows the new process" 'systemctl kill -s USR2 --kill-whom=main tollgate && until_so "[[ \$(pid) != $before && \$(hello) == changed && ! -e /proc/$before ]]"'
before=$(pid); export before
step "the new process is fed to the watchdog and reloads" 'sleep 5; [[ $(pid) == "$before" ]] && systemctl reload tollgate && until_so "[[ \$(status) == serving ]]" && [[ $(hello) == changed ]]'
kill -STOP "$before"
step "a gateway that is stuck is killed by the watchdog and started again" 'until_so "[[ \$(pid) != $before && \$(hello) == changed ]]" && journalctl -u tollgate | grep -qi "watchdog timeout"'
before=$(pid); export before
kill -KILL "$before"
step "a crash is followed by a start" 'until_so "[[ \$(pid) != $before && \$(hello) == changed ]]"'
step "stops in order" 'systemctl stop tollgate && journalctl -u tollgate | grep -q "\"stopped\"" && [[ $(systemctl show -p Result --value tollgate) == success ]]'
printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:80\n' >/etc/systemd/system/tollgate.socket.d/site.conf
step "takes the ports of the socket unit, and nothing is refused while it is down" 'systemctl daemon-reload && systemctl start tollgate.socket && [[ $(waiting) == changed ]] && systemctl restart tollgate && [[ $(waiting) == changed ]]'
systemctl stop tollgate.socket tollgate
sed -i 's/authenticate: none/authentcate: none/' $yaml
step "a wrong configuration is not tried again" '! systemctl start tollgate 2>/dev/null && until_so "[[ \$(systemctl is-active tollgate) == failed ]]" && [[ $(restarts) == 0 ]]'
echo "  exposure by systemd-analyze security: $(systemd-analyze security tollgate --no-pager | tail -n 1)"
((failed)) && { journalctl -u tollgate --no-pager | tail -n 40; echo "RESULT wrong"; } || echo "RESULT ok"
systemctl poweroff --force --force
TRY
chmod 0755 "$machine/usr/local/bin/try"
cat >"$machine/etc/systemd/system/try.service" <<'UNIT'
[Unit]
After=multi-user.target dbus.service
[Service]
Type=oneshot
ExecStart=/usr/local/bin/try
StandardOutput=file:/try.out
StandardError=inherit
[Install]
WantedBy=multi-user.target
UNIT
chroot "$machine" systemctl enable --quiet try.service

timeout --kill-after=10 300 systemd-nspawn -D "$machine" --register=no --keep-unit -b --console=pipe >"$work/console" 2>&1 </dev/null || true
cat "$machine/try.out" || tail -n 40 "$work/console"
grep -q '^RESULT ok' "$machine/try.out"
