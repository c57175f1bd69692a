#!/usr/bin/env bash
# Tries the unit, scripts/install.sh and the Debian package in a real systemd: a small Debian is booted in a container,
# and there Tollgate is installed, started, reloaded, upgraded, stuck, killed, stopped and taken away again, with
# nothing left of it. Needs root. The container's network is its own: no port of this machine is needed.
#
#   scripts/systemd.sh FOLDER_WITH_THE_PROGRAM
#
#   DEB=FILE   the package to try; without it scripts/deb.sh makes one of the program
set -euo pipefail

bin=$(cd "$1" && pwd)
deb=${DEB:+$(realpath "$DEB")}
root=$(cd "$(dirname "$0")/.." && pwd)
((EUID == 0)) || { echo "This boots a container: run it as root." >&2; exit 1; }
[[ -x $bin/tollgate ]] || { echo "$bin/tollgate is not there: build it first." >&2; exit 1; }
for tool in debootstrap systemd-nspawn; do
  command -v $tool >/dev/null || {
    apt-get update -qq
    apt-get install -y -qq debootstrap systemd-container
  }
done

packages=systemd,systemd-sysv,dbus,curl,ca-certificates,logrotate
cache=${TOLLGATE_TEST_CACHE:-$HOME/.cache/tollgate-tests}/bookworm-$(cksum <<<"$packages" | cut -d ' ' -f 1)
if [[ ! -e $cache/complete ]]; then
  rm -rf "$cache"
  mkdir -p "$(dirname "$cache")"
  debootstrap --variant=minbase --include=$packages bookworm "$cache"
  touch "$cache/complete"
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cp -a "$cache" "$work/root"
machine=$work/root

# What scripts/install.sh takes its files from.
mkdir -p "$machine/opt/source/scripts" "$machine/opt/program"
cp -a "$root"/{conf,docs,README.md,LICENSE,CHANGELOG.md} "$machine/opt/source/"
cp -a "$root/scripts/install.sh" "$machine/opt/source/scripts/"
cp "$bin/tollgate" "$machine/opt/program/"

# The package, and an earlier version of it: the same under another number.
if [[ -z $deb ]]; then
  mkdir "$work/deb"
  "$root/scripts/deb.sh" "$bin" "$work/deb"
  deb=$(echo "$work"/deb/*.deb)
fi
cp "$deb" "$machine/opt/later.deb"
dpkg-deb --raw-extract "$deb" "$work/earlier"
sed -i 's/^Version: .*/Version: 0.0.0-1/' "$work/earlier/DEBIAN/control"
dpkg-deb -Zgzip -z1 --build --root-owner-group "$work/earlier" "$machine/opt/earlier.deb" >/dev/null

# A site: its configuration, its secret, and what it adds to the unit.
mkdir -p "$machine/opt/site/tollgate.service.d"
cat >"$machine/opt/site/tollgate.yaml" <<'YAML'
listen: [{ address: 127.0.0.1:80 }]
admin: { address: 127.0.0.1:9901 }
state: { directory: /var/lib/tollgate, account_key: "${file:/run/credentials/tollgate.service/account.key}" }
observe: { access_log: { file: /var/log/tollgate/access.log } }
routes:
  - { id: hello, match: { path: /hello }, authenticate: none, answer: { body: hello } }
YAML
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$machine/opt/site/account.key"
chmod 0600 "$machine/opt/site/account.key"
# A short watchdog, so that nobody waits for it.
cat >"$machine/opt/site/tollgate.service.d/site.conf" <<'UNIT'
[Service]
LoadCredential=account.key:/etc/tollgate/account.key
WatchdogSec=2
UNIT

cat >"$machine/usr/local/bin/try" <<'TRY'
#!/bin/bash
export yaml=/etc/tollgate/tollgate.yaml
export installer=/opt/source/scripts/install.sh
export DEBIAN_FRONTEND=noninteractive
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
exposure() { systemd-analyze security tollgate --no-pager | sed -n 's/.*exposure level for tollgate.service: \([0-9.]*\).*/\1/p'; }
# Owner, group and mode.
whose() { stat -c '%U:%G %a' "$1"; }
# Neither runs, and systemd knows of neither.
no_units() {
  until_so '[[ -z $(systemctl list-units --all --no-legend "tollgate.*")$(systemctl list-unit-files --no-legend "tollgate.*") ]]'
}
# What is said goes to /tmp/said.
package() { apt-get install -y -qq -o Dpkg::Use-Pty=0 --allow-downgrades "$1" >/tmp/said 2>&1 || { cat /tmp/said; false; }; }
version() { dpkg-query -W -f '${Version}' tollgate; }
# The files, and folders of that name; without what others write.
everything() {
  find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /var/tmp -o -path /opt \
    -o -path /var/cache -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/lib/logrotate -o -path /var/lib/systemd \
    -o -path /var/log/apt -o -path /var/log/journal -o -path '/var/log/*.log' -o -path /etc/.pwd.lock -o -path '/etc/*-' \) \
    -prune -o \( ! -type d -o -name '*tollgate*' \) -print | sort
}
# What has come since the list in a file was made; nothing must have.
nothing_left() { # file
  local left
  left=$(comm -13 "$1" <(everything); getent passwd tollgate; getent group tollgate)
  [[ -z $left ]] || { echo "$left"; false; }
}
export -f pid hello waiting status restarts until_so exposure whose no_units package version everything nothing_left

