//! Further tries, and endpoints that are taken out.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use serde_json::json;

use super::{JSON, cluster, endpoint, start};
use crate::support::{Backend, Bank, Tollgate, eventually};

/// Two endpoints: the checking service and one that is always well and says so.
async fn pair(bank: &Bank, rest: &str) -> (Backend, String) {
    let well = Backend::start(|_| {
        Response::builder().header("x-served-by", "well").body(Bytes::from("{}")).unwrap()
    })
    .await;
    let endpoints = format!(
        "endpoints: [\"{}\", \"127.0.0.1:{}\"]{rest}",
        endpoint(bank, "checking"),
        well.port()
    );
    (well, endpoints)
}

async fn statuses(gateway: &Tollgate, method: Method, path: &str, times: usize) -> Vec<u16> {
    let order = json!({ "amount": "0.01", "to": "4712" }).to_string().into_bytes();
    let mut statuses = Vec::new();
    for _ in 0..times {
        let body = if method == Method::POST { order.clone() } else { Vec::new() };
        let answer = gateway.try_send(method.clone(), path, "", &[JSON], body).await;
        statuses.push(answer.map_or(0, |answer| answer.status.as_u16()));
    }
    statuses
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|seen| **seen == status).count()
}

#[tokio::test]
async fn a_failed_try_goes_on_to_another_endpoint() {
    let bank = Bank::start().await;
    let (well, without) = pair(&bank, "").await;
    let with = format!("{without}, retries: {{ attempts: 1, budget_percent: 100 }}");
    let (plain, retrying) = (start(&bank, &without, "").await, start(&bank, &with, "").await);
    for fault in ["refuse", "down"] {
        bank.fault("checking", fault).await;
        let seen = statuses(&plain, Method::GET, "/own/4711", 8).await;
        assert_eq!((count(&seen, 502), count(&seen, 200)), (4, 4), "{fault} without retries");
        let before = well.seen().len();
        let seen = statuses(&retrying, Method::GET, "/own/4711", 8).await;
        assert_eq!(seen, [200; 8], "{fault}");
        assert_eq!(well.seen().len() - before, 8);
    }
    assert!(retrying.metrics().await.contains("tollgate_upstream_retries_total{cluster=\"own\"} "));
    eventually("the access log to tell of second tries", async || {
        let log = std::fs::read_to_string(retrying.folder().join("access.log")).unwrap();
        if log.contains("\"tries\":2") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_idempotent_is_tried_again_only_if_it_never_arrived() {
    let bank = Bank::start().await;
    let rest = ", retries: { attempts: 3, budget_percent: 100, on: [connect, reset, timeout, 500, 502, 503] }";
    let (well, endpoints) = pair(&bank, rest).await;
    let gateway = start(&bank, &endpoints, "").await;
    let path = "/own/4711/transfers";

    bank.fault("checking", "refuse").await;
    assert_eq!(statuses(&gateway, Method::POST, path, 4).await, [200; 4], "it never arrived");
    // From here on it arrives, is booked or not, and the answer is lost.
    for (fault, status) in [("down", 502), ("500", 500), ("garbage", 502)] {
        bank.fault("checking", fault).await;
        let (booked, taken) = (transfers(&bank).await, well.seen().len());
        let seen = statuses(&gateway, Method::POST, path, 6).await;
        assert_eq!((count(&seen, status), count(&seen, 200)), (3, 3), "{fault}: {seen:?}");
        assert_eq!(well.seen().len() - taken, 3, "{fault}: none came here for a second try");
        let effect = if fault == "garbage" { 3 } else { 0 };
        assert_eq!(transfers(&bank).await - booked, effect, "{fault}");
    }
    bank.fault("checking", "500").await;
    assert_eq!(statuses(&gateway, Method::GET, "/own/4711", 6).await, [200; 6]);
}

async fn transfers(bank: &Bank) -> u64 {
    bank.state().await["transfers"].as_u64().unwrap()
}

#[tokio::test]
async fn second_tries_stay_within_their_budget() {
    let bank = Bank::start().await;
    let (_well, endpoints) = pair(&bank, ", retries: { attempts: 1, budget_percent: 1 }").await;
    let gateway = start(&bank, &endpoints, "").await;
    bank.fault("checking", "refuse").await;
    let started = Instant::now();
    let seen = statuses(&gateway, Method::GET, "/own/4711", 30).await;
    assert!(started.elapsed() < Duration::from_secs(9), "the budget's window would have moved on");
    let failed = count(&seen, 502);
    // Three are always allowed; the first try falls on the closed port about every other time.
    assert!((8..=15).contains(&failed), "{seen:?}");
    assert_eq!(count(&seen, 200), 30 - failed);
    assert_eq!(cluster(&gateway).await["retries_left"], 0);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("tollgate_upstream_retries_total{cluster=\"own\"} 3"), "{metrics}");
    let refused =
        format!("tollgate_upstream_retries_over_budget_total{{cluster=\"own\"}} {failed}");
    assert!(metrics.contains(&refused), "{refused}");
}

#[tokio::test]
async fn an_answer_that_may_not_be_tried_again_is_the_backends_own() {
    let bank = Bank::start().await;
    let rest = ", retries: { attempts: 1, budget_percent: 1, on: [500] }";
    let (well, endpoints) = pair(&bank, rest).await;
    let gateway = start(&bank, &endpoints, "").await;
    bank.fault("checking", "500").await;
    let started = Instant::now();
    let seen = statuses(&gateway, Method::GET, "/own/4711", 30).await;
    assert!(started.elapsed() < Duration::from_secs(9), "the budget's window would have moved on");
    let own = count(&seen, 500);
    assert_eq!((own + count(&seen, 200), well.seen().len()), (30, 30 - own), "{seen:?}");
    let metrics = gateway.metrics().await;
    let calls = |line: &str| {
        let found = metrics.lines().find_map(|text| text.strip_prefix(line));
        found.map_or(0, |count| count.trim().parse::<usize>().unwrap())
    };
    assert_eq!(
        calls("tollgate_upstream_retries_total{cluster=\"own\"}"),
        3,
        "all that are allowed"
    );
    assert_eq!(calls("tollgate_upstream_retries_over_budget_total{cluster=\"own\"}"), own);
}

#[tokio::test]
async fn an_endpoint_that_fails_requests_is_taken_out_and_comes_back() {
    let bank = Bank::start().await;
    let (_well, endpoints) =
        pair(&bank, ", ejection: { consecutive_failures: 3, period: 5s }").await;
    let gateway = start(&bank, &endpoints, "").await;
    bank.fault("checking", "500").await;
    let seen = statuses(&gateway, Method::GET, "/own/4711", 6).await;
    assert_eq!(count(&seen, 500), 3, "{seen:?}");
    let view = cluster(&gateway).await;
    assert!(view["endpoints"][0]["ejected_until"].is_string(), "{view}");
    assert!(view["endpoints"][1]["ejected_until"].is_null(), "{view}");
    assert_eq!(view["usable"], 1, "{view}");
    assert!(gateway.metrics().await.contains("tollgate_endpoint_ejections_total{"));
    bank.fault("checking", "ok").await;
    eventually("it to be asked again", async || {
        let answer = gateway.get("/own/4711", "").await;
        assert_eq!(answer.status, 200);
        if answer.header("x-served-by") == "checking" { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(cluster(&gateway).await["usable"], 2);
}
