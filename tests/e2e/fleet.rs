//! Several gateways on a real Kafka: what clients see, whichever gateway they ask.

mod away;
mod cache;
mod errands;
mod forward;
mod ownership;
mod story;

/// The demo's route over five services, four unattended reads a day.
const SUMMARY: &str = r#"
quotas:
  unattended:
    per: [account, client]
    limit: 4
    window: 24h
    rolling: true
    when: "!('x-fapi-customer-ip-address' in request.headers) || !request.headers['x-fapi-customer-ip-address'].matches('^[0-9A-Fa-f.:]+$')"
    accuracy: strict
    unavailable: deny
routes:
  - id: summary
    match: { path: "/accounts/{account}/summary", methods: [GET] }
    authenticate: bank
    scopes: [accounts:read]
    account: path.account
    quotas: [unattended]
    cache: { fresh: 1h, visible_to: client }
    compose:
      parts:
        checking: { cluster: checking, path: "/v1/{account}", into: accounts.checking, deadline: 2s }
        savings: { cluster: savings, path: "/v1/{account}", into: accounts.savings, deadline: 2s }
        cards: { cluster: cards, path: "/v1/{account}", into: accounts.cards, deadline: 2s }
        loans: { cluster: loans, path: "/v1/{account}", into: accounts.loans, deadline: 2s }
        investments: { cluster: investments, path: "/v1/{account}", into: accounts.investments, deadline: 2s }
"#;
