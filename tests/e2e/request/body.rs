//! Bodies that are too large or too slow.

use std::time::{Duration, Instant};

use http::Method;

use super::{config, config_with_ports};
use crate::support::wire::{Wire, assert_problem, logged, metric_becomes};
use crate::support::{Bank, Tollgate};

#[tokio::test]
async fn a_body_above_the_routes_limit_is_413_announced_or_not() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let chunk = |length: usize| format!("{length:x}\r\n{}\r\n", "x".repeat(length));
    let head = |path: &str, framing: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n{framing}\r\n\r\n"
        )
    };
    let chunked = "Transfer-Encoding: chunked";
    for request in [
        // Refused on the announcement: no byte of the body is ever sent.
        head("/echo/x", "Content-Length: 1025"),
        head("/transfers", "Content-Length: 16385"),
        head("/echo/x", chunked) + &chunk(600) + &chunk(600) + "0\r\n\r\n",
        head("/transfers", chunked) + &chunk(9_000) + &chunk(9_000) + "0\r\n\r\n",
        // It has no end, and no end is waited for.
        head("/echo/x", chunked) + &chunk(1025),
    ] {
        let mut wire = Wire::to(&gateway, 8080).await;
        wire.send(&request).await;
        let answer = wire.answer().await;
        let id = assert_problem(&answer, 413, "body-too-large");
        wire.ends().await;
        assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], "body-too-large");
    }
    metric_becomes(&gateway, r#"tollgate_refusals_total{type="body-too-large"}"#, 5).await;

    let fits = gateway.send(Method::POST, "/echo/x", "", &[], vec![b'x'; 1024]).await;
    assert_eq!((fits.status.as_u16(), &fits.json()["bodyLength"]), (200, &1024.into()));
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send(head("/echo/x", chunked) + &chunk(600) + &chunk(424) + "0\r\n\r\n").await;
    assert_eq!(wire.answer().await.json()["bodyLength"], 1024);
}

const TIGHT: &str = "  - { address: ADDRESS:8081, limits: { body_timeout: 400ms } }\n";

#[tokio::test]
async fn a_body_that_comes_too_slowly_is_408_where_the_port_says_so() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, TIGHT)).await;
    let json = r#"{"debtor":{"account":"4711"}}"#;
    for (path, body) in [("/echo/x", "0123456789"), ("/transfers", json)] {
        let (first, rest) = body.split_at(5);
        let begun = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{first}",
            body.len()
        );
        let started = Instant::now();
        let (mut patient, mut tight) =
            (Wire::to(&gateway, 8080).await, Wire::to(&gateway, 8081).await);
        patient.send(&begun).await;
        tight.send(&begun).await;
        let answer = tight.answer().await;
        assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
        let id = assert_problem(&answer, 408, "body-timeout");
        tight.ends().await;
        assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], "body-timeout");
        // The other port still waits.
        patient.send(rest).await;
        let answer = patient.answer().await;
        assert_eq!((answer.status.as_u16(), &answer.json()["body"]), (200, &body.into()));
    }
    metric_becomes(&gateway, r#"tollgate_refusals_total{type="body-timeout"}"#, 2).await;
}

#[tokio::test]
async fn a_byte_now_and_then_buys_no_time() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, TIGHT)).await;
    let mut wire = Wire::to(&gateway, 8081).await;
    wire.send("POST /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n").await;
    // The slow client itself, not a wait: its body would take 40 s.
    let mut trickle = tokio::time::interval(Duration::from_millis(40));
    let mut sent = 0;
    while !wire.has_something().await {
        trickle.tick().await;
        wire.send("x").await;
        sent += 1;
        assert!(sent < 1000, "the whole body was taken");
    }
    assert_problem(&wire.answer().await, 408, "body-timeout");
}
