//! Every setting of a provider: one route has it, another doesn't, and both get the same token.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::assert_challenged;
use crate::support::gateway::base_config;
use crate::support::{Bank, Tollgate};

const SETTINGS: [(&str, &str); 9] = [
    ("plain", "audience: accounts"),
    ("exact", "audience: accounts, leeway: 0s"),
    ("lenient", "audience: accounts, leeway: 5m"),
    ("short", "audience: accounts, max_lifetime: 1m"),
    ("typed", "audience: accounts, types: [bank+jwt]"),
    ("untyped", "audience: accounts, types: []"),
    ("by-subject", "audience: accounts, client_claims: [act.sub, sub]"),
    ("scp", "audience: accounts, scope_claim: realm.scp"),
    ("wide", "audience: [payments, accounts]"),
];

async fn start(bank: &Bank) -> Tollgate {
    let mut providers = String::new();
    let mut routes = "routes:\n".to_owned();
    for (name, settings) in SETTINGS {
        providers += &format!("  {name}: {{ issuer: {}, {settings} }}\n", bank.issuer());
        let scopes = if name == "scp" { "scopes: [special], " } else { "" };
        routes += &format!(
            "  - {{ id: {name}, match: {{ path: /{name} }}, authenticate: {name}, {scopes}\
             cluster: checking, rewrite: {{ path: \"/echo/{{client}}\" }} }}\n"
        );
    }
    let base = base_config(bank).replace("clusters:\n", &format!("{providers}clusters:\n"));
    Tollgate::start(&(base + &routes)).await
}

fn in_seconds(seconds: u64) -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + seconds
}

#[tokio::test]
async fn every_setting_of_a_provider_changes_which_tokens_are_good() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    // Without `iat`: the bank issues its tokens now.
    let ended =
        |seconds: i64| json!({ "expires_in": -seconds, "claims": { "iat": null, "nbf": null } });
    let claims = |name: &str, value: Value| json!({ "claims": { name: value } });
    for (wish, good, bad) in [
        (ended(10), &["plain", "lenient"][..], &["exact"][..]),
        (ended(60), &["lenient"], &["plain", "exact"]),
        (claims("nbf", json!(in_seconds(20))), &["plain", "lenient"], &["exact"]),
        (claims("nbf", json!(in_seconds(120))), &["lenient"], &["plain", "exact"]),
        (json!({ "expires_in": 50 }), &["plain", "short"], &[]),
        (json!({ "expires_in": 300 }), &["plain"], &["short"]),
        (json!({ "header": { "typ": "bank+jwt" } }), &["typed", "untyped"], &["plain"]),
        (json!({ "header": { "typ": "application/Bank+JWT" } }), &["typed", "untyped"], &["plain"]),
        (json!({ "header": { "typ": "JWT" } }), &["plain", "untyped"], &["typed"]),
        (json!({ "header": { "typ": null } }), &["untyped"], &["plain", "typed"]),
        (claims("aud", json!("payments")), &["wide"], &["plain"]),
        (claims("aud", json!(["x", "accounts"])), &["wide", "plain"], &[]),
        (claims("client_id", Value::Null), &["by-subject"], &["plain"]),
    ] {
        let token = bank.mint(wish.clone()).await;
        for route in good {
            let answer = gateway.get(&format!("/{route}"), &token).await;
            assert_eq!(
                answer.status,
                200,
                "{route} {wish}: {}",
                String::from_utf8_lossy(&answer.body)
            );
        }
        for route in bad {
            let answer = gateway.get(&format!("/{route}"), &token).await;
            assert_challenged(&answer, Some("invalid_token"), &format!("{route} {wish}"));
        }
    }
}

#[tokio::test]
async fn the_client_and_its_scopes_are_read_where_the_settings_say() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let claims = json!({
        "client_id": "app", "azp": "party", "sub": "customer", "act": { "sub": "actor" },
        "scope": "ordinary",
    });
    let token = bank.mint(json!({ "claims": claims })).await;
    let client =
        async |route: &str, token: &str| gateway.get(route, token).await.json()["path"].clone();
    assert_eq!(client("/plain", &token).await, "/echo/app");
    assert_eq!(client("/by-subject", &token).await, "/echo/actor");
    let party = bank.mint(json!({ "claims": { "client_id": null, "azp": "party" } })).await;
    assert_eq!(client("/plain", &party).await, "/echo/party");
    let without = bank.mint(json!({ "claims": { "client_id": null, "sub": "customer" } })).await;
    assert_eq!(client("/by-subject", &without).await, "/echo/customer");

    let refused = gateway.get("/scp", &token).await;
    assert_eq!((refused.status.as_u16(), &*refused.problem()), (403, "insufficient-scope"));
    for scopes in [json!("a special b"), json!(["a", "special"])] {
        let token = bank.mint(json!({ "claims": { "realm": { "scp": scopes } } })).await;
        assert_eq!(gateway.get("/scp", &token).await.status, 200, "{scopes}");
    }
}
