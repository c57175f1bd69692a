//! Attempts to hide one request in another.

use super::config;
use crate::support::wire::{Wire, ask, assert_problem, metric};
use crate::support::{Bank, Tollgate};

const HIDDEN: &str = "GET /v1/smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

async fn smuggled(bank: &Bank) -> serde_json::Value {
    bank.get("/counts/smuggled").await["total"].clone()
}

#[tokio::test]
async fn a_request_hidden_in_anothers_body_is_never_carried_out() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let post = |fields: &str, body: &str| {
        format!("POST /echo/x HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n{body}{HIDDEN}")
    };
    let cases = [
        // Two ways to tell where the body ends.
        post("Content-Length: 5\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked\r\nContent-Length: 3", "0\r\n\r\n"),
        post("Content-Length: 0\r\nContent-Length: 39", ""),
        post("Content-Length: 0, 39", ""),
        post("Content-Length: +0", ""),
        post("Transfer-Encoding: xchunked\r\nContent-Length: 0", ""),
        post("Transfer-Encoding:\u{b}chunked", "0\r\n\r\n"),
        post("Transfer-Encoding : chunked", "0\r\n\r\n"),
        post("Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        post("Transfer-Encoding: identity, chunked", "0\r\n\r\n"),
        post("Transfer-Encoding: \"chunked\"", "0\r\n\r\n"),
        post("X: y\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        post("X: y\rTransfer-Encoding: chunked", "0\r\n\r\n"),
        // Chunks that readers measure differently.
        post("Transfer-Encoding: chunked", "0x0\r\n\r\n"),
        post("Transfer-Encoding: chunked", "-0\r\n\r\n"),
        post("Transfer-Encoding: chunked", "+0\r\n\r\n"),
        post("Transfer-Encoding: chunked", " 0\r\n\r\n"),
        post("Transfer-Encoding: chunked", "10000000000000000\r\n\r\n"),
        post("Transfer-Encoding: chunked", "2\r\nabc\r\n0\r\n\r\n"),
        post("Transfer-Encoding: chunked", "2\r\nab0\r\n\r\n"),
    ];
    for request in &cases {
        let mut wire = Wire::to(&gateway, 8080).await;
        wire.send(request).await;
        if let Some(answer) = wire.try_answer().await {
            assert!(answer.status.is_client_error(), "{request:?}: {answer:?}");
        }
        wire.ends().await;
        assert_eq!(smuggled(&bank).await, 0, "{request:?}");
    }
    let sound = gateway.get("/v1/4711", "").await;
    assert_eq!(sound.status, 200, "the gateway serves on");
    assert_eq!(metric(&gateway, "tollgate_panics_total").await, 0);
}

#[tokio::test]
async fn a_body_that_looks_like_a_request_stays_a_body() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let length = HIDDEN.len();
    let after = "GET /echo/after HTTP/1.1\r\nHost: a\r\n\r\n";
    for (request, status) in [
        (
            format!("POST /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
            200,
        ),
        (
            format!("GET /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
            200,
        ),
        (
            format!(
                "POST /echo/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 {length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"
            ),
            200,
        ),
        // Refused before its body was read.
        (
            format!("POST /none HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"),
            404,
        ),
        (
            format!(
                "PUT /transfers HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{HIDDEN}"
            ),
            405,
        ),
    ] {
        let mut wire = Wire::to(&gateway, 8080).await;
        wire.send(format!("{request}{after}")).await;
        let answer = wire.answer().await;
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.json()["body"], HIDDEN, "the backend got it as a body");
        }
        // A gateway may hang up instead of reading what it refused.
        if let Some(next) = wire.try_answer().await {
            assert_eq!(next.json()["path"], "/echo/after", "{request:?}");
        }
        assert_eq!(smuggled(&bank).await, 0, "{request:?}");
    }
}

#[tokio::test]
async fn no_client_talks_to_a_backend_in_another_protocol() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    let upgrade = "GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                   Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n";
    wire.send(upgrade).await;
    let answer = wire.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    for field in told["headers"].as_array().unwrap() {
        let name = field[0].as_str().unwrap();
        assert!(!["upgrade", "http2-settings"].contains(&name), "{told}");
    }
    // A client must not have the gateway drop fields that the gateway itself sets, or the Host.
    let get = |nominated: &str| {
        format!("GET /echo/x HTTP/1.1\r\nHost: a\r\nConnection: {nominated}\r\n\r\n")
    };
    let told = ask(&gateway, get("x-request-id, x-fapi-interaction-id")).await.json();
    for name in ["host", "x-request-id", "x-fapi-interaction-id", "x-forwarded-for"] {
        let fields = told["headers"].as_array().unwrap();
        assert!(fields.iter().any(|field| field[0] == name), "{name} is missing: {told}");
    }
    for nominated in ["host", "x-forwarded-for", "x-forwarded-proto"] {
        assert_problem(&ask(&gateway, get(nominated)).await, 400, "bad-request");
    }
}
