use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::Response;
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use pingora::services::Service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::config::model::{
    CertificateFiles, ClientCertificates, Listener, ListenerLimits, ListenerTls, TlsVersion,
};
use crate::listener::{
    Connection, EarlyAnswer, EarlyRequest, ListenerError, Ports, PortsHandle, Sockets, timed_out,
};
use crate::observe::Metrics;
use crate::request::Refusal;
pub use crate::testing::authority::{Authority, Signed};

/// No wait of a test is longer.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Stands in for the gateway: tells what it saw of a request.
#[derive(Default)]
pub struct Teller {
    began: AtomicUsize,
}

#[async_trait]
impl ServeHttp for Teller {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        self.began.fetch_add(1, Ordering::SeqCst);
        let head = session.req_header();
        let (method, path) = (head.method.clone(), head.uri.path().to_owned());
        assert_ne!(path, "/panic", "asked to");
        if path == "/endless" {
            session.set_keepalive(None);
            let block = vec![b'x'; 64 * 1024 * 1024];
            return Response::builder().header("content-length", block.len()).body(block).unwrap();
        }
        // The little server around this sets keep-alive whatever the client asked for.
        let closes = head.headers.get("connection").is_some_and(|value| value == "close");
        if closes || head.version == http::Version::HTTP_10 {
            session.set_keepalive(None);
        }
        let mut length = 0;
        let mut status = 200;
        loop {
            match session.read_request_body().await {
                Ok(Some(piece)) => length += piece.len(),
                Ok(None) => break,
                Err(error) => {
                    status = if timed_out(&error) { 408 } else { 400 };
                    break;
                }
            }
        }
        let connection = session.digest().and_then(Connection::of);
        let told = format!(
            "{method} {path} body={length} https={:?} name={:?} thumbprint={:?}",
            connection.map(Connection::is_https),
            connection.and_then(|connection| connection.server_name.as_deref()),
            connection.and_then(|connection| connection.certificate_thumbprint).map(hex::encode),
        );
        Response::builder()
            .status(status)
            .header("content-length", told.len())
            .body(told.into_bytes())
            .unwrap()
    }
}

/// The gateway's pen.
pub struct Plain;

impl EarlyAnswer for Plain {
    fn answer(&self, request: &EarlyRequest<'_>) -> Bytes {
        let EarlyRequest { refusal, address, .. } = request;
        let status = match refusal {
            Refusal::UriTooLong => 414,
            Refusal::HeadersTooLarge => 431,
            Refusal::MethodNotAllowed { .. } => 405,
            Refusal::HeadTimeout => 408,
            _ => 400,
        };
        let body = format!("{refusal:?} for {address}");
        format!(
            "HTTP/1.1 {status} Refused\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .into()
    }
}

/// Ports that serve, until dropped.
pub struct Running {
    pub handle: PortsHandle,
    pub metrics: Arc<Metrics>,
    pub stop: watch::Sender<bool>,
    pub serving: JoinHandle<()>,
    teller: Arc<Teller>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.handle.addresses()[0]
    }

    pub fn open_connections(&self) -> usize {
        self.handle.views()[0].connections
    }

    /// Requests that reached what stands for the gateway.
    pub fn began(&self) -> usize {
        self.teller.began.load(Ordering::SeqCst)
    }

    pub async fn has_open(&self, connections: usize) {
        eventually(|| self.open_connections() == connections).await;
    }

    /// How often the port refused for a reason.
    pub fn refusals(&self, reason: &str) -> u64 {
        let label = format!("reason=\"{reason}\"");
        let text = self.metrics.exposition();
        let line = text.lines().find(|line| line.contains(&label));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default()
    }
}

/// Ports that are open and don't serve yet.
pub struct Opened {
    pub ports: Ports<Teller>,
    pub handle: PortsHandle,
    pub metrics: Arc<Metrics>,
    pub teller: Arc<Teller>,
}

pub fn open(listeners: Vec<Listener>, mut sockets: Sockets) -> Result<Opened, ListenerError> {
    let (metrics, teller) = (Arc::new(Metrics::default()), Arc::new(Teller::default()));
    let listeners =
        listeners.into_iter().map(|listener| (Arc::new(listener), teller.clone())).collect();
    let answers: Arc<dyn EarlyAnswer> = Arc::new(Plain);
    let (ports, handle) = Ports::bind(listeners, &mut sockets, &metrics, &answers)?;
    Ok(Opened { ports, handle, metrics, teller })
}

/// What opening a port fails with.
pub fn refused(listener: Listener) -> ListenerError {
    match open(vec![listener], Sockets::default()) {
        Err(error) => error,
        Ok(_) => panic!("it was opened"),
    }
}

pub fn run(listener: Listener) -> Running {
    open(vec![listener], Sockets::default()).unwrap().run()
}

impl Opened {
    pub fn run(self) -> Running {
        let Self { mut ports, handle, metrics, teller } = self;
        let (stop, stopping) = watch::channel(false);
        let serving = tokio::spawn(async move {
            Service::start_service(&mut ports, None, stopping, 1).await;
        });
        Running { handle, metrics, stop, serving, teller }
    }
}

pub fn plain() -> Listener {
    Listener {
        address: "127.0.0.1:0".parse().unwrap(),
        http2: true,
        tls: None,
        limits: ListenerLimits {
            max_connections: 100,
            max_connections_per_address: 100,
            header_timeout: PATIENCE,
            body_timeout: PATIENCE,
            idle_timeout: PATIENCE,
            max_header_bytes: 4_000,
            max_headers: 50,
            max_uri_bytes: 1_000,
        },
    }
}

pub fn with_limits(change: impl FnOnce(&mut ListenerLimits)) -> Listener {
    let mut listener = plain();
    change(&mut listener.limits);
    listener
}

pub fn with_tls(certificates: Vec<CertificateFiles>, clients: ClientCertificates) -> Listener {
    let tls = ListenerTls {
        certificates,
        min_version: TlsVersion::Tls12,
        session_tickets: true,
        client_certificates: clients,
    };
    Listener { tls: Some(tls), ..plain() }
}

pub async fn eventually(mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it never came true");
}

pub async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Everything until the other end closes; a reset is an end as well.
pub async fn read_to_end(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let _ = timeout(PATIENCE, reading).await.expect("the connection stayed open");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// One answer on a connection that stays open.
pub async fn read_answer(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let reading = async {
        let mut text = Vec::new();
        loop {
            let mut byte = [0];
            stream.read_exact(&mut byte).await.expect("an answer");
            text.push(byte[0]);
            if text.ends_with(b"\r\n\r\n") {
                break;
            }
        }
        let head = String::from_utf8(text).unwrap();
        let length = head
            .to_ascii_lowercase()
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap_or(0);
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.expect("a body");
        head + &String::from_utf8(body).unwrap()
    };
    timeout(PATIENCE, reading).await.expect("no answer came")
}

/// Sends a text on a connection of its own; all that comes back until it closes.
pub async fn ask(address: SocketAddr, text: &str) -> String {
    let mut stream = connect(address).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_default()
}

impl Signed {
    pub fn files(&self) -> CertificateFiles {
        CertificateFiles { certificate: self.certificate_file.clone(), key: self.key_file.clone() }
    }

    pub fn thumbprint(&self) -> String {
        hex::encode(openssl::sha::sha256(&self.der))
    }
}
