//! Every limit of a port: one port has it, the other doesn't, and the same bytes go to both.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use serde_json::json;

use super::config_with_ports;
use crate::support::wire::{Wire, assert_problem, logged, metric_becomes};
use crate::support::{Bank, Tollgate, eventually};

const GET: &str = "GET /echo/x HTTP/1.1\r\nHost: a\r\n\r\n";

async fn start(bank: &Bank, limits: &str) -> Tollgate {
    let port = format!("  - {{ address: ADDRESS:8081, limits: {{ {limits} }} }}\n");
    Tollgate::start(&config_with_ports(bank, &port)).await
}

async fn status_at(gateway: &Tollgate, port: u16, request: &str) -> u16 {
    let mut wire = Wire::to(gateway, port).await;
    wire.send(request).await;
    wire.answer().await.status.as_u16()
}

#[tokio::test]
async fn sizes_of_a_head_are_the_ports_own() {
    let bank = Bank::start().await;
    let limits = "max_headers: 4, max_header_bytes: 256B, max_uri_bytes: 300B";
    let gateway = start(&bank, limits).await;
    let fields = |count: usize| "X: 1\r\n".repeat(count);
    let get = |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    let path = |length: usize| format!("/echo/{}", "a".repeat(length - "/echo/".len()));
    // "Host" and "a" are five bytes, "X" is one.
    let value = |length: usize| format!("X: {}\r\n", "v".repeat(length - 6));
    for (within, beyond, refusal) in [
        (get("/echo/x", &fields(3)), get("/echo/x", &fields(4)), (431, "headers-too-large")),
        (get("/echo/x", &value(256)), get("/echo/x", &value(257)), (431, "headers-too-large")),
        (get(&path(300), ""), get(&path(301), ""), (414, "uri-too-long")),
    ] {
        assert_eq!(status_at(&gateway, 8081, &within).await, 200, "{within}");
        assert_eq!(status_at(&gateway, 8080, &beyond).await, 200, "{beyond}");
        let mut wire = Wire::to(&gateway, 8081).await;
        wire.send(&beyond).await;
        assert_problem(&wire.answer().await, refusal.0, refusal.1);
    }
}

#[tokio::test]
async fn sizes_of_a_head_hold_for_http_2_as_well() {
    let bank = Bank::start().await;
    let gateway = start(&bank, "max_headers: 8, max_header_bytes: 512B, max_uri_bytes: 300B").await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let long = "a".repeat(301);
    let many = || (0..9).map(|number| (format!("x-{number}"), "1".to_owned())).collect();
    let cases: [(String, Vec<(String, String)>, u16); 3] = [
        ("/echo/x".into(), vec![("x-a".into(), "v".repeat(512))], 431),
        ("/echo/x".into(), many(), 431),
        (format!("/echo/{long}"), Vec::new(), 414),
    ];
    for (path, fields, status) in cases {
        for (port, expected) in [(8080, 200), (8081, status)] {
            let url = format!("http://{}:{port}{path}", gateway.address());
            let request = fields
                .iter()
                .fold(client.get(url), |request, (name, value)| request.header(name, value));
            let answer = request.send().await.unwrap();
            assert_eq!(answer.version(), http::Version::HTTP_2);
            assert_eq!(answer.status(), expected, "{port} {path} {fields:?}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_not_whole_in_time_is_told_so_and_ends_the_connection() {
    let bank = Bank::start().await;
    let gateway = start(&bank, "header_timeout: 400ms").await;
    let (begun, rest) = GET.split_at(30);
    let started = Instant::now();
    let (mut patient, mut tight) = (Wire::to(&gateway, 8080).await, Wire::to(&gateway, 8081).await);
    patient.send(begun).await;
    tight.send(begun).await;
    let id = assert_problem(&tight.answer().await, 408, "header-timeout");
    tight.ends().await;
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());
    let line = logged(&gateway, &id).await;
    assert_eq!(
        (&line["http"]["request"]["method"], &line["http"]["response"]["status_code"]),
        (&json!("GET"), &json!(408))
    );
    patient.send(rest).await;
    assert_eq!(patient.answer().await.status, 200);

    // One byte now and then buys no time; the interval is the slow client itself.
    let mut slow = Wire::to(&gateway, 8081).await;
    slow.send("GET /echo/x HTTP/1.1\r\nHost: a\r\nX: ").await;
    let mut trickle = tokio::time::interval(Duration::from_millis(40));
    for sent in 0.. {
        if slow.has_something().await {
            break;
        }
        assert!(sent < 1000, "it goes on for ever");
        trickle.tick().await;
        slow.send("x").await;
    }
    assert_problem(&slow.answer().await, 408, "header-timeout");
    slow.ends().await;
    let late = r#"tollgate_listener_refusals_total{reason="header-timeout"}"#;
    metric_becomes(&gateway, late, 2).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_before_and_after_a_request() {
    let bank = Bank::start().await;
    let gateway = start(&bank, "idle_timeout: 2s").await;
    let mut patient = Wire::to(&gateway, 8080).await;
    let started = Instant::now();
    let mut silent = Wire::to(&gateway, 8081).await;
    silent.ends().await;
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());

    let mut used = Wire::to(&gateway, 8081).await;
    used.send(GET).await;
    assert_eq!(used.answer().await.status, 200);
    let started = Instant::now();
    used.ends().await;
    assert!(started.elapsed() >= Duration::from_millis(1990), "{:?}", started.elapsed());

    patient.send(GET).await;
    assert_eq!(patient.answer().await.status, 200, "the other port's clients may be idle longer");
}

#[tokio::test]
async fn a_port_takes_so_many_connections_and_frees_the_places_of_those_that_end() {
    let bank = Bank::start().await;
    let gateway = start(&bank, "max_connections: 2").await;
    let mut open = Vec::new();
    for _ in 0..2 {
        let mut wire = Wire::to(&gateway, 8081).await;
        wire.send(GET).await;
        assert_eq!(wire.answer().await.status, 200);
        open.push(wire);
    }
    // From anywhere.
    for source in [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 9)] {
        let mut third = Wire::from(source, &gateway, 8081).await;
        third.send(GET).await;
        third.ends().await;
    }
    let refused = r#"tollgate_listener_refusals_total{reason="connections"}"#;
    metric_becomes(&gateway, refused, 2).await;
    let mut other = Wire::to(&gateway, 8080).await;
    other.send(GET).await;
    assert_eq!(other.answer().await.status, 200, "the other port is not full");

    open.pop();
    eventually("a free place", async || {
        let mut wire = Wire::to(&gateway, 8081).await;
        wire.send(GET).await;
        wire.try_answer().await.map(|answer| assert_eq!(answer.status, 200)).ok_or("none")
    })
    .await;
}

#[tokio::test]
async fn one_address_does_not_take_the_connections_of_others() {
    let bank = Bank::start().await;
    let gateway = start(&bank, "max_connections_per_address: 1").await;
    let mut first = Wire::to(&gateway, 8081).await;
    first.send(GET).await;
    assert_eq!(first.answer().await.status, 200);

    let mut second = Wire::to(&gateway, 8081).await;
    second.send(GET).await;
    second.ends().await;
    let refused = r#"tollgate_listener_refusals_total{reason="connections-per-address"}"#;
    metric_becomes(&gateway, refused, 1).await;

    let mut neighbour = Wire::from(Ipv4Addr::new(127, 0, 0, 9), &gateway, 8081).await;
    neighbour.send(GET).await;
    assert_eq!(neighbour.answer().await.status, 200);
    first.send(GET).await;
    assert_eq!(first.answer().await.status, 200, "who is in stays in");
}
