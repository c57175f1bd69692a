//! Where answers end: backends that say it badly, and clients that know less than they do.

use bytes::Bytes;
use http::Response;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{echo, raw};
use crate::support::gateway::base_config;
use crate::support::wire::{assert_problem, logged};
use crate::support::{Backend, Bank, Tollgate};

/// A backend that answers whatever it is asked with the bytes that the test has for its end, and
/// hangs up.
async fn teller(answers: &'static [(&'static str, &'static str)]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, answers));
        }
    });
    port
}

async fn answer(mut stream: TcpStream, answers: &'static [(&'static str, &'static str)]) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let wish = head.split(' ').nth(1).unwrap().rsplit(['?', '/']).next().unwrap();
    let (_, answer) = answers.iter().find(|(name, _)| *name == wish).unwrap();
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Routes `/plain/*`, `/edited/*`, `/kept/*` and, composed, `/parts/*` to a backend at this port.
async fn start(port: u16, protocol: &str) -> (Bank, Tollgate) {
    let bank = Bank::start().await;
    let edits = "    response: { body: [{ drop: /none }] }\n";
    let kept = "    cache: { fresh: 1h, visible_to: everyone }\n";
    let routes = [echo("plain", ""), echo("edited", edits), echo("kept", kept)].concat();
    let routes = routes
        .replace("cluster: checking", "cluster: own")
        .replace("    rewrite: { path: /echo }\n", "");
    let composed = "  - id: parts\n    match: { path: \"/parts/{account}\", methods: [GET] }\n    authenticate: none\n    \
         account: path.account\n    compose: { parts: { one: { cluster: own, path: \"/{query.q}\" } } }\n";
    let own =
        format!("  own: {{ endpoints: [127.0.0.1:{port}], protocol: {protocol} }}\nroutes:\n");
    let gateway = Tollgate::start(&(base_config(&bank) + &own + &routes + composed)).await;
    (bank, gateway)
}

#[tokio::test]
async fn a_body_in_a_coding_that_is_not_chunked_alone_is_the_backends_failure() {
    let port = teller(&[
        (
            "cut",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: x\r\n\r\n12",
        ),
        (
            "coded",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\
             transfer-encoding: gzip, chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n",
        ),
        (
            "twice",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n\
             2\r\n12\r\n0\r\n\r\n",
        ),
        ("error", "HTTP/1.1 404 Not Found\r\ntransfer-encoding: x\r\ncontent-length: 2\r\n\r\n12"),
        ("good", "HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n2\r\n12\r\n0\r\n\r\n"),
    ])
    .await;
    let (_bank, gateway) = start(port, "http1").await;
    for wish in ["cut", "coded", "twice", "error"] {
        for route in ["plain", "edited", "kept"] {
            let refused = gateway.get(&format!("/{route}/1?{wish}"), "").await;
            let id = assert_problem(&refused, 502, "backend-failed");
            let line = logged(&gateway, &id).await;
            let detail = line["tollgate"]["detail"].as_str().unwrap();
            assert!(detail.contains("Transfer-Encoding"), "{line}");
        }
        let composed = gateway.get(&format!("/parts/1?q={wish}"), "").await;
        assert_problem(&composed, 502, "backend-failed");
    }
    let request = "GET /plain/1?good HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let good = raw(&gateway, request).await;
    assert!(good.contains("chunked\r\n") && !good.contains("CHUNKED"), "{good}");
    assert!(good.ends_with("2\r\n12\r\n0\r\n\r\n"), "{good}");
}

#[tokio::test]
async fn an_answer_over_http_1_0_is_given_on_as_the_gateways_own() {
    let port = teller(&[
        ("length", "HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n12"),
        ("close", "HTTP/1.0 200 OK\r\n\r\n12"),
        ("chunks", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n12\r\n0\r\n\r\n"),
        ("none", "HTTP/1.0 204 No Content\r\ncontent-length: 5\r\n\r\n"),
    ])
    .await;
    let (_bank, gateway) = start(port, "http1").await;
    for (wish, end) in
        [("length", "\r\n\r\n12"), ("close", "12\r\n0\r\n\r\n"), ("chunks", "12\r\n0\r\n\r\n")]
    {
        let request =
            format!("GET /plain/1?{wish} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw(&gateway, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with(end), "{answer}");
    }
    let none = gateway.get("/plain/1?none", "").await;
    assert_eq!((none.status.as_u16(), none.header("content-length")), (204, ""), "{none:?}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_no_chunks_and_the_end_by_the_connections_end() {
    let pieces = |_: &crate::support::backend::Seen| {
        let answer = Response::builder().header("content-type", "application/json");
        answer.header("transfer-encoding", "chunked").body(Bytes::from("[1,2]")).unwrap()
    };
    let (old, new) = (Backend::start(pieces).await, Backend::start_http2(pieces).await);
    for (backend, protocol) in [(&old, "http1"), (&new, "http2")] {
        let (_bank, gateway) = start(backend.port(), protocol).await;
        for route in ["plain", "edited", "kept"] {
            let request =
                format!("GET /{route}/1 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
            let answer = raw(&gateway, &request).await.to_ascii_lowercase();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("http/1.1 200"), "{protocol} {route}: {answer}");
            assert!(!head.contains("transfer-encoding"), "{protocol} {route}: {answer}");
            assert!(head.contains("connection: close"), "{protocol} {route}: {answer}");
            assert_eq!(body, "[1,2]", "{protocol} {route}");
        }
    }
}

#[tokio::test]
async fn what_the_cache_did_is_said_once_and_behind_what_a_backends_cache_said() {
    let port = teller(&[(
        "hints",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
         HTTP/1.1 200 OK\r\ncache-status: core; hit\r\ncontent-length: 2\r\n\r\n12",
    )])
    .await;
    let (_bank, gateway) = start(port, "http1").await;
    let request = "GET /kept/1?hints HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let first = raw(&gateway, request).await.to_ascii_lowercase();
    let (hints, rest) = first.split_once("\r\n\r\n").unwrap();
    assert!(hints.starts_with("http/1.1 103") && !hints.contains("cache-status"), "{first}");
    let said = "cache-status: core; hit\r\ncache-status: tollgate; fwd=uri-miss; stored";
    assert!(rest.contains(said), "{first}");
    let again = raw(&gateway, request).await.to_ascii_lowercase();
    let said = "cache-status: core; hit\r\ncache-status: tollgate; hit\r\n";
    assert!(again.contains(said), "{again}");
}
