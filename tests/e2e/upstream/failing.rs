//! Backends that fail or take too long.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;

use super::{cluster, endpoint, refused, route, start};
use crate::support::{Bank, Tollgate, eventually};

#[tokio::test]
async fn every_way_to_fail_has_its_answer_and_spoils_no_other() {
    let bank = Bank::start().await;
    let endpoints = format!(
        "endpoints: [\"{}\"], deadlines: {{ connect: 300ms, first_byte: 300ms, idle: 300ms, total: 5s }}",
        endpoint(&bank, "checking")
    );
    let gateway = start(&bank, &endpoints, "").await;
    let right = gateway.get("/own/4711", "").await;
    assert_eq!(right.status, 200, "{right:?}");
    let faults = [
        ("garbage", 502, "backend-failed"),
        ("down", 502, "backend-failed"),
        ("refuse", 502, "backend-failed"),
        ("slow", 504, "backend-timeout"),
    ];
    for (fault, status, kind) in faults {
        bank.fault("checking", fault).await;
        let answer = gateway.get("/own/4711", "").await;
        refused(&answer, status, kind);
        assert_eq!(answer.header("connection"), "close", "it is closed, and says so");
        bank.fault("checking", "ok").await;
        assert_eq!(gateway.get("/own/4711", "").await.body, right.body, "after {fault}");
    }
    // The backend's own error is its own to explain.
    bank.fault("checking", "500").await;
    let own = gateway.get("/own/4711", "").await;
    assert_eq!((own.status.as_u16(), own.header("x-served-by")), (500, "checking"), "{own:?}");

    // The head has gone out already: what the client must see is that the body broke off.
    for fault in ["cut", "wrong-length"] {
        bank.fault("checking", fault).await;
        let broken = gateway.try_send(Method::GET, "/own/4711", "", &[], Vec::new()).await;
        let whole = matches!(&broken, Ok(answer) if answer.status == 200);
        assert!(!whole, "{fault}: {broken:?}");
    }
    // A second answer on the same connection must not become that of the next request.
    for fault in ["short-length", "smuggle"] {
        bank.put("/fault/checking", json!({ "fault": fault, "times": 1 })).await;
        let _ = gateway.try_send(Method::GET, "/own/4711", "", &[], Vec::new()).await;
        for _ in 0..3 {
            let next = gateway.get("/own/4712", "").await;
            assert_eq!(next.json()["accountId"], "4712", "after {fault}: {next:?}");
        }
    }
}

#[tokio::test]
async fn an_endless_answer_ends_with_the_deadline_of_the_cluster_or_the_route() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [\"{}\"], deadlines: {{ first_byte: 1s, idle: 1s, total: 1s }}",
        endpoint(&bank, "checking")
    );
    let gateway = start(&bank, &cluster, &route("bounded", "    deadline: 500ms\n")).await;
    bank.fault("checking", "endless").await;
    for path in ["/own/4711", "/bounded/4711"] {
        let started = Instant::now();
        let answer = gateway.try_send(Method::GET, path, "", &[], Vec::new());
        let broken = tokio::time::timeout(Duration::from_secs(20), answer).await;
        let broken = broken.unwrap_or_else(|_| panic!("{path} did not end"));
        assert!(broken.is_err(), "{path}: {:?}", broken.map(|answer| answer.status));
        assert!(started.elapsed() >= Duration::from_millis(400), "{path}");
    }
    bank.fault("checking", "ok").await;
    assert_eq!(gateway.get("/own/4711", "").await.status, 200);
}

#[tokio::test]
async fn a_slow_backend_is_answered_504_by_whichever_deadline_is_first() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [\"{}\"], deadlines: {{ first_byte: 800ms, idle: 800ms, total: 800ms }}",
        endpoint(&bank, "checking")
    );
    let gateway = start(&bank, &cluster, &route("hurried", "    deadline: 300ms\n")).await;
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 60_000 })).await;
    let started = Instant::now();
    refused(&gateway.get("/hurried/4711", "").await, 504, "deadline-exceeded");
    refused(&gateway.get("/own/4711", "").await, 504, "backend-timeout");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    eventually("the backend's work to be given up", async || match bank.sum("inFlight").await {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}

#[tokio::test]
async fn when_all_endpoints_are_down_the_answer_is_503_at_once_until_one_is_back() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [\"{}\", \"{}\"], health: {{ path: /healthz, interval: 100ms, timeout: 100ms, \
         healthy_after: 1, unhealthy_after: 2 }}, deadlines: {{ first_byte: 20s }}",
        endpoint(&bank, "checking"),
        endpoint(&bank, "savings")
    );
    let gateway = start(&bank, &cluster, "").await;
    let usable = async |wanted: u64| {
        eventually("the checks to see it", async || {
            let seen = cluster_usable(&gateway).await;
            if seen == wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    usable(2).await;
    bank.fault("checking", "down").await;
    usable(1).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/own/4711", "").await.header("x-served-by"), "savings");
    }
    bank.fault("savings", "down").await;
    usable(0).await;
    let started = Instant::now();
    let answer = gateway.get("/own/4711", "").await;
    refused(&answer, 503, "backend-unavailable");
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let seen = self::cluster(&gateway).await;
    assert_eq!(seen["endpoints"][0]["health"], "unhealthy", "{seen}");
    assert!(seen["endpoints"][0]["last_error"]["text"].as_str().is_some_and(|why| !why.is_empty()));
    assert!(gateway.metrics().await.contains("tollgate_endpoint_healthy{"));

    bank.fault("savings", "ok").await;
    usable(1).await;
    assert_eq!(gateway.get("/own/4711", "").await.header("x-served-by"), "savings");
}

async fn cluster_usable(gateway: &Tollgate) -> u64 {
    cluster(gateway).await["usable"].as_u64().unwrap()
}