# The site's own, beside what was installed.
site() {
  cat /opt/site/tollgate.yaml >$yaml
  cp /opt/site/account.key /etc/tollgate/
  mkdir -p /etc/systemd/system/tollgate.socket.d
  cp -r /opt/site/tollgate.service.d /etc/systemd/system/
  printf '[Socket]\nListenStream=\nListenStream=127.0.0.1:80\n' >/etc/systemd/system/tollgate.socket.d/site.conf
  systemctl daemon-reload
}
site_gone() { rm -r /etc/systemd/system/tollgate.{service,socket}.d; systemctl daemon-reload; }

echo "install.sh"
everything >/tmp/before
step "installs, with a user and a configuration that is for it to read" \
  '$installer install /opt/program >/dev/null && [[ $(whose $yaml) == "root:tollgate 640" ]] && getent passwd tollgate >/dev/null'
site

echo "the unit"
step "starts, and serves when systemctl returns" 'systemctl start tollgate && [[ $(hello) == hello ]]'
step "runs as its own user, on port 80" '[[ $(stat -c %U /proc/$(pid)) == tollgate ]]'
step "takes its account key by LoadCredential" '[[ -e /var/lib/tollgate/account.fingerprint && ! -e /var/lib/tollgate/account.key ]]'
step "tells of its open files" 'curl -s http://127.0.0.1:9901/metrics | grep -q "^process_open_fds [1-9]"'
level=$(exposure) && export level
step "is exposed by no more than 1.5, as systemd-analyze says (${level:-nothing})" '[[ -n $level ]] && awk -v l="$level" "BEGIN { exit !(l <= 1.5) }"'
sed -i 's/body: hello/body: changed/' $yaml
step "reloads" 'systemctl reload tollgate && until_so "[[ \$(hello) == changed ]]"'
before=$(pid); export before
cp $yaml "$good"
sed -i 's/authenticate: none/authentcate: none/' $yaml
step "a bad reload fails, says why, and leaves the old configuration in use" '! systemctl reload tollgate 2>/dev/null && journalctl -u tollgate | grep -q authentcate && until_so "status | grep -q refused" && [[ $(hello) == changed && $(pid) == "$before" ]]'
cp "$good" $yaml
step "is good again after the next reload" 'systemctl reload tollgate && until_so "[[ \$(status) == serving ]]" && [[ $(hello) == changed ]]'
step "a rotated log goes on in a new file, for the same readers" 'logrotate --force /etc/logrotate.d/tollgate && [[ -s /var/log/tollgate/access.log.1 ]] && until_so "hello; [[ -s /var/log/tollgate/access.log ]]" && [[ $(whose /var/log/tollgate/access.log) == "tollgate:tollgate 640" ]]'
step "upgrades, and systemd follows the new process" 'systemctl kill -s USR2 --kill-whom=main tollgate && until_so "[[ \$(pid) != $before && \$(hello) == changed && ! -e /proc/$before ]]"'
before=$(pid); export before
step "the new process is fed to the watchdog and reloads" 'sleep 5; [[ $(pid) == "$before" ]] && systemctl reload tollgate && until_so "[[ \$(status) == serving ]]" && [[ $(hello) == changed ]]'
kill -STOP "$before"
step "a gateway that is stuck is killed by the watchdog and started again" 'until_so "[[ \$(pid) != $before && \$(hello) == changed ]]" && journalctl -u tollgate | grep -qi "watchdog timeout"'
before=$(pid); export before
kill -KILL "$before"
step "a crash is followed by a start" 'until_so "[[ \$(pid) != $before && \$(hello) == changed ]]"'
step "stops in order" 'systemctl stop tollgate && journalctl -u tollgate | grep -q "\"stopped\"" && [[ $(systemctl show -p Result --value tollgate) == success ]]'
step "takes the ports of the socket unit, and nothing is refused while it is down" 'systemctl start tollgate.socket && [[ $(waiting) == changed ]] && systemctl restart tollgate && [[ $(waiting) == changed ]]'
systemctl stop tollgate.socket tollgate
sed -i 's/authenticate: none/authentcate: none/' $yaml
step "a wrong configuration is not tried again" '! systemctl start tollgate 2>/dev/null && until_so "[[ \$(systemctl is-active tollgate) == failed ]]" && [[ $(restarts) == 0 ]]'
cp "$good" $yaml

