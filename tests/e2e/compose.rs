//! One request to many services, one answer.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use serde_json::{Value, json};

use crate::support::gateway::base_config;
use crate::support::{Backend, Bank, Tollgate, eventually};

const SERVICES: [&str; 5] = ["checking", "savings", "cards", "loans", "investments"];

/// A route under `/ID/{account}` that composes these parts: name and rules.
fn route(id: &str, compose: &str, parts: &[(&str, &str)]) -> String {
    let mut text = format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\", methods: [GET] }}\n    authenticate: none\n    \
         account: path.account\n    compose:\n{compose}      parts:\n"
    );
    for (name, rules) in parts {
        text.push_str(&format!("        {name}: {{ {rules} }}\n"));
    }
    text
}

/// The rules of a part that asks this service for the account.
fn account_of(service: &str, rest: &str) -> String {
    format!("cluster: {service}, path: \"/v1/{{account}}\"{rest}")
}

fn all_services(rest: &str) -> Vec<(&'static str, String)> {
    SERVICES.iter().map(|service| (*service, account_of(service, rest))).collect()
}

fn borrowed<'a>(parts: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    parts.iter().map(|(name, rules)| (*name, &**rules)).collect()
}

async fn start(bank: &Bank, routes: &[String]) -> Tollgate {
    Tollgate::start(&(base_config(bank) + "routes:\n" + &routes.concat())).await
}

async fn slow(bank: &Bank, service: &str, milliseconds: u64) {
    bank.put(&format!("/fault/{service}"), json!({ "fault": "slow", "ms": milliseconds })).await;
}

fn members(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn members_stand_in_the_configurations_order_whichever_part_is_slow() {
    let bank = Bank::start().await;
    let parts = all_services("");
    let gateway = start(&bank, &[route("all", "", &borrowed(&parts))]).await;
    let first = gateway.get("/all/4711", "").await;
    assert_eq!(first.status, 200, "{first:?}");
    assert_eq!(members(&first.json()), SERVICES);
    assert!(first.header("x-partial").is_empty());
    for service in SERVICES {
        assert_eq!(first.json()[service]["accountId"], "4711", "{service}");
        slow(&bank, service, 120).await;
        let again = gateway.get("/all/4711", "").await;
        assert_eq!(again.body, first.body, "{service} was slow");
        assert_eq!(again.header("etag"), first.header("etag"));
        bank.fault(service, "ok").await;
    }
}

#[tokio::test]
async fn what_a_required_part_needs_of_the_client_is_asked_for_and_nobody_is_called() {
    let bank = Bank::start().await;
    let routes = [
        route("needs", "", &[("cards", "cluster: cards, path: \"/v1/{header.x-card}\"")]),
        route(
            "may",
            "",
            &[
                ("cards", "cluster: cards, path: \"/v1/{header.x-card}\", optional: true"),
                ("loans", "cluster: loans, path: \"/v1/{account}?from={query.from}\""),
            ],
        ),
    ];
    let gateway = start(&bank, &routes).await;
    let refused = gateway.get("/needs/4711", "").await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (400, "bad-request".to_owned()));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("lacks header.x-card"), "{detail}");
    let served = gateway.get_with("/needs/4711", "", &[("x-card", "4711")]).await;
    assert_eq!(served.status, 200, "{served:?}");
    let without = gateway.get("/may/4711", "").await;
    assert_eq!(without.status, 200, "{without:?}");
    assert_eq!(without.header("x-partial"), "cards;reason=failed");
}

#[tokio::test]
async fn parts_that_need_no_other_are_asked_all_at_once() {
    let bank = Bank::start().await;
    let parts = all_services("");
    let gateway = start(&bank, &[route("all", "", &borrowed(&parts))]).await;
    // Nobody answers until all have been asked.
    for service in SERVICES {
        slow(&bank, service, 600_000).await;
    }
    let asked = gateway.client().get(gateway.url("/all/4711")).send();
    let asked = tokio::spawn(async move { asked.await.unwrap().status() });
    eventually("all five to be asked", async || match bank.sum("inFlight").await {
        5 => Ok(()),
        fewer => Err(fewer),
    })
    .await;
    bank.fault("all", "ok").await;
    assert_eq!(asked.await.unwrap(), 200);
}

