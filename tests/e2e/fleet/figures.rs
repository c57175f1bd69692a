//! What a fleet costs and how fast it heals: figures for docs/performance.md, not part of all tests.
//!
//! ```sh
//! make figures
//! ```

use std::time::{Duration, Instant};

use super::cache::all_keep;
use crate::broker::Broker;
use crate::shared::processor::processor;
use crate::support::fleet::Fleet;
use crate::support::story::summary;
use crate::support::{Bank, eventually};

const ROUTES: &str = r#"
quotas:
  roomy: { per: [account], limit: 1000000, window: 24h }
  quick: { per: [account], limit: 1000000, window: 24h, accuracy: { fast: 64 } }
routes:
  - { id: strict, match: { path: "/strict/{account}" }, authenticate: bank, account: path.account, quotas: [roomy], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: fast, match: { path: "/fast/{account}" }, authenticate: bank, account: path.account, quotas: [quick], cluster: checking, rewrite: { path: /echo/fleet } }
"#;
/// Requests of a kind, one after the other.
const REQUESTS: usize = 2_000;
/// Owners killed, frozen and stopped.
const ROUNDS: usize = 5;

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let (least, most) = (times[0], times[times.len() - 1]);
    let median = times[times.len() / 2];
    println!("{what}: median {median:.2?}, least {least:.2?}, most {most:.2?} of {}", times.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: make figures"]
async fn the_hop_to_an_account_s_owner() {
    let bank = Bank::start().await;
    bank.delay(0).await;
    let fleet = Fleet::start(Broker::shared(), &bank, 2, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(0).await;
    for kind in ["fast", "strict"] {
        let path = format!("/{kind}/{account}");
        let mut medians = Vec::new();
        for (at, what) in [(0, "asked at the owner"), (1, "passed on to the owner")] {
            let pids = [fleet.gateways[0].pid(), fleet.gateways[1].pid()];
            let before = pids.each_ref().map(|pid| processor(pid));
            let mut times = Vec::new();
            for _ in 0..REQUESTS {
                let started = Instant::now();
                let answer = fleet.gateways[at].get(&path, &token).await;
                times.push(started.elapsed());
                assert_eq!(answer.status, 200, "{answer:?}");
            }
            let spent = |one: usize| (processor(&pids[one]) - before[one]) / REQUESTS as u32;
            println!(
                "{kind}, {what}: CPU {:?} at the owner, {:?} at the other",
                spent(0),
                spent(1)
            );
            times.sort();
            medians.push(times[REQUESTS / 2]);
            print(&format!("{kind}, {what}"), times);
        }
        println!("{kind}, the hop: {:?}", medians[1].saturating_sub(medians[0]));
    }
}

/// How long an account of the third gateway is not served by the first.
async fn unserved(fleet: &Fleet, token: &str, account: &str, since: Instant) -> Duration {
    let path = format!("/strict/{account}");
    eventually("the account to be served again", async || {
        let answer = fleet.gateways[0].get(&path, token).await;
        if answer.status == 200 { Ok(()) } else { Err(answer) }
    })
    .await;
    since.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: make figures"]
async fn an_owner_that_is_killed_or_frozen_is_replaced() {
    let bank = Bank::start().await;
    bank.delay(0).await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 3, ROUTES).await;
    let token = bank.token("budget-app").await;
    let (mut killed, mut frozen) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let account = fleet.account_of(2).await;
        unserved(&fleet, &token, &account, Instant::now()).await;
        fleet.gateways[2].process().kill();
        killed.push(unserved(&fleet, &token, &account, Instant::now()).await);
        fleet.gateways[2].crash_and_restart().await;
        fleet.until_shared_out().await;
    }
    print("an account is served again after kill -9 of its owner", killed);
    for _ in 0..ROUNDS {
        let account = fleet.account_of(2).await;
        unserved(&fleet, &token, &account, Instant::now()).await;
        fleet.gateways[2].process().signal("STOP");
        frozen.push(unserved(&fleet, &token, &account, Instant::now()).await);
        fleet.gateways[2].process().signal("CONT");
        fleet.until_shared_out().await;
    }
    print("an account is served again after its owner froze", frozen);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures: make figures"]
async fn a_cached_answer_after_a_take_over() {
    let bank = Bank::start().await;
    bank.delay(100).await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 3, &summary("2s")).await;
    let token = bank.token("budget-app").await;
    let (mut cold, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let account = fleet.account_of(2).await;
        let path = format!("/accounts/{account}/summary");
        fleet.gateways[0].command("/cache/purge", serde_json::json!({ "account": account })).await;
        fleet.gateways[0].command(&format!("/quotas/{account}/reset"), serde_json::json!({})).await;
        let started = Instant::now();
        let first = fleet.gateways[0].get(&path, &token).await;
        cold.push(started.elapsed());
        assert!(first.status == 200 && !first.is_hit(), "{first:?}");
        all_keep(&fleet, &account, 1).await;
        let calls = bank.calls().await;
        fleet.gateways[2].process().kill();
        let started = Instant::now();
        let again = fleet.gateways[0].get(&path, &token).await;
        taken.push(started.elapsed());
        assert!(again.is_hit() && again.body == first.body, "{again:?}");
        assert_eq!(bank.calls().await, calls, "no backend was called");
        fleet.gateways[2].crash_and_restart().await;
        fleet.until_shared_out().await;
    }
    print("the first read, over five services of 100 ms", cold);
    print("the first read after kill -9 of the owner, from the cache", taken);
}
