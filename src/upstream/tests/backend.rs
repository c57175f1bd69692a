use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use openssl::ssl::{Ssl, SslAcceptor};
use pingora::tls::tokio_ssl::SslStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// What a backend does after a request.
#[derive(Clone)]
pub enum Reply {
    /// Sends these bytes and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes and closes the connection.
    SendAndClose(Vec<u8>),
    /// Sends the first bytes, then the others without end.
    Endless(Vec<u8>, Vec<u8>),
    /// Sends nothing, keeps the connection.
    Silence,
}

impl Reply {
    pub fn ok(body: &str) -> Self {
        Self::status(200, body)
    }

    pub fn status(status: u16, body: &str) -> Self {
        let length = body.len();
        Self::raw(&format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n\r\n{body}"))
    }

    pub fn raw(text: &str) -> Self {
        Self::Send(text.into())
    }

    pub fn close() -> Self {
        Self::SendAndClose(Vec::new())
    }
}

/// A request as a backend saw it.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// Head and body.
    pub text: &'a str,
    /// Which one it is on its connection, from 1.
    pub on_connection: usize,
}

type Answering = Arc<dyn Fn(Seen<'_>) -> Reply + Send + Sync>;

/// A small HTTP/1.1 server that answers as told. Stops when dropped.
pub struct Backend {
    pub address: SocketAddr,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

impl Backend {
    pub async fn new(answering: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static) -> Self {
        Self::start(None, Arc::new(answering)).await
    }

    pub async fn with_tls(
        acceptor: SslAcceptor,
        answering: impl Fn(Seen<'_>) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::start(Some(acceptor), Arc::new(answering)).await
    }

    /// A backend that says the same each time.
    pub async fn saying(reply: Reply) -> Self {
        Self::new(move |_| reply.clone()).await
    }

    async fn start(acceptor: Option<SslAcceptor>, answering: Answering) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(accept(listener, acceptor, answering, Arc::clone(&counts)));
        Self { address, counts, task }
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }

    /// Requests seen so far.
    pub fn requests(&self) -> Vec<String> {
        self.counts.requests.lock().unwrap().clone()
    }

    /// How many requests were seen so far.
    pub fn hits(&self) -> usize {
        self.counts.requests.lock().unwrap().len()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: Option<SslAcceptor>,
    answering: Answering,
    counts: Arc<Counts>,
) {
    // Falls with this task, and all connections with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        counts.connections.fetch_add(1, Ordering::SeqCst);
        let (answering, counts) = (Arc::clone(&answering), Arc::clone(&counts));
        let ssl = acceptor.as_ref().map(|acceptor| Ssl::new(acceptor.context()).unwrap());
        connections.spawn(async move {
            match ssl {
                None => converse(stream, answering, counts).await,
                Some(ssl) => {
                    let mut stream = SslStream::new(ssl, stream).unwrap();
                    if Pin::new(&mut stream).accept().await.is_ok() {
                        converse(stream, answering, counts).await;
                    }
                }
            }
        });
    }
}

async fn converse(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    answering: Answering,
    counts: Arc<Counts>,
) {
    for on_connection in 1.. {
        let Some(text) = read_request(&mut stream).await else { return };
        counts.requests.lock().unwrap().push(text.clone());
        match answering(Seen { text: &text, on_connection }) {
            Reply::Send(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::SendAndClose(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                return;
            }
            Reply::Endless(first, again) => {
                let _ = stream.write_all(&first).await;
                while stream.write_all(&again).await.is_ok() {}
                return;
            }
            Reply::Silence => {}
        }
    }
}

async fn read_request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// An address of this machine that refuses connections.
pub async fn refusing() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}
