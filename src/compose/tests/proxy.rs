//! A composer behind a real proxy.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::http::ResponseHeader;
use pingora::protocols::l4::stream::Stream as L4Stream;
use pingora::proxy::{ProxyHttp, Session, http_proxy};
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::backend::{Backend, json as answer, text};
use super::inputs::inputs;
use super::{AMPLE, plan, until};
use crate::compose::{ComposeOutcome, Composer};

/// As much of a gateway as a composite route needs.
struct Gateway {
    composer: Arc<Composer>,
    log: Arc<Mutex<Vec<String>>>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = ComposeOutcome;

    fn new_ctx(&self) -> Self::CTX {
        ComposeOutcome::default()
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        outcome: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        let head = session.req_header();
        let account = head.uri.path().trim_start_matches('/').to_owned();
        let mut inputs = inputs(&account);
        inputs.head.method = head.method.clone();
        Ok(Box::new(self.composer.peer(Arc::new(inputs), outcome)))
    }

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        outcome: &mut Self::CTX,
    ) -> pingora::Result<()> {
        let refusal = outcome.refusal().map_or("none".into(), |refusal| format!("{refusal:?}"));
        response.insert_header("x-refusal", refusal)?;
        let report = outcome.report().expect("the report is there before the answer's head");
        response.insert_header("x-parts", report.parts.len().to_string())
    }

    async fn logging(
        &self,
        _session: &mut Session,
        error: Option<&pingora::Error>,
        outcome: &mut Self::CTX,
    ) {
        let error = error.map_or("ok", |error| error.etype.as_str());
        let composed = if outcome.report().is_some() { "composed" } else { "broken off" };
        self.log.lock().unwrap().push(format!("{error}, {composed}"));
    }
}

struct Running {
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    composer: Arc<Composer>,
    _shutdown: watch::Sender<bool>,
    task: JoinHandle<()>,
}

async fn gateway(composer: Arc<Composer>) -> Running {
    let log = Arc::default();
    let (shutdown, watch) = watch::channel(false);
    let inner = Gateway { composer: Arc::clone(&composer), log: Arc::clone(&log) };
    let app = Arc::new(http_proxy(&Arc::new(ServerConf::default()), inner));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).unwrap();
            let (app, watch) = (Arc::clone(&app), watch.clone());
            tokio::spawn(async move {
                let mut next: Option<pingora::protocols::Stream> =
                    Some(Box::new(L4Stream::from(stream)));
                while let Some(stream) = next {
                    next = app.process_new(stream, &watch).await;
                }
            });
        }
    });
    Running { address, log, composer, _shutdown: shutdown, task }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A client on one connection.
struct Client(BufReader<TcpStream>);

struct Got {
    status: u16,
    fields: BTreeMap<String, String>,
    body: String,
}

impl Client {
    async fn connect(gateway: &Running) -> Self {
        Self(BufReader::new(TcpStream::connect(gateway.address).await.unwrap()))
    }

