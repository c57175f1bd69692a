use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::StatusCode;
use proptest::prelude::*;

use super::super::{LiveCluster, Outcome, Picked, Tried};
use super::*;
use crate::config::model::{HealthCheck, HealthProbe};
use crate::request::{Refusal, ValueSource};

fn by_account() -> Balance {
    Balance::ConsistentHash(ValueSource::Account)
}

fn pick(cluster: &Arc<LiveCluster>, hash: Option<&str>) -> Picked {
    cluster.pick(&Tried::default(), hash).unwrap()
}

/// How often each endpoint is picked, the requests ending at once.
fn shares(cluster: &Arc<LiveCluster>, picks: usize) -> Vec<usize> {
    let mut counts: HashMap<SocketAddr, usize> = HashMap::new();
    for _ in 0..picks {
        *counts.entry(pick(cluster, None).address()).or_default() += 1;
    }
    cluster
        .model()
        .endpoints
        .iter()
        .map(|it| SocketAddr::new(it.host.parse().unwrap(), it.port))
        .map(|address| counts.get(&address).copied().unwrap_or(0))
        .collect()
}

fn weighted(weights: &[u32], balance: Balance) -> Cluster {
    let addresses = addresses(u16::try_from(weights.len()).unwrap());
    let endpoints = addresses.iter().zip(weights).map(|(it, weight)| endpoint(*it, *weight));
    Cluster { endpoints: endpoints.collect(), balance, ..cluster([]) }
}

/// Marks endpoints as failed in their checks.
fn down(cluster: &LiveCluster, indices: &[usize]) {
    let check = cluster.model().health.clone().unwrap();
    let list = cluster.list();
    for index in indices {
        list.endpoints()[*index].state.health.observe(false, &check);
    }
}

fn checked(model: Cluster) -> Cluster {
    let health = HealthCheck {
        probe: HealthProbe::Tcp,
        interval: Duration::from_secs(60),
        timeout: AMPLE,
        healthy_after: 1,
        unhealthy_after: 1,
    };
    Cluster { health: Some(health), ..model }
}

#[test]
fn round_robin_gives_each_its_weight_exactly() {
    let cluster = live(&weighted(&[5, 3, 2], Balance::RoundRobin), shared());
    assert_eq!(shares(&cluster, 1000), [500, 300, 200]);
}

#[test]
fn round_robin_gives_weights_of_a_million_their_share_too() {
    let cluster = live(&weighted(&[3_000_000, 1_000_000], Balance::RoundRobin), shared());
    assert_eq!(shares(&cluster, 1000), [750, 250]);
}

#[test]
fn round_robin_interleaves_instead_of_sending_bursts() {
    let cluster = live(&weighted(&[4, 2, 2], Balance::RoundRobin), shared());
    let order: Vec<SocketAddr> = (0..80).map(|_| pick(&cluster, None).address()).collect();
    let longest = order.chunk_by(|a, b| a == b).map(<[SocketAddr]>::len).max().unwrap();
    assert!(longest <= 2, "{order:?}");
}

#[test]
fn the_share_of_an_endpoint_that_is_down_is_spread_over_all_others() {
    let cluster = live(&checked(weighted(&[1, 1, 1, 1], Balance::RoundRobin)), shared());
    down(&cluster, &[1]);
    let [first, second, third, fourth] = shares(&cluster, 900)[..] else { panic!() };
    assert_eq!(second, 0);
    for share in [first, third, fourth] {
        assert!((290..=310).contains(&share), "{share}");
    }
}

#[test]
fn least_requests_sends_the_next_request_to_the_idle_one() {
    let cluster = live(&weighted(&[1, 1], Balance::LeastRequests), shared());
    for _ in 0..50 {
        let busy = pick(&cluster, None);
        let idle = pick(&cluster, None);
        assert_ne!(busy.address(), idle.address());
    }
}

#[test]
fn least_requests_keeps_requests_in_progress_even_by_weight() {
    let cluster = live(&weighted(&[3, 1], Balance::LeastRequests), shared());
    let held: Vec<Picked> = (0..400).map(|_| pick(&cluster, None)).collect();
    let view = cluster.describe();
    assert_eq!(view.endpoints.iter().map(|it| it.in_flight).sum::<usize>(), 400);
    assert!((298..=302).contains(&view.endpoints[0].in_flight), "{view:?}");
    drop(held);
    assert!(cluster.describe().endpoints.iter().all(|it| it.in_flight == 0));
}

#[test]
fn least_requests_uses_an_idle_cluster_by_weight() {
    let cluster = live(&weighted(&[3, 1], Balance::LeastRequests), shared());
    let heavy = shares(&cluster, 4000)[0];
    assert!((2800..=3200).contains(&heavy), "{heavy} of 4000");
}

#[test]
fn least_requests_finds_the_only_one_that_is_up_among_many() {
    let cluster = live(&checked(weighted(&[1; 60], Balance::LeastRequests)), shared());
    let others: Vec<usize> = (0..60).filter(|index| *index != 41).collect();
    down(&cluster, &others);
    assert_eq!(shares(&cluster, 100)[41], 100);
}

