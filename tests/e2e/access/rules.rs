//! Scopes, claims, networks, conditions.

use std::net::Ipv4Addr;

use serde_json::json;

use super::outcome;
use crate::support::gateway::base_config;
use crate::support::wire::{Wire, assert_problem, logged};
use crate::support::{Bank, Tollgate};

const ROUTES: &str = r#"
trusted_proxies: [127.0.0.9/32, 10.0.0.0/8]
routes:
  - { id: all, match: { path: /all }, authenticate: bank, scopes: [read, write], answer: {} }
  - { id: any, match: { path: /any }, authenticate: bank, scopes: { any: [read, write] }, answer: {} }
  - { id: both, match: { path: /both }, authenticate: bank, scopes: { all: [read], any: [a, b] }, answer: {} }
  - { id: equals, match: { path: /equals }, authenticate: bank, claims: { tier: { equals: gold } }, answer: {} }
  - { id: number, match: { path: /number }, authenticate: bank, claims: { level: { equals: 3 } }, answer: {} }
  - { id: contains, match: { path: /contains }, authenticate: bank, claims: { realm.roles: { contains: teller } }, answer: {} }
  - { id: one-of, match: { path: /one-of }, authenticate: bank, claims: { tier: { one_of: [gold, 7, true] } }, answer: {} }
  - { id: two, match: { path: /two }, authenticate: bank, claims: { tier: { equals: gold }, level: { equals: 3 } }, answer: {} }
  - { id: here, match: { path: /here }, authenticate: none, networks: [203.0.113.0/24, 127.0.0.5/32], answer: {} }
  - { id: proxied, match: { path: "/echo/*" }, authenticate: none, cluster: checking }
  - id: condition
    match: { path: "/condition/{account}" }
    authenticate: bank
    condition: "request.method == 'GET' && caller.client == 'budget-app' && request.headers['x-purpose'] == 'review' && 'read' in caller.scopes && caller.claims.level >= 3"
    answer: {}
  - { id: public-condition, match: { path: /open }, authenticate: none, condition: "request.query['key'] == 'sesame'", answer: {} }
"#;

async fn start(bank: &Bank) -> Tollgate {
    Tollgate::start(&(base_config(bank) + ROUTES)).await
}

#[tokio::test]
async fn scopes_are_asked_for_all_or_any_and_named_in_the_challenge() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    for (path, scope, wanted) in [
        ("/all", json!("read write"), None),
        ("/all", json!("write other read"), None),
        ("/all", json!(["read", "write"]), None),
        ("/all", json!("read"), Some("read write")),
        ("/all", json!("readwrite"), Some("read write")),
        ("/all", json!("READ WRITE"), Some("read write")),
        ("/all", json!(["read write"]), Some("read write")),
        ("/all", json!(null), Some("read write")),
        ("/any", json!("write"), None),
        ("/any", json!("read x"), None),
        ("/any", json!("readers"), Some("read write")),
        ("/any", json!(""), Some("read write")),
        ("/both", json!("read b"), None),
        ("/both", json!("b"), Some("read")),
        ("/both", json!("read"), Some("a b")),
    ] {
        let token = bank.mint(json!({ "claims": { "scope": scope } })).await;
        let answer = gateway.get(path, &token).await;
        let Some(wanted) = wanted else {
            assert_eq!(answer.status, 200, "{path} {scope}");
            continue;
        };
        assert_eq!(answer.status, 403, "{path} {scope}");
        let id = assert_problem(&answer, 403, "insufficient-scope");
        let challenge = answer.header("www-authenticate");
        // Where one is enough, `scope` would ask for all of them.
        let asked = match (path, wanted) {
            ("/any", _) | (_, "a b") => {
                format!("error_description=\"one of the scopes: {}\"", wanted.replace(' ', ", "))
            }
            _ => format!("scope=\"{wanted}\""),
        };
        let end = format!(", error=\"insufficient_scope\", {asked}");
        assert!(
            challenge.starts_with("Bearer realm=\"") && challenge.ends_with(&end),
            "{challenge}"
        );
        let line = logged(&gateway, &id).await;
        assert_eq!(
            (&line["tollgate"]["client"], &line["tollgate"]["problem"]),
            (&"budget-app".into(), &"insufficient-scope".into())
        );
    }
}

