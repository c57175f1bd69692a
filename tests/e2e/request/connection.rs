//! How connections live: one request after the other, several at once, and their ends.

use super::config;
use crate::support::wire::{Wire, logged};
use crate::support::{Bank, Tollgate};

#[tokio::test]
async fn a_connection_carries_many_requests_one_after_the_other() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    for number in 0..3 {
        wire.send(format!("GET /echo/{number} HTTP/1.1\r\nHost: a\r\n\r\n")).await;
        assert_eq!(wire.answer().await.json()["path"], format!("/echo/{number}"));
    }
    // A refusal that leaves no doubt about the connection leaves it open as well.
    wire.send("GET /none HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(wire.answer().await.problem(), "no-route");

    wire.send("GET /echo/last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
    let last = wire.answer().await;
    assert_eq!(last.json()["path"], "/echo/last");
    assert_eq!(last.header("connection"), "close");
    wire.ends().await;
}

/// RFC 9112 section 9.3.2: a client that sends ahead must be ready to send again on another
/// connection what was not answered on this one.
#[tokio::test]
async fn requests_sent_ahead_are_answered_in_order_or_not_carried_out_at_all() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let requests: String = (0..5)
        .map(|number| match number % 2 {
            0 => format!("GET /v1/ahead?n={number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            _ => format!(
                "POST /v1/ahead?n={number} HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
            ),
        })
        .collect();
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send(requests).await;
    assert_eq!(wire.answer().await.status, 200, "the first is answered in any case");
    let mut answered = 1;
    while answered < 5 {
        let Some(answer) = wire.try_answer().await else { break };
        // The bank takes no POST there: so the answers can be told apart.
        assert_eq!(answer.status, if answered % 2 == 0 { 200 } else { 405 });
        answered += 1;
    }
    assert_eq!(bank.get("/counts/ahead").await["total"], answered);
}

#[tokio::test]
async fn a_head_in_pieces_and_blank_lines_before_it_are_fine() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    for piece in ["\r\n", "GE", "T /echo/x HT", "TP/1.1\r", "\nHost", ": a\r\n", "\r", "\n"] {
        wire.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(wire.answer().await.json()["path"], "/echo/x");
}

#[tokio::test]
async fn http_1_0_is_answered_and_its_connection_closed() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send("POST /echo/x HTTP/1.0\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").await;
    let answer = wire.answer().await;
    assert_eq!((answer.status.as_u16(), &answer.json()["body"]), (200, &"abc".into()));
    assert_eq!(answer.json()["version"], "HTTP/1.1", "the backend is spoken to in HTTP/1.1");
    assert!(!answer.headers.contains_key("transfer-encoding"), "HTTP/1.0 has no chunks");
    wire.ends().await;
    let line = logged(&gateway, answer.header("x-request-id")).await;
    assert_eq!(line["http"]["version"], "1.0");
}

#[tokio::test]
async fn a_client_that_expects_it_is_told_to_go_on() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send(
        "POST /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.status, 100);
    wire.send("abc").await;
    assert_eq!(wire.answer().await.json()["body"], "abc");

    // Who is refused is told so before the body is sent.
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send(
        "POST /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\nExpect: 100-continue\r\n\r\n",
    )
    .await;
    assert_eq!(wire.answer().await.status, 413);
}
