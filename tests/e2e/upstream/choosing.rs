//! Which endpoint a request goes to.

use std::collections::HashMap;

use super::{cluster, config, endpoint, field, route, start};
use crate::support::{Bank, Tollgate};

#[tokio::test]
async fn the_same_account_stays_at_its_endpoint() {
    let bank = Bank::start().await;
    let services = ["checking", "savings", "cards"];
    let endpoints: Vec<String> =
        services.iter().map(|service| format!("\"{}\"", endpoint(&bank, service))).collect();
    let cluster = format!(
        "endpoints: [{}], balance: {{ consistent_hash: account }}, retries: {{ attempts: 2, budget_percent: 100 }}",
        endpoints.join(", ")
    );
    let rewrite = "    rewrite: { path: \"/v1/{account}\" }\n";
    let gateway = start(&bank, &cluster, &route("hashed", rewrite)).await;
    let mut homes = HashMap::new();
    for round in 0..3 {
        for account in 1000..1030 {
            let answer = gateway.get(&format!("/hashed/{account}"), "").await;
            let home = answer.header("x-served-by").to_owned();
            let known = homes.entry(account).or_insert_with(|| home.clone());
            assert_eq!((answer.status.as_u16(), &home), (200, &*known), "{account} {round}");
        }
    }
    for service in services {
        let share = homes.values().filter(|home| *home == service).count();
        assert!(share >= 2, "{service} has {share} of 30");
    }
    // One goes: its accounts move, the others stay.
    bank.fault("cards", "refuse").await;
    for (account, home) in homes {
        let answer = gateway.get(&format!("/hashed/{account}"), "").await;
        let now = answer.header("x-served-by");
        assert_eq!(answer.status, 200);
        assert!(
            if home == "cards" { now != "cards" } else { now == home },
            "{account}: {home} {now}"
        );
    }
}

#[tokio::test]
async fn requests_are_shared_out_by_weight() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [{{ address: \"{}\", weight: 4 }}, \"{}\"]",
        endpoint(&bank, "checking"),
        endpoint(&bank, "savings")
    );
    for (balance, checking) in [("round_robin", 38..=42), ("least_requests", 28..=48)] {
        let gateway = start(&bank, &format!("{cluster}, balance: {balance}"), "").await;
        let mut seen = 0;
        for _ in 0..50 {
            let answer = gateway.get("/own/4711", "").await;
            seen += usize::from(answer.header("x-served-by") == "checking");
        }
        assert!(checking.contains(&seen), "{balance}: {seen} of 50");
    }
}

#[tokio::test]
async fn endpoints_may_have_names() {
    let bank = Bank::start().await;
    let named = format!("endpoints: [\"localhost:{}\"]", bank.port("checking"));
    let lost = "  lost: { endpoints: [\"no-such-host.invalid:80\"] }\n";
    let text = config(&bank, &named, "").replace("routes:\n", &format!("{lost}routes:\n"))
        + &route("lost", "").replace("cluster: own", "cluster: lost")
        + &route("told", "    rewrite: { path: /echo }\n");
    let gateway = Tollgate::start(&text).await;
    assert_eq!(gateway.get("/own/4711", "").await.json()["accountId"], "4711");
    let told = gateway.get("/told/4711", "").await.json();
    let host = field(&told, "host");
    assert_eq!(host, [format!("localhost:{}", bank.port("checking"))], "{told}");
    let view = cluster(&gateway).await;
    assert_eq!(view["endpoints"][0]["host"], "localhost", "{view}");
    let lost = gateway.get("/lost/4711", "").await;
    assert_eq!((lost.status.as_u16(), &*lost.problem()), (503, "backend-unavailable"));
}
