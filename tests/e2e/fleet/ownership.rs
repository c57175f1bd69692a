//! Gateways that come, go, freeze and die: accounts keep being served, and no count is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;

use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::{Bank, eventually};

/// A strict rule with room for a whole test, and one that is soon used up.
const ROUTES: &str = r#"
quotas:
  roomy: { per: [account], limit: 1000000, window: 24h }
  few: { per: [account], limit: 20, window: 24h }
routes:
  - { id: roomy, match: { path: "/roomy/{account}" }, authenticate: bank, account: path.account, quotas: [roomy], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: few, match: { path: "/few/{account}" }, authenticate: bank, account: path.account, quotas: [few], cluster: checking, rewrite: { path: /echo/fleet } }
"#;

/// Clients that ask one gateway for many accounts until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(url: impl Fn(u64) -> String, token: &str) -> Self {
        let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let client = reqwest::Client::new();
        let tasks = (0..8).map(|number| {
            let (stop, served) = (Arc::clone(&stop), Arc::clone(&served));
            let request = client.get(url(number)).bearer_auth(token);
            tokio::spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    match request.try_clone().unwrap().send().await {
                        Ok(answer) if answer.status() == 200 => {
                            served.fetch_add(1, Ordering::AcqRel);
                        }
                        Ok(answer) => {
                            let (status, text) = (answer.status(), answer.text().await);
                            failures.push(format!("{status}: {}", text.unwrap_or_default()));
                        }
                        Err(error) => failures.push(format!("{error:?}")),
                    }
                }
                failures
            })
        });
        let tasks = tasks.collect();
        Self { stop, served, tasks }
    }

    fn served(&self) -> u64 {
        self.served.load(Ordering::Acquire)
    }

    /// Waits until so many more were served.
    async fn serves(&self, more: u64) {
        let from = self.served();
        eventually("more to be served", async || {
            if self.served() >= from + more { Ok(()) } else { Err(self.served()) }
        })
        .await;
    }

    /// Ends it; how many were served, and what else came.
    async fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Release);
        let mut failures = Vec::new();
        for task in self.tasks {
            failures.extend(task.await.unwrap());
        }
        (self.served.load(Ordering::Acquire), failures)
    }
}

