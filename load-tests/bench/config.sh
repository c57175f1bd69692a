#!/usr/bin/env bash
# The configuration of `make bench`, with as many routes as asked for.
set -euo pipefail

cat <<'HEAD'
listen: [{ address: 127.0.0.1:8080, limits: { max_connections_per_address: 10000 } }]
admin: { address: 127.0.0.1:9901 }
state: { directory: "${env:TOLLGATE_STATE}" }
observe: { access_log: { file: /dev/null }, log: warn }
identity:
  bank: { issuer: http://127.0.0.1:7106, audience: accounts, algorithms: [ES256] }
clusters:
  backend: { endpoints: [127.0.0.1:7201] }
rates:
  generous: { per: [client], rate: 1000000/s, burst: 1000000 }
quotas:
  generous: { per: [account, client], limit: 1000000000, window: 24h, accuracy: { fast: 1000000 } }
routes:
  - id: full
    match: { path: "/full/{account}" }
    authenticate: bank
    scopes: [accounts:read]
    rates: [generous]
    account: path.account
    quotas: [generous]
    cluster: backend
  - id: cached
    match: { path: "/cached/{account}" }
    authenticate: bank
    scopes: [accounts:read]
    rates: [generous]
    account: path.account
    quotas: [generous]
    cache: { fresh: 1h, visible_to: client }
    cluster: backend
  - id: plain
    match: { path: "/plain/{any}" }
    authenticate: none
    cluster: backend
HEAD

for ((n = 1; n < $1; n++)); do
  printf -- '  - { id: r%d, match: { path: "/api/v%d/items%d/{id}" }, authenticate: none, cluster: backend }\n' "$n" $((n % 7)) "$n"
done
