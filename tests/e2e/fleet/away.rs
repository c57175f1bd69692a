//! Kafka is away for a while: rules decide, and nothing needs to be restarted when it is back.

use std::time::Duration;

use super::cache::all_keep;
use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::wire::metric_becomes;
use crate::support::{Answer, Bank, Tollgate, eventually};

const ROUTES: &str = r#"
quotas:
  deny: { per: [account], limit: 50, window: 24h, unavailable: deny }
  allow: { per: [account], limit: 50, window: 24h, unavailable: allow }
  local: { per: [account], limit: 3, window: 24h, unavailable: local }
routes:
  - { id: deny, match: { path: "/deny/{account}" }, authenticate: bank, account: path.account, quotas: [deny], deadline: 20s, cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: allow, match: { path: "/allow/{account}" }, authenticate: bank, account: path.account, quotas: [allow], deadline: 20s, cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: local, match: { path: "/local/{account}" }, authenticate: bank, account: path.account, quotas: [local], deadline: 20s, cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: kept, match: { path: "/kept/{account}" }, authenticate: bank, account: path.account, cache: { fresh: 1h, visible_to: everyone }, deadline: 20s, cluster: checking, rewrite: { path: "/v1/{account}" } }
"#;

/// Of each route.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// What must not be refused waits a few seconds for Kafka. There is room for a busy machine in it.
pub(super) const SOON: Duration = Duration::from_secs(10);
/// Clients know the fleet by one name.
const HOST: (&str, &str) = ("host", "accounts.bank.example");

/// An answer that comes in time.
pub(super) async fn get(gateway: &Tollgate, path: &str, token: &str, within: Duration) -> Answer {
    let headers = [HOST];
    let answer = gateway.get_with(path, token, &headers);
    let answer = tokio::time::timeout(within, answer).await;
    answer.unwrap_or_else(|_| panic!("no answer for {path} within {within:?}"))
}

/// Asks each gateway for the kept answer.
async fn gives_what_is_kept(fleet: &Fleet, path: &str, token: &str) {
    for gateway in &fleet.gateways {
        let hit = get(gateway, path, token, SOON).await;
        assert!(hit.status == 200 && hit.is_hit(), "{hit:?}");
        let age: Result<u64, _> = hit.header("age").parse();
        assert!(age.is_ok(), "{hit:?}");
    }
}

pub(super) async fn used(gateway: &Tollgate, account: &str, rule: &str) -> u64 {
    let view = gateway.view(&format!("/quotas/{account}")).await;
    let quotas = view["quotas"].as_array().unwrap();
    let found = quotas.iter().find(|quota| quota["rule"] == rule);
    found.map_or(0, |quota| quota["used"].as_u64().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_kafka_each_rule_decides_and_counting_goes_on_when_it_is_back() {
    let broker = Broker::own(&[]);
    let bank = Bank::start().await;
    let fleet = Fleet::start(&broker, &bank, 2, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(1).await;
    let path = |rule: &str| format!("/{rule}/{account}");
    for rule in ["deny", "allow", "local"] {
        assert_eq!(fleet.gateways[0].get(&path(rule), &token).await.status, 200);
    }
    let kept = path("kept");
    assert_eq!(get(&fleet.gateways[0], &kept, &token, DEADLINE).await.status, 200);
    all_keep(&fleet, &account, 1).await;
    gives_what_is_kept(&fleet, &kept, &token).await;
    broker.kill(1);
    for gateway in &fleet.gateways {
        let refused = get(gateway, &path("deny"), &token, DEADLINE).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (503, "quota-unavailable")
        );
        let served = get(gateway, &path("allow"), &token, SOON).await;
        assert_eq!(served.status, 200, "{served:?}");
        assert_eq!(served.header("x-quota-unaccounted"), "true");
    }
    let calls = bank.calls().await;
    gives_what_is_kept(&fleet, &kept, &token).await;
    assert_eq!(bank.calls().await, calls, "no backend was called");
    for _ in 0..2 {
        let served = get(&fleet.gateways[0], &path("local"), &token, DEADLINE).await;
        assert_eq!(served.status, 200, "{served:?}");
    }
    let refused = get(&fleet.gateways[0], &path("local"), &token, DEADLINE).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
    for gateway in &fleet.gateways {
        eventually("readiness to tell, without failing", async || {
            let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
            let (status, body) = (answer.status(), answer.text().await.unwrap());
            if status == 200 && body.contains("degraded") { Ok(()) } else { Err(body) }
        })
        .await;
        metric_becomes(gateway, "tollgate_degraded", 1).await;
    }
    broker.start(1);
    eventually("strict uses to be admitted again", async || {
        let answer = fleet.gateways[0].get(&path("deny"), &token).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    // One before, one while its record was on its way (nobody knows what became of it), one after.
    eventually("what was allowed meanwhile to be counted", async || {
        match used(&fleet.gateways[0], &account, "allow").await {
            2 | 3 => Ok(()),
            other => Err(other),
        }
    })
    .await;
}
