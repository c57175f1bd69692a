use std::sync::Arc;

use http::StatusCode;

use super::super::{Outcome, Picked, Tried};
use super::*;

const FAILURES: [Outcome; 5] = [
    Outcome::Answered(StatusCode::INTERNAL_SERVER_ERROR),
    Outcome::ConnectFailed,
    Outcome::Reset,
    Outcome::TimedOut,
    Outcome::Garbage,
];

fn ejecting(count: u16, failures: u32, max_percent: u8) -> Cluster {
    Cluster { ejection: ejection(failures, max_percent), ..cluster(addresses(count)) }
}

fn pick(cluster: &Arc<LiveCluster>) -> Picked {
    cluster.pick(&Tried::default(), None).unwrap()
}

/// Lets one endpoint fail until it is taken out or has failed a hundred times.
fn fail(cluster: &Arc<LiveCluster>, address: SocketAddr, outcome: Outcome) {
    for _ in 0..300 {
        let Ok(picked) = cluster.pick(&Tried::default(), None) else { return };
        if picked.address() == address {
            picked.report(outcome);
        }
    }
}

fn out(cluster: &LiveCluster) -> usize {
    cluster.describe().endpoints.iter().filter(|it| it.ejected_until.is_some()).count()
}

#[test]
fn each_kind_of_failure_in_a_row_takes_the_endpoint_out_and_time_brings_it_back() {
    for outcome in FAILURES {
        let (clock, shared) = manual();
        let cluster = live(&ejecting(3, 3, 50), shared);
        let bad = addresses(3)[0];
        fail(&cluster, bad, outcome);
        let until = START.plus(Duration::from_secs(30));
        assert_eq!(cluster.describe().endpoints[0].ejected_until, Some(until.0), "{outcome}");
        for _ in 0..30 {
            assert_ne!(pick(&cluster).address(), bad);
        }
        clock.advance(Duration::from_secs(30));
        assert!((0..3).any(|_| pick(&cluster).address() == bad));
        // The next time it is out twice as long.
        fail(&cluster, bad, outcome);
        let until = START.plus(Duration::from_secs(90));
        assert_eq!(cluster.describe().endpoints[0].ejected_until, Some(until.0));
    }
}

#[test]
fn an_answer_below_500_in_between_starts_the_count_anew() {
    let (_, shared) = manual();
    let cluster = live(&ejecting(2, 3, 50), shared);
    let outcomes = [
        Outcome::Reset,
        Outcome::Reset,
        Outcome::Answered(StatusCode::NOT_FOUND),
        Outcome::Reset,
        Outcome::Reset,
    ];
    let bad = addresses(2)[0];
    for outcome in outcomes {
        loop {
            let picked = pick(&cluster);
            if picked.address() == bad {
                picked.report(outcome);
                break;
            }
        }
    }
    assert_eq!(out(&cluster), 0);
    fail(&cluster, bad, Outcome::Reset);
    assert_eq!(out(&cluster), 1);
}

#[test]
fn no_more_than_the_percentage_is_out_at_once() {
    let (_, shared) = manual();
    let cluster = live(&ejecting(10, 1, 30), shared);
    for bad in addresses(10) {
        fail(&cluster, bad, Outcome::TimedOut);
    }
    assert_eq!(out(&cluster), 3);
}

#[test]
fn one_of_two_may_be_out_but_never_the_last_that_is_up() {
    let (_, shared) = manual();
    let cluster = live(&ejecting(2, 1, 50), shared);
    for bad in addresses(2) {
        fail(&cluster, bad, Outcome::Reset);
    }
    assert_eq!(out(&cluster), 1);
    assert!(cluster.pick(&Tried::default(), None).is_ok());
}

#[test]
fn at_a_hundred_percent_a_failing_backend_is_refused_at_once_until_its_time_is_over() {
    let (clock, shared) = manual();
    let cluster = live(&ejecting(1, 2, 100), shared);
    fail(&cluster, addresses(1)[0], Outcome::ConnectFailed);
    assert!(cluster.pick(&Tried::default(), None).is_err());
    clock.advance(Duration::from_secs(30));
    assert!(cluster.pick(&Tried::default(), None).is_ok());
}

#[test]
fn requests_that_were_on_their_way_do_not_prolong_the_time_out() {
    let (clock, shared) = manual();
    let cluster = live(&ejecting(1, 2, 100), shared);
    let on_their_way: Vec<Picked> = (0..10).map(|_| pick(&cluster)).collect();
    for picked in on_their_way {
        picked.report(Outcome::Reset);
        clock.advance(Duration::from_secs(1));
    }
    let until = START.plus(Duration::from_secs(31));
    assert_eq!(cluster.describe().endpoints[0].ejected_until, Some(until.0));
}

#[test]
fn without_a_policy_nothing_is_taken_out_but_the_last_error_is_kept() {
    let (_, shared) = manual();
    let cluster = live(&cluster(addresses(2)), shared);
    fail(&cluster, addresses(2)[0], Outcome::Answered(StatusCode::BAD_GATEWAY));
    assert_eq!(out(&cluster), 0);
    let error = cluster.describe().endpoints[0].last_error.clone().unwrap();
    assert_eq!((error.at, error.text.as_str()), (START.0, "answered 502"));
}
