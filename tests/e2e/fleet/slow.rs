//! Kafka is slow: that is no reason to hold it for dead, to change owners or to lose count.

use std::net::SocketAddr;
use std::time::Duration;

use super::away::{DEADLINE, SOON, get, used};
use crate::broker::Broker;
use crate::link::{Link, Weather};
use crate::support::fleet::Fleet;
use crate::support::wire::metric;
use crate::support::{Bank, eventually, own_address};

const LIMIT: u64 = 12;
const ROUTES: &str = r#"
quotas:
  cap: { per: [account], limit: 12, window: 24h, unavailable: deny }
  minimum: { per: [account], limit: 50, window: 24h, unavailable: allow }
routes:
  - { id: cap, match: { path: "/cap/{account}" }, authenticate: bank, account: path.account, quotas: [cap], deadline: 20s, cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: minimum, match: { path: "/minimum/{account}" }, authenticate: bank, account: path.account, quotas: [minimum], deadline: 20s, cluster: checking, rewrite: { path: /echo/fleet } }
"#;

/// What is sent to Kafka and what comes from it takes so long.
const LATE: Duration = Duration::from_millis(500);

/// Partitions that went to another gateway so far. An owner that goes on after a stumble counts
/// as the same.
async fn changes(fleet: &Fleet) -> u64 {
    let mut all = 0;
    for gateway in &fleet.gateways {
        for reason in ["shared", "owner_unreachable"] {
            let series = format!("tollgate_claims_total{{reason=\"{reason}\"}}");
            all += metric(gateway, &series).await;
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_slow_kafka_answers_come_in_time_owners_stay_and_counts_are_exact() {
    let way = SocketAddr::from((own_address(), 9092));
    let broker = Broker::own(&["--way", &way.to_string()]);
    let real = std::fs::read_to_string(broker.folder().join("way-1")).unwrap();
    let link = Link::start(way, real.trim().parse().unwrap());
    let bank = Bank::start().await;
    let fleet = Fleet::start_by(&broker, &way.to_string(), &bank, 2, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(1).await;
    let (cap, minimum) = (format!("/cap/{account}"), format!("/minimum/{account}"));
    let before = (fleet.owners().await, changes(&fleet).await);

    link.set_all(Weather::Slow(LATE));
    let (mut served, mut in_doubt, mut counted) = (0, 0, 0);
    for turn in 0..8 {
        let gateway = &fleet.gateways[turn % 2];
        let allowed = get(gateway, &minimum, &token, SOON).await;
        assert_eq!(allowed.status, 200, "{allowed:?}");
        counted += u64::from(allowed.header("x-quota-unaccounted").is_empty());
        let answer = get(gateway, &cap, &token, DEADLINE).await;
        match answer.status.as_u16() {
            200 => served += 1,
            // The ledger waits for two seconds. Two ways there and two back may take as long.
            503 if answer.problem() == "quota-unavailable" => in_doubt += 1,
            _ => panic!("{answer:?}"),
        }
    }
    assert!(served + counted > 0, "nothing was counted in time");
    assert_eq!((fleet.owners().await, changes(&fleet).await), before, "owners changed");

    link.set_all(Weather::Clear);
    eventually("the account to be used up", async || {
        let answer = fleet.gateways[0].get(&cap, &token).await;
        match answer.status.as_u16() {
            429 => return Ok(()),
            200 => served += 1,
            503 => in_doubt += 1,
            _ => panic!("{answer:?}"),
        }
        Err(answer)
    })
    .await;
    assert!(served <= LIMIT && served + in_doubt >= LIMIT, "{served} and {in_doubt} of {LIMIT}");
    for gateway in &fleet.gateways {
        eventually("the uses to be counted", async || {
            let cap = used(gateway, &account, "cap").await;
            let minimum = used(gateway, &account, "minimum").await;
            let exact = (LIMIT..=served + in_doubt).contains(&cap) && cap >= served;
            if exact && (counted..=8).contains(&minimum) { Ok(()) } else { Err((cap, minimum)) }
        })
        .await;
    }
}
