//! The vault behind a real Pingora proxy with real sockets, wired as the gateway wires it.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use pingora::apps::HttpServerApp;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::protocols::l4::stream::Stream;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_cache::key::HashBinary;
use pingora_cache::storage::HitHandler;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, RespCacheable};
use pingora_proxy::{HttpProxy, ProxyHttp, Session, http_proxy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

use crate::config::model::CachePolicy;
use crate::request::{Clock, SystemClock};
use crate::vault::testing::{Asked, policy, settings};
use crate::vault::{Vault, policy as rules};

struct Gateway {
    vault: &'static Vault,
    policy: CachePolicy,
    bank: SocketAddr,
    /// Requests that have come as far as the lookup.
    asked: Arc<AtomicUsize>,
    someone_asked: Arc<Notify>,
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(&self, _: &mut Session, (): &mut ()) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.bank, false, String::new())))
    }

    fn request_cache_filter(&self, session: &mut Session, (): &mut ()) -> Result<()> {
        let request = session.req_header();
        if !rules::request_bypasses(&self.policy, &request.method, &request.headers) {
            self.vault.enable_on(&mut session.cache, Duration::from_secs(10));
        }
        Ok(())
    }

    fn cache_key_callback(&self, session: &Session, (): &mut ()) -> Result<CacheKey> {
        let request = session.req_header();
        let mut asked = Asked::path(request.uri.path());
        asked.headers = request.headers.clone();
        self.asked.fetch_add(1, SeqCst);
        self.someone_asked.notify_waiters();
        Ok(asked.key(&self.policy))
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        _: &mut HitHandler,
        _fresh: bool,
        (): &mut (),
    ) -> Result<Option<ForcedFreshness>> {
        let headers = &session.req_header().headers;
        Ok(rules::hit_refused(&self.policy, headers, meta, SystemClock.now()))
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        (): &mut (),
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        rules::variance(&self.policy, meta, &request.headers)
    }

    fn response_cache_filter(
        &self,
        _: &Session,
        response: &ResponseHeader,
        (): &mut (),
    ) -> Result<RespCacheable> {
        Ok(self.vault.judge(&self.policy, response, false))
    }

    fn should_serve_stale(&self, _: &mut Session, (): &mut (), error: Option<&Error>) -> bool {
        rules::serves_stale(error)
    }
}

/// A backend that gives these answers in turn, then closes connections without one.
struct Bank {
    address: SocketAddr,
    answers: Arc<Mutex<VecDeque<String>>>,
    heads: Arc<Mutex<Vec<String>>>,
    /// Answers are held back until this says `true`.
    open: watch::Sender<bool>,
}

impl Bank {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (open, _) = watch::channel(true);
        let bank = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::default(),
            heads: Arc::default(),
            open,
        };
        let (answers, heads, open) =
            (bank.answers.clone(), bank.heads.clone(), bank.open.subscribe());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, heads, open) = (answers.clone(), heads.clone(), open.clone());
                tokio::spawn(serve(stream, answers, heads, open));
            }
        });
        bank
    }

    fn will_say(&self, fields: &str, body: &str) {
        let length = body.len();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{fields}\r\n{body}");
        self.answers.lock().unwrap().push_back(answer);
    }

    fn will_answer(&self, answer: &str) {
        self.answers.lock().unwrap().push_back(answer.to_owned());
    }

    fn calls(&self) -> usize {
        self.heads.lock().unwrap().len()
    }

    fn last_head(&self) -> String {
        self.heads.lock().unwrap().last().unwrap().clone()
    }
}

async fn serve(
    mut stream: TcpStream,
    answers: Arc<Mutex<VecDeque<String>>>,
    heads: Arc<Mutex<Vec<String>>>,
    mut open: watch::Receiver<bool>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    heads.lock().unwrap().push(String::from_utf8(head).unwrap().to_lowercase());
    open.wait_for(|open| *open).await.unwrap();
    let answer = answers.lock().unwrap().pop_front();
    if let Some(answer) = answer {
        let _ = stream.write_all(answer.as_bytes()).await;
    }
}

struct House {
    bank: Bank,
    gateway: SocketAddr,
    vault: &'static Vault,
    asked: Arc<AtomicUsize>,
    someone_asked: Arc<Notify>,
    _directory: tempfile::TempDir,
}

async fn house(policy: CachePolicy) -> House {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(SystemClock);
    let vault = Vault::open(directory.path(), &settings(), clock, Arc::default()).unwrap();
    let bank = Bank::new().await;
    let asked = Arc::<AtomicUsize>::default();
    let someone_asked = Arc::<Notify>::default();
    let gateway = Gateway {
        vault,
        policy,
        bank: bank.address,
        asked: asked.clone(),
        someone_asked: someone_asked.clone(),
    };
    let proxy = Arc::new(http_proxy(&Arc::new(ServerConf::default()), gateway));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(listener, proxy));
    House { bank, gateway: address, vault, asked, someone_asked, _directory: directory }
}

async fn accept(listener: TcpListener, proxy: Arc<HttpProxy<Gateway>>) {
    let (_stays, shutdown) = watch::channel(false);
    while let Ok((stream, _)) = listener.accept().await {
        let (proxy, shutdown) = (proxy.clone(), shutdown.clone());
        tokio::spawn(async move {
            let session = ServerSession::new_http1(Box::new(Stream::from(stream)));
            let _ = proxy.process_new_http(session, &shutdown).await;
        });
    }
}

/// Head in lower case, and body.
struct Answer {
    head: String,
    body: String,
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    fn status(&self) -> &str {
        self.head.split(' ').nth(1).unwrap()
    }
}