#[tokio::test]
async fn claims_are_compared_as_values_and_not_told_to_who_is_refused() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    for (path, claims, good) in [
        ("/equals", json!({ "tier": "gold" }), true),
        ("/equals", json!({ "tier": "Gold" }), false),
        ("/equals", json!({ "tier": "golden" }), false),
        ("/equals", json!({ "tier": ["gold"] }), false),
        ("/equals", json!({ "tier": null }), false),
        ("/equals", json!({}), false),
        ("/number", json!({ "level": 3 }), true),
        ("/number", json!({ "level": 3.0 }), true),
        ("/number", json!({ "level": "3" }), false),
        ("/number", json!({ "level": 4 }), false),
        ("/contains", json!({ "realm": { "roles": ["x", "teller"] } }), true),
        ("/contains", json!({ "realm": { "roles": "auditor teller" } }), true),
        ("/contains", json!({ "realm": { "roles": "tellers" } }), false),
        ("/contains", json!({ "realm": { "roles": ["tellers"] } }), false),
        ("/contains", json!({ "realm": { "roles": { "teller": true } } }), false),
        ("/contains", json!({ "roles": ["teller"] }), false),
        ("/one-of", json!({ "tier": "gold" }), true),
        ("/one-of", json!({ "tier": 7 }), true),
        ("/one-of", json!({ "tier": true }), true),
        ("/one-of", json!({ "tier": "7" }), false),
        ("/one-of", json!({ "tier": "silver" }), false),
        ("/two", json!({ "tier": "gold", "level": 3 }), true),
        ("/two", json!({ "tier": "gold" }), false),
        ("/two", json!({ "level": 3 }), false),
    ] {
        let token = bank.mint(json!({ "claims": claims })).await;
        let answer = gateway.get(path, &token).await;
        if good {
            assert_eq!(answer.status, 200, "{path} {claims}");
            continue;
        }
        assert_eq!(answer.status, 403, "{path} {claims}");
        let id = assert_problem(&answer, 403, "forbidden");
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(
            !told.contains("tier") && !told.contains("teller") && !told.contains("level"),
            "{told}"
        );
        let detail = logged(&gateway, &id).await["tollgate"]["detail"].to_string();
        assert!(detail.contains("claims:"), "operators are told: {detail}");
    }
}

async fn from(
    gateway: &Tollgate,
    source: [u8; 4],
    target: &str,
    fields: &str,
) -> crate::support::Answer {
    let mut wire = Wire::from(Ipv4Addr::from(source), gateway, 8080).await;
    wire.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).await;
    wire.answer().await
}

#[tokio::test]
async fn networks_hold_for_the_address_that_only_trusted_proxies_may_name() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let (anybody, allowed, proxy) = ([127, 0, 0, 1], [127, 0, 0, 5], [127, 0, 0, 9]);
    let named = |names: &str| format!("X-Forwarded-For: {names}\r\n");
    for (source, fields, address, good) in [
        (allowed, String::new(), "127.0.0.5", true),
        (anybody, String::new(), "127.0.0.1", false),
        // Nobody names an address of his own.
        (anybody, named("203.0.113.7"), "127.0.0.1", false),
        (
            anybody,
            "Forwarded: for=203.0.113.7\r\nX-Real-IP: 203.0.113.7\r\n".into(),
            "127.0.0.1",
            false,
        ),
        (allowed, named("192.0.2.1"), "127.0.0.5", true),
        // A proxy does for its clients.
        (proxy, String::new(), "127.0.0.9", false),
        (proxy, named("203.0.113.7"), "203.0.113.7", true),
        (proxy, named("192.0.2.1"), "192.0.2.1", false),
        (proxy, named("::ffff:203.0.113.7"), "203.0.113.7", true),
        // Each appends; what stands before the first that is not trusted is that one's own word.
        (proxy, named("203.0.113.7, 192.0.2.1"), "192.0.2.1", false),
        (proxy, named("192.0.2.1, 203.0.113.7"), "203.0.113.7", true),
        (proxy, named("203.0.113.7, 10.1.2.3"), "203.0.113.7", true),
        (proxy, named("203.0.113.7") + &named("10.1.2.3"), "203.0.113.7", true),
        (proxy, named("203.0.113.7") + &named("192.0.2.1"), "192.0.2.1", false),
        (proxy, named("203.0.113.7, nonsense"), "127.0.0.9", false),
        (proxy, named(""), "127.0.0.9", false),
        (proxy, "Forwarded: for=203.0.113.7\r\n".into(), "127.0.0.9", false),
    ] {
        let answer = from(&gateway, source, "/here", &fields).await;
        let expected = if good { (200, String::new()) } else { (403, "forbidden".to_owned()) };
        assert_eq!(outcome(&answer), expected, "{source:?} {fields:?}");
        let line = logged(&gateway, answer.header("x-request-id")).await;
        assert_eq!(line["client"]["ip"], address, "{source:?} {fields:?}");
    }
}

