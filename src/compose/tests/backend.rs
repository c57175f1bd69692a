use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A bank's HTTP server that answers as told, and what it saw. Stops when dropped.
pub struct Backend {
    pub address: SocketAddr,
    seen: Arc<Seen>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<(String, HeaderMap)>>,
    running: AtomicUsize,
    most: AtomicUsize,
    broken_off: AtomicUsize,
}

impl Backend {
    /// Answers each path and query by `answering`.
    pub async fn new<F>(answering: impl Fn(String) -> F + Clone + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let seen = Arc::new(Seen::default());
        let watching = Arc::clone(&seen);
        let handler = move |request: Request| {
            let path = request.uri().to_string();
            let call = Call::begin(Arc::clone(&watching), &path, request.headers());
            let answer = answering(path);
            async move {
                let answer = answer.await;
                call.end();
                answer
            }
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(handler);
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, seen, task }
    }

    /// Answers every request with JSON made of its path.
    pub async fn telling(tell: fn(&str) -> Value) -> Self {
        Self::new(move |path| async move { json(&tell(&path)) }).await
    }

    /// Sends these bytes after each request's head and closes the connection.
    pub async fn raw(bytes: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        match stream.read_u8().await {
                            Ok(byte) => head.push(byte),
                            Err(_) => return,
                        }
                    }
                    let _ = stream.write_all(bytes).await;
                });
            }
        });
        Self { address, seen: Arc::default(), task }
    }

    /// Paths asked for, in order of arrival.
    pub fn paths(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }

    /// Fields of the first request.
    pub fn fields(&self) -> HeaderMap {
        self.seen.requests.lock().unwrap().first().unwrap().1.clone()
    }

    /// Requests being answered.
    pub fn running(&self) -> usize {
        self.seen.running.load(Ordering::SeqCst)
    }

    /// Most requests that were being answered at once.
    pub fn most_at_once(&self) -> usize {
        self.seen.most.load(Ordering::SeqCst)
    }

    /// Requests whose caller went before the answer.
    pub fn broken_off(&self) -> usize {
        self.seen.broken_off.load(Ordering::SeqCst)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request being answered. Dropped before its end, its caller is gone.
struct Call {
    seen: Arc<Seen>,
    ended: bool,
}

impl Call {
    fn begin(seen: Arc<Seen>, path: &str, headers: &HeaderMap) -> Self {
        seen.requests.lock().unwrap().push((path.to_owned(), headers.clone()));
        let running = seen.running.fetch_add(1, Ordering::SeqCst) + 1;
        seen.most.fetch_max(running, Ordering::SeqCst);
        Self { seen, ended: false }
    }

    fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.seen.running.fetch_sub(1, Ordering::SeqCst);
        if !self.ended {
            self.seen.broken_off.fetch_add(1, Ordering::SeqCst);
        }
    }
}

pub fn json(value: &Value) -> Response {
    text(200, &value.to_string())
}

pub fn text(status: u16, body: &str) -> Response {
    Response::builder().status(status).body(Body::from(body.to_owned())).unwrap()
}

/// An address where nobody listens: one that was just given back.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
