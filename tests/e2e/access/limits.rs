//! Rates, and how many requests may be in progress.

use std::net::Ipv4Addr;
use std::sync::Arc;

use serde_json::json;

use super::outcome;
use crate::support::gateway::base_config;
use crate::support::wire::{Wire, assert_problem, logged, metric, metric_becomes};
use crate::support::{Answer, Bank, Tollgate, eventually};

/// Two requests, and then none for half an hour: nothing comes back while a test runs.
fn config(bank: &Bank) -> String {
    let mut text = base_config(bank);
    text += "rates:\n";
    let rates = [
        ("client", "[client]"),
        ("subject", "[subject]"),
        ("address", "[address]"),
        ("header", "[header.x-device]"),
        ("claim", "[claim.act.sub]"),
        ("path", "[path.name]"),
        ("both", "[client, header.x-device]"),
        ("shared", "[route]"),
        ("all", "[]"),
    ];
    for (name, per) in rates {
        text += &format!("  {name}: {{ per: {per}, rate: 2/h }}\n");
    }
    text += "  burst: { rate: 1/h, burst: 3 }\n  quick: { rate: 2/s, burst: 1 }\n\
             \x20 narrow: { per: [client], rate: 1/h }\n  wide: { rate: 3/h }\n";
    text += "concurrency:\n  two: { limit: 2 }\n  each: { per: [client], limit: 1 }\n";
    text += "routes:\n";
    for (name, _) in rates {
        text += &format!(
            "  - {{ id: {name}, match: {{ path: \"/{name}/{{name}}\" }}, authenticate: bank, rates: [{name}], answer: {{}} }}\n"
        );
    }
    text += r#"
  - { id: shared-too, match: { path: "/shared-too" }, authenticate: none, rates: [shared], answer: {} }
  - { id: all-too, match: { path: "/all-too" }, authenticate: none, rates: [all], answer: {} }
  - { id: burst, match: { path: /burst }, authenticate: none, rates: [burst], answer: {} }
  - { id: quick, match: { path: /quick }, authenticate: none, rates: [quick], answer: {} }
  - { id: layered, match: { path: /layered }, authenticate: bank, rates: [wide, narrow], answer: {} }
  - { id: two, match: { path: "/v1/*" }, authenticate: bank, concurrency: [two], cluster: checking }
  - { id: each, match: { path: "/each" }, authenticate: bank, concurrency: [each], cluster: checking, rewrite: { path: /v1/4711 } }
  - { id: each-at-once, match: { path: "/each-at-once" }, authenticate: bank, concurrency: [each], answer: {} }
  - { id: free, match: { path: "/free" }, authenticate: bank, cluster: checking, rewrite: { path: /echo/free } }
"#;
    text
}

/// `r`, `t` and so on of the one item of a RateLimit field.
fn parameter(field: &str, name: &str) -> u64 {
    let found = field.split(';').find_map(|part| part.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("{name} in {field:?}")).parse().unwrap()
}

#[tokio::test]
async fn a_rate_says_where_a_caller_stands_and_refuses_when_it_is_used_up() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.mint(json!({})).await;
    for left in [1, 0] {
        let answer = gateway.get("/client/x", &token).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("ratelimit-policy"), "\"client\";q=2;w=3600");
        let standing = answer.header("ratelimit");
        assert!(standing.starts_with("\"client\";"), "{standing}");
        assert_eq!(parameter(standing, "r"), left);
    }
    let refused = gateway.get("/client/x", &token).await;
    let id = assert_problem(&refused, 429, "rate-limited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1700..=1800).contains(&wait), "one comes back in half an hour: {wait}");
    assert_eq!(parameter(refused.header("ratelimit"), "r"), 0);
    assert_eq!(parameter(refused.header("ratelimit"), "t"), wait);
    assert_eq!(refused.header("ratelimit-policy"), "\"client\";q=2;w=3600");
    assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], "rate-limited");
    metric_becomes(&gateway, r#"tollgate_refusals_total{type="rate-limited"}"#, 1).await;
    // Refused before any token was looked at: nothing is counted for those.
    assert_eq!(outcome(&gateway.get("/client/x", "").await), (401, "unauthenticated".into()));
}