#[tokio::test]
async fn a_missing_optional_part_is_told_in_header_and_answer() {
    let bank = Bank::start().await;
    let mut parts = all_services("");
    parts[2].1 = account_of("cards", ", optional: true");
    parts[3].1 = account_of("loans", ", default: { loans: [], complete: false }, deadline: 3s");
    let text = [
        route("all", "", &borrowed(&parts)),
        route("named", "      partial_member: gaps\n", &borrowed(&parts)),
    ];
    let gateway = start(&bank, &text).await;
    let whole = gateway.get("/all/4711", "").await;
    assert_eq!(members(&whole.json()), SERVICES);

    bank.fault("cards", "500").await;
    slow(&bank, "loans", 60_000).await;
    let answer = gateway.get("/all/4711", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-partial"), "cards;reason=failed, loans;reason=timeout");
    let body = answer.json();
    assert_eq!(members(&body), ["checking", "savings", "loans", "investments", "_missing"]);
    assert_eq!(body["loans"], json!({ "loans": [], "complete": false }));
    let missing =
        json!([{ "part": "cards", "reason": "failed" }, { "part": "loans", "reason": "timeout" }]);
    assert_eq!(body["_missing"], missing);
    assert_eq!(gateway.get("/named/4711", "").await.json()["gaps"], missing);

    bank.fault("loans", "ok").await;
    bank.fault("cards", "refuse").await;
    let answer = gateway.get("/all/4711", "").await;
    assert_eq!(answer.header("x-partial"), "cards;reason=unavailable");
    assert_eq!(answer.json()["savings"], whole.json()["savings"]);
    let log = eventually("the access log to tell the operators", async || {
        let log = std::fs::read_to_string(gateway.folder().join("access.log")).unwrap();
        if log.contains("missing_parts") { Ok(log) } else { Err(log) }
    })
    .await;
    assert!(log.contains("cards: the backend answered 500"), "{log}");
}

#[tokio::test]
async fn a_required_part_that_fails_fails_the_request_with_a_clear_problem() {
    let bank = Bank::start().await;
    let mut parts = all_services("");
    parts[1].1 = account_of("savings", ", deadline: 3s, max_body: 128KiB");
    let gateway = start(&bank, &[route("all", "", &borrowed(&parts))]).await;
    let faults = [
        ("500", 502),
        ("garbage", 502),
        ("garbage-json", 502),
        ("cut", 502),
        ("wrong-length", 502),
        ("endless", 504),
        ("huge", 502),
        ("down", 502),
        ("refuse", 502),
        ("slow", 504),
    ];
    for (fault, status) in faults {
        bank.fault("savings", fault).await;
        let answer = gateway.get("/all/4711", "").await;
        let kind = if status == 504 { "backend-timeout" } else { "backend-failed" };
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (status, kind), "{fault}");
        assert_eq!(answer.header("content-type"), "application/problem+json", "{fault}");
        assert_eq!(answer.header("cache-control"), "no-store", "{fault}");
        let text = String::from_utf8_lossy(&answer.body);
        assert!(!text.contains("127.0.0.1") && !text.contains("checking"), "{fault}: {text}");
    }
    bank.fault("savings", "ok").await;
    assert_eq!(gateway.get("/all/4711", "").await.status, 200, "it is forgotten at once");
}

/// A backend that answers each path with its own JSON.
async fn library(answers: Value) -> Backend {
    Backend::start(move |request| {
        let answer = answers.get(request.target.trim_start_matches('/'));
        let status = if answer.is_some() { 200 } else { 404 };
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(Bytes::from(answer.unwrap_or(&Value::Null).to_string()))
            .unwrap()
    })
    .await
}

async fn start_with(bank: &Bank, backend: &Backend, routes: &[String]) -> Tollgate {
    let own = format!("  own: {{ endpoints: [127.0.0.1:{}] }}\nroutes:\n", backend.port());
    Tollgate::start(&(base_config(bank) + &own + &routes.concat())).await
}

#[tokio::test]
async fn a_status_that_means_nothing_there_is_no_failure() {
    let (bank, backend) = (Bank::start().await, library(json!({})).await);
    let checking = account_of("checking", "");
    let routes = [
        route(
            "empty",
            "",
            &[("checking", &checking), ("depot", "cluster: own, path: /none, empty_on: [404]")],
        ),
        route("strict", "", &[("checking", &checking), ("depot", "cluster: own, path: /none")]),
    ];
    let gateway = start_with(&bank, &backend, &routes).await;
    let answer = gateway.get("/empty/4711", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["depot"], Value::Null);
    assert_eq!(members(&answer.json()), ["checking", "depot"]);
    assert!(answer.header("x-partial").is_empty());
    assert_eq!(gateway.get("/strict/4711", "").await.status, 502);
}

