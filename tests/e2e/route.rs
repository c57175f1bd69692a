//! Which route takes a request, what it is answered without a backend, and that no odd spelling of
//! a path gets around the route that is meant for it.

mod bypass;
mod precedence;

use http::Method;

use crate::support::gateway::base_config;
use crate::support::wire::{Wire, assert_problem, logged};
use crate::support::{Bank, Tollgate};

const ROUTES: &str = r#"
routes:
  - { id: account, match: { path: "/accounts/{account}", methods: [GET, DELETE] }, authenticate: none, answer: { body: account } }
  - { id: order, match: { path: "/accounts/{account}", methods: [PUT] }, authenticate: none, answer: { body: order } }
  - { id: beta, match: { path: "/beta", methods: [POST], headers: { x-beta: "1" } }, authenticate: none, answer: { body: beta } }
  - { id: all, match: { path: /all }, authenticate: none, answer: { body: all } }
  - id: fixed
    match: { path: /fixed }
    authenticate: none
    answer: { status: 418, headers: { content-type: text/plain, x-pot: tea }, body: "short and stout" }
  - { id: empty, match: { path: /empty }, authenticate: none, answer: { status: 204 } }
  - { id: moved, match: { path: "/old/{name}" }, authenticate: none, redirect: { to: "https://new.example/{name}" } }
  - { id: found, match: { path: "/found/{*rest}" }, authenticate: none, redirect: { to: "/echo/{rest}", status: 302 } }
  - id: rewritten
    match: { path: "/customers/{customer}/cards/{*rest}" }
    authenticate: none
    cluster: cards
    rewrite: { path: "/echo/{customer}/{header.x-kind}?of={rest}", host: cards.internal }
  - id: as-it-is
    match: { path: "/echo/*" }
    authenticate: none
    cluster: cards
"#;

async fn start(bank: &Bank) -> Tollgate {
    Tollgate::start(&(base_config(bank) + ROUTES)).await
}

#[tokio::test]
async fn a_path_that_no_route_has_is_404_and_another_method_is_405_with_those_that_are_allowed() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    for path in ["/", "/account", "/accounts", "/accounts/a/b", "/accounts/a/", "/fixed/", "/Fixed"]
    {
        let answer = gateway.get(path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        let id = assert_problem(&answer, 404, "no-route");
        let line = logged(&gateway, &id).await;
        assert_eq!((&line["url"]["path"], &line["tollgate"]["route"]), (&path.into(), &().into()));
    }
    for (method, path, allow) in [
        (Method::POST, "/accounts/4711", "DELETE, GET, HEAD, PUT"),
        (Method::OPTIONS, "/accounts/4711", "DELETE, GET, HEAD, PUT"),
        (Method::from_bytes(b"BREW").unwrap(), "/accounts/4711", "DELETE, GET, HEAD, PUT"),
    ] {
        let answer = gateway.send(method, path, "", &[], Vec::new()).await;
        assert_problem(&answer, 405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allow);
    }
    // A method that only a request with another header may use is none that is missing here.
    assert_problem(&gateway.get("/beta", "").await, 404, "no-route");
    let beta = gateway.get_with("/beta", "", &[("x-beta", "1")]).await;
    assert_problem(&beta, 405, "method-not-allowed");
    assert_eq!(beta.header("allow"), "POST");
    for method in [Method::GET, Method::PATCH, Method::from_bytes(b"BREW").unwrap()] {
        let answer = gateway.send(method, "/all", "", &[], Vec::new()).await;
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"all"[..]));
    }
}

#[tokio::test]
async fn head_goes_where_get_goes_and_gets_no_body() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    for (path, length) in [("/accounts/4711", "7"), ("/fixed", "15"), ("/none", "")] {
        wire.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        let (status, headers) = wire.head().await.unwrap();
        assert_ne!(status, 405);
        if !length.is_empty() {
            assert_eq!(headers["content-length"], length, "{path}");
        }
    }
    wire.send("HEAD /echo/x HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.head().await.unwrap().0, 200, "the backend's answer");
    // Had there been a body, it would stand before this.
    wire.send("GET /all HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.answer().await.body, b"all");
}

#[tokio::test]
async fn fixed_answers_and_redirects_need_no_backend() {
    let bank = Bank::start().await;
    bank.fault("all", "refuse").await;
    let gateway = start(&bank).await;
    let fixed = gateway.send(Method::POST, "/fixed", "", &[], b"ignored".to_vec()).await;
    assert_eq!((fixed.status.as_u16(), &*fixed.body), (418, &b"short and stout"[..]));
    assert_eq!((fixed.header("x-pot"), fixed.header("content-type")), ("tea", "text/plain"));
    assert!(!fixed.header("x-request-id").is_empty());
    let empty = gateway.get("/empty", "").await;
    assert_eq!((empty.status.as_u16(), empty.body.len()), (204, 0));
    assert!(!empty.headers.contains_key("content-length"), "RFC 9110 section 8.6");

    for (path, status, location) in [
        ("/old/a%20b", 308, "https://new.example/a%20b"),
        ("/old/%C3%A9%3F%23", 308, "https://new.example/%C3%A9%3F%23"),
        ("/found/a/b", 302, "/echo/a/b"),
    ] {
        let answer = gateway.get(path, "").await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (status, location));
        let line = logged(&gateway, answer.header("x-request-id")).await;
        assert_eq!(line["tollgate"]["source"], "gateway");
    }
    let unreachable = gateway.get("/echo/x", "").await;
    assert!(unreachable.status.is_server_error(), "the backends are down: {unreachable:?}");
}

#[tokio::test]
async fn a_rewrite_decides_what_the_backend_is_asked() {
    let bank = Bank::start().await;
    let gateway = start(&bank).await;
    let told = |answer: &crate::support::Answer| {
        let told = answer.json();
        let host = told["headers"].as_array().unwrap().iter().find(|field| field[0] == "host");
        (told["path"].as_str().unwrap().to_owned(), host.unwrap()[1].as_str().unwrap().to_owned())
    };
    let kind = [("x-kind", "gold")];
    let answer = gateway.get_with("/customers/7/cards/a/b?c=d", "", &kind).await;
    assert_eq!(told(&answer), ("/echo/7/gold?of=a/b".into(), "cards.internal".into()));

    // A value can't become more than the one place that it was meant for.
    let kind = [("x-kind", "a/../../v1?x=y#z&%")];
    let answer = gateway.get_with("/customers/7%3Fx=1/cards/x&y=z", "", &kind).await;
    let (path, _) = told(&answer);
    assert_eq!(path.matches('?').count(), 1, "{path}");
    assert!(path.starts_with("/echo/7%3Fx%3D1/a%2F..%2F..%2Fv1%3Fx%3Dy%23z%26%25?of="), "{path}");
    assert!(!path.split_once('?').unwrap().1.contains('&'), "{path}");

    let missing = gateway.get("/customers/7/cards/a", "").await;
    assert_problem(&missing, 400, "bad-request");

    let answer = gateway.get("/echo/x?a=1&a=2&b=%2F", "").await;
    let host = format!("127.0.0.1:{}", bank.port("cards"));
    assert_eq!(told(&answer), ("/echo/x?a=1&a=2&b=%2F".into(), host));
}
