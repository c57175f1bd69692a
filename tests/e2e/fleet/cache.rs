//! Cached answers outlive their owner, and purges and changes reach every gateway.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::story::summary;
use crate::support::wire::metric_becomes;
use crate::support::{Bank, eventually};

/// Clients know the fleet by one name.
const HOST: (&str, &str) = ("host", "accounts.bank.example");

/// Waits until every gateway has so many answers of an account on its disk or in memory.
pub(super) async fn all_keep(fleet: &Fleet, account: &str, count: usize) {
    for gateway in &fleet.gateways {
        eventually("the account's answers to be as many", async || {
            let view = gateway.view(&format!("/cache/{account}")).await;
            let kept = view["answers"].as_array().unwrap().len();
            if kept == count { Ok(()) } else { Err(view) }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_an_account_over_answers_from_what_the_old_owner_had_cached() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 3, &summary("2s")).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(2).await;
    let path = format!("/accounts/{account}/summary");
    let first = fleet.gateways[0].get_with(&path, &token, &[HOST]).await;
    assert_eq!(first.status, 200, "{first:?}");
    all_keep(&fleet, &account, 1).await;
    let calls = bank.calls().await;
    fleet.gateways[2].process().kill();
    for gateway in [0, 1] {
        let again = fleet.gateways[gateway].get_with(&path, &token, &[HOST]).await;
        assert!(again.is_hit() && again.body == first.body, "{again:?}");
    }
    assert_eq!(bank.calls().await, calls, "no backend was called");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_at_one_gateway_empties_all_of_them() {
    let bank = Bank::start().await;
    let fleet = Fleet::start(Broker::shared(), &bank, 3, &summary("2s")).await;
    let token = bank.token("budget-app").await;
    for account in ["4711", "4712"] {
        let path = format!("/accounts/{account}/summary");
        assert_eq!(fleet.gateways[0].get_with(&path, &token, &[HOST]).await.status, 200);
        all_keep(&fleet, account, 1).await;
    }
    let purged = fleet.gateways[1].command("/cache/purge", json!({ "account": "4711" })).await;
    assert_eq!(purged.json()["entries"], 1, "{purged:?}");
    all_keep(&fleet, "4711", 0).await;
    all_keep(&fleet, "4712", 1).await;
    let view = fleet.gateways[2].view("/cache").await;
    assert_eq!(view["feed"]["current"], true, "{view}");
}

const BY_CLASS: &str = r#"
routes:
  - id: cards
    match: { path: "/cards/{account}" }
    authenticate: bank
    account: path.account
    cache: { fresh: 1h, visible_to: everyone, data_classes: [cards] }
    cluster: cards
    rewrite: { path: "/v1/{account}" }
  - id: checking
    match: { path: "/checking/{account}" }
    authenticate: bank
    account: path.account
    cache: { fresh: 1h, visible_to: everyone, data_classes: [balances] }
    cluster: checking
    rewrite: { path: "/v1/{account}" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_backend_reports_removes_the_answers_that_show_it() {
    let bank = Bank::start().await;
    let fleet = Fleet::start(Broker::shared(), &bank, 2, BY_CLASS).await;
    let token = bank.token("budget-app").await;
    for path in ["/cards/4711", "/checking/4711"] {
        assert_eq!(fleet.gateways[0].get_with(path, &token, &[HOST]).await.status, 200);
    }
    all_keep(&fleet, "4711", 2).await;
    let view = fleet.gateways[0].view("/cache").await;
    let topic = view["feed"]["topics"][1]["topic"].as_str().unwrap();
    let time = tollgate::request::Clock::now(&tollgate::request::SystemClock).rfc3339();
    report(topic, &json!({ "account": "4711", "data_class": "balances", "time": time })).await;
    for gateway in &fleet.gateways {
        let changes = "tollgate_cache_feed_records_total{outcome=\"change\"}";
        metric_becomes(gateway, changes, 1).await;
    }
    all_keep(&fleet, "4711", 1).await;
    let cards = fleet.gateways[0].get_with("/cards/4711", &token, &[HOST]).await;
    assert!(cards.is_hit(), "{cards:?}");
    let checking = fleet.gateways[1].get_with("/checking/4711", &token, &[HOST]).await;
    assert!(!checking.is_hit() && checking.status == 200, "{checking:?}");
}

async fn report(topic: &str, event: &Value) {
    let producer: FutureProducer = ClientConfig::new()
        .set("bootstrap.servers", Broker::shared().bootstrap())
        .create()
        .unwrap();
    let event = event.to_string();
    let record = FutureRecord::to(topic).key("4711").payload(&event);
    producer.send(record, Duration::from_secs(30)).await.unwrap();
}