async fn used(fleet: &Fleet, at: usize, account: &str) -> u64 {
    let view = fleet.gateways[at].view(&format!("/quotas/{account}")).await;
    let quotas = view["quotas"].as_array().unwrap();
    quotas.iter().map(|quota: &Value| quota["used"].as_u64().unwrap()).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stops_hands_its_partitions_over_and_nothing_is_refused_or_counted_twice() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 3, ROUTES).await;
    let token = bank.token("budget-app").await;
    let base = fleet.gateways[0].url("/roomy/");
    let load = Load::start(|number| format!("{base}{}", 4000 + number), &token);
    load.serves(50).await;
    let stopping = fleet.gateways.pop().unwrap();
    let stopped = stopping.terminate_and_wait().await;
    assert!(stopped.success(), "{stopped:?}");
    load.serves(50).await;
    let (served, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    let mut counted = 0;
    for number in 0..8 {
        counted += used(&fleet, 0, &(4000 + number).to_string()).await;
    }
    assert_eq!(counted, served, "each answer is one use, whoever counted it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_joins_takes_its_share_and_nothing_is_refused_or_counted_twice() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 2, ROUTES).await;
    let token = bank.token("budget-app").await;
    let base = fleet.gateways[0].url("/roomy/");
    let load = Load::start(|number| format!("{base}{}", 4000 + number), &token);
    load.serves(50).await;
    fleet.join();
    fleet.until_shared_out().await;
    load.serves(50).await;
    let (served, failures) = load.stop().await;
    assert_eq!(failures, Vec::<String>::new());
    let mut counted = 0;
    for number in 0..8 {
        counted += used(&fleet, 2, &(4000 + number).to_string()).await;
    }
    assert_eq!(counted, served);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_owner_is_replaced_and_strict_counts_hold() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 3, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(2).await;
    let path = format!("/few/{account}");
    for _ in 0..10 {
        assert_eq!(fleet.gateways[0].get(&path, &token).await.status, 200);
    }
    fleet.gateways[2].process().kill();
    let killed = Instant::now();
    let mut admitted = 0;
    for turn in 0..20 {
        let answer = fleet.gateways[turn % 2].get(&path, &token).await;
        match answer.status.as_u16() {
            200 => admitted += 1,
            429 => break,
            _ => panic!("{answer:?}"),
        }
    }
    println!("ten more uses and a refusal took {:?}", killed.elapsed());
    assert_eq!(admitted, 10);
    let claims = fleet.gateways[0].metrics().await + &fleet.gateways[1].metrics().await;
    assert!(claims.contains(r#"tollgate_claims_total{reason="owner_unreachable"}"#), "{claims}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_owner_is_replaced_and_admits_nothing_too_many_when_it_wakes() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 3, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(2).await;
    let path = format!("/few/{account}");
    for _ in 0..5 {
        assert_eq!(fleet.gateways[2].get(&path, &token).await.status, 200);
    }
    let frozen = Instant::now();
    fleet.gateways[2].process().signal("STOP");
    // These wait in the frozen gateway's sockets, and are the first that it sees when it wakes.
    let asleep = (0..10).map(|_| fleet.gateways[2].get(&path, &token));
    let asleep = futures::future::join_all(asleep);
    let awake = async {
        eventually("another gateway to serve the account", async || {
            let answer = fleet.gateways[0].get(&path, &token).await;
            if answer.status == 200 { Ok(()) } else { Err(answer) }
        })
        .await;
        println!("served again after {:?}", frozen.elapsed());
        let mut admitted = 1;
        while fleet.gateways[1].get(&path, &token).await.status == 200 {
            admitted += 1;
        }
        let pid = fleet.gateways[2].pid();
        assert!(
            std::process::Command::new("kill").args(["-CONT", &pid]).status().unwrap().success()
        );
        admitted
    };
    let (asleep, admitted) = tokio::join!(asleep, awake);
    let late = asleep.iter().filter(|answer| answer.status == 200).count();
    assert!(5 + admitted + late <= 20, "{admitted} and {late} after 5 of 20");
    let owners = fleet.owner_of_at(&account, 0).await;
    assert_ne!(owners, 2, "the account has another owner");
    assert_eq!(used(&fleet, 2, &account).await, used(&fleet, 0, &account).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_is_started_again_at_once_takes_its_own_back() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(Broker::shared(), &bank, 2, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(1).await;
    let path = format!("/few/{account}");
    for _ in 0..5 {
        assert_eq!(fleet.gateways[1].get(&path, &token).await.status, 200);
    }
    fleet.gateways[1].crash_and_restart().await;
    let mut admitted = 5;
    eventually("the account to be used up", async || {
        let status = fleet.gateways[1].get(&path, &token).await.status.as_u16();
        admitted += u32::from(status == 200);
        if status == 429 { Ok(()) } else { Err(status) }
    })
    .await;
    assert_eq!(admitted, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_another_account_key_says_so_and_takes_nothing() {
    let bank = Bank::start().await;
    let fleet = Fleet::start(Broker::shared(), &bank, 1, ROUTES).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(0).await;
    let path = format!("/few/{account}");
    let another = "account_key: 00000000000000000000000000000000";
    let stranger = fleet.newcomer(|config| {
        config.replace("account_key: 0123456789abcdef0123456789abcdef", another)
    });
    eventually("the newcomer to say what is wrong", async || {
        let answer = stranger.client().get(stranger.admin_url("/ready")).send().await;
        let answer = answer.map_err(|error| error.to_string())?;
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        if status == 503 && body.contains("state.account_key") { Ok(()) } else { Err(body) }
    })
    .await;
    for left in (0..20).rev() {
        let answer = fleet.gateways[0].get(&path, &token).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.header("ratelimit").contains(&format!("r={left}")), "{answer:?}");
    }
    assert_eq!(fleet.gateways[0].get(&path, &token).await.status, 429);
    let refused = stranger.get(&path, &token).await;
    assert_eq!(refused.problem(), "quota-unavailable", "{refused:?}");
}