#[tokio::test]
async fn a_backend_is_told_the_address_by_the_gateway_and_not_by_the_client() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let told = async |source, fields: &str| {
        let answer = from(&gateway, source, "/echo/x", fields).await.json();
        let fields = answer["headers"].as_array().unwrap().clone();
        let values: Vec<String> = fields
            .iter()
            .filter(|field| field[0] == "x-forwarded-for")
            .map(|field| field[1].as_str().unwrap().to_owned())
            .collect();
        values.join(", ")
    };
    assert_eq!(told([127, 0, 0, 1], "X-Forwarded-For: 203.0.113.7\r\n").await, "127.0.0.1");
    let chain = told([127, 0, 0, 9], "X-Forwarded-For: 203.0.113.7\r\n").await;
    assert_eq!(chain, "203.0.113.7, 127.0.0.9");
}

#[tokio::test]
async fn a_condition_must_hold_and_one_that_fails_refuses() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let claims = |client: &str, scope: &str, level| json!({ "claims": { "client_id": client, "scope": scope, "level": level } });
    let purpose = [("x-purpose", "review")];
    for (wish, headers, good) in [
        (claims("budget-app", "read", json!(3)), &purpose[..], true),
        (claims("budget-app", "read", json!(4)), &purpose, true),
        (claims("budget-app", "read", json!(2)), &purpose, false),
        (claims("ledger-app", "read", json!(3)), &purpose, false),
        (claims("budget-app", "write", json!(3)), &purpose, false),
        // No such header, no such claim, a claim of another type: no answer is no.
        (claims("budget-app", "read", json!(3)), &[], false),
        (claims("budget-app", "read", json!(null)), &purpose, false),
        (claims("budget-app", "read", json!("high")), &purpose, false),
    ] {
        let token = bank.mint(wish.clone()).await;
        let answer = gateway.get_with("/condition/4711", &token, headers).await;
        let expected = if good { (200, String::new()) } else { (403, "forbidden".to_owned()) };
        assert_eq!(outcome(&answer), expected, "{wish} {headers:?}");
        if !good {
            let told = String::from_utf8_lossy(&answer.body).into_owned();
            assert!(!told.contains("x-purpose"), "{told}");
        }
    }
    for (query, status) in
        [("?key=sesame", 200), ("?key=%73esame", 200), ("?key=x", 403), ("", 403)]
    {
        let answer = gateway.get(&format!("/open{query}"), "").await;
        assert_eq!(answer.status, status, "{query}");
    }
}

#[tokio::test]
async fn a_condition_decides_on_nothing_that_is_said_twice() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let claims = json!({ "client_id": "budget-app", "scope": "read", "level": 3 });
    let token = bank.mint(json!({ "claims": claims })).await;
    for second in ["x-purpose", "X-Purpose", "x_purpose"] {
        for values in [["review", "other"], ["other", "review"], ["review", "review"]] {
            let fields = [("x-purpose", values[0]), (second, values[1])];
            let answer = gateway.get_with("/condition/4711", &token, &fields).await;
            assert_problem(&answer, 400, "bad-request");
        }
    }
    for query in ["key=x&key=sesame", "key=sesame&key=x", "key=sesame&%6bey=x", "KEY=x&key=sesame"]
    {
        assert_problem(&gateway.get(&format!("/open?{query}"), "").await, 400, "bad-request");
    }
    assert_eq!(gateway.get("/open?key=sesame&other=1&other=2", "").await.status, 200);
}

#[tokio::test]
async fn refusals_speak_the_dialect_of_their_route() {
    let bank = Bank::start().await;
    let route = |id: &str, dialect: &str| {
        format!(
            "  - {{ id: {id}, match: {{ path: /{id} }}, authenticate: bank, scopes: [read], \
             answer: {{}}{dialect} }}\n"
        )
    };
    let routes = route("plain", "")
        + &route("named", ", dialect: problem")
        + &route("fdx", ", dialect: fdx")
        + &route("berlin", ", dialect: berlin-group");
    let gateway = Tollgate::start(&(base_config(&bank) + "routes:\n" + &routes)).await;
    let poor = bank.mint(json!({ "claims": { "scope": "write" } })).await;
    for path in ["/plain", "/named"] {
        assert_problem(&gateway.get(path, "").await, 401, "unauthenticated");
        assert_problem(&gateway.get(path, &poor).await, 403, "insufficient-scope");
    }
    for (token, status, fdx, berlin) in
        [("", 401, "401", "TOKEN_UNKNOWN"), (&*poor, 403, "602", "SERVICE_BLOCKED")]
    {
        let answer = gateway.get("/fdx", token).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), "application/json");
        let body = answer.json();
        assert_eq!(body["code"], fdx, "{body}");
        let debug = body["debugMessage"].as_str().unwrap();
        assert!(debug.contains(answer.header("x-request-id")), "{body}");
        assert!(body["message"].is_string() && !answer.header("www-authenticate").is_empty());

        let answer = gateway.get("/berlin", token).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("content-type"), "application/json");
        let message = &answer.json()["tppMessages"][0];
        assert_eq!((&message["category"], &message["code"]), (&json!("ERROR"), &json!(berlin)));
    }
}