#[test]
fn the_same_account_goes_to_the_same_endpoint() {
    let cluster = live(&weighted(&[1; 10], by_account()), shared());
    for account in 0..100 {
        let account = format!("DE{account:020}");
        let first = pick(&cluster, Some(&account)).address();
        assert_eq!(pick(&cluster, Some(&account)).address(), first);
    }
}

#[test]
fn accounts_spread_over_the_endpoints_by_weight() {
    let cluster = live(&weighted(&[2, 1, 1], by_account()), shared());
    let mut counts = HashMap::new();
    for account in 0..10_000 {
        let picked = pick(&cluster, Some(&format!("DE{account:020}")));
        *counts.entry(picked.address()).or_insert(0) += 1;
    }
    let heavy = counts[&addresses(1)[0]];
    assert!((4200..=5800).contains(&heavy), "{counts:?}");
}

#[test]
fn when_an_endpoint_leaves_only_its_own_accounts_move() {
    let model = weighted(&[4, 2, 2, 2, 1, 1, 1, 1], by_account());
    let before = live(&model, shared());
    for gone in 0..8 {
        let mut smaller = model.clone();
        let left = smaller.endpoints.remove(gone);
        let after = live(&smaller, shared());
        let mut moved = 0;
        for account in 0..2000 {
            let account = format!("DE{account:020}");
            let (old, new) = (pick(&before, Some(&account)), pick(&after, Some(&account)));
            let had_to = old.address().ip().to_string() == *left.host;
            moved += usize::from(!had_to && old.address() != new.address());
        }
        // Two points of different endpoints may have the same 32-bit hash.
        assert!(moved <= 2, "{moved} accounts of others moved");
    }
}

#[test]
fn accounts_of_an_endpoint_that_is_down_come_back_to_it() {
    let cluster = live(&checked(weighted(&[1; 5], by_account())), shared());
    let home = |account: &str| pick(&cluster, Some(account)).address();
    let before: Vec<SocketAddr> = (0..200).map(|n| home(&n.to_string())).collect();
    down(&cluster, &[2]);
    let lost = addresses(5)[2];
    for (n, old) in before.iter().enumerate() {
        let new = home(&n.to_string());
        assert_ne!(new, lost);
        assert!(*old == lost || *old == new, "an account moved that didn't have to");
    }
    let check = cluster.model().health.clone().unwrap();
    cluster.list().endpoints()[2].state.health.observe(true, &check);
    let after: Vec<SocketAddr> = (0..200).map(|n| home(&n.to_string())).collect();
    assert_eq!(before, after);
}

#[test]
fn requests_without_the_hash_value_go_in_turn() {
    let cluster = live(&weighted(&[1, 1, 1], by_account()), shared());
    assert_eq!(shares(&cluster, 300), [100, 100, 100]);
}

#[test]
fn a_cluster_with_all_endpoints_down_refuses() {
    for balance in [Balance::RoundRobin, Balance::LeastRequests, by_account()] {
        let cluster = live(&checked(weighted(&[1, 2, 3], balance)), shared());
        down(&cluster, &[0, 1, 2]);
        let refusal = cluster.pick(&Tried::default(), Some("key")).unwrap_err();
        assert_eq!(refusal, Refusal::NoEndpoint { cluster: "accounts".into() });
    }
}

#[test]
fn without_checks_what_earlier_checks_found_no_longer_counts() {
    let model = checked(weighted(&[1, 1], Balance::RoundRobin));
    let clusters = clusters_of(&[&model], None, shared());
    down(&clusters.get("accounts").unwrap(), &[0, 1]);
    let unchecked = Cluster { health: None, ..model };
    let clusters = clusters_of(&[&unchecked], Some(&clusters), shared());
    assert_eq!(shares(&clusters.get("accounts").unwrap(), 10), [5, 5]);
}

/// Reading the system's authorities for each case would take all the time of the test.
static CONNECTORS: LazyLock<Clusters> = LazyLock::new(|| clusters_of(&[], None, shared()));

proptest! {
    /// Whatever the balance, the weights and what is down: a request goes through all endpoints
    /// that are up before it meets one again.
    #[test]
    fn no_endpoint_is_tried_again_while_another_is_left(
        weights in proptest::collection::vec(1u32..50, 1..12),
        kind in 0..3,
        downs in proptest::collection::vec(any::<bool>(), 12),
        key in "[a-z]{0,8}",
    ) {
        let balance = [Balance::RoundRobin, Balance::LeastRequests, by_account()][kind as usize].clone();
        let model = checked(weighted(&weights, balance));
        let clusters = clusters_of(&[&model], Some(&CONNECTORS), shared());
        let cluster = clusters.get("accounts").unwrap();
        let out: Vec<usize> = (0..weights.len()).filter(|index| downs[*index]).collect();
        down(&cluster, &out);
        let up = weights.len() - out.len();
        let mut tried = Tried::default();
        for _ in 0..up {
            let picked = cluster.pick(&tried, Some(&key)).unwrap();
            prop_assert!(!tried.contains(&picked));
            picked.report(Outcome::Answered(StatusCode::BAD_GATEWAY));
            tried.add(&picked);
        }
        let again = cluster.pick(&tried, Some(&key));
        prop_assert_eq!(again.is_ok(), up > 0);
        prop_assert!(again.map_or(true, |picked| tried.contains(&picked)));
    }
}
