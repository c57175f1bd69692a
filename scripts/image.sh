#!/usr/bin/env bash
# Builds the image from the Dockerfile and tries it as a container, guarded as in conf/kubernetes: not root, no
# capability, a root that can't be written to, a network of its own. Needs Debian or Ubuntu, root, and no Docker.
#
#   scripts/image.sh            builds and tries; the image is target/image/tollgate.tar, for `docker load`, or
#                               tollgate-trial.tar, if it was not built on the real base images
#   scripts/image.sh try        tries what is built
#   scripts/image.sh clean      removes what it made
#
# Base images are pulled. Where no registry of images can be reached they are made from Debian's packages and
# the Rust toolchain that is here: good for a trial, not for a bank. Such a stand-in has the label tollgate.stand-in,
# and gives way to the real one as soon as that can be pulled. The table at the end says which were used.
set -euo pipefail
cd "$(dirname "$0")/.."
((EUID == 0)) || { echo "This builds and runs containers: run it as root." >&2; exit 1; }

what=${1:-all}
work=$PWD/target/image
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# With "-dirty" if the sources are not those of the commit.
commit=$(git describe --always --dirty --abbrev=12 --exclude='*' 2>/dev/null || echo unknown)
tag=localhost/tollgate:$version
mkdir -p "$work"

declare -A package=([buildah]=buildah [debootstrap]=debootstrap [runc]=runc [jq]=jq [curl]=curl [openssl]=openssl)
missing=()
for tool in "${!package[@]}"; do
  command -v "$tool" >/dev/null || missing+=("${package[$tool]}")
