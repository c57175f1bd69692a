//! The backend: it counts what reaches it, as the second witness beside the clients. Now and then
//! it fails, so that uses are given back.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// One in so many requests is answered 500, while it may fail.
const FAILS: u64 = 40;

/// A server on a port of its own.
pub struct Witness {
    port: u16,
    seen: Arc<Book>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Book {
    /// By path: how often it was answered 200.
    served: Mutex<HashMap<String, u64>>,
    turn: AtomicU64,
    steady: AtomicU64,
}

impl Witness {
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::<Book>::default();
        let task = tokio::spawn(serve(listener, Arc::clone(&seen)));
        Self { port, seen, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How often a path was answered 200.
    pub fn served(&self, path: &str) -> u64 {
        self.seen.served.lock().unwrap().get(path).copied().unwrap_or(0)
    }

    /// Whether it fails now and then.
    pub fn may_fail(&self, may: bool) {
        self.seen.steady.store(u64::from(!may), Ordering::SeqCst);
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Book {
    fn answer(&self, path: &str) -> StatusCode {
        let turn = self.turn.fetch_add(1, Ordering::SeqCst);
        if self.steady.load(Ordering::SeqCst) == 0 && turn % FAILS == FAILS - 1 {
            return StatusCode::INTERNAL_SERVER_ERROR;
        }
        *self.served.lock().unwrap().entry(path.to_owned()).or_default() += 1;
        StatusCode::OK
    }
}

async fn serve(listener: TcpListener, seen: Arc<Book>) {
    while let Ok((stream, _)) = listener.accept().await {
        let seen = Arc::clone(&seen);
        let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let status = seen.answer(request.uri().path());
            let body = Full::new(Bytes::from_static(b"{}"));
            let answer = Response::builder().status(status).body(body).unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}
