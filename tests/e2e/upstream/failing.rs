//! Backends that fail or take too long.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Response};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use super::{cluster, config, endpoint, refused, route, start};
use crate::support::{Backend, Bank, Tollgate, eventually};

#[tokio::test]
async fn every_way_to_fail_has_its_answer_and_spoils_no_other() {
    let bank = Bank::start().await;
    let endpoints = format!(
        "endpoints: [\"{}\"], deadlines: {{ connect: 3s, first_byte: 3s, idle: 3s, total: 9s }}",
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
        "endpoints: [\"{}\", \"{}\"], health: {{ path: /healthz, interval: 1s, timeout: 1s, \
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
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
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

#[tokio::test]
async fn a_health_check_asks_what_and_expects_what_the_cluster_says() {
    let bank = Bank::start().await;
    // Well only for who asks by the right name; every other path works.
    let backend = Backend::start(|seen| {
        let well = seen.host == "checks.bank.internal";
        let status = match &*seen.target {
            "/healthz" if well => 204,
            "/healthz" => 500,
            _ => 200,
        };
        Response::builder().status(status).body(Bytes::new()).unwrap()
    })
    .await;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let at = |port: u16, check: &str| {
        format!(
            "endpoints: [\"127.0.0.1:{port}\"], \
             health: {{ {check}, interval: 1s, timeout: 1s, healthy_after: 1, unhealthy_after: 1 }}"
        )
    };
    let port = backend.port();
    let clusters = [
        ("right", at(port, "path: /healthz, host: checks.bank.internal, expect: [204]"), 200),
        ("nameless", at(port, "path: /healthz, expect: [204]"), 503),
        ("unexpected", at(port, "path: /healthz, host: checks.bank.internal"), 503),
        ("open", at(port, "tcp: true"), 200),
        ("closed", at(closed.port(), "tcp: true"), 503),
    ];
    let text: String =
        clusters.iter().map(|(id, cluster, _)| format!("  {id}: {{ {cluster} }}\n")).collect();
    let mut text = config(&bank, &format!("endpoints: [127.0.0.1:{port}]"), "")
        .replace("routes:\n", &format!("{text}routes:\n"));
    for (id, ..) in &clusters {
        text += &route(id, "").replace("cluster: own", &format!("cluster: {id}"));
    }
    let gateway = Tollgate::start(&text).await;
    for (id, _, status) in &clusters {
        eventually(&format!("{id} to be checked"), async || {
            let answer = gateway.get(&format!("/{id}/4711"), "").await;
            if answer.status == *status { Ok(()) } else { Err(answer) }
        })
        .await;
    }
}

/// A port on which nobody answers the handshake: its queue is full.
async fn deaf() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    let address = listener.local_addr().unwrap();
    while let Ok(stream) = timeout(Duration::from_millis(500), TcpStream::connect(address)).await {
        waiting.push(stream.unwrap());
        assert!(waiting.len() < 100, "the queue has no end");
    }
    (listener, waiting)
}

/// A backend that begins an answer and never goes on.
async fn half_an_answer() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{").await.unwrap();
            open.push(stream);
        }
    });
    address
}

/// What a backend does once it has announced an answer.
#[derive(Clone, Copy, Debug)]
enum Then {
    BreaksOff,
    Stalls,
    AnnouncesForEver,
}

/// A backend that says 103 (RFC 8297) and then does so.
async fn announces(then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let hint = b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n";
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(hint).await;
                match then {
                    Then::BreaksOff => {}
                    Then::Stalls => std::future::pending().await,
                    Then::AnnouncesForEver => {
                        while stream.write_all(hint).await.is_ok() {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn an_answer_that_was_only_announced_is_answered_for() {
    let bank = Bank::start().await;
    let all = [
        (Then::BreaksOff, 502, "backend-failed"),
        (Then::Stalls, 504, "backend-timeout"),
        (Then::AnnouncesForEver, 504, "backend-timeout"),
    ];
    for (then, status, kind) in all {
        let address = announces(then).await;
        let deadlines = "deadlines: { first_byte: 1s, total: 2s }";
        let alone = start(&bank, &format!("endpoints: [\"{address}\"], {deadlines}"), "").await;
        refused(&alone.get("/own/4711", "").await, status, kind);
        let well = Backend::start(|_| Response::new(Bytes::from("{}"))).await;
        let both = format!(
            "endpoints: [\"{address}\", \"127.0.0.1:{}\"], {deadlines}, \
             retries: {{ attempts: 1, budget_percent: 100, on: [reset, timeout] }}",
            well.port()
        );
        let both = start(&bank, &both, "").await;
        let answers = [both.get("/own/4711", "").await, both.get("/own/4711", "").await];
        let served = answers.iter().filter(|answer| answer.status == 200).count();
        let wanted = if matches!(then, Then::AnnouncesForEver) { 1 } else { 2 };
        assert_eq!(served, wanted, "{then:?}: another endpoint answers while there is time");
    }
}

#[tokio::test]
async fn each_deadline_of_a_cluster_ends_a_call_by_itself() {
    let bank = Bank::start().await;
    let (listener, _waiting) = deaf().await;
    let at = |endpoint: &str, short: &str| {
        let deadlines = ["connect", "first_byte", "idle", "total"]
            .map(|name| format!("{name}: {}", if name == short { "300ms" } else { "50s" }));
        format!("{{ endpoints: [\"{endpoint}\"], deadlines: {{ {} }} }}", deadlines.join(", "))
    };
    let checking = endpoint(&bank, "checking");
    let clusters = format!(
        "  deaf: {}\n  slow: {}\n  half: {}\nroutes:\n",
        at(&listener.local_addr().unwrap().to_string(), "connect"),
        at(&checking, "first_byte"),
        at(&half_an_answer().await.to_string(), "idle"),
    );
    let own = format!("endpoints: [\"{checking}\"]");
    let text = config(&bank, &own, "").replace("routes:\n", &clusters)
        + &route("deaf", "").replace("cluster: own", "cluster: deaf")
        + &route("slow", "").replace("cluster: own", "cluster: slow")
        + &route("half", "").replace("/{account}\"", "/{account}\", methods: [GET]").replace(
            "cluster: own",
            "compose: { parts: { half: { cluster: half, path: /half, deadline: 50s } } }",
        );
    let gateway = Tollgate::start(&text).await;
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 60_000 })).await;
    for path in ["/deaf/4711", "/slow/4711", "/half/4711"] {
        let started = Instant::now();
        refused(&gateway.get(path, "").await, 504, "backend-timeout");
        let took = started.elapsed();
        assert!((290..30_000).contains(&took.as_millis()), "{path}: {took:?}");
    }
}
