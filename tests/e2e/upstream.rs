//! Backends that fail, are slow, or are several.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use openssl::ssl::SslAcceptor;
use serde_json::{Value, json};

use crate::support::gateway::base_config;
use crate::support::tls::Authority;
use crate::support::{Answer, Backend, Bank, Tollgate, eventually};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A gateway with one cluster more, `own`, and a public route to it that passes `/own/…` on.
async fn start(bank: &Bank, cluster: &str, routes: &str) -> Tollgate {
    Tollgate::start(&config(bank, cluster, routes)).await
}

fn config(bank: &Bank, cluster: &str, routes: &str) -> String {
    format!(
        "{}  own: {{ {cluster} }}\nroutes:\n  - id: own\n    match: {{ path: \"/own/{{*rest}}\" }}\n    \
         authenticate: none\n    cluster: own\n    rewrite: {{ path: \"/v1/{{rest}}\" }}\n{routes}",
        base_config(bank)
    )
}

/// A public route to the cluster `own` under `/ID/{account}`.
fn route(id: &str, rest: &str) -> String {
    format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: own\n{rest}"
    )
}

fn endpoint(bank: &Bank, service: &str) -> String {
    format!("127.0.0.1:{}", bank.port(service))
}

fn refused(answer: &Answer, status: u16, kind: &str) {
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (status, kind), "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json");
    let text = String::from_utf8_lossy(&answer.body);
    assert!(!text.contains("127.0.0.1") && !text.contains("own"), "nothing internal: {text}");
}

/// What operators see of the cluster `own`.
async fn cluster(gateway: &Tollgate) -> Value {
    let clusters = gateway.view("/clusters").await;
    let own = clusters.as_array().unwrap().iter().find(|cluster| cluster["name"] == "own");
    own.unwrap_or_else(|| panic!("{clusters}")).clone()
}

#[tokio::test]
async fn every_way_to_fail_has_its_answer_and_spoils_no_other() {
    let bank = Bank::start().await;
    let endpoints = format!(
        "endpoints: [\"{}\"], deadlines: {{ connect: 300ms, first_byte: 300ms, idle: 300ms, total: 5s }}",
        endpoint(&bank, "checking")
    );
    let gateway = start(&bank, &endpoints, "").await;
    let right = gateway.get("/own/4711", "").await;
    assert_eq!(right.status, 200, "{right:?}");
    let faults = [
        ("garbage", 502, "backend-failed"),
        ("down", 502, "backend-failed"),
        ("refuse", 502, "backend-failed"),
        ("slow", 504, "backend-timeout"),
    ];
    for (fault, status, kind) in faults {
        bank.fault("checking", fault).await;
        let answer = gateway.get("/own/4711", "").await;
        refused(&answer, status, kind);
        assert_eq!(answer.header("connection"), "close", "it is closed, and says so");
        bank.fault("checking", "ok").await;
        assert_eq!(gateway.get("/own/4711", "").await.body, right.body, "after {fault}");
    }
    // The backend's own error is its own to explain.
    bank.fault("checking", "500").await;
    let own = gateway.get("/own/4711", "").await;
    assert_eq!((own.status.as_u16(), own.header("x-served-by")), (500, "checking"), "{own:?}");

    // The head has gone out already: what the client must see is that the body broke off.
    for fault in ["cut", "wrong-length"] {
        bank.fault("checking", fault).await;
        let broken = gateway.try_send(Method::GET, "/own/4711", "", &[], Vec::new()).await;
        let whole = matches!(&broken, Ok(answer) if answer.status == 200);
        assert!(!whole, "{fault}: {broken:?}");
    }
    // A second answer on the same connection must not become that of the next request.
    for fault in ["short-length", "smuggle"] {
        bank.put("/fault/checking", json!({ "fault": fault, "times": 1 })).await;
        let _ = gateway.try_send(Method::GET, "/own/4711", "", &[], Vec::new()).await;
        for _ in 0..3 {
            let next = gateway.get("/own/4712", "").await;
            assert_eq!(next.json()["accountId"], "4712", "after {fault}: {next:?}");
        }
    }
}