done
if ((${#missing[@]})); then
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# A storage of its own. Overlay where the file system allows it: the other one copies every layer whole.
export BUILDAH_ISOLATION=${BUILDAH_ISOLATION:-chroot}
storage=(--root "$work/storage" --runroot "$work/run")
driver=overlay
buildah "${storage[@]}" --storage-driver $driver info >/dev/null 2>&1 || driver=vfs
b() { buildah "${storage[@]}" --storage-driver $driver "$@"; }

containers=()
tidy() {
  local each
  for each in "${containers[@]}"; do runc --root "$work/runc" delete --force "$each" 2>/dev/null || true; done
  b rm --all >/dev/null 2>&1 || true
}
trap tidy EXIT

if [[ $what == clean ]]; then
  tidy
  b rmi --all --force >/dev/null 2>&1 || true
  if grep -qF " $work/" /proc/mounts; then
    echo "Something is still mounted in $work." >&2
    exit 1
  fi
  rm -rf --one-file-system "$work"
  trap - EXIT
  exit
fi

# ---- building

# In the build the registries are reached as from here: by this machine's settings, which are mounted and so
# are in no layer.
host=()
settings_of_this_machine() {
  local authorities=${CARGO_HTTP_CAINFO:-${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}}
  local cargo=${CARGO_HOME:-$HOME/.cargo}/config.toml
  rm -rf "$work/host"
  mkdir -p "$work/host/cargo"
  if [[ -r $authorities ]]; then
    cp -L "$authorities" "$work/host/cargo/authorities.pem"
    printf '[http]\ncainfo = "/.cargo/authorities.pem"\n' >"$work/host/cargo/config.toml"
    host+=(--volume "$work/host/cargo:/.cargo:ro")
  fi
  if [[ -r $cargo ]]; then host+=(--volume "$cargo:/usr/local/cargo/config.toml:ro"); fi
  apt-config dump Acquire 2>/dev/null | grep -i '::proxy' >"$work/host/apt" || true
  if [[ -s $work/host/apt ]]; then host+=(--volume "$work/host/apt:/etc/apt/apt.conf.d/99host:ro"); fi
}

have() { b images --quiet "docker.io/library/$1" >/dev/null 2>&1; }
of_base() { b inspect --type image "docker.io/library/$1" | jq -r "$2"; }
is_stand_in() { [[ $(of_base "$1" '.OCIv1.config.Labels["tollgate.stand-in"]') == 1 ]]; }

# As Debian's slim image: the smallest root.
make_debian() { # suite
  local container root
  container=$(b from scratch)
  root=$(b mount "$container")
  debootstrap --variant=minbase "$1" "$root" >"$work/debootstrap.log" 2>&1 || { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
  rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
  b config --cmd bash --label tollgate.stand-in=1 "$container"
  b commit --quiet --rm "$container" "docker.io/library/debian:$1-slim" >/dev/null
}

make_rust() { # version, suite
  local toolchain container root each
  toolchain=$(rustc "+$1" --print sysroot 2>/dev/null || rustc --print sysroot)
  echo "  with $("$toolchain/bin/rustc" --version)"
  base "debian:$2-slim"
  container=$(b from --pull=never "docker.io/library/debian:$2-slim")
  root=$(b mount "$container")
  for each in bin lib libexec; do
    if [[ -d $toolchain/$each ]]; then cp -a "$toolchain/$each" "$root/usr/local/"; fi
  done
  # zlib's headers are in the real one too.
  b run "${host[@]}" "$container" -- sh -ec 'apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates gcc libc6-dev zlib1g-dev
    rm -rf /var/lib/apt/lists/*' >"$work/rust.log" 2>&1 || { tail -n 20 "$work/rust.log" >&2; exit 1; }
  b config --env CARGO_HOME=/usr/local/cargo --cmd bash --label tollgate.stand-in=1 "$container"
  b commit --quiet --rm "$container" "docker.io/library/rust:$1-$2" >/dev/null
}

base() { # name
  if have "$1" && ! is_stand_in "$1"; then return; fi
  if timeout 900 buildah "${storage[@]}" --storage-driver $driver pull --quiet "docker.io/library/$1" >"$work/pull.log" 2>&1; then return; fi
  echo "$1 can't be pulled ($(tail -n 1 "$work/pull.log" | cut -c1-200)): a stand-in, made from packages, takes its place"
  if have "$1"; then return; fi
  case $1 in
    *@*) echo "There is no stand-in for $1, which is named by its digest: build where it can be pulled." >&2 && exit 1 ;;
    debian:*-slim) [[ $1 =~ ^debian:(.*)-slim$ ]] && make_debian "${BASH_REMATCH[1]}" ;;
    rust:*-*) [[ $1 =~ ^rust:([0-9.]+)-(.*)$ ]] && make_rust "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" ;;
    *) echo "There is no way to make $1." >&2 && exit 1 ;;
  esac
}

build() { # context, further arguments
  local context=$1
  shift
  b build --layers --pull=never --format docker "${host[@]}" --build-arg "COMMIT=$commit" --build-arg "VERSION=$version" "$@" "$context"
}

if [[ $what == all ]]; then
  settings_of_this_machine
  stages=$(sed -n 's/^FROM .* AS //p' Dockerfile)
  rm -f "$work/bases"
  bases=$work/bases.new
  : >"$bases"
  for name in $(sed -n 's/^FROM \([^ ]*\).*/\1/p' Dockerfile | sort -u); do
    if [[ $name == scratch ]] || grep -qxF "$name" <<<"$stages"; then continue; fi
    base "$name"
    if is_stand_in "$name"; then
      echo "$name STAND-IN: made from packages, for a trial only"
    else
      echo "$name $(of_base "$name" .FromImageDigest)"
    fi >>"$bases"
  done
  echo "Building $tag of $commit ($driver)"
  began=$SECONDS
  if ! build . --tag "$tag" >"$work/build.log" 2>&1; then
    tail -n 40 "$work/build.log" >&2
    exit 1
  fi
  build_time=$((SECONDS - began))
  # None of another build: who looks for the image must not find that one.
  rm -f "$work/tollgate.tar" "$work/tollgate-trial.tar"
  name=tollgate
  ! grep -q STAND-IN "$bases" || name=tollgate-trial
  b push --quiet "$tag" "docker-archive:$work/$name.tar:$name:$version"
  mv "$bases" "$work/bases"
fi
[[ -e $work/bases ]] || echo "STAND-IN or not: nobody has noted it; build again" >"$work/bases"

# ---- trying

failed=0
row() { printf '  %-72s %-7s %s\n' "$@"; }
proof() { # what, a word that says more, command
  local what=$1 more=$2
  shift 2
  verdict=ok
  "$@" >"$work/proof.log" 2>&1 || verdict=failed failed=1
  row "$what" $verdict "$more"
  [[ $verdict == ok ]] || tail -n 5 "$work/proof.log"
}
# Without it the rest can't be tried.
must() {
  proof "$@"
  [[ $verdict == ok ]] || { echo "What the gateways said is in $said."; exit 1; }
}
megabytes() { awk -v n="$1" 'BEGIN { printf "%.1f MB", n / 1e6 }'; }
now() { echo "${EPOCHREALTIME//[.,]/}"; }
seconds() { awk -v n="$1" 'BEGIN { printf "%.2f s", n / 1e6 }'; }

container=$(b from --pull=never "$tag")
root=$(b mount "$container")
bundle=$work/bundle
said=$work/said
rm -rf "$bundle" "$work/state" "$work/etc" "$said"
mkdir -p "$bundle" "$work/etc" "$said"
b inspect --type image "$tag" >"$work/inspect.json"
of_image() { jq -r "$1" "$work/inspect.json"; }
mapfile -t health < <(of_image '.Docker.config.Healthcheck.Test[1:][]')
stop_signal=$(of_image '.OCIv1.config.StopSignal')
printf 'nameserver 127.0.0.1\n' >"$work/etc/resolv.conf"
printf '127.0.0.1 localhost\n' >"$work/etc/hosts"
# As a volume is filled at its first use: what the image has there, and whose it is.
cp -a "$root/var/lib/tollgate" "$work/state"

# A container. It has what the image says (program, arguments, user, environment), and is guarded as by
# `docker run --read-only --cap-drop ALL --security-opt no-new-privileges`.
start() { # name, true for a root that can't be written to, folder for /etc/tollgate, other arguments and environment as JSON
  local name=$1
  jq -n --slurpfile image "$work/inspect.json" --arg root "$root" --argjson readonly "$2" --arg etc "$3" \
    --argjson other "${4:-null}" --argjson env "${5:-[]}" --arg work "$work" '
    $image[0].OCIv1.config as $config
    | def bind(from; to; options): { type: "bind", source: from, destination: to, options: (["rbind", "nosuid", "nodev"] + options) };
    { ociVersion: "1.0.2", hostname: "tollgate",
      root: { path: $root, readonly: $readonly },
      process: {
        args: ($config.Entrypoint + ($other // $config.Cmd)),
        env: (($config.Env // []) + $env), cwd: "/", terminal: false, noNewPrivileges: true, capabilities: {},
        user: ($config.User | split(":") | map(tonumber) | { uid: .[0], gid: .[1] }) },
      mounts: [
        { type: "proc", source: "proc", destination: "/proc" },
        { type: "tmpfs", source: "tmpfs", destination: "/dev", options: ["nosuid", "mode=755", "size=64k"] },
        { type: "sysfs", source: "sysfs", destination: "/sys", options: ["nosuid", "noexec", "nodev", "ro"] },
        bind($work + "/etc/resolv.conf"; "/etc/resolv.conf"; ["ro"]),
        bind($work + "/etc/hosts"; "/etc/hosts"; ["ro"]),
        bind($etc; "/etc/tollgate"; ["ro"]),
        bind($work + "/state"; ($config.Volumes | keys[0]); ["rw"])],
      linux: {
        namespaces: (["pid", "mount", "ipc", "uts", "network"] | map({ type: . })),
        maskedPaths: ["/proc/kcore", "/proc/keys", "/sys/firmware"], readonlyPaths: ["/proc/sys", "/proc/sysrq-trigger"] } }
  ' >"$bundle/config.json"
  containers+=("$name")
  began=$(now)
  runc --root "$work/runc" run --bundle "$bundle" "$name" >"$said/$name.log" 2>&1 </dev/null &
  runner=$!
  current=$name
}
process() { runc --root "$work/runc" state "$current" 2>/dev/null | jq .pid; }
inside() { runc --root "$work/runc" exec "$current" "$@"; }
ask() { timeout 5 nsenter -t "$(process)" -n curl -s "$@"; }
status() { ask -o /dev/null -w '%{http_code}' "http://127.0.0.1:8080$1"; }
is() { [[ $1 == "$2" ]] || { echo "$1, not $2"; false; }; }
healthy() { timeout 10 runc --root "$work/runc" exec "$current" "${health[@]}"; }
unhealthy() { ! healthy; }
wait_ready() {
  for _ in {1..600}; do
    if [[ $(ask -o /dev/null -w '%{http_code}' http://127.0.0.1:9901/ready 2>/dev/null) == 200 ]]; then return; fi
    if ! kill -0 $runner 2>/dev/null; then break; fi
    sleep 0.02
  done
  tail -n 20 "$said/$current.log"
  return 1
}
# How it ends by the image's signal: its exit status, and in which time.
stop() {
  local began
  began=$(now)
  runc --root "$work/runc" kill "$current" "$stop_signal" || true
  await_end
  took=$(($(now) - began))
}
await_end() { # 20 s at most: drain_wait, drain_timeout and something
  for _ in {1..200}; do
    kill -0 $runner 2>/dev/null || break
    sleep 0.1
  done
  runc --root "$work/runc" kill "$current" KILL 2>/dev/null || true
  ended=0
  wait $runner || ended=$?
}

mkdir "$work/etc/good" "$work/etc/unready"
cat >"$work/etc/good/tollgate.yaml" <<'YAML'
listen: [{ address: 0.0.0.0:8080 }]
admin: { address: 127.0.0.1:9901 }
state: { directory: /var/lib/tollgate }
cache: { disk: 64MiB }
observe: { access_log: stdout, drain_wait: 2s, drain_timeout: 10s }
quotas: { two: { per: [account], limit: 2, window: 1h, accuracy: strict } }
clusters: { itself: { endpoints: ["127.0.0.1:8080"] } }
routes:
  - { id: counted, match: { path: "/counted/{account}" }, authenticate: none, account: path.account, quotas: [two], answer: { body: counted } }
  - { id: through, match: { path: /through }, authenticate: none, cluster: itself, rewrite: { path: /backend } }
  - { id: backend, match: { path: /backend }, authenticate: none, answer: { body: answered } }
YAML
# Not ready: the keys of an identity provider can't be had.
{
  cat "$work/etc/good/tollgate.yaml"
  echo '  - { id: bank, match: { path: /bank }, authenticate: bank, answer: { body: bank } }'
  echo 'identity: { bank: { issuer: "http://127.0.0.1:1", audience: bank, algorithms: [ES256] } }'
} >"$work/etc/unready/tollgate.yaml"

only_the_program() {
  local found
  found=$(cd "$root" && find . -type f -perm /111 ! -name 'ld-linux*' ! -name 'lib*.so*')
  is "$found" ./usr/bin/tollgate
}
nobody_may_write() { is "$(cd "$root" && find . -mindepth 1 ! -type l \( -perm /6002 -o -user 65532 ! -path ./var/lib/tollgate \))" ""; }
labels() {
  is "$(of_image '.OCIv1.config.Labels["org.opencontainers.image.revision"]')" "$commit" &&
    is "$(of_image '.OCIv1.config.Labels["org.opencontainers.image.version"]')" "$version"
}
guarded() {
  local status
  status=$(cat "/proc/$(process)/status")
  for line in $'Uid:\t65532\t65532\t65532\t65532' $'Gid:\t65532\t65532\t65532\t65532' $'CapBnd:\t0000000000000000' $'NoNewPrivs:\t1'; do
    grep -qxF "$line" <<<"$status" || { echo "not $line"; return 1; }
  done
  grep -qE $'^NSpid:\t[0-9]+\t1$' <<<"$status"
}
named() { is "$(inside /usr/bin/tollgate --version)" "tollgate $version ($commit)"; }
no_shell() { ! inside /bin/sh -c true && ! inside /usr/bin/sh -c true; }
answered() { is "$(ask http://127.0.0.1:8080/through)" answered; }
two_uses() { is "$(status /counted/4711) $(status /counted/4711) $(status /counted/4711)" "200 200 429"; }
draining() { # after the signal, while drain_wait lasts
  runc --root "$work/runc" kill "$current" "$stop_signal"
  sleep 0.3
  unhealthy && is "$(status /backend)" 200
}
ends_in_order() { await_end; took=$(($(now) - $1)); is $ended 0 && ((took < 13000000)); }
nothing_elsewhere() { is "$(find "$root" -xdev -newer "$work/stamp" ! -type d)$(ls -A "$root/var/lib/tollgate")" ""; }
only_for_itself() { [[ -n $(ls -A "$work/state") ]] && is "$(find "$work/state" \( ! -user 65532 -o -perm /077 \))" ""; }
checks() { # name, folder, file, environment
  start "$1" true "$2" "[\"check\", \"$3\"]" "$4"
  await_end
  cat "$said/$1.log"
  is $ended 0
}

echo
whole=$(du -sb "$root" | cut -f1)
program=$(stat -c %s "$root/usr/bin/tollgate")
row "image" "" "$(megabytes "$whole"): the program $(megabytes "$program"), what it needs of Debian $(megabytes $((whole - program)))"
for tar in "$work"/tollgate{,-trial}.tar; do
  if [[ -e $tar ]]; then row "compressed, as it is pulled (${tar##*/})" "" "$(megabytes "$(gzip -c "$tar" | wc -c)")"; fi
done
[[ -z ${build_time:-} ]] || row "built in" "" "$build_time s"

if [[ $what == all ]]; then
  # What was compiled after the sources came, unless that layer was there already.
  compiled=$(sed -n '/STEP.*: COPY src src/,/STEP.*: FROM .* AS files/p' "$work/build.log" | grep -c ' Compiling ' || true)
  proof "dependencies are compiled before the sources come, and not again" "$compiled crate after" test "$compiled" -le 1
  rm -rf "$work/changed"
  mkdir "$work/changed"
  cp -a Cargo.toml Cargo.lock build.rs LICENSE Dockerfile .dockerignore src "$work/changed/"
  for file in lib.rs main.rs bin/demo-bank/main.rs; do echo '// Changed.' >>"$work/changed/src/$file"; done
  kept() {
    build . --target dependencies --iidfile "$work/as-it-is.id" && build "$work/changed" --target dependencies --iidfile "$work/changed.id" &&
      cmp "$work/as-it-is.id" "$work/changed.id"
  }
  proof "their layer is kept when a source changes" "" kept
  rm -rf "$work/changed"
fi
proof "labels say version and commit" "$version, $commit" labels
proof "nothing in it can be run but the program" "" only_the_program
proof "nothing in it is its user's but the volume, anybody's, or set-user-ID" "" nobody_may_write

start first true "$work/etc/good"
must "starts with a mounted configuration and a root that can't be written to" "" wait_ready
took=$(($(now) - began))
row "  ready after" "" "$(seconds $took)"
proof "is process 1, not root, without capabilities" "uid 65532" guarded
proof "--version has the commit" "" named
proof "no shell can be started in it" "" no_shell
proof "the health check is content" "${health[*]}" healthy
proof "a request to a backend is answered" "" answered
proof "the third of two uses is refused" "" two_uses
began=$(now)
proof "after $stop_signal the health check fails while requests are still answered" "" draining
proof "and it ends in order" "status 0" ends_in_order "$began"
row "  after" "" "$(seconds $took) (drain_wait 2 s)"
proof "then the health check fails" "" unhealthy

start second false "$work/etc/good"
must "starts again, with a root that could be written to" "" wait_ready
touch "$work/stamp"
proof "what was counted stands" "" is "$(status /counted/4711)" 429
proof "a request is answered" "" answered
stop
proof "ends in order" "$(seconds $took)" is "$ended" 0
proof "has written nothing but into the volume" "" nothing_elsewhere
proof "and that for its own user only" "" only_for_itself

start third true "$work/etc/unready"
for _ in {1..100}; do [[ $(ask -o /dev/null -w '%{http_code}' http://127.0.0.1:9901/health 2>/dev/null) == 200 ]] && break || sleep 0.1; done
proof "before it is ready the health check fails" "" unhealthy
proof "while it lives" "" is "$(ask -o /dev/null -w '%{http_code}' http://127.0.0.1:9901/health)" 200
stop
proof "ends in order all the same" "$(seconds $took)" is "$ended" 0

# The examples' configurations, as they are mounted there.
kubernetes=$work/etc/kubernetes
mkdir -p "$kubernetes"/{config,keys,fleet,kafka}
sed -n '/^  tollgate.yaml: |/,/^---/{/^    /s/^    //p}' conf/kubernetes/tollgate.yaml >"$kubernetes/config/tollgate.yaml"
for name in account sealing kafka admin; do openssl rand -hex 32 >"$kubernetes/keys/$name"; done
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${key[@]}" -subj /CN=fleet -keyout "$work/etc/ca.key" -out "$kubernetes/fleet/ca.crt" 2>/dev/null
openssl req "${key[@]}" -subj /CN=tollgate -keyout "$kubernetes/fleet/tls.key" -out "$work/etc/tls.csr" 2>/dev/null
openssl x509 -req -in "$work/etc/tls.csr" -CA "$kubernetes/fleet/ca.crt" -CAkey "$work/etc/ca.key" -CAcreateserial \
  -extfile <(echo 'subjectAltName=DNS:*.tollgate-fleet.tollgate.svc') -out "$kubernetes/fleet/tls.crt" 2>/dev/null
cp "$kubernetes/fleet/ca.crt" "$kubernetes/kafka/ca.crt"
chown -R 0:65532 "$kubernetes"
chmod -R g=rX "$kubernetes"
proof "the configuration in conf/kubernetes is right" "" \
  checks kubernetes "$kubernetes" /etc/tollgate/config/tollgate.yaml '["POD_NAME=tollgate-0"]'
cp -a conf/compose "$work/etc/compose"
"$work/etc/compose/certificates.sh"
for name in gateway-1 gateway-2; do
  proof "the configuration in conf/compose is right for $name" "" \
    checks "compose-$name" "$work/etc/compose" /etc/tollgate/tollgate.yaml "[\"GATEWAY=$name\"]"
done

while read -r name what_of_it; do row "built on $name" "" "$what_of_it"; done <"$work/bases"

echo
if grep -q STAND-IN "$work/bases"; then echo "This image is for a trial: its base images are stand-ins."; fi
if ((failed)); then echo "What the gateways said is in $said."; fi
exit $failed
