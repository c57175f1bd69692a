#!/usr/bin/env bash
# A certificate authority for the fleet of compose.yaml, and a certificate for each gateway.
set -euo pipefail
cd "$(dirname "$0")"
mkdir -p certificates
cd certificates
key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)
openssl req -x509 "${key[@]}" -days 365 -subj "/CN=compose fleet" -keyout fleet-ca.key -out fleet-ca.pem 2>/dev/null
for name in gateway-1 gateway-2; do
  openssl req "${key[@]}" -subj "/CN=$name" -keyout $name.key -out $name.csr 2>/dev/null
  openssl x509 -req -in $name.csr -CA fleet-ca.pem -CAkey fleet-ca.key -CAcreateserial -days 365 \
    -extfile <(echo "subjectAltName=DNS:$name") -out $name.pem 2>/dev/null
  rm $name.csr
done
# The gateways run as another user than you. This is for trying: a real key is nobody else's.
chmod 0644 -- *.key
rm fleet-ca.key