#[tokio::test]
async fn an_endless_answer_ends_with_the_deadline_of_the_cluster_or_the_route() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [\"{}\"], deadlines: {{ first_byte: 1s, idle: 1s, total: 1s }}",
        endpoint(&bank, "checking")
    );
    let gateway = start(&bank, &cluster, &route("bounded", "    deadline: 500ms\n")).await;
    bank.fault("checking", "endless").await;
    for path in ["/own/4711", "/bounded/4711"] {
        let started = Instant::now();
        let answer = gateway.try_send(Method::GET, path, "", &[], Vec::new());
        let broken = tokio::time::timeout(Duration::from_secs(20), answer).await;
        let broken = broken.unwrap_or_else(|_| panic!("{path} did not end"));
        assert!(broken.is_err(), "{path}: {:?}", broken.map(|answer| answer.status));
        assert!(started.elapsed() >= Duration::from_millis(400), "{path}");
    }
    bank.fault("checking", "ok").await;
    assert_eq!(gateway.get("/own/4711", "").await.status, 200);
}

#[tokio::test]
async fn a_slow_backend_is_answered_504_by_whichever_deadline_is_first() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [\"{}\"], deadlines: {{ first_byte: 800ms, idle: 800ms, total: 800ms }}",
        endpoint(&bank, "checking")
    );
    let gateway = start(&bank, &cluster, &route("hurried", "    deadline: 300ms\n")).await;
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 60_000 })).await;
    let started = Instant::now();
    refused(&gateway.get("/hurried/4711", "").await, 504, "deadline-exceeded");
    refused(&gateway.get("/own/4711", "").await, 504, "backend-timeout");
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    eventually("the backend's work to be given up", async || match bank.sum("inFlight").await {
        0 => Ok(()),
        left => Err(left),
    })
    .await;
}

#[tokio::test]
async fn when_all_endpoints_are_down_the_answer_is_503_at_once_until_one_is_back() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [\"{}\", \"{}\"], health: {{ path: /healthz, interval: 100ms, timeout: 100ms, \
         healthy_after: 1, unhealthy_after: 2 }}, deadlines: {{ first_byte: 20s }}",
        endpoint(&bank, "checking"),
        endpoint(&bank, "savings")
    );
    let gateway = start(&bank, &cluster, "").await;
    let usable = async |wanted: u64| {
        eventually("the checks to see it", async || {
            let seen = cluster_usable(&gateway).await;
            if seen == wanted { Ok(()) } else { Err(seen) }
        })
        .await;
    };
    usable(2).await;
    bank.fault("checking", "down").await;
    usable(1).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/own/4711", "").await.header("x-served-by"), "savings");
    }
    bank.fault("savings", "down").await;
    usable(0).await;
    let started = Instant::now();
    let answer = gateway.get("/own/4711", "").await;
    refused(&answer, 503, "backend-unavailable");
    assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let seen = self::cluster(&gateway).await;
    assert_eq!(seen["endpoints"][0]["health"], "unhealthy", "{seen}");
    assert!(seen["endpoints"][0]["last_error"]["text"].as_str().is_some_and(|why| !why.is_empty()));
    assert!(gateway.metrics().await.contains("tollgate_endpoint_healthy{"));

    bank.fault("savings", "ok").await;
    usable(1).await;
    assert_eq!(gateway.get("/own/4711", "").await.header("x-served-by"), "savings");
}

async fn cluster_usable(gateway: &Tollgate) -> u64 {
    cluster(gateway).await["usable"].as_u64().unwrap()
}

/// Two endpoints: the checking service and one that is always well and says so.
async fn pair(bank: &Bank, rest: &str) -> (Backend, String) {
    let well = Backend::start(|_| {
        Response::builder().header("x-served-by", "well").body(Bytes::from("{}")).unwrap()
    })
    .await;
    let endpoints = format!(
        "endpoints: [\"{}\", \"127.0.0.1:{}\"]{rest}",
        endpoint(bank, "checking"),
        well.port()
    );
    (well, endpoints)
}

async fn statuses(gateway: &Tollgate, method: Method, path: &str, times: usize) -> Vec<u16> {
    let order = json!({ "amount": "0.01", "to": "4712" }).to_string().into_bytes();
    let mut statuses = Vec::new();
    for _ in 0..times {
        let body = if method == Method::POST { order.clone() } else { Vec::new() };
        let answer = gateway.try_send(method.clone(), path, "", &[JSON], body).await;
        statuses.push(answer.map_or(0, |answer| answer.status.as_u16()));
    }
    statuses
}

fn count(statuses: &[u16], status: u16) -> usize {
    statuses.iter().filter(|seen| **seen == status).count()
}

