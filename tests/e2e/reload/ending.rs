//! The orderly end of a gateway.

use std::fs;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{saying, until_says};
use crate::support::gateway::base_config;
use crate::support::{Bank, Tollgate, eventually};

async fn until_exited(gateway: &mut Tollgate) -> ExitStatus {
    eventually("the process to exit", async || gateway.process().exited().ok_or("still there"))
        .await
}

fn slow(bank: &Bank, observe: &str) -> String {
    let checking = format!("127.0.0.1:{}]", bank.port("checking"));
    let patient = format!("{checking}, deadlines: {{ first_byte: 1m, idle: 1m, total: 1m }}");
    let base = base_config(bank)
        .replace("access_log: {", &format!("{observe}access_log: {{"))
        .replace(&checking, &patient);
    format!(
        "{base}routes:\n{}\
         \x20 - id: slow\n    match: {{ path: \"/slow/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: checking\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n",
        saying("version", "one")
    )
}

/// Asks for what the backend is holding back, and returns once the backend has the request.
async fn ask_and_wait(
    bank: &Bank,
    gateway: &Tollgate,
) -> tokio::task::JoinHandle<reqwest::Result<(u16, usize)>> {
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 600_000 })).await;
    let request = gateway.client().get(gateway.url("/slow/4711")).send();
    let asked = tokio::spawn(async move {
        let answer = request.await?;
        Ok((answer.status().as_u16(), answer.bytes().await?.len()))
    });
    eventually("the backend to have the request", async || match bank.sum("inFlight").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    asked
}

#[tokio::test]
async fn after_sigterm_readiness_fails_and_a_request_in_progress_is_finished() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "")).await;
    let asked = ask_and_wait(&bank, &gateway).await;
    gateway.process().signal("TERM");
    let reasons = eventually("readiness to fail", async || {
        let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        if status == 503 { Ok(body["reasons"].clone()) } else { Err(status) }
    })
    .await;
    assert_eq!(reasons, json!(["the gateway is stopping"]));
    assert!(gateway.process().exited().is_none() && !asked.is_finished());

    bank.fault("checking", "ok").await;
    let (status, length) = asked.await.unwrap().expect("the answer came whole");
    assert!(status == 200 && length > 0, "{status}");
    let answered = Instant::now();
    let exit = until_exited(&mut gateway).await;
    assert_eq!(exit.code(), Some(0), "{exit}");
    assert!(answered.elapsed() < Duration::from_secs(25), "{:?}", answered.elapsed());
    let log = fs::read_to_string(gateway.folder().join("access.log")).unwrap();
    assert!(log.contains(r#""route":"slow""#), "its line is in the access log: {log}");
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once_though_connections_are_open() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "")).await;
    until_says(&gateway, "/version", "one").await;
    let asked = Instant::now();
    gateway.process().signal("TERM");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    // The drain could last 30 s.
    assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn drain_timeout_ends_what_does_not_end() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "drain_timeout: 300ms, ")).await;
    let asked = ask_and_wait(&bank, &gateway).await;
    let begun = Instant::now();
    gateway.process().signal("TERM");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    // The backend would have held the request for ten minutes, its deadline for one.
    assert!((Duration::from_millis(300)..Duration::from_secs(50)).contains(&begun.elapsed()));
    assert_ne!(asked.await.unwrap().ok().map(|(status, _)| status), Some(200));
}

#[tokio::test]
async fn drain_wait_serves_on_while_readiness_fails_and_a_person_waits_for_none() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "drain_wait: 1s, ")).await;
    let begun = Instant::now();
    gateway.process().signal("TERM");
    eventually("readiness to fail", async || {
        let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
        if answer.status() == 503 { Ok(()) } else { Err(answer.status()) }
    })
    .await;
    assert_eq!(gateway.get("/version", "").await.status, 200, "new requests are served on");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    let mut gateway = Tollgate::start(&slow(&bank, "drain_wait: 10m, ")).await;
    let begun = Instant::now();
    gateway.process().signal("INT");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
}
