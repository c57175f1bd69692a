use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use http::StatusCode;

use super::super::watch::Round;
use super::super::{CallError, HealthView, Tried};
use super::backend::{Backend, Reply, refusing};
use super::*;
use crate::config::model::{HealthCheck, HealthProbe};

fn check(probe: HealthProbe, healthy_after: u32, unhealthy_after: u32) -> Option<HealthCheck> {
    let (interval, timeout) = (Duration::from_millis(20), AMPLE);
    Some(HealthCheck { probe, interval, timeout, healthy_after, unhealthy_after })
}

fn http(expect: &[u16]) -> HealthProbe {
    let expect = expect.iter().map(|it| StatusCode::from_u16(*it).unwrap()).collect();
    HealthProbe::Http { path: "/healthz?deep=1".into(), host: Some("probe.example".into()), expect }
}

fn found(cluster: &LiveCluster) -> Vec<HealthView> {
    cluster.describe().endpoints.iter().map(|it| it.health).collect()
}

/// A backend whose health a switch decides.
async fn switched() -> (Backend, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(true));
    let switch = Arc::clone(&up);
    let backend = Backend::new(move |_| match switch.load(Ordering::SeqCst) {
        true => Reply::ok("up"),
        false => Reply::status(503, "down"),
    })
    .await;
    (backend, up)
}

#[tokio::test]
async fn an_http_check_asks_path_and_host_and_takes_only_the_statuses_that_are_named() {
    let fine = Backend::saying(Reply::status(204, "")).await;
    let odd = Backend::saying(Reply::status(200, "")).await;
    let model = cluster([fine.address, odd.address, refusing().await]);
    let cluster = live(&Cluster { health: check(http(&[204, 401]), 1, 1), ..model }, shared());
    assert_eq!(found(&cluster), [HealthView::Unknown; 3]);
    cluster.check(Round::All).await;
    assert_eq!(
        found(&cluster),
        [HealthView::Healthy, HealthView::Unhealthy, HealthView::Unhealthy]
    );
    let seen = fine.requests().remove(0).to_lowercase();
    assert!(seen.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{seen}");
    assert!(seen.contains("host: probe.example\r\n"), "{seen}");
    let errors: Vec<_> = cluster.describe().endpoints.into_iter().map(|it| it.last_error).collect();
    assert!(errors[0].is_none());
    assert_eq!(errors[1].as_ref().unwrap().text, "health check: answered 200");
    assert_eq!(errors[2].as_ref().unwrap().text, "health check: no connection: refused");
}

#[tokio::test]
async fn each_check_makes_a_connection_of_its_own() {
    let backend = Backend::saying(Reply::ok("")).await;
    let model = Cluster { health: check(http(&[200]), 1, 1), ..cluster([backend.address]) };
    let cluster = live(&model, shared());
    for _ in 0..3 {
        cluster.check(Round::All).await;
    }
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn a_tcp_check_wants_a_connection_only() {
    let backend = Backend::saying(Reply::Silence).await;
    let model = cluster([backend.address, refusing().await]);
    let cluster = live(&Cluster { health: check(HealthProbe::Tcp, 1, 1), ..model }, shared());
    cluster.check(Round::All).await;
    assert_eq!(found(&cluster), [HealthView::Healthy, HealthView::Unhealthy]);
    assert_eq!(backend.hits(), 0);
}

#[tokio::test]
async fn thresholds_count_results_in_a_row() {
    let (backend, up) = switched().await;
    let model = Cluster { health: check(http(&[200]), 2, 3), ..cluster([backend.address]) };
    let cluster = live(&model, shared());
    let mut states = Vec::new();
    for healthy in [true, false, false, true, false, false, false, true, false, true, true] {
        up.store(healthy, Ordering::SeqCst);
        cluster.check(Round::All).await;
        states.push(found(&cluster)[0] == HealthView::Healthy);
    }
    let expected = [true, true, true, true, true, true, false, false, false, false, true];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn a_check_that_is_not_answered_in_time_has_failed() {
    let silent = Backend::saying(Reply::Silence).await;
    let mut model = Cluster { health: check(http(&[200]), 1, 1), ..cluster([silent.address]) };
    model.health.as_mut().unwrap().timeout = Duration::from_millis(50);
    let cluster = live(&model, shared());
    cluster.check(Round::All).await;
    assert_eq!(found(&cluster), [HealthView::Unhealthy]);
}

#[tokio::test]
async fn start_checks_before_it_returns_and_goes_on_in_the_background() {
    let (backend, up) = switched().await;
    up.store(false, Ordering::SeqCst);
    let model = Cluster { health: check(http(&[200]), 1, 1), ..cluster([backend.address]) };
    let clusters = clusters_of(&[&model], None, shared());
    clusters.start(AMPLE).await;
    let cluster = clusters.get("accounts").unwrap();
    assert_eq!(found(&cluster), [HealthView::Unhealthy]);
    for healthy in [true, false, true] {
        up.store(healthy, Ordering::SeqCst);
        until("the change is noticed", || cluster.pick(&Tried::default(), None).is_ok() == healthy)
            .await;
    }
}

#[tokio::test]
async fn start_waits_no_longer_than_it_is_told() {
    let silent = Backend::saying(Reply::Silence).await;
    let model = Cluster { health: check(http(&[200]), 1, 1), ..cluster([silent.address]) };
    let clusters = clusters_of(&[&model], None, shared());
    let started = Instant::now();
    clusters.start(Duration::from_millis(50)).await;
    assert!(started.elapsed() < AMPLE / 2);
    let cluster = clusters.get("accounts").unwrap();
    assert_eq!(found(&cluster), [HealthView::Unknown]);
    assert!(cluster.pick(&Tried::default(), None).is_ok(), "unchecked is usable");
    // The round that ran out of time is made up for at once, not after an interval.
    until("the check is repeated", || silent.hits() >= 2).await;
}

#[tokio::test]
async fn all_down_is_refused_at_once_and_not_after_the_connect_deadline() {
    // An address of the documentation range: a connection attempt would be waited for.
    let away: SocketAddr = "192.0.2.1:9".parse().unwrap();
    let mut model = cluster([away]);
    model.health = check(HealthProbe::Tcp, 1, 1);
    model.health.as_mut().unwrap().timeout = Duration::from_millis(50);
    model.health.as_mut().unwrap().interval = Duration::from_secs(60);
    let cluster = live(&model, shared());
    cluster.check(Round::All).await;
    let started = Instant::now();
    let error = cluster.call(&get(), limits(), None).await.unwrap_err();
    assert_eq!(error, CallError::NoEndpoint);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}
