use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, StatusCode};

use super::super::{CallError, Failure};
use super::backend::{Backend, Reply, refusing};
use super::*;

const ALL: [RetryCause; 3] = [RetryCause::Connect, RetryCause::Reset, RetryCause::Timeout];

#[tokio::test]
async fn an_endpoint_that_refuses_is_passed_over() {
    let backend = Backend::saying(Reply::ok("fine")).await;
    let model = cluster([refusing().await, backend.address]);
    let cluster = live(&Cluster { retries: retries(1, 100, &ALL), ..model }, shared());
    for _ in 0..10 {
        let answer = cluster.call(&get(), limits(), None).await.unwrap();
        assert_eq!(&answer.body[..], b"fine");
        assert_eq!(*answer.endpoint, *backend.address.to_string());
    }
}

#[tokio::test]
async fn a_retry_never_goes_to_the_same_endpoint_while_another_is_left() {
    let backends = [
        Backend::saying(Reply::close()).await,
        Backend::saying(Reply::close()).await,
        Backend::saying(Reply::close()).await,
    ];
    let model = cluster(backends.iter().map(|it| it.address));
    let model = Cluster { retries: retries(2, 100, &ALL), ..model };
    for balance in [Balance::RoundRobin, Balance::LeastRequests] {
        let cluster = live(&Cluster { balance, ..model.clone() }, shared());
        let before: Vec<usize> = backends.iter().map(Backend::hits).collect();
        let error = cluster.call(&get(), limits(), None).await.unwrap_err();
        assert!(matches!(error, CallError::Failed { failure: Failure::Reset, .. }), "{error:?}");
        let after: Vec<usize> = backends.iter().map(Backend::hits).collect();
        assert!(before.iter().zip(&after).all(|(old, new)| new - old == 1), "{before:?} {after:?}");
    }
}

#[tokio::test]
async fn the_only_endpoint_is_tried_again() {
    let calls = AtomicUsize::new(0);
    let flaky = Backend::new(move |_| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::close(),
        _ => Reply::ok("fine"),
    })
    .await;
    let model = Cluster { retries: retries(1, 100, &ALL), ..cluster([flaky.address]) };
    let answer = live(&model, shared()).call(&get(), limits(), None).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(flaky.hits(), 2);
}

#[tokio::test]
async fn the_budget_bounds_what_a_failing_backend_gets() {
    let backend = Backend::saying(Reply::close()).await;
    let (clock, shared) = manual();
    let model = Cluster { retries: retries(5, 20, &ALL), ..cluster([backend.address]) };
    let cluster = live(&model, shared);
    for _ in 0..100 {
        cluster.call(&get(), limits(), None).await.unwrap_err();
    }
    // A fifth of the requests so far at any time, and the minimum at the start.
    assert_eq!(backend.hits(), 120);
    assert_eq!(cluster.describe().retries_left, Some(0));
    clock.advance(Duration::from_secs(10));
    assert_eq!(cluster.describe().retries_left, Some(3));
}

#[tokio::test]
async fn a_post_that_reached_the_backend_is_not_sent_again() {
    let backends = [Backend::saying(Reply::close()).await, Backend::saying(Reply::close()).await];
    let model = cluster(backends.iter().map(|it| it.address));
    let cluster = live(&Cluster { retries: retries(3, 100, &ALL), ..model }, shared());
    let mut post = request(Method::POST);
    post.body = Bytes::from_static(b"{\"amount\":1}");
    cluster.call(&post, limits(), None).await.unwrap_err();
    assert_eq!(backends.iter().map(Backend::hits).sum::<usize>(), 1);
}

#[tokio::test]
async fn a_post_that_never_reached_the_backend_is_sent_to_another() {
    let backend = Backend::saying(Reply::ok("booked")).await;
    let model = cluster([refusing().await, backend.address]);
    let cluster = live(&Cluster { retries: retries(1, 100, &ALL), ..model }, shared());
    for _ in 0..4 {
        cluster.call(&request(Method::POST), limits(), None).await.unwrap();
    }
    assert_eq!(backend.hits(), 4);
}