echo "install.sh again"
systemctl enable --quiet --now tollgate.socket tollgate.service
step "says that the gateway that runs is the earlier one" '$installer install /opt/program | grep -q "kill -s USR2" && [[ $(hello) == changed ]]'
printf '[Unit]\nRefuseManualStop=yes\n' >/etc/systemd/system/tollgate.socket.d/refuse.conf
systemctl daemon-reload
step "uninstall removes nothing while a unit can't be stopped" '! $installer uninstall 2>/tmp/said && grep -q "tollgate.socket is active: nothing was removed" /tmp/said && [[ -e /usr/bin/tollgate && $(waiting) == changed ]]'
rm /etc/systemd/system/tollgate.socket.d/refuse.conf
systemctl daemon-reload
step "uninstall stops socket and service, and names what it leaves" '$installer uninstall >/tmp/said && grep -q "Left to you: /etc/systemd/system/tollgate.socket.d" /tmp/said && no_units'
step "configuration, state, logs and the user stay" '[[ -e $yaml && -e /etc/logrotate.d/tollgate && -e /var/lib/tollgate/account.fingerprint && -e /var/log/tollgate/access.log ]] && getent passwd tollgate >/dev/null'
step "of the program nothing stays" '[[ -z $(find /usr /etc/systemd \( -name "*tollgate*" -o -lname "*tollgate*" \) ! -name "tollgate.*.d") ]]'
step "uninstall may be said again" '$installer uninstall >/dev/null'
step "purge takes those too" '$installer purge >/dev/null'
site_gone
step "and nothing is left" 'nothing_left /tmp/before'

echo "the Debian package"
everything >/tmp/before
step "installs, and starts and enables nothing" 'package /opt/earlier.deb && [[ $(systemctl is-active tollgate)/$(systemctl is-enabled tollgate) == inactive/disabled && $(whose $yaml) == "root:tollgate 640" ]]'
site
chmod 0644 $yaml
systemctl enable --quiet --now tollgate
before=$(pid); export before
step "a later version leaves the gateway as it runs, and says how to replace it" 'package /opt/later.deb && [[ $(version) != 0.0.0-1 && $(pid) == "$before" && $(hello) == hello ]] && grep -q "systemctl kill -s USR2" /tmp/said'
step "the configuration is the administrator's, its mode too" '[[ $(whose $yaml) == "root:tollgate 644" ]] && cmp $yaml /opt/site/tollgate.yaml'
step "what it says replaces the gateway" 'eval "$(grep -o "systemctl kill -s USR2 --kill-whom=main tollgate" /tmp/said)" && until_so "[[ \$(pid) != $before && \$(hello) == hello ]]"'
before=$(pid); export before
step "so does an earlier version" 'package /opt/earlier.deb && [[ $(version) == 0.0.0-1 && $(pid) == "$before" && $(hello) == hello ]]'
step "remove stops it, and leaves configuration, state and logs" 'apt-get remove -y -qq tollgate >/dev/null 2>&1 && [[ $(systemctl is-active tollgate) != active && ! -e /usr/bin/tollgate && -e $yaml && -e /var/lib/tollgate/account.fingerprint && -e /var/log/tollgate/access.log ]]'
step "installed again it finds them" 'package /opt/later.deb && systemctl start tollgate && [[ $(hello) == hello && $(whose $yaml) == "root:tollgate 644" ]]'
step "purge takes those too" 'apt-get purge -y -qq tollgate >/dev/null 2>&1 && no_units'
site_gone
step "and nothing is left" 'nothing_left /tmp/before'

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

timeout --kill-after=10 600 systemd-nspawn -D "$machine" --private-network --register=no --keep-unit -b --console=pipe \
  >"$work/console" 2>&1 </dev/null || true
cat "$machine/try.out" || tail -n 40 "$work/console"
grep -q '^RESULT ok' "$machine/try.out"