#[tokio::test]
async fn a_part_asks_with_values_of_another_parts_answer() {
    let books = json!({
        "customer/4711": { "id": "c 1/2", "depots": [{ "number": "d1" }] },
        "address/c%201%2F2?depot=d1&of=4711": { "city": "Riga" },
        "status": { "open": true },
    });
    let (bank, backend) = (Bank::start().await, library(books).await);
    let parts = [
        // Written before the part that it needs: the order of the answer, not of the calls.
        (
            "address",
            "cluster: own, optional: true, needs: [customer], path: \"/address/{part.customer./id}?depot={part.customer./depots/0/number}&of={account}\"",
        ),
        ("customer", "cluster: own, optional: true, path: \"/customer/{account}\""),
        ("status", "cluster: own, path: /status"),
    ];
    let routes = [route("needs", "", &parts), route("bare", "", &parts[..2])];
    let gateway = start_with(&bank, &backend, &routes).await;
    let answer = gateway.get("/needs/4711", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(members(&answer.json()), ["address", "customer", "status"], "{answer:?}");
    assert_eq!(answer.json()["address"]["city"], "Riga");

    let unknown = gateway.get("/needs/4712", "").await;
    assert_eq!(unknown.status, 200, "{unknown:?}");
    assert_eq!(unknown.header("x-partial"), "address;reason=unavailable, customer;reason=failed");
    let asked: Vec<String> = backend.seen().into_iter().map(|seen| seen.target).collect();
    assert_eq!(asked.len(), 5, "what lacks its values is not asked: {asked:?}");
    // An answer of which every part is missing is none.
    assert_eq!(gateway.get("/bare/4712", "").await.status, 502);
}

#[tokio::test]
async fn each_item_of_a_list_is_asked_for_in_order_and_a_few_at_a_time() {
    let bank = Bank::start().await;
    let depot = account_of("investments", "");
    let each = |rules: &str| {
        format!(
            "cluster: investments, path: \"/v1/{{account}}/positions/{{item./symbol}}\", \
             for_each: {{ part: depot, list: /positions{rules} }}"
        )
    };
    let (paced, capped) = (each(", concurrency: 1"), each(", max_items: 2"));
    let lost = each("").replace("/positions/", "/nothing/");
    let gateway = start(
        &bank,
        &[
            route("paced", "", &[("prices", &paced), ("depot", &depot)]),
            route("capped", "", &[("depot", &depot), ("prices", &capped)]),
            route("lost", "", &[("depot", &depot), ("prices", &format!("{lost}, optional: true"))]),
        ],
    )
    .await;
    bank.delay(60).await;
    let started = Instant::now();
    let answer = gateway.get("/paced/4711", "").await;
    let took = started.elapsed();
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let symbols = |list: &Value| -> Vec<String> {
        let items = list.as_array().unwrap().iter();
        items.map(|item| item["symbol"].as_str().unwrap().to_owned()).collect()
    };
    let held = symbols(&body["depot"]["positions"]);
    assert!(held.len() >= 3, "{held:?}");
    assert_eq!(symbols(&body["prices"]), held);
    assert!(body["prices"][0]["prices"].as_array().is_some_and(|prices| prices.len() == 12));
    assert_eq!(bank.calls().await, 1 + held.len() as u64);
    let least = Duration::from_millis(60) * (1 + held.len() as u32);
    assert!(took >= least, "one at a time takes {least:?} at least: {took:?}");

    let capped = gateway.get("/capped/4711", "").await;
    assert_eq!((capped.status.as_u16(), &*capped.problem()), (502, "backend-failed"));
    let lost = gateway.get("/lost/4711", "").await;
    assert_eq!(lost.header("x-partial"), "prices;reason=failed", "one failed call fails the list");
}

#[tokio::test]
async fn two_parts_for_one_place_are_settled_by_the_routes_rule() {
    let books = json!({
        "first": { "a": 1, "both": { "x": 1, "y": 1 } },
        "second": { "both": { "y": 2, "z": 2 }, "b": 2 },
        "list-a": [{ "id": 1, "n": "a" }, { "id": 2 }],
        "list-b": [{ "id": 2, "m": "b" }, { "id": 3 }],
    });
    let (bank, backend) = (Bank::start().await, library(books).await);
    let objects = [
        ("one", "cluster: own, path: /first, into: data"),
        ("two", "cluster: own, path: /second, into: data"),
    ];
    // Whether these meet is seen only when both have answered.
    let tops = [
        ("one", "cluster: own, path: /first, into: \"\""),
        ("two", "cluster: own, path: /second, into: \"\""),
    ];
    let lists = [
        ("one", "cluster: own, path: /list-a, into: data"),
        ("two", "cluster: own, path: /list-b, into: data"),
    ];
    let rule = |rule: &str| format!("      conflict: {rule}\n");
    let gateway = start_with(
        &bank,
        &backend,
        &[
            route("unsaid", "", &tops),
            route("error", &rule("error"), &tops),
            route("first", &rule("first"), &objects),
            route("last", &rule("last"), &objects),
            route("merge", &rule("merge"), &objects),
            route("concat", &rule("concat"), &lists),
            route("join", &rule("{ join: id }"), &lists),
            route("mixed", &rule("concat"), &objects),
        ],
    )
    .await;
    let expected = [
        ("first", json!({ "a": 1, "both": { "x": 1, "y": 1 } })),
        ("last", json!({ "both": { "y": 2, "z": 2 }, "b": 2 })),
        ("merge", json!({ "a": 1, "both": { "x": 1, "y": 2, "z": 2 }, "b": 2 })),
        ("concat", json!([{ "id": 1, "n": "a" }, { "id": 2 }, { "id": 2, "m": "b" }, { "id": 3 }])),
        ("join", json!([{ "id": 1, "n": "a" }, { "id": 2, "m": "b" }, { "id": 3 }])),
    ];
    for (id, data) in expected {
        let answer = gateway.get(&format!("/{id}/4711"), "").await;
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        // As text, since the order of members counts too.
        assert_eq!(answer.json().to_string(), json!({ "data": data }).to_string(), "{id}");
    }
    for id in ["unsaid", "error", "mixed"] {
        let answer = gateway.get(&format!("/{id}/4711"), "").await;
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (502, "backend-failed"), "{id}");
    }
}