#[tokio::test]
async fn each_key_has_a_count_of_its_own() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let mint = async |client: &str, subject: &str, actor: &str| {
        let claims = json!({ "client_id": client, "sub": subject, "act": { "sub": actor } });
        bank.mint(json!({ "claims": claims })).await
    };
    let first = mint("a", "s", "x").await;
    let (client, subject, actor) =
        (mint("b", "s", "x").await, mint("a", "t", "x").await, mint("a", "s", "y").await);
    let (phone, tablet) = ([("x-device", "phone")], [("x-device", "tablet")]);
    // Whom the count is for: `first` uses it up; `same` shares it, `other` doesn't.
    for (path, same, other) in [
        ("/client/p", (&subject, "/client/q", &tablet), (&client, "/client/p", &phone)),
        ("/subject/p", (&client, "/subject/q", &tablet), (&subject, "/subject/p", &phone)),
        ("/claim/p", (&client, "/claim/q", &tablet), (&actor, "/claim/p", &phone)),
        ("/header/p", (&client, "/header/q", &phone), (&first, "/header/p", &tablet)),
        ("/path/p", (&client, "/path/p", &tablet), (&first, "/path/q", &phone)),
        ("/both/p", (&subject, "/both/q", &phone), (&first, "/both/p", &tablet)),
        ("/shared/p", (&client, "/shared/q", &tablet), (&first, "/shared-too", &phone)),
    ] {
        for _ in 0..2 {
            assert_eq!(gateway.get_with(path, &first, &phone).await.status, 200, "{path}");
        }
        let (token, target, headers) = same;
        let refused = gateway.get_with(target, token, headers).await;
        assert_eq!(outcome(&refused), (429, "rate-limited".into()), "{path}");
        let (token, target, headers) = other;
        assert_eq!(gateway.get_with(target, token, headers).await.status, 200, "{path}");
    }
    // Without a key one count serves all, whatever the route.
    for path in ["/all/p", "/all-too"] {
        assert_eq!(gateway.get(path, &first).await.status, 200);
    }
    assert_eq!(gateway.get("/all/p", &client).await.status, 429);
    assert_eq!(gateway.get("/all-too", "").await.status, 429);
}

#[tokio::test]
async fn a_second_value_of_a_rates_key_is_refused_and_not_a_count_of_its_own() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    for fresh in ["1", "2", "3"] {
        let fields = [("x-device", fresh), ("x-device", "phone")];
        let refused = gateway.get_with("/header/p", &token, &fields).await;
        assert_problem(&refused, 400, "bad-request");
    }
    let phone = [("x-device", "phone")];
    assert_eq!(gateway.get_with("/header/p", &token, &phone).await.status, 200);
}

#[tokio::test]
async fn addresses_are_counted_by_where_the_connection_comes_from() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.mint(json!({})).await;
    let ask = async |source: [u8; 4], claimed: &str| {
        let mut wire = Wire::from(Ipv4Addr::from(source), &gateway, 8080).await;
        wire.send(format!(
            "GET /address/x HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\nX-Forwarded-For: {claimed}\r\n\r\n"
        ))
        .await;
        wire.answer().await.status.as_u16()
    };
    let here = [127, 0, 0, 1];
    assert_eq!((ask(here, "192.0.2.1").await, ask(here, "192.0.2.2").await), (200, 200));
    assert_eq!(ask(here, "192.0.2.3").await, 429, "another claimed address changes nothing");
    assert_eq!(ask([127, 0, 0, 9], "127.0.0.1").await, 200);
}

#[tokio::test]
async fn a_burst_may_come_at_once_and_what_was_used_comes_back() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    for left in [2, 1, 0] {
        let answer = gateway.get("/burst", "").await;
        // Three at once, and three hours until they are there again.
        assert_eq!(answer.header("ratelimit-policy"), "\"burst\";q=3;w=10800");
        assert_eq!(
            (answer.status.as_u16(), parameter(answer.header("ratelimit"), "r")),
            (200, left)
        );
    }
    assert_eq!(gateway.get("/burst", "").await.status, 429);

    assert_eq!(gateway.get("/quick", "").await.status, 200);
    let mut refusals = 0;
    eventually("half a second to pass", async || {
        let answer = gateway.get("/quick", "").await;
        if answer.status == 200 {
            return Ok(());
        }
        assert_eq!((answer.status.as_u16(), answer.header("retry-after")), (429, "1"));
        refusals += 1;
        Err(refusals)
    })
    .await;
    assert!(refusals > 0, "two in a row passed at once");
}

