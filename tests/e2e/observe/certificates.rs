//! When certificates end, for operators.

use std::time::UNIX_EPOCH;

use serde_json::Value;

use crate::support::gateway::base_config;
use crate::support::tls::{Authority, Signed};
use crate::support::wire::{metric, metric_becomes};
use crate::support::{Bank, Tollgate, eventually};

const DAY: u64 = 86_400;
const NAMES: &[&str] = &["api.bank.example", "www.bank.example"];

/// With a port that shows a certificate.
fn config(bank: &Bank, shown: &Signed) -> String {
    const FIRST: &str = "  - address: ADDRESS:8080\n";
    let base = base_config(bank);
    assert!(base.contains(FIRST));
    let entry = shown.entry();
    let port =
        format!("{FIRST}  - {{ address: ADDRESS:8443, tls: {{ certificates: [{entry}] }} }}\n");
    base.replace(FIRST, &port)
        + "routes:\n  - { id: fixed, match: { path: /fixed }, authenticate: none, answer: { body: fixed } }\n"
}

/// What the log says of certificates: level and message.
fn told(gateway: &Tollgate) -> Vec<(String, String)> {
    let log = gateway.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter_map(|line| {
            let message = line["fields"]["message"].as_str()?;
            let level = line["level"].as_str()?;
            message.starts_with("a certificate in use").then(|| (level.into(), message.into()))
        })
        .collect()
}

async fn until_told(gateway: &Tollgate, level: &str, words: &str) {
    eventually(words, async || {
        let told = told(gateway);
        let is_told = told.iter().any(|(at, text)| at == level && text.contains(words));
        if is_told { Ok(()) } else { Err(told) }
    })
    .await;
}

#[tokio::test]
async fn the_end_of_a_listeners_certificate_is_a_metric_and_follows_the_file() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs();
    let (far, soon, over) = (now + 90 * DAY, now + 10 * DAY + DAY / 2, now - 2 * DAY - DAY / 2);
    let gateway = Tollgate::start(&config(&bank, &authority.sign_until("api", NAMES, far))).await;
    let series = format!(
        "tollgate_certificate_not_after_timestamp_seconds{{use=\"listener\",\
         listener=\"{}:8443\",name=\"api.bank.example\"}}",
        gateway.address()
    );
    assert_eq!(metric(&gateway, &series).await, far);

    authority.sign_until("api", NAMES, soon);
    metric_becomes(&gateway, &series, soon).await;
    until_told(&gateway, "WARN", "ends in 10 days, at ").await;
    authority.sign_until("api", NAMES, over);
    metric_becomes(&gateway, &series, over).await;
    until_told(&gateway, "ERROR", "expired 2 days ago, at ").await;
    assert!(told(&gateway).iter().all(|(_, text)| !text.contains("89 days")), "the first is far");
}

#[tokio::test]
async fn a_gateway_starts_with_a_certificate_that_has_expired_and_says_so() {
    let (bank, authority) = (Bank::start().await, Authority::new("here"));
    let signed = authority.sign_until("api", NAMES, 1_000_000_000);
    let gateway = Tollgate::start(&config(&bank, &signed)).await;
    until_told(&gateway, "ERROR", "at 2001-09-09T01:46:40.000Z").await;
    assert_eq!(gateway.get("/fixed", "").await.status, 200, "the plain port beside it");
}