#[tokio::test]
async fn parts_are_edited_and_placed_before_they_are_joined() {
    let bank = Bank::start().await;
    let cards = account_of(
        "cards",
        ", into: accounts.plastic, edits: [{ mask: { at: \"/cards/*/number\", keep: 4 } }, \
         { drop: /transactions }, { rename: { at: /holder, to: owner } }, { set: { at: /seen, value: true } }]",
    );
    let checking = account_of(
        "checking",
        ", into: accounts.giro, edits: [{ pick: { members: [accountId, balance] } }, \
         { move: { from: /balance, to: /money/now } }]",
    );
    let raw = account_of("cards", ", into: raw");
    let parts = [("cards", cards.as_str()), ("checking", checking.as_str()), ("raw", raw.as_str())];
    let gateway = start(&bank, &[route("edited", "", &parts)]).await;
    let answer = gateway.get("/edited/4711", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(members(&body["accounts"]), ["plastic", "giro"]);
    let (edited, raw) = (&body["accounts"]["plastic"], &body["raw"]);
    let numbers = raw["cards"].as_array().unwrap();
    assert!(!numbers.is_empty());
    for (nth, card) in numbers.iter().enumerate() {
        let number = card["number"].as_str().unwrap();
        let (hidden, shown) = number.split_at(number.len() - 4);
        let masked = "*".repeat(hidden.len()) + shown;
        assert_eq!(edited["cards"][nth]["number"], masked, "{number}");
    }
    assert!(edited.get("transactions").is_none() && raw.get("transactions").is_some());
    assert_eq!((&edited["owner"], &edited["seen"]), (&raw["holder"], &json!(true)));
    assert_eq!(members(&body["accounts"]["giro"]), ["accountId", "money"]);
    assert!(body["accounts"]["giro"]["money"]["now"].is_object());
}

#[tokio::test]
async fn when_the_client_goes_the_backend_calls_end() {
    let bank = Bank::start().await;
    let parts = all_services(", deadline: 5m");
    let gateway = start(&bank, &[route("all", "", &borrowed(&parts))]).await;
    slow(&bank, "all", 300_000).await;
    let asked = gateway.get("/all/4711", "");
    let waiting =
        eventually("all parts to be under way", async || match bank.sum("inFlight").await {
            5 => Ok(()),
            other => Err(other),
        });
    tokio::select! {
        answer = asked => panic!("nobody should have answered: {answer:?}"),
        () = waiting => {}
    }
    // The request was dropped, and with it its connection.
    eventually("the calls to be given up", async || {
        let seen = (bank.sum("inFlight").await, bank.sum("abandoned").await);
        if seen == (0, 5) { Ok(()) } else { Err(seen) }
    })
    .await;
}

#[tokio::test]
async fn a_part_that_fails_ends_the_calls_that_nobody_waits_for_any_more() {
    let bank = Bank::start().await;
    let parts = all_services(", deadline: 5m");
    let gateway = start(&bank, &[route("all", "", &borrowed(&parts))]).await;
    for service in ["checking", "savings", "cards", "loans"] {
        slow(&bank, service, 300_000).await;
    }
    bank.put("/fault/investments", json!({ "fault": "slow", "ms": 200 })).await;
    let asked = gateway.get("/all/none-such", "").await;
    assert_eq!(asked.status, 502, "{asked:?}");
    eventually("the other calls to be given up", async || {
        let seen = (bank.sum("inFlight").await, bank.sum("abandoned").await);
        if seen == (0, 4) { Ok(()) } else { Err(seen) }
    })
    .await;
}
