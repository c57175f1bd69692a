//! What gateways ask of each other: uses of several accounts, counts set back, uses given back.

use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use serde_json::json;

use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::{Backend, Bank, eventually};

const ROUTES: &str = r#"
quotas:
  three: { per: [account], limit: 3, window: 24h }
routes:
  - { id: one, match: { path: "/one/{account}" }, authenticate: bank, account: path.account, quotas: [three], cluster: checking, rewrite: { path: /echo/fleet } }
  - { id: several, match: { path: /several }, authenticate: bank, account: { from: query.accounts, separator: "," }, quotas: [three], cluster: checking, rewrite: { path: /echo/fleet } }
"#;

/// A fleet of two, and an account of each.
async fn two(bank: &Bank) -> (Fleet, String, String) {
    let fleet = Fleet::start(Broker::shared(), bank, 2, ROUTES).await;
    let (first, second) = (fleet.account_of(0).await, fleet.account_of(1).await);
    (fleet, first, second)
}

async fn used(fleet: &Fleet, account: &str) -> u64 {
    let view = fleet.gateways[0].view(&format!("/quotas/{account}")).await;
    view["quotas"][0]["used"].as_u64().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_of_two_owners_in_one_request_are_charged_all_or_none() {
    let bank = Bank::start().await;
    let (fleet, first, second) = two(&bank).await;
    let token = bank.token("budget-app").await;
    for accounts in [format!("{first},{second}"), format!("{second},{first}")] {
        for gateway in &fleet.gateways {
            fleet.gateways[0].command(&format!("/quotas/{first}/reset"), json!({})).await;
            fleet.gateways[1].command(&format!("/quotas/{second}/reset"), json!({})).await;
            let both = format!("/several?accounts={accounts}");
            assert_eq!(gateway.get(&both, &token).await.status, 200);
            let alone = gateway.get(&format!("/one/{second}"), &token).await;
            assert!(alone.header("ratelimit").contains("r=1"), "{alone:?}");
            assert_eq!(gateway.get(&format!("/one/{second}"), &token).await.status, 200);
            let refused = gateway.get(&both, &token).await;
            assert_eq!(
                (refused.status.as_u16(), refused.problem().as_str()),
                (429, "quota-exceeded")
            );
            eventually("the other account's use to be given back", async || {
                match used(&fleet, &first).await {
                    1 => Ok(()),
                    other => Err(other),
                }
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sets_counts_back_at_whichever_gateway() {
    let bank = Bank::start().await;
    let (fleet, _, second) = two(&bank).await;
    let token = bank.token("budget-app").await;
    let path = format!("/one/{second}");
    for _ in 0..3 {
        assert_eq!(fleet.gateways[0].get(&path, &token).await.status, 200);
    }
    assert_eq!(fleet.gateways[0].get(&path, &token).await.status, 429);
    let done = fleet.gateways[0].command(&format!("/quotas/{second}/reset"), json!({})).await;
    assert_eq!(done.status, 200, "{done:?}");
    assert_eq!(done.json()["buckets"], 1);
    assert_eq!(fleet.gateways[0].get(&path, &token).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_given_back_although_its_owner_changed_in_the_meantime() {
    let bank = Bank::start().await;
    let (release, held) = channel::<()>();
    let held = Mutex::new(held);
    let backend = Backend::start(move |_| {
        // Until the other end is dropped.
        tokio::task::block_in_place(|| {
            let _ = held.lock().unwrap().recv_timeout(Duration::from_secs(60));
        });
        Response::builder().status(500).body(Bytes::new()).unwrap()
    })
    .await;
    let port = backend.port();
    let routes = format!("  own: {{ endpoints: [\"127.0.0.1:{port}\"] }}\n{ROUTES}")
        .replace("cluster: checking", "cluster: own");
    let mut fleet = Fleet::start(Broker::shared(), &bank, 2, &routes).await;
    let second = fleet.account_of(1).await;
    let token = bank.token("budget-app").await;
    let path = format!("/one/{second}");
    let client = fleet.gateways[1].client().clone();
    let waiting = client.get(fleet.gateways[1].url(&path)).bearer_auth(&token).send();
    let waiting = tokio::spawn(waiting);
    eventually("the request to be counted", async || match used(&fleet, &second).await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    // It stops: its partitions go to the other, while the backend has not answered yet.
    let mut stopping = fleet.gateways.pop().unwrap();
    stopping.terminate();
    // As long as the one that stops has not heard of it, it writes down itself what is given back.
    let mine = Fleet::name(&fleet.gateways[0]);
    for gateway in [&fleet.gateways[0], &stopping] {
        eventually("the other to have it", async || {
            let view = gateway.view(&format!("/quotas/{second}")).await;
            if view["owner"] == mine.as_str() { Ok(()) } else { Err(view) }
        })
        .await;
    }
    // The new owner stands still for a moment: the one that stops must not be gone before it has
    // told it.
    fleet.gateways[0].process().signal("STOP");
    drop(release);
    let answer = waiting.await.unwrap().unwrap();
    assert!(answer.status().is_server_error(), "{answer:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(stopping.process().is_running(), "it has ended without telling");
    fleet.gateways[0].process().signal("CONT");
    eventually("the use to be given back", async || match used(&fleet, &second).await {
        0 => Ok(()),
        other => Err(other),
    })
    .await;
    tokio::time::timeout(Duration::from_secs(60), stopping.ended()).await.unwrap();
}
