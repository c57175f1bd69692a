//! Kafka is away for a while: rules decide, and nothing needs to be restarted when it is back.

use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::{Bank, Tollgate, eventually};

const ROUTES: &str = r#"
quotas:
  deny: { per: [account], limit: 50, window: 24h, unavailable: deny }
  allow: { per: [account], limit: 50, window: 24h, unavailable: allow }
  local: { per: [account], limit: 3, window: 24h, unavailable: local }
routes:
  - { id: deny, match: { path: "/deny/{account}" }, authenticate: bank, account: path.account, quotas: [deny], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: allow, match: { path: "/allow/{account}" }, authenticate: bank, account: path.account, quotas: [allow], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: local, match: { path: "/local/{account}" }, authenticate: bank, account: path.account, quotas: [local], cluster: checking, rewrite: { path: /echo/fleet } }
"#;

async fn used(gateway: &Tollgate, account: &str, rule: &str) -> u64 {
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
    broker.kill(1);
    for gateway in &fleet.gateways {
        let refused = gateway.get(&path("deny"), &token).await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem().as_str()),
            (503, "quota-unavailable")
        );
        let served = gateway.get(&path("allow"), &token).await;
        assert_eq!(served.status, 200, "{served:?}");
        assert_eq!(served.header("x-quota-unaccounted"), "true");
    }
    for _ in 0..2 {
        let served = fleet.gateways[0].get(&path("local"), &token).await;
        assert_eq!(served.status, 200, "{served:?}");
    }
    let refused = fleet.gateways[0].get(&path("local"), &token).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
    for gateway in &fleet.gateways {
        eventually("readiness to tell, without failing", async || {
            let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
            let (status, body) = (answer.status(), answer.text().await.unwrap());
            if status == 200 && body.contains("degraded") { Ok(()) } else { Err(body) }
        })
        .await;
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
