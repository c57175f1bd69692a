//! The access log says why a request was refused or failed: which check, which rule, what the
//! backend did.

use http::Method;
use serde_json::{Value, json};

use super::told;

use crate::support::gateway::base_config;
use crate::support::wire::{ask, logged};
use crate::support::{Answer, Bank, Tollgate};

fn config(bank: &Bank) -> String {
    let deadlines = "deadlines: { connect: 400ms, first_byte: 400ms, idle: 400ms, total: 1s }";
    let mut text = base_config(bank);
    for service in ["checking", "savings"] {
        let plain = format!("{service}: {{ endpoints: [127.0.0.1:{}]", bank.port(service));
        text = text.replace(&plain, &format!("{plain}, {deadlines}"));
    }
    text + r#"rates:
  slowly: { per: [address], rate: 1/h }
routes:
  - { id: own, match: { path: "/own/{account}" }, authenticate: none, account: path.account, cluster: checking, rewrite: { path: "/v1/{account}" } }
  - id: edited
    match: { path: "/edited/{account}" }
    authenticate: none
    account: path.account
    cluster: checking
    rewrite: { path: "/v1/{account}" }
    response: { body: [{ drop: /secret }], max_body: 20B }
  - id: stale
    match: { path: "/stale/{account}" }
    authenticate: none
    account: path.account
    cluster: savings
    rewrite: { path: "/v1/{account}" }
    cache: { fresh: 1s, visible_to: everyone, stale_if_error: 1h }
  - id: joined
    match: { path: "/joined/{account}", methods: [GET] }
    authenticate: none
    account: path.account
    compose:
      parts:
        a: { cluster: savings, path: "/v1/{account}", into: a }
        b: { cluster: cards, path: "/v1/{account}", into: b, deadline: 1s }
  - id: conflict
    match: { path: "/conflict/{account}", methods: [GET] }
    authenticate: none
    account: path.account
    compose:
      parts:
        a: { cluster: savings, path: "/v1/{account}", into: "" }
        b: { cluster: loans, path: "/v1/{account}", into: "" }
  - { id: guarded, match: { path: "/guarded/{account}" }, authenticate: bank, account: { from: path.account, agrees_with: claim.accounts }, scopes: [accounts:read], answer: { body: guarded } }
  - { id: scoped, match: { path: /scoped }, authenticate: bank, scopes: [admin:all], answer: { body: scoped } }
  - { id: near, match: { path: /near }, authenticate: none, networks: [192.0.2.0/24], answer: { body: near } }
  - { id: slow, match: { path: /slow }, authenticate: none, rates: [slowly], answer: { body: slow } }
  - { id: small, match: { path: /small, methods: [POST] }, authenticate: none, max_body: 4B, answer: { body: small } }
"#
}

async fn detail(gateway: &Tollgate, answer: &Answer) -> Value {
    logged(gateway, answer.header("x-request-id")).await["tollgate"]["detail"].take()
}

#[tokio::test]
async fn a_failed_backend_call_says_what_the_backend_did() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    for (service, fault, path, why) in [
        ("checking", "refuse", "/own/4711", "cluster 'checking': no connection: refused"),
        (
            "checking",
            "down",
            "/own/4711",
            "cluster 'checking': the connection broke before an answer",
        ),
        ("checking", "garbage", "/own/4711", "cluster 'checking': the answer is not HTTP"),
        ("checking", "slow", "/own/4711", "cluster 'checking': no first byte in time"),
        (
            "checking",
            "ok",
            "/edited/4711",
            "cluster 'checking': the backend's body is larger than may be edited",
        ),
        (
            "cards",
            "500",
            "/joined/4711",
            "part 'b': the backend answered 500 Internal Server Error",
        ),
        ("cards", "refuse", "/joined/4711", "part 'b': ENDPOINT: no connection: refused"),
        ("cards", "slow", "/joined/4711", "part 'b': ENDPOINT: no whole answer in time"),
        ("cards", "ok", "/conflict/4711", "part 'b': another part wrote the same member"),
    ] {
        bank.fault(service, fault).await;
        let endpoint = format!("127.0.0.1:{}", bank.port(service));
        let answer = gateway.get(path, "").await;
        assert!(answer.status.is_server_error(), "{fault} {path}: {answer:?}");
        let found = detail(&gateway, &answer).await;
        // A part's endpoint stands with what it did.
        let found = found.as_str().unwrap_or_default().replace(&endpoint, "ENDPOINT");
        assert_eq!(found, why, "{fault} {path}");
        // The client is told nothing of it.
        let told = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(!told.contains("checking") && !told.contains("part"), "{told}");
        bank.fault(service, "ok").await;
    }
    assert_eq!(gateway.get("/stale/4711", "").await.status, 200);
    bank.fault("savings", "refuse").await;
    let stale = crate::support::eventually("an answer after its time", async || {
        let answer = gateway.get("/stale/4711", "").await;
        let is_stale = answer.header("cache-status").contains("stale-if-error");
        if is_stale { Ok(answer) } else { Err(answer.status) }
    })
    .await;
    assert_eq!(detail(&gateway, &stale).await, "no connection: refused");
}

#[tokio::test]
async fn a_refusal_says_which_check_it_was_and_shows_no_secret() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.mint(json!({ "claims": { "accounts": ["4711"] } })).await;
    let (head, rest) = token.split_once('.').unwrap();
    let forged = format!("{head}.{}", rest.replacen(|c: char| c.is_ascii_lowercase(), "A", 1));
    let expired = bank.mint(json!({ "claims": { "exp": 1_000_000_000 } })).await;

    let mut seen = Vec::new();
    for (path, token, why) in [
        ("/guarded/4711", "", "there is no bearer token"),
        ("/guarded/4711", &*expired, "the token has expired"),
        ("/guarded/4712", &*token, "path.account does not agree with claim.accounts"),
        ("/scoped", &*token, "scope 'admin:all'"),
        ("/near", "", "networks does not hold"),
        ("/guarded/%ff", &*token, "the path does not decode to UTF-8"),
    ] {
        let answer = gateway.get(path, token).await;
        assert!(answer.status.is_client_error(), "{path}: {answer:?}");
        assert_eq!(detail(&gateway, &answer).await, why, "{path}");
        seen.push(answer);
    }
    assert!(!seen[4].json()["detail"].as_str().unwrap().contains("token"), "nobody sent one");

    let signature = gateway.get("/guarded/4711", &forged).await;
    let why = detail(&gateway, &signature).await;
    assert!(why.as_str().is_some_and(|why| why.contains("the token")), "{why}");
    assert_eq!(gateway.get("/slow", "").await.status, 200);
    let rate = gateway.get("/slow", "").await;
    assert_eq!(detail(&gateway, &rate).await, "rate 'slowly': 1 in 1 hour");
    let large = gateway.send(Method::POST, "/small", "", &[], b"too large".to_vec()).await;
    assert_eq!(detail(&gateway, &large).await, "more than 4 bytes");
    let method = gateway.get("/small", "").await;
    assert_eq!(detail(&gateway, &method).await, "only POST");
    let early = ask(&gateway, "GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n").await;
    assert_eq!(detail(&gateway, &early).await, "there are several Host fields");

    let log = told(&gateway);
    for secret in [&token, &forged, &expired, &"4711".into(), &"4712".into()] {
        assert!(!log.contains(secret.as_str()), "{secret} stands in\n{log}");
    }
}