async fn ask(gateway: SocketAddr, method: Method, fields: &str) -> Answer {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    let request =
        format!("{method} /summary HTTP/1.1\r\nHost: bank\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    Answer { head: head.to_lowercase(), body: body.to_owned() }
}

impl House {
    async fn get(&self, fields: &str) -> Answer {
        ask(self.gateway, Method::GET, fields).await
    }

    async fn until_asked(&self, times: usize) {
        while self.asked.load(SeqCst) < times {
            let notified = self.someone_asked.notified();
            if self.asked.load(SeqCst) < times {
                notified.await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hit_has_its_age_and_tag_and_asks_no_backend() {
    let house = house(policy()).await;
    house.bank.will_say("Age: 100\r\nX-Request-Id: of-the-first\r\n", "balance");
    let first = house.get("").await;
    assert_eq!((first.status(), &*first.body), ("200", "balance"));
    let second = house.get("").await;
    assert_eq!((second.status(), &*second.body), ("200", "balance"));
    let age: u64 = second.field("age").unwrap().parse().unwrap();
    assert!((100..160).contains(&age), "{age}");
    assert_eq!(second.field("x-request-id"), None);
    let tag = second.field("etag").unwrap().to_owned();
    // Lower case for comparing heads has spoilt the tag; the star stands for any.
    assert!(tag.len() > 10, "{tag}");
    let third = house.get("If-None-Match: *\r\n").await;
    assert_eq!((third.status(), &*third.body), ("304", ""));
    let head = ask(house.gateway, Method::HEAD, "").await;
    assert_eq!((head.status(), head.field("content-length"), &*head.body), ("200", Some("7"), ""));
    let range = house.get("Range: bytes=3-4\r\n").await;
    assert_eq!((range.status(), &*range.body), ("206", "an"));
    assert_eq!(range.field("content-range"), Some("bytes 3-4/7"));
    assert_eq!(house.bank.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_misses_at_once_are_one_call() {
    let house = house(policy()).await;
    house.bank.open.send_replace(false);
    house.bank.will_say("", "composed once");
    let gateway = house.gateway;
    let clients: Vec<_> = (0..100).map(|_| tokio::spawn(ask(gateway, Method::GET, ""))).collect();
    house.until_asked(100).await;
    house.bank.open.send_replace(true);
    for client in clients {
        let answer = client.await.unwrap();
        assert_eq!((answer.status(), &*answer.body), ("200", "composed once"));
    }
    assert_eq!(house.bank.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fill_that_ends_with_its_client_is_begun_again_by_one_that_waits() {
    let house = house(policy()).await;
    house.bank.open.send_replace(false);
    house.bank.will_say("", "to nobody");
    house.bank.will_say("", "to the next");
    let mut first = TcpStream::connect(house.gateway).await.unwrap();
    first.write_all(b"GET /summary HTTP/1.1\r\nHost: bank\r\n\r\n").await.unwrap();
    house.until_asked(1).await;
    let next = tokio::spawn(ask(house.gateway, Method::GET, ""));
    house.until_asked(2).await;
    drop(first);
    // The second call shows that the fill passed on; only then may the backend answer.
    while house.bank.calls() < 2 {
        tokio::task::yield_now().await;
    }
    house.bank.open.send_replace(true);
    let answer = next.await.unwrap();
    assert_eq!(answer.status(), "200");
    assert_eq!(house.get("").await.body, answer.body, "and it is kept");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stale_answer_stands_in_for_a_backend_that_fails() {
    let route = CachePolicy {
        fresh: Duration::from_millis(1),
        stale_if_error: Duration::from_secs(600),
        ..policy()
    };
    let house = house(route).await;
    house.bank.will_say("", "stale");
    assert_eq!(house.get("").await.body, "stale");
    house.bank.will_answer("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
    let answer = house.get("").await;
    assert_eq!((answer.status(), &*answer.body), ("200", "stale"), "{}", answer.head);
    let answer = house.get("").await;
    assert_eq!((answer.status(), &*answer.body), ("200", "stale"), "closed without an answer");
    assert_eq!(house.bank.calls(), 3);
    house.bank.will_say("", "well again");
    assert_eq!(house.get("").await.body, "well again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_over_is_validated_and_not_sent_again() {
    let route = CachePolicy { obey_request: true, ..policy() };
    let house = house(route).await;
    house.bank.will_say("ETag: \"v1\"\r\n", "unchanged");
    house.get("").await;
    house.bank.will_answer("HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n");
    let answer = house.get("Cache-Control: no-cache\r\n").await;
    assert_eq!((answer.status(), &*answer.body), ("200", "unchanged"));
    assert!(house.bank.last_head().contains("if-none-match: \"v1\""));
    assert_eq!(house.get("").await.body, "unchanged");
    assert_eq!(house.bank.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn languages_are_kept_apart_where_the_backend_says_that_it_varies() {
    let house = house(policy()).await;
    house.bank.will_say("Vary: Accept-Language\r\n", "Guten Tag");
    house.bank.will_say("Vary: Accept-Language\r\n", "Bonjour");
    for _ in 0..2 {
        assert_eq!(house.get("Accept-Language: de\r\n").await.body, "Guten Tag");
        assert_eq!(house.get("Accept-Language: fr\r\n").await.body, "Bonjour");
    }
    assert_eq!(house.bank.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_too_large_to_keep_reaches_its_caller_whole() {
    let house = house(policy()).await;
    let large = "x".repeat(1_200_000);
    house.bank.will_say("", &large);
    house.bank.will_answer(&format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        large.len()
    ));
    assert_eq!(house.get("").await.body.len(), large.len());
    assert_eq!(house.get("").await.body.matches('x').count(), large.len());
    assert_eq!(house.bank.calls(), 2);
    assert_eq!(house.vault.stats().memory_entries, 0);
}
