#!/usr/bin/env bash
# A certificate authority for the fleet of compose.yaml, and a certificate for each gateway.
set -euo pipefail
cd "$(dirname "$0")"
# All is made in here, and put in place only when all is there. The authority's key never is: whoever has it can make
# gateways.
work=$(mktemp -d)
end() {
  local status=$?
  if ((status != 0)); then
    echo "certificates.sh: nothing was made; openssl says:" >&2
    cat "$work/openssl.log" >&2 || true
  fi
  rm -rf "$work"
}
trap end EXIT
trap 'exit 130' INT TERM

key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
exec 3>"$work/openssl.log"
openssl req -x509 "${key[@]}" -days 365 -subj "/CN=compose fleet" -keyout "$work/fleet-ca.key" -out "$work/fleet-ca.pem" 2>&3
for name in gateway-1 gateway-2; do
  openssl req "${key[@]}" -subj "/CN=$name" -keyout "$work/$name.key" -out "$work/$name.csr" 2>&3
  openssl x509 -req -in "$work/$name.csr" -CA "$work/fleet-ca.pem" -CAkey "$work/fleet-ca.key" -CAcreateserial -days 365 \
    -extfile <(echo "subjectAltName=DNS:$name") -out "$work/$name.pem" 2>&3
done
# The gateways run as another user than you. This is for trying: a real key is nobody else's.
chmod 0644 "$work"/gateway-*.key
mkdir -p certificates
mv "$work"/fleet-ca.pem "$work"/gateway-{1,2}.{pem,key} certificates/
