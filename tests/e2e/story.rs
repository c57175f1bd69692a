//! The story of `make demo`.

use crate::support::gateway::base_config;
use crate::support::story::summary;
use crate::support::{Bank, Tollgate};

const PRESENT: (&str, &str) = ("x-fapi-customer-ip-address", "203.0.113.7");

#[tokio::test]
async fn five_services_one_answer_then_the_cache_then_the_quota() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&format!("{}{}", base_config(&bank), summary("20s"))).await;
    let budget = bank.token("budget-app").await;

    let first = gateway.get("/accounts/4711/summary", &budget).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert!(!first.is_hit());
    let members: Vec<String> =
        first.json()["accounts"].as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["checking", "savings", "cards", "loans", "investments"]);
    assert_eq!(bank.calls().await, 5);
    assert!(first.header("ratelimit").contains("\"unattended\";r=3"), "{first:?}");

    for left in [2, 1, 0] {
        let again = gateway.get("/accounts/4711/summary", &budget).await;
        assert!(again.is_hit(), "{again:?}");
        assert_eq!(again.body, first.body);
        assert!(again.header("ratelimit").contains(&format!("\"unattended\";r={left}")));
    }
    assert_eq!(bank.calls().await, 5, "the cache answered");

    let fifth = gateway.get("/accounts/4711/summary", &budget).await;
    assert_eq!((fifth.status.as_u16(), fifth.problem().as_str()), (429, "quota-exceeded"));
    let wait: u64 = fifth.header("retry-after").parse().unwrap();
    assert!((86_000..=86_401).contains(&wait), "{wait}");

    let present = gateway.get_with("/accounts/4711/summary", &budget, &[PRESENT]).await;
    assert!(present.status == 200 && present.is_hit(), "a present customer is not counted");
    let other = gateway.get("/accounts/4712/summary", &budget).await;
    assert_eq!(other.status, 200, "another account of the same client is served");

    gateway.crash_and_restart().await;
    let after = gateway.get("/accounts/4711/summary", &budget).await;
    assert_eq!(after.status, 429, "the count survives kill -9");
    let kept = gateway.get_with("/accounts/4711/summary", &budget, &[PRESENT]).await;
    assert!(kept.is_hit(), "the answer survives kill -9");
    assert_eq!(kept.body, first.body);
    assert_eq!(bank.calls().await, 10);
}
