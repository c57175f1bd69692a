use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::super::{CallError, Wait};
use super::backend::{Backend, Reply};
use super::*;

/// Answers with the request's body, or never where the path asks for that. HTTP/2 without TLS.
struct Backend2 {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
    hits: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Backend2 {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, hits) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (accepted, counted) = (Arc::clone(&connections), Arc::clone(&hits));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let counted = Arc::clone(&counted);
                let service = service_fn(move |request| answer(request, Arc::clone(&counted)));
                let serving = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service);
                tokio::spawn(serving);
            }
        });
        Self { address, connections, hits, task }
    }

    fn cluster(&self) -> Cluster {
        Cluster { protocol: BackendProtocol::Http2, ..cluster([self.address]) }
    }
}

impl Drop for Backend2 {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Body = BoxBody<Bytes, Infallible>;

async fn answer(
    request: http::Request<Incoming>,
    hits: Arc<AtomicUsize>,
) -> Result<Response<Body>, Infallible> {
    hits.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let body = match path.as_str() {
        "/never" => std::future::pending().await,
        "/half" => BodyExt::boxed(StreamBody::new(futures::stream::pending())),
        _ => Full::new(body).boxed(),
    };
    Ok(Response::new(body))
}

fn asking(path: &str) -> BackendRequest {
    BackendRequest { path_and_query: path.parse().unwrap(), ..get() }
}

#[tokio::test]
async fn http2_by_prior_knowledge_carries_bodies_and_uses_one_connection() {
    let backend = Backend2::new().await;
    let cluster = live(&backend.cluster(), shared());
    for n in 0..20 {
        let mut request = request(Method::POST);
        request.body = Bytes::from(format!("number {n}"));
        let answer = cluster.call(&request, limits(), None).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.body, request.body);
    }
    cluster.call(&get(), limits(), None).await.unwrap();
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_http2_call_that_is_dropped_resets_its_stream_and_keeps_the_connection() {
    let backend = Backend2::new().await;
    let cluster = live(&backend.cluster(), shared());
    for (n, path) in ["/never", "/half", "/never"].into_iter().enumerate() {
        let task = {
            let cluster = Arc::clone(&cluster);
            tokio::spawn(async move { cluster.call(&asking(path), limits(), None).await })
        };
        until("the request arrives", || backend.hits.load(Ordering::SeqCst) == 2 * n + 1).await;
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        cluster.call(&get(), limits(), None).await.unwrap();
    }
    assert_eq!(cluster.describe().endpoints[0].in_flight, 0);
    assert_eq!(backend.connections.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_http2_connection_that_stays_silent_takes_no_more_requests() {
    let backend = Backend2::new().await;
    let mut model = backend.cluster();
    model.deadlines.first_byte = Duration::from_millis(80);
    let cluster = live(&model, shared());
    let error = cluster.call(&asking("/never"), limits(), None).await.unwrap_err();
    assert!(matches!(error, CallError::TimedOut { wait: Wait::FirstByte, .. }), "{error:?}");
    cluster.call(&get(), limits(), None).await.unwrap();
    assert_eq!(backend.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn an_http2_body_beyond_the_limit_is_refused() {
    let backend = Backend2::new().await;
    let cluster = live(&backend.cluster(), shared());
    let mut request = request(Method::POST);
    request.body = Bytes::from(vec![b'x'; 10_000]);
    let limits = CallLimits { max_body: 9_999, ..limits() };
    let error = cluster.call(&request, limits, None).await.unwrap_err();
    assert!(matches!(error, CallError::TooLarge { .. }), "{error:?}");
}

#[tokio::test]
async fn a_backend_that_speaks_http1_only_does_not_pass_for_http2() {
    let backend = Backend::saying(Reply::ok("fine")).await;
    let model = Cluster { protocol: BackendProtocol::Http2, ..cluster([backend.address]) };
    let error = live(&model, shared()).call(&get(), limits(), None).await.unwrap_err();
    assert!(matches!(error, CallError::Failed { .. }), "{error:?}");
}

#[tokio::test]
async fn many_http2_calls_at_once_are_all_answered() {
    let backend = Backend2::new().await;
    let cluster = live(&backend.cluster(), shared());
    cluster.call(&get(), limits(), None).await.unwrap();
    let request = get();
    let calls = (0..300).map(|_| cluster.call(&request, limits(), None));
    for answer in futures::future::join_all(calls).await {
        answer.unwrap();
    }
    assert_eq!(cluster.describe().endpoints[0].in_flight, 0);
}
