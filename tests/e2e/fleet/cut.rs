//! Gateways that can't reach each other and both reach Kafka.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use futures::future::join_all;

use crate::broker::Broker;
use crate::link::{Link, Weather};
use crate::support::fleet::{Fleet, one_rule};
use crate::support::wire::metric;
use crate::support::{Bank, eventually, own_address};

/// For how long clients ask both sides of the cut.
const CUT: Duration = Duration::from_secs(8);

async fn taken(fleet: &Fleet) -> u64 {
    let series = "tollgate_claims_total{reason=\"owner_unreachable\"}";
    let both = join_all(fleet.gateways.iter().map(|gateway| metric(gateway, series))).await;
    both.iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sides_of_a_cut_take_an_account_from_each_other_seldom_and_never_serve_too_much() {
    let bank = Bank::start().await;
    let mut fleet = Fleet::empty(Broker::shared(), &bank, &one_rule("few", 40)).await;
    let mut links = Vec::new();
    let mut names = Vec::new();
    for _ in 0..2 {
        let front = SocketAddr::from((own_address(), 7443));
        fleet.join_as(&front.ip().to_string());
        let behind = fleet.gateways.last().unwrap().address();
        links.push(Link::start(front, SocketAddr::from((IpAddr::V4(behind), 7443))));
        names.push(front.to_string());
    }
    fleet.until_shared_out_among(&names).await;
    let token = bank.token("budget-app").await;
    let path = format!("/few/{}", fleet.account_owned_by(&names[0], 1).await);
    for gateway in &fleet.gateways {
        assert_eq!(gateway.get(&path, &token).await.status, 200);
    }

    links.iter().for_each(|link| link.set_all(Weather::Resetting));
    let before = taken(&fleet).await;
    let until = Instant::now() + CUT;
    // Several clients at each side, so that there is always one who asks.
    let clients = (0..8).map(|number| {
        let (fleet, path, token) = (&fleet, &path, &token);
        async move {
            let mut served = 0;
            while Instant::now() < until {
                let answer = fleet.gateways[number % 2].get(path, token).await;
                match answer.status.as_u16() {
                    200 => served += 1,
                    429 | 502 | 503 => tokio::time::sleep(Duration::from_millis(20)).await,
                    _ => panic!("{answer:?}"),
                }
            }
            served
        }
    });
    let served: u64 = 2 + join_all(clients).await.iter().sum::<u64>();
    let claims = taken(&fleet).await - before;
    assert!((1..=8).contains(&claims), "{claims} claims in {CUT:?}");
    assert!(served <= 40, "{served} of 40");

    links.iter().for_each(|link| link.set_all(Weather::Clear));
    for gateway in &fleet.gateways {
        eventually("both sides to serve again", async || {
            let answer = gateway.get(&path, &token).await;
            if [200, 429].contains(&answer.status.as_u16()) { Ok(()) } else { Err(answer) }
        })
        .await;
    }
}