#[tokio::test]
async fn statuses_are_retried_where_the_cluster_says_so_and_the_last_one_is_the_answer() {
    let busy = Backend::saying(Reply::status(503, "busy")).await;
    let broken = Backend::saying(Reply::status(500, "broken")).await;
    let on = [RetryCause::Status(StatusCode::SERVICE_UNAVAILABLE)];
    let model = cluster([busy.address, broken.address]);
    let cluster = live(&Cluster { retries: retries(1, 100, &on), ..model }, shared());
    let answer = cluster.call(&get(), limits(), None).await.unwrap();
    assert_eq!(answer.status.as_u16(), 500);
    assert_eq!((busy.hits(), broken.hits()), (1, 1));
}

#[tokio::test]
async fn only_causes_that_the_cluster_names_are_retried() {
    let backend = Backend::saying(Reply::close()).await;
    let on = [RetryCause::Connect, RetryCause::Timeout];
    let model = Cluster { retries: retries(3, 100, &on), ..cluster([backend.address]) };
    live(&model, shared()).call(&get(), limits(), None).await.unwrap_err();
    assert_eq!(backend.hits(), 1);
}

#[tokio::test]
async fn a_silent_endpoint_is_given_up_for_another_in_time() {
    let silent = Backend::saying(Reply::Silence).await;
    let good = Backend::saying(Reply::ok("fine")).await;
    let mut model = cluster([silent.address, good.address]);
    model.deadlines.first_byte = Duration::from_millis(100);
    let cluster = live(&Cluster { retries: retries(1, 100, &ALL), ..model }, shared());
    for _ in 0..2 {
        cluster.call(&get(), limits(), None).await.unwrap();
    }
    assert_eq!((silent.hits(), good.hits()), (2, 2));
}

#[tokio::test]
async fn a_connection_that_the_backend_closed_meanwhile_is_replaced_for_a_get_only() {
    // Answers the first request of each connection and closes at the second.
    let backend = Backend::new(|seen| match seen.on_connection {
        1 => Reply::ok("fine"),
        _ => Reply::close(),
    })
    .await;
    let cluster = live(&cluster([backend.address]), shared());
    for _ in 0..3 {
        cluster.call(&get(), limits(), None).await.unwrap();
    }
    assert_eq!((backend.hits(), backend.connections()), (5, 3));
    let error = cluster.call(&request(Method::POST), limits(), None).await.unwrap_err();
    assert!(matches!(error, CallError::Failed { failure: Failure::Reset, .. }), "{error:?}");
}

#[test]
fn may_retry_asks_cause_method_body_and_tries() {
    let may = |cause, method, reached, replayable, tries| {
        let on = [RetryCause::Connect, RetryCause::Reset];
        let model = Cluster { retries: retries(2, 100, &on), ..cluster(addresses(2)) };
        live(&model, manual().1).may_retry(cause, &method, reached, replayable, tries)
    };
    assert!(may(RetryCause::Reset, Method::GET, true, true, 1));
    assert!(may(RetryCause::Reset, Method::PUT, true, true, 2));
    assert!(may(RetryCause::Connect, Method::POST, false, false, 1));
    assert!(!may(RetryCause::Reset, Method::GET, true, true, 3), "tries are used up");
    assert!(!may(RetryCause::Reset, Method::POST, true, true, 1), "not idempotent");
    assert!(!may(RetryCause::Reset, Method::PATCH, true, true, 1), "not idempotent");
    assert!(!may(RetryCause::Reset, Method::PUT, true, false, 1), "the body is gone");
    assert!(!may(RetryCause::Timeout, Method::GET, true, true, 1), "not a named cause");
    let never = live(&cluster(addresses(2)), manual().1);
    assert!(!never.may_retry(RetryCause::Connect, &Method::GET, false, true, 1));
}