#[tokio::test]
async fn a_failed_try_goes_on_to_another_endpoint() {
    let bank = Bank::start().await;
    let (well, without) = pair(&bank, "").await;
    let with = format!("{without}, retries: {{ attempts: 1, budget_percent: 100 }}");
    let (plain, retrying) = (start(&bank, &without, "").await, start(&bank, &with, "").await);
    for fault in ["refuse", "down"] {
        bank.fault("checking", fault).await;
        let seen = statuses(&plain, Method::GET, "/own/4711", 8).await;
        assert_eq!((count(&seen, 502), count(&seen, 200)), (4, 4), "{fault} without retries");
        let before = well.seen().len();
        let seen = statuses(&retrying, Method::GET, "/own/4711", 8).await;
        assert_eq!(seen, [200; 8], "{fault}");
        assert_eq!(well.seen().len() - before, 8);
    }
    assert!(retrying.metrics().await.contains("tollgate_upstream_retries_total{cluster=\"own\"} "));
    eventually("the access log to tell of second tries", async || {
        let log = std::fs::read_to_string(retrying.folder().join("access.log")).unwrap();
        if log.contains("\"tries\":2") { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn what_is_not_idempotent_is_tried_again_only_if_it_never_arrived() {
    let bank = Bank::start().await;
    let rest = ", retries: { attempts: 3, budget_percent: 100, on: [connect, reset, timeout, 500, 502, 503] }";
    let (well, endpoints) = pair(&bank, rest).await;
    let gateway = start(&bank, &endpoints, "").await;
    let path = "/own/4711/transfers";

    bank.fault("checking", "refuse").await;
    assert_eq!(statuses(&gateway, Method::POST, path, 4).await, [200; 4], "it never arrived");
    // From here on it arrives, is booked or not, and the answer is lost.
    for (fault, status) in [("down", 502), ("500", 500), ("garbage", 502)] {
        bank.fault("checking", fault).await;
        let (booked, taken) = (transfers(&bank).await, well.seen().len());
        let seen = statuses(&gateway, Method::POST, path, 6).await;
        assert_eq!((count(&seen, status), count(&seen, 200)), (3, 3), "{fault}: {seen:?}");
        assert_eq!(well.seen().len() - taken, 3, "{fault}: none came here for a second try");
        let effect = if fault == "garbage" { 3 } else { 0 };
        assert_eq!(transfers(&bank).await - booked, effect, "{fault}");
    }
    bank.fault("checking", "500").await;
    assert_eq!(statuses(&gateway, Method::GET, "/own/4711", 6).await, [200; 6]);
}

async fn transfers(bank: &Bank) -> u64 {
    bank.state().await["transfers"].as_u64().unwrap()
}

#[tokio::test]
async fn second_tries_stay_within_their_budget() {
    let bank = Bank::start().await;
    let (_well, endpoints) = pair(&bank, ", retries: { attempts: 1, budget_percent: 1 }").await;
    let gateway = start(&bank, &endpoints, "").await;
    bank.fault("checking", "refuse").await;
    let started = Instant::now();
    let seen = statuses(&gateway, Method::GET, "/own/4711", 30).await;
    assert!(started.elapsed() < Duration::from_secs(9), "the budget's window would have moved on");
    let failed = count(&seen, 502);
    // Three are always allowed; the first try falls on the closed port about every other time.
    assert!((8..=15).contains(&failed), "{seen:?}");
    assert_eq!(count(&seen, 200), 30 - failed);
    assert_eq!(cluster(&gateway).await["retries_left"], 0);
    let metrics = gateway.metrics().await;
    assert!(metrics.contains("tollgate_upstream_retries_total{cluster=\"own\"} 3"), "{metrics}");
    let refused =
        format!("tollgate_upstream_retries_over_budget_total{{cluster=\"own\"}} {failed}");
    assert!(metrics.contains(&refused), "{refused}");
}

#[tokio::test]
async fn an_endpoint_that_fails_requests_is_taken_out_and_comes_back() {
    let bank = Bank::start().await;
    let (_well, endpoints) =
        pair(&bank, ", ejection: { consecutive_failures: 3, period: 1s }").await;
    let gateway = start(&bank, &endpoints, "").await;
    bank.fault("checking", "500").await;
    let seen = statuses(&gateway, Method::GET, "/own/4711", 6).await;
    assert_eq!(count(&seen, 500), 3, "{seen:?}");
    let view = cluster(&gateway).await;
    assert!(view["endpoints"][0]["ejected_until"].is_u64(), "{view}");
    assert!(view["endpoints"][1]["ejected_until"].is_null(), "{view}");
    assert_eq!(view["usable"], 1, "{view}");
    assert!(gateway.metrics().await.contains("tollgate_endpoint_ejections_total{"));
    bank.fault("checking", "ok").await;
    eventually("it to be asked again", async || {
        let answer = gateway.get("/own/4711", "").await;
        assert_eq!(answer.status, 200);
        if answer.header("x-served-by") == "checking" { Ok(()) } else { Err(answer) }
    })
    .await;
    assert_eq!(cluster(&gateway).await["usable"], 2);
}

#[tokio::test]
async fn the_same_account_stays_at_its_endpoint() {
    let bank = Bank::start().await;
    let services = ["checking", "savings", "cards"];
    let endpoints: Vec<String> =
        services.iter().map(|service| format!("\"{}\"", endpoint(&bank, service))).collect();
    let cluster = format!(
        "endpoints: [{}], balance: {{ consistent_hash: account }}, retries: {{ attempts: 2, budget_percent: 100 }}",
        endpoints.join(", ")
    );
    let rewrite = "    rewrite: { path: \"/v1/{account}\" }\n";
    let gateway = start(&bank, &cluster, &route("hashed", rewrite)).await;
    let mut homes = HashMap::new();
    for round in 0..3 {
        for account in 1000..1030 {
            let answer = gateway.get(&format!("/hashed/{account}"), "").await;
            let home = answer.header("x-served-by").to_owned();
            let known = homes.entry(account).or_insert_with(|| home.clone());
            assert_eq!((answer.status.as_u16(), &home), (200, &*known), "{account} {round}");
        }
    }
    for service in services {
        let share = homes.values().filter(|home| *home == service).count();
        assert!(share >= 2, "{service} has {share} of 30");
    }
    // One goes: its accounts move, the others stay.
    bank.fault("cards", "refuse").await;
    for (account, home) in homes {
        let answer = gateway.get(&format!("/hashed/{account}"), "").await;
        let now = answer.header("x-served-by");
        assert_eq!(answer.status, 200);
        assert!(
            if home == "cards" { now != "cards" } else { now == home },
            "{account}: {home} {now}"
        );
    }
}

#[tokio::test]
async fn requests_are_shared_out_by_weight() {
    let bank = Bank::start().await;
    let cluster = format!(
        "endpoints: [{{ address: \"{}\", weight: 4 }}, \"{}\"]",
        endpoint(&bank, "checking"),
        endpoint(&bank, "savings")
    );
    for (balance, checking) in [("round_robin", 38..=42), ("least_requests", 28..=48)] {
        let gateway = start(&bank, &format!("{cluster}, balance: {balance}"), "").await;
        let mut seen = 0;
        for _ in 0..50 {
            let answer = gateway.get("/own/4711", "").await;
            seen += usize::from(answer.header("x-served-by") == "checking");
        }
        assert!(checking.contains(&seen), "{balance}: {seen} of 50");
    }
}

#[tokio::test]
async fn endpoints_may_have_names() {
    let bank = Bank::start().await;
    let named = format!("endpoints: [\"localhost:{}\"]", bank.port("checking"));
    let lost = "  lost: { endpoints: [\"no-such-host.invalid:80\"] }\n";
    let text = config(&bank, &named, "").replace("routes:\n", &format!("{lost}routes:\n"))
        + &route("lost", "").replace("cluster: own", "cluster: lost")
        + &route("told", "    rewrite: { path: /echo }\n");
    let gateway = Tollgate::start(&text).await;
    assert_eq!(gateway.get("/own/4711", "").await.json()["accountId"], "4711");
    let told = gateway.get("/told/4711", "").await.json();
    let host = field(&told, "host");
    assert_eq!(host, [format!("localhost:{}", bank.port("checking"))], "{told}");
    let view = cluster(&gateway).await;
    assert_eq!(view["endpoints"][0]["host"], "localhost", "{view}");
    let lost = gateway.get("/lost/4711", "").await;
    assert_eq!((lost.status.as_u16(), &*lost.problem()), (503, "backend-unavailable"));
}

/// The values of a field as the bank's `/echo` tells them.
fn field(echo: &Value, name: &str) -> Vec<String> {
    let fields = echo["headers"].as_array().unwrap().iter();
    let named = fields.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn path_query_and_host_are_rewritten_as_configured() {
    let bank = Bank::start().await;
    let cluster = format!("endpoints: [\"{}\"]", endpoint(&bank, "checking"));
    // Not an account here: those have no blanks and question marks.
    let routes = [
        route("plain", "    rewrite: { path: \"/echo/{path.account}\" }\n"),
        route("query", "    rewrite: { path: \"/echo?a={path.account}&b={query.b}\" }\n"),
        route("host", "    rewrite: { path: /echo, host: core.bank.internal }\n"),
    ]
    .map(|route| route.replace("    account: path.account\n", ""));
    let through = "  - id: through\n    match: { path: \"/echo/*\" }\n    authenticate: none\n    cluster: own\n";
    let gateway = start(&bank, &cluster, &(routes.concat() + through)).await;
    let paths = [
        ("/plain/a%20b?x=1&y=%2F", "/echo/a%20b?x=1&y=%2F"),
        ("/plain/a%3Fb%23c", "/echo/a%3Fb%23c"),
        ("/query/4711?b=x%26y&c=3", "/echo?a=4711&b=x%26y"),
        ("/echo/a/../b//c?q=a//b", "/echo/b/c?q=a//b"),
    ];
    for (asked, sent) in paths {
        let answer = gateway.get(asked, "").await;
        assert_eq!(answer.status, 200, "{asked}: {answer:?}");
        assert_eq!(answer.json()["path"], sent, "{asked}");
    }
    let missing = gateway.get("/query/4711", "").await;
    assert_eq!((missing.status.as_u16(), &*missing.problem()), (400, "bad-request"));
    let told = gateway.get("/host/4711", "").await.json();
    assert_eq!(field(&told, "host"), ["core.bank.internal"]);
    let told = gateway.get("/echo/x", "").await.json();
    assert_eq!(field(&told, "host"), [endpoint(&bank, "checking")]);
}

/// A TLS server whose certificate is for `core.bank.internal`, signed by the authority it knows.
struct TlsBackend {
    port: u16,
    known: Authority,
    stranger: Authority,
}

impl TlsBackend {
    fn start() -> Self {
        let (known, stranger) = (Authority::new("known"), Authority::new("stranger"));
        let acceptor = known.sign("server", &["core.bank.internal"]).acceptor().build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || serve_tls(&listener, &acceptor));
        Self { port, known, stranger }
    }
}

/// One request for each connection; the answer names the server that was asked for (SNI).
fn serve_tls(listener: &TcpListener, acceptor: &SslAcceptor) {
    for stream in listener.incoming() {
        let Ok(mut stream) = acceptor.accept(stream.unwrap()) else { continue };
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1)) {
            head.push(byte[0]);
        }
        let asked = stream.ssl().servername(openssl::ssl::NameType::HOST_NAME).unwrap_or("none");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{asked}",
            asked.len()
        );
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown();
    }
}

#[tokio::test]
async fn a_backends_certificate_must_have_the_right_name_and_authority() {
    let bank = Bank::start().await;
    let server = TlsBackend::start();
    let tls = |name: &str, authority: &Authority| {
        format!(
            "endpoints: [\"127.0.0.1:{}\"], tls: {{ server_name: {name}, authorities: {} }}",
            server.port,
            authority.file().display()
        )
    };
    let other = |id: &str, cluster: &str| format!("  {id}: {{ {cluster} }}\n");
    let clusters = other("misnamed", &tls("other.bank.internal", &server.known))
        + &other("strange", &tls("core.bank.internal", &server.stranger))
        + &other("plain", &format!("endpoints: [\"127.0.0.1:{}\"]", server.port));
    let right = tls("core.bank.internal", &server.known);
    let mut text = config(&bank, &right, "").replace("routes:\n", &format!("{clusters}routes:\n"));
    for id in ["misnamed", "strange", "plain"] {
        text += &route(id, "").replace("cluster: own", &format!("cluster: {id}"));
    }
    let gateway = Tollgate::start(&text).await;
    // Twice, and the right one in between: a pooled connection must not stand in for a check.
    for _ in 0..2 {
        let answer = gateway.get("/own/4711", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.body, b"core.bank.internal");
        for id in ["misnamed", "strange", "plain"] {
            refused(&gateway.get(&format!("/{id}/4711"), "").await, 502, "backend-failed");
        }
    }
}
