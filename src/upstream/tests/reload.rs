use std::sync::atomic::Ordering;

use http::StatusCode;

use super::super::cluster::lock;
use super::super::{HealthView, Outcome, Tried};
use super::backend::{Backend, Reply};
use super::*;
use crate::config::model::{HealthCheck, HealthProbe};

fn check(path: &str, interval: Duration) -> Option<HealthCheck> {
    Some(HealthCheck {
        probe: HealthProbe::Http { path: path.into(), host: None, expect: vec![StatusCode::OK] },
        interval,
        timeout: AMPLE,
        healthy_after: 3,
        unhealthy_after: 3,
    })
}

const SELDOM: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn an_unchanged_cluster_stays_the_same() {
    let model = cluster(addresses(2));
    let before = clusters_of(&[&model], None, shared());
    let after = clusters_of(&[&model], Some(&before), shared());
    assert!(Arc::ptr_eq(&before.get("accounts").unwrap(), &after.get("accounts").unwrap()));
}

#[tokio::test]
async fn endpoints_that_stay_keep_health_requests_in_progress_and_time_out() {
    let sick = Backend::saying(Reply::status(500, "")).await;
    let good = Backend::saying(Reply::ok("")).await;
    let failing = Backend::saying(Reply::ok("")).await;
    let mut model = cluster([sick.address, good.address, failing.address]);
    model.health = check("/", SELDOM);
    model.ejection = ejection(1, 50);
    model.retries = retries(1, 20, &[RetryCause::Reset]);
    let (_, shared) = manual();
    let before = clusters_of(&[&model], None, shared.clone());
    before.start(AMPLE).await;
    let cluster = before.get("accounts").unwrap();
    let held = (0..9)
        .map(|_| cluster.pick(&Tried::default(), None).unwrap())
        .find(|it| it.address() == good.address)
        .unwrap();
    while cluster.describe().endpoints[2].ejected_until.is_none() {
        let picked = cluster.pick(&Tried::default(), None).unwrap();
        if picked.address() == failing.address {
            picked.report(Outcome::TimedOut);
        }
    }
    for _ in 0..2 {
        assert!(cluster.may_retry(RetryCause::Reset, &Method::GET, true, true, 1));
    }

    let newcomer = addresses(1)[0];
    model.endpoints.insert(0, endpoint(newcomer, 7));
    model.endpoints[2].weight = 5;
    let after = clusters_of(&[&model], Some(&before), shared).get("accounts").unwrap();
    let view = after.describe();
    let health: Vec<_> = view.endpoints.iter().map(|it| it.health).collect();
    use HealthView::{Healthy, Unhealthy, Unknown};
    assert_eq!(health, [Unknown, Unhealthy, Healthy, Healthy]);
    assert_eq!(view.endpoints.iter().map(|it| it.in_flight).collect::<Vec<_>>(), [0, 0, 1, 0]);
    assert_eq!(view.endpoints[2].weight, 5);
    assert!(view.endpoints[3].ejected_until.is_some());
    assert_eq!(view.retries_left, Some(1));
    drop(held);
    assert_eq!(after.describe().endpoints[2].in_flight, 0);
}

#[tokio::test]
async fn connections_are_kept_over_a_reload_that_changes_other_things() {
    let backend = Backend::saying(Reply::ok("")).await;
    let mut model = cluster([backend.address]);
    let before = clusters_of(&[&model], None, shared());
    before.get("accounts").unwrap().call(&get(), limits(), None).await.unwrap();
    model.deadlines.first_byte = Duration::from_secs(7);
    model.retries = retries(1, 20, &[]);
    let after = clusters_of(&[&model], Some(&before), shared());
    after.get("accounts").unwrap().call(&get(), limits(), None).await.unwrap();
    assert_eq!((backend.hits(), backend.connections()), (2, 1));
}

#[tokio::test]
async fn a_corrected_check_counts_from_its_first_result() {
    let backend = Backend::new(|seen| match seen.text.starts_with("GET /healthz ") {
        true => Reply::ok(""),
        false => Reply::status(404, ""),
    })
    .await;
    let mut model = cluster([backend.address]);
    model.health = check("/heathz", SELDOM);
    let before = clusters_of(&[&model], None, shared());
    before.start(AMPLE).await;
    let state = |clusters: &Clusters| clusters.describe()[0].endpoints[0].health;
    assert_eq!(state(&before), HealthView::Unhealthy);
    model.health = check("/healthz", SELDOM);
    let after = clusters_of(&[&model], Some(&before), shared());
    assert_eq!(state(&after), HealthView::Unhealthy);
    after.start(AMPLE).await;
    assert_eq!(state(&after), HealthView::Healthy);
}

fn tasks(cluster: &LiveCluster) -> Vec<tokio::task::AbortHandle> {
    lock(&cluster.watching.tasks).clone()
}

#[tokio::test]
async fn background_tasks_of_a_removed_cluster_end_with_the_last_request_that_uses_it() {
    let backend = Backend::saying(Reply::ok("")).await;
    let mut model = cluster([backend.address]);
    model.health = check("/", Duration::from_millis(5));
    let before = clusters_of(&[&model], None, shared());
    before.start(AMPLE).await;
    let cluster = before.get("accounts").unwrap();
    let tasks = tasks(&cluster);
    let picked = cluster.pick(&Tried::default(), None).unwrap();
    let after = clusters_of(&[], Some(&before), shared());
    after.start(AMPLE).await;
    drop((before, cluster));
    let hits = backend.hits();
    until("it is still checked", || backend.hits() > hits).await;
    assert!(tasks.iter().all(|task| !task.is_finished()));
    drop(picked);
    until("its tasks have ended", || tasks.iter().all(|task| task.is_finished())).await;
}

#[tokio::test]
async fn a_changed_cluster_is_watched_once() {
    let backend = Backend::saying(Reply::ok("")).await;
    let mut model = cluster([backend.address]);
    model.health = check("/", Duration::from_millis(5));
    let before = clusters_of(&[&model], None, shared());
    before.start(AMPLE).await;
    let old = tasks(&before.get("accounts").unwrap());
    model.ejection = ejection(3, 50);
    let discarded = clusters_of(&[&model], Some(&before), shared());
    assert!(old.iter().all(|task| !task.is_finished()), "not started, so nothing changes");
    drop(discarded);
    let after = clusters_of(&[&model], Some(&before), shared());
    after.start(AMPLE).await;
    until("the old tasks have ended", || old.iter().all(|task| task.is_finished())).await;
    let hits = backend.hits();
    until("the new one checks", || backend.hits() > hits).await;
    // Starting twice begins nothing twice.
    let count = tasks(&after.get("accounts").unwrap()).len();
    after.start(AMPLE).await;
    assert_eq!(tasks(&after.get("accounts").unwrap()).len(), count);
    assert!(after.get("accounts").unwrap().watching.begun.load(Ordering::Relaxed));
}
