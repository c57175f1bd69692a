use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, header};

use super::super::{Answer, CallError, Failure, Wait};
use super::backend::{Backend, Reply, refusing};
use super::*;
use crate::request::Refusal;

async fn call(backend: &Backend) -> Result<Answer, CallError> {
    live(&cluster([backend.address]), shared()).call(&get(), limits(), None).await
}

async fn failure(reply: Reply) -> Failure {
    match call(&Backend::saying(reply).await).await {
        Err(CallError::Failed { failure, .. }) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_comes_whole() {
    let backend = Backend::saying(Reply::raw(
        "HTTP/1.1 404 No\r\nx-kind: none\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    ))
    .await;
    let answer = call(&backend).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert_eq!(answer.headers["x-kind"], "none");
    assert_eq!(&answer.body[..], b"abcde");
    assert_eq!(*answer.endpoint, *backend.address.to_string());
}

#[tokio::test]
async fn the_backend_sees_path_host_fields_and_body_but_no_hop_by_hop_fields() {
    let backend = Backend::saying(Reply::ok("")).await;
    let mut request = request(Method::POST);
    request.body = Bytes::from_static(b"{\"a\":1}");
    for (name, value) in [
        ("x-account", "1"),
        ("x-account", "2"),
        ("connection", "x-secret"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("content-length", "999"),
    ] {
        request.headers.append(name, HeaderValue::from_static(value));
    }
    let cluster = live(&cluster([backend.address]), shared());
    cluster.call(&request, limits(), None).await.unwrap();
    let seen = backend.requests().remove(0).to_lowercase();
    assert!(seen.starts_with("post /v1/accounts?limit=5 http/1.1\r\n"), "{seen}");
    assert!(seen.contains(&format!("\r\nhost: {}\r\n", backend.address)), "{seen}");
    assert!(seen.contains("\r\nx-account: 1\r\nx-account: 2\r\n"), "{seen}");
    assert!(seen.contains("\r\ncontent-length: 7\r\n"), "{seen}");
    assert!(seen.ends_with("\r\n\r\n{\"a\":1}"), "{seen}");
    for gone in ["connection:", "keep-alive:", "\r\nte:", "transfer-encoding:", "999"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[tokio::test]
async fn a_host_that_the_caller_sets_stands() {
    let backend = Backend::saying(Reply::ok("")).await;
    let mut request = get();
    request.headers.insert(header::HOST, HeaderValue::from_static("api.bank.example"));
    let cluster = live(&cluster([backend.address]), shared());
    cluster.call(&request, limits(), None).await.unwrap();
    let seen = backend.requests().remove(0).to_lowercase();
    assert_eq!(seen.matches("host:").count(), 1);
    assert!(seen.contains("host: api.bank.example\r\n"), "{seen}");
}

#[tokio::test]
async fn answers_that_have_no_body_by_nature_end_at_once() {
    for (method, reply) in [
        (Method::HEAD, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
        (Method::GET, "HTTP/1.1 204 No Content\r\n\r\n"),
        (Method::GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 10\r\n\r\n"),
        (
            Method::GET,
            "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        ),
    ] {
        let backend = Backend::saying(Reply::raw(reply)).await;
        let cluster = live(&cluster([backend.address]), shared());
        let answer = cluster.call(&request(method), limits(), None).await.unwrap();
        assert!(answer.body.is_empty());
        assert!(!answer.status.is_informational());
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let backend = Backend::saying(Reply::ok("fine")).await;
    let cluster = live(&cluster([backend.address]), shared());
    for _ in 0..20 {
        cluster.call(&get(), limits(), None).await.unwrap();
    }
    assert_eq!((backend.hits(), backend.connections()), (20, 1));
}

#[tokio::test]
async fn what_is_not_http_is_garbage() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.6\r\n\r\n",
        "\0\u{1}\u{2}\u{3}\r\n\r\n",
        "HTTP/1.1 abc OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nabcdef",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\nabcdef",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n",
    ] {
        assert_eq!(
            failure(Reply::SendAndClose(garbage.into())).await,
            Failure::Garbage,
            "{garbage:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_cut() {
    for cut in [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nab",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n",
    ] {
        assert_eq!(failure(Reply::SendAndClose(cut.into())).await, Failure::Cut, "{cut:?}");
    }
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_a_reset() {
    assert_eq!(failure(Reply::close()).await, Failure::Reset);
    assert_eq!(failure(Reply::SendAndClose("HTTP/1.1 20".into())).await, Failure::Reset);
}

#[tokio::test]
async fn more_bytes_than_the_answer_says_are_a_wrong_length_and_poison_no_later_answer() {
    let long = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcHTTP/1.1 200 OK\r\n");
    assert_eq!(failure(long.clone()).await, Failure::WrongLength);
    let backend = Backend::saying(long).await;
    let cluster = live(&cluster([backend.address]), shared());
    for _ in 0..3 {
        cluster.call(&get(), limits(), None).await.unwrap_err();
    }
    assert_eq!(backend.connections(), 3);
}

#[tokio::test]
async fn an_endless_body_is_cut_at_the_limit() {
    let endless = [
        Reply::Endless("HTTP/1.1 200 OK\r\n\r\n".into(), vec![b'x'; 4096]),
        Reply::Endless(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(),
            format!("400\r\n{}\r\n", "x".repeat(1024)).into(),
        ),
    ];
    for reply in endless {
        let error = call(&Backend::saying(reply).await).await.unwrap_err();
        assert!(matches!(error, CallError::TooLarge { limit: 0x10_0000, .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_endless_head_is_garbage() {
    let reply = Reply::Endless("HTTP/1.1 200 OK\r\n".into(), b"x-more: and more\r\n".to_vec());
    assert_eq!(failure(reply).await, Failure::Garbage);
}

#[tokio::test]
async fn an_answer_that_says_it_is_too_large_is_not_read() {
    let reply = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n");
    let error = call(&Backend::saying(reply).await).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_body_just_at_the_limit_is_taken() {
    let backend = Backend::saying(Reply::ok("12345")).await;
    let cluster = live(&cluster([backend.address]), shared());
    let limits = |max_body| CallLimits { max_body, ..limits() };
    assert!(cluster.call(&get(), limits(5), None).await.is_ok());
    assert!(cluster.call(&get(), limits(4), None).await.is_err());
}

async fn waited_for(reply: Reply, deadlines: Deadlines, limits: CallLimits) -> Wait {
    let backend = Backend::saying(reply).await;
    let model = Cluster { deadlines, ..cluster([backend.address]) };
    let started = Instant::now();
    let error = live(&model, shared()).call(&get(), limits, None).await.unwrap_err();
    assert!(started.elapsed() < AMPLE, "{:?}", started.elapsed());
    match error {
        CallError::TimedOut { wait, .. } => wait,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_deadline_ends_the_call_and_says_what_was_waited_for() {
    let short = Duration::from_millis(80);
    let ample = cluster([]).deadlines;
    let half = Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc");
    let first_byte = Deadlines { first_byte: short, ..ample };
    assert_eq!(waited_for(Reply::Silence, first_byte, limits()).await, Wait::FirstByte);
    let idle = Deadlines { idle: short, ..ample };
    assert_eq!(waited_for(half.clone(), idle, limits()).await, Wait::NextPart);
    let total = Deadlines { total: short, ..ample };
    assert_eq!(waited_for(half.clone(), total, limits()).await, Wait::Total);
    let callers = CallLimits { deadline: short, ..limits() };
    assert_eq!(waited_for(half, ample, callers).await, Wait::Total);
}

#[tokio::test]
async fn a_caller_without_patience_does_not_get_the_endpoint_ejected_for_a_second_try() {
    let refused = refusing().await;
    let silent = Backend::saying(Reply::Silence).await;
    let mut model = cluster([refused, silent.address]);
    model.deadlines.first_byte = AMPLE;
    model.retries = retries(1, 100, &[RetryCause::Connect]);
    let cluster = live(&model, shared());
    let limits = CallLimits { deadline: Duration::from_millis(80), ..limits() };
    let error = cluster.call(&get(), limits, None).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { wait: Wait::Total, .. }), "{error:?}");
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_half_read_connection_behind() {
    let backend = Backend::new(|seen| match seen.text.contains("half") {
        true => Reply::raw("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        false => Reply::ok("fine"),
    })
    .await;
    let cluster = live(&cluster([backend.address]), shared());
    cluster.call(&get(), limits(), None).await.unwrap();
    let mut half = get();
    half.path_and_query = "/half".parse().unwrap();
    let task = {
        let cluster = Arc::clone(&cluster);
        tokio::spawn(async move { cluster.call(&half, limits(), None).await })
    };
    until("the backend sees the request", || backend.hits() == 2).await;
    assert_eq!(cluster.describe().endpoints[0].in_flight, 1);
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(cluster.describe().endpoints[0].in_flight, 0);
    let answer = cluster.call(&get(), limits(), None).await.unwrap();
    assert_eq!(&answer.body[..], b"fine");
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn errors_become_refusals_without_details() {
    let cluster: Arc<str> = "accounts".into();
    let endpoint: Arc<str> = "127.0.0.1:1".into();
    let late = CallError::TimedOut { endpoint: endpoint.clone(), wait: Wait::FirstByte };
    let failed = CallError::Failed { endpoint, failure: Failure::Reset };
    assert_eq!(
        CallError::NoEndpoint.refusal(&cluster),
        Refusal::NoEndpoint { cluster: cluster.clone() }
    );
    assert_eq!(late.refusal(&cluster), Refusal::UpstreamTimeout { cluster: cluster.clone() });
    assert_eq!(failed.refusal(&cluster), Refusal::UpstreamFailed { cluster: cluster.clone() });
}