    async fn send(&mut self, request: &str) {
        self.0.get_mut().write_all(request.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, path: &str) -> Got {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: g.example\r\n\r\n")).await;
        self.read(true).await
    }

    async fn read(&mut self, has_body: bool) -> Got {
        tokio::time::timeout(AMPLE, self.read_now(has_body)).await.expect("an answer")
    }

    async fn read_now(&mut self, has_body: bool) -> Got {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).unwrap().parse().unwrap();
        let mut fields = BTreeMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            fields.insert(name.to_lowercase(), value.to_owned());
        }
        let length = fields.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; if has_body { length } else { 0 }];
        self.0.read_exact(&mut body).await.unwrap();
        Got { status, fields, body: String::from_utf8(body).unwrap() }
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        assert!(line.ends_with("\r\n"), "the connection was closed after {line:?}");
        line.trim_end().to_owned()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_gets_composed_answers_one_after_the_other_on_its_connection() {
    let backend = Backend::telling(|path| json!(path)).await;
    let composer =
        plan(backend.address).part("a", "/a/{account}").part("b", "/b/{account}").build();
    let gateway = gateway(composer).await;
    let mut client = Client::connect(&gateway).await;
    for account in 1..=200 {
        let got = client.get(&format!("/{account}")).await;
        assert_eq!(got.status, 200);
        assert_eq!(got.body, format!(r#"{{"a":"/a/{account}","b":"/b/{account}"}}"#));
        assert_eq!(got.fields["content-type"], "application/json");
        assert_eq!(got.fields["x-parts"], "2");
        assert_eq!(got.fields["x-refusal"], "none");
        assert!(got.fields.contains_key("etag") && got.fields.contains_key("date"));
        assert_ne!(got.fields.get("connection").map(String::as_str), Some("close"));
    }
    until("all are logged", || gateway.log.lock().unwrap().len() == 200).await;
    assert!(gateway.log.lock().unwrap().iter().all(|line| line == "ok, composed"));
    // The proxy holds one, this test another: no exchange is left.
    until("nothing holds the composer", || Arc::strong_count(&gateway.composer) == 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_clients_at_once_each_get_their_own_answer() {
    let backend = Backend::telling(|path| json!(path)).await;
    let composer = plan(backend.address).part("a", "/a/{account}").build();
    let gateway = Arc::new(gateway(composer).await);
    let clients = (0..20).map(|number| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let mut client = Client::connect(&gateway).await;
            for nth in 0..25 {
                let account = format!("{number}-{nth}");
                let got = client.get(&format!("/{account}")).await;
                assert_eq!(got.body, format!(r#"{{"a":"/a/{account}"}}"#));
            }
        })
    });
    for client in futures::future::join_all(clients).await {
        client.unwrap();
    }
}

#[tokio::test]
async fn a_failed_composition_has_no_body_and_leaves_its_refusal_and_the_connection() {
    let backend = Backend::new(|path| async move {
        match path.as_str() {
            "/bad" => text(500, "internal secret"),
            "/slow" => std::future::pending().await,
            other => answer(&json!(other)),
        }
    })
    .await;
    let plan = plan(backend.address).part("a", "/{account}");
    let plan = plan.but(|part| part.deadline = Duration::from_millis(200));
    let gateway = gateway(plan.build()).await;
    let mut client = Client::connect(&gateway).await;
    for _ in 0..2 {
        let bad = client.get("/bad").await;
        assert_eq!((bad.status, bad.body.as_str()), (502, ""));
        assert_eq!(bad.fields["x-refusal"], r#"PartFailed { part: "a", timed_out: false }"#);
        assert_eq!(client.get("/good").await.body, r#"{"a":"/good"}"#);
    }
    let slow = client.get("/slow").await;
    assert_eq!(slow.status, 504);
    assert_eq!(slow.fields["x-refusal"], r#"PartFailed { part: "a", timed_out: true }"#);
    assert_eq!(client.get("/good").await.status, 200);
}

#[tokio::test]
async fn when_the_client_goes_the_backends_calls_are_broken_off() {
    let backend = Backend::new(|_| std::future::pending()).await;
    let composer = plan(backend.address).part("a", "/a").part("b", "/b").build();
    let gateway = gateway(composer).await;
    for (request, calls) in [
        ("GET /1 HTTP/1.1\r\nHost: g\r\n\r\n", 2),
        ("POST /1 HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\n\r\nabc", 4),
    ] {
        let mut client = Client::connect(&gateway).await;
        client.send(request).await;
        until("both parts are asked", || backend.running() == 2).await;
        drop(client);
        until("both calls are broken off", || backend.broken_off() == calls).await;
        assert_eq!(backend.running(), 0);
    }
    until("both are logged", || gateway.log.lock().unwrap().len() == 2).await;
    assert_eq!(*gateway.log.lock().unwrap(), ["ConnectionClosed, broken off"; 2]);
    until("nothing holds the composer", || Arc::strong_count(&gateway.composer) == 2).await;
}

#[tokio::test]
async fn head_posts_conditional_and_large_requests_go_through() {
    let backend = Backend::telling(|path| match path {
        "/large" => json!("x".repeat(900_000)),
        other => json!(other),
    })
    .await;
    let gateway = gateway(plan(backend.address).part("a", "/{account}").build()).await;
    let mut client = Client::connect(&gateway).await;

    client.send("HEAD /1 HTTP/1.1\r\nHost: g\r\n\r\n").await;
    let head = client.read(false).await;
    assert_eq!((head.status, head.fields["content-length"].as_str()), (200, "10"));

    let body = "x".repeat(300_000);
    client
        .send(&format!("POST /1 HTTP/1.1\r\nHost: g\r\nContent-Length: 300000\r\n\r\n{body}"))
        .await;
    assert_eq!(client.read(true).await.body, r#"{"a":"/1"}"#);
    client.send("POST /2 HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n").await;
    assert_eq!(client.read(true).await.body, r#"{"a":"/2"}"#);

    let etag = head.fields["etag"].clone();
    client.send(&format!("GET /1 HTTP/1.1\r\nHost: g\r\nIf-None-Match: {etag}\r\n\r\n")).await;
    assert_eq!(client.read(false).await.status, 304);

    assert_eq!(client.get("/large").await.body.len(), 900_008);

    let fields: String = (0..200).map(|nth| format!("x-field-{nth}: 1\r\n")).collect();
    client.send(&format!("GET /3 HTTP/1.1\r\nHost: g\r\n{fields}\r\n")).await;
    assert_eq!(client.read(true).await.body, r#"{"a":"/3"}"#);
}

#[tokio::test]
async fn the_composer_closes_each_connection_after_its_answer() {
    let backend = Backend::telling(|path| json!(path)).await;
    let composer = plan(backend.address).part("a", "/a").build();
    let outcome = ComposeOutcome::default();
    let peer = composer.peer(Arc::new(inputs("1")), &outcome);
    let other = composer.peer(Arc::new(inputs("1")), &outcome);
    assert_ne!(peer.group_key, other.group_key);
    let connector = peer.options.custom_l4.as_ref().unwrap();
    let mut stream = connector.connect(&peer._address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: g\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("connection: close\r\n"), "{text}");
    assert!(text.ends_with(r#"{"a":"/a"}"#), "{text}");
    assert!(!outcome.report().unwrap().is_partial());
}
