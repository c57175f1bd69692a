//! HTTP/2 without TLS.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::Version;
use http_body_util::StreamBody;
use hyper::body::Frame;

use super::config_with_ports;
use crate::support::wire::{Wire, assert_problem, logged};
use crate::support::{Bank, Tollgate};

const ONLY_HTTP_1: &str = "  - { address: ADDRESS:8081, http2: false }\n";

#[tokio::test]
async fn http_2_by_prior_knowledge_is_served_beside_http_1() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, ONLY_HTTP_1)).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    // Many at once on one connection.
    let requests = (0..20).map(|number| {
        let url = gateway.url(&format!("/echo/{number}?q=1"));
        let request = client.post(url).body(format!("body {number}"));
        async move { (number, request.send().await.unwrap()) }
    });
    for (number, answer) in futures::future::join_all(requests).await {
        assert_eq!((answer.version(), answer.status().as_u16()), (Version::HTTP_2, 200));
        let id = answer.headers()["x-request-id"].to_str().unwrap().to_owned();
        let told: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(told["path"], format!("/echo/{number}?q=1"));
        assert_eq!(told["body"], format!("body {number}"));
        if number == 0 {
            assert_eq!(logged(&gateway, &id).await["http"]["version"], "2");
        }
    }
    let missing = client.get(gateway.url("/none")).send().await.unwrap();
    assert_eq!((missing.version(), missing.status().as_u16()), (Version::HTTP_2, 404));
    let large = client.post(gateway.url("/echo/x")).body(vec![0; 1025]).send().await.unwrap();
    assert_eq!(large.status(), 413);
    let traced = client.request(http::Method::TRACE, gateway.url("/v1/1")).send().await.unwrap();
    assert_eq!(traced.status(), 405);
}

/// A body that says nothing of its length.
fn pieces(pieces: &[&'static [u8]]) -> reqwest::Body {
    let pieces: Vec<_> =
        pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from(*piece)))).collect();
    reqwest::Body::wrap(StreamBody::new(stream::iter(pieces)))
}

#[tokio::test]
async fn a_body_over_http_2_is_measured_as_it_comes() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, "")).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let large = client.post(gateway.url("/echo/x")).body(pieces(&[&[b'x'; 600], &[b'x'; 600]]));
    assert_eq!(large.send().await.unwrap().status(), 413);
    let fits = client.post(gateway.url("/echo/x")).body(pieces(&[&[b'x'; 512], &[b'x'; 512]]));
    assert_eq!(fits.send().await.unwrap().status(), 200);
}

const TIGHT: &str = "  - { address: ADDRESS:8081, limits: { body_timeout: 400ms } }\n";

#[tokio::test]
async fn a_body_over_http_2_that_trickles_is_408_where_the_port_says_so() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, TIGHT)).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    // The slow client itself, not a wait: its body takes 2 s.
    let trickle = || {
        let pace = tokio::time::interval(Duration::from_millis(40));
        let pieces = stream::unfold((pace, 0), async |(mut pace, sent)| {
            pace.tick().await;
            let piece = Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x")));
            (sent < 50).then_some((piece, (pace, sent + 1)))
        });
        reqwest::Body::wrap(StreamBody::new(Box::pin(pieces)))
    };
    let at = |port: u16| format!("http://{}:{port}/echo/x", gateway.address());
    let (tight, patient) = tokio::join!(
        client.post(at(8081)).body(trickle()).send(),
        client.post(at(8080)).body(trickle()).send(),
    );
    let tight = tight.unwrap();
    assert_eq!(tight.status(), 408);
    let id = tight.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], "body-timeout");
    let patient = patient.unwrap();
    assert_eq!(patient.status(), 200);
    assert_eq!(patient.json::<serde_json::Value>().await.unwrap()["bodyLength"], 50);
}

#[tokio::test]
async fn a_backend_that_waits_for_the_rest_of_a_request_is_not_blamed_for_it() {
    let bank = Bank::start().await;
    let ready = format!("endpoints: [127.0.0.1:{}]", bank.port("checking"));
    let strict = format!(
        "{ready}, deadlines: {{ first_byte: 3s }}, \
         ejection: {{ consecutive_failures: 1, period: 1h, max_percent: 100 }}"
    );
    let config = config_with_ports(&bank, "").replacen(&ready, &strict, 1);
    assert!(config.contains("first_byte"));
    let gateway = Tollgate::start(&config).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let part = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"half")))]);
    let stalled = reqwest::Body::wrap(StreamBody::new(part.chain(stream::pending())));
    let answer = client.post(gateway.url("/echo/x")).body(stalled).send().await.unwrap();
    assert_eq!(answer.status(), 408);

    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send("POST /echo/x HTTP/1.1\r\nHost: a\r\nContent-Length: 8\r\n\r\nhalf").await;
    assert_problem(&wire.answer().await, 408, "body-timeout");
    wire.ends().await;
    // One failure would have been enough to take the endpoint out.
    let whole = gateway.send(http::Method::POST, "/echo/x", "", &[], b"whole".to_vec()).await;
    assert_eq!(whole.status, 200, "{whole:?}");
}

#[tokio::test]
async fn a_port_without_http_2_refuses_it() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, ONLY_HTTP_1)).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let url = format!("http://{}:8081/echo/x", gateway.address());
    assert!(client.get(&url).send().await.is_err());
    let mut wire = Wire::to(&gateway, 8081).await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_problem(&wire.answer().await, 400, "bad-request");
    let plain = gateway.client().get(&url).send().await.unwrap();
    assert_eq!((plain.version(), plain.status().as_u16()), (Version::HTTP_11, 200));
}

/// One HTTP/2 frame (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [&head, payload].concat()
}

/// Fields as literals that are not kept (RFC 7541 section 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    fields.iter().flat_map(|(name, value)| [vec![0], text(name), text(value)].concat()).collect()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// Reads frames up to the first of a kind with a flag; all kinds seen of stream 1.
async fn frames_until(wire: &mut Wire, kind: u8, flag: u8) -> Vec<u8> {
    let mut seen = Vec::new();
    loop {
        let head = wire.take(9).await;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        wire.take(length).await;
        if head[8] == 1 {
            seen.push(head[3]);
        }
        if head[3] == kind && head[4] & flag != 0 {
            return seen;
        }
    }
}

/// Clients that are still sending show the answer only if the stream isn't reset right behind it.
#[tokio::test]
async fn an_answer_before_the_end_of_a_body_over_http_2_is_not_followed_by_a_reset() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config_with_ports(&bank, "")).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    wire.send(frame(SETTINGS, 0, 0, &[])).await;
    let head = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", "/nowhere"),
        ("content-length", "2000"),
    ]);
    wire.send(frame(HEADERS, END_HEADERS, 1, &head)).await;
    wire.send(frame(DATA, 0, 1, &[b'x'; 1000])).await;
    let answer = frames_until(&mut wire, DATA, END_STREAM).await;
    assert_eq!(answer, [HEADERS, DATA]);
    wire.send(frame(DATA, END_STREAM, 1, &[b'x'; 1000])).await;
    wire.send(frame(PING, 0, 0, &[7; 8])).await;
    let after = frames_until(&mut wire, PING, 1).await;
    assert!(!after.contains(&RST_STREAM), "{after:?}");
    // The connection serves on.
    let head = fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a.example"),
        (":path", "/nowhere"),
    ]);
    wire.send(frame(HEADERS, END_HEADERS | END_STREAM, 3, &head)).await;
    frames_until(&mut wire, DATA, END_STREAM).await;
}