#[tokio::test]
async fn who_is_over_his_own_rate_does_not_use_up_one_that_is_shared() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = async |client: &str| bank.mint(json!({ "claims": { "client_id": client } })).await;
    let greedy = token("greedy").await;
    let first = gateway.get("/layered", &greedy).await;
    assert_eq!(first.header("ratelimit-policy"), "\"wide\";q=3;w=3600, \"narrow\";q=1;w=3600");
    for _ in 0..5 {
        let refused = gateway.get("/layered", &greedy).await;
        assert_eq!(refused.status, 429);
        assert!(refused.header("ratelimit").contains("\"narrow\";r=0"), "{refused:?}");
    }
    for client in ["b", "c"] {
        assert_eq!(gateway.get("/layered", &token(client).await).await.status, 200, "{client}");
    }
    let last = gateway.get("/layered", &token("d").await).await;
    assert_eq!(last.status, 429);
    assert!(last.header("ratelimit").contains("\"wide\";r=0"), "{last:?}");
}

/// Waits until so many requests are at the backend.
async fn in_flight(bank: &Bank, count: u64) {
    eventually("requests at the backend", async || {
        let state = bank.get("/state").await;
        let now = state["services"]["checking"]["inFlight"].clone();
        if now == count { Ok(()) } else { Err(now) }
    })
    .await;
}

fn begin(
    gateway: &Arc<Tollgate>,
    path: &'static str,
    token: &str,
) -> tokio::task::JoinHandle<Answer> {
    let (gateway, token) = (gateway.clone(), token.to_owned());
    tokio::spawn(async move { gateway.get(path, &token).await })
}

#[tokio::test]
async fn so_many_requests_may_be_in_progress_and_those_that_end_make_room() {
    let bank = Bank::start().await;
    let gateway = Arc::new(Tollgate::start(&config(&bank)).await);
    let token = async |client: &str| bank.mint(json!({ "claims": { "client_id": client } })).await;
    let (a, b) = (token("a").await, token("b").await);
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 3_600_000 })).await;
    let (first, second) = (begin(&gateway, "/v1/4711", &a), begin(&gateway, "/v1/4712", &b));
    in_flight(&bank, 2).await;

    let third = gateway.get("/v1/4713", &a).await;
    let id = assert_problem(&third, 503, "too-many-in-progress");
    assert_eq!(third.header("retry-after"), "1");
    assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], "too-many-in-progress");
    assert_eq!(
        metric(&gateway, r#"tollgate_refusals_total{type="too-many-in-progress"}"#).await,
        1
    );
    metric_becomes(&gateway, "tollgate_requests_in_progress", 2).await;

    bank.fault("checking", "ok").await;
    for request in [first, second] {
        assert_eq!(request.await.unwrap().status, 200);
    }
    eventually("room again", async || {
        let answer = gateway.get("/v1/4713", &a).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(gateway.get("/free", &a).await.status, 200);
}

#[tokio::test]
async fn a_client_has_room_of_its_own_and_leaving_early_makes_room() {
    let bank = Bank::start().await;
    let gateway = Arc::new(Tollgate::start(&config(&bank)).await);
    let token = async |client: &str| bank.mint(json!({ "claims": { "client_id": client } })).await;
    let (a, b) = (token("a").await, token("b").await);
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 3_600_000 })).await;
    let first = begin(&gateway, "/each", &a);
    in_flight(&bank, 1).await;
    assert_eq!(outcome(&gateway.get("/each", &a).await), (503, "too-many-in-progress".into()));
    let others = begin(&gateway, "/each", &b);
    in_flight(&bank, 2).await;

    // The client goes; the backend is as slow as before.
    first.abort();
    in_flight(&bank, 1).await;
    eventually("room again", async || {
        let answer = gateway.get("/each-at-once", &a).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(gateway.get("/each-at-once", &b).await.status, 503, "the other is still there");
    bank.fault("checking", "ok").await;
    assert_eq!(others.await.unwrap().status, 200);
}
