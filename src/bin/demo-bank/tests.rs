//! The whole bank over real sockets.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

struct Open(Map<String, Value>);

/// One connection, kept alive like a gateway's.
struct Client(TcpStream);

/// What a client received: everything up to the end of the message, or of the connection.
#[derive(Debug)]
struct Received {
    text: String,
    closed: bool,
}

impl Open {
    async fn bank() -> Self {
        let arguments = ["demo-bank", "--port-base", "0", "--delay", "0ms"];
        Self(open(Arguments::parse_from(arguments)).await.unwrap())
    }

    fn port(&self, name: &str) -> u16 {
        self.0[name].as_u64().unwrap().try_into().unwrap()
    }

    async fn client(&self, name: &str) -> Client {
        Client(TcpStream::connect(("127.0.0.1", self.port(name))).await.unwrap())
    }

    async fn control(&self, call: &str, body: Value) -> Value {
        let received = self.client("control").await.send(call, &body.to_string()).await;
        assert!(received.text.starts_with("HTTP/1.1 200"), "{call}: {received:?}");
        serde_json::from_str(received.body()).unwrap()
    }

    async fn set(&self, place: &str, fault: &str) {
        self.control(&format!("PUT /fault/{place}"), json!({ "fault": fault })).await;
    }
}

impl Client {
    async fn get(&mut self, path: &str) -> Received {
        self.send(&format!("GET {path}"), "").await
    }

    async fn send(&mut self, call: &str, body: &str) -> Received {
        let head =
            format!("{call} HTTP/1.1\r\nHost: bank\r\nContent-Length: {}\r\n\r\n", body.len());
        self.0.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        self.receive(Received::is_complete).await
    }

    async fn receive(&mut self, enough: impl Fn(&Received) -> bool) -> Received {
        let mut received = Received { text: String::new(), closed: false };
        let mut buffer = vec![0; 65_536];
        while !received.closed && !enough(&received) {
            // A reset is one more way to close.
            let read = self.0.read(&mut buffer).await.unwrap_or(0);
            received.text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            received.closed = read == 0;
        }
        received
    }
}

impl Received {
    fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    fn content_length(&self) -> Option<usize> {
        let (_, rest) = self.text.split_once("content-length: ")?;
        rest.split_once("\r\n")?.0.parse().ok()
    }

    fn is_complete(&self) -> bool {
        self.content_length().is_some_and(|length| self.body().len() >= length)
    }
}

#[tokio::test]
async fn faults_of_the_wire_strike_connections_that_are_in_use() {
    let bank = Open::bank().await;
    for fault in ["garbage", "cut", "wrong-length", "short-length", "smuggle"] {
        let mut pooled = bank.client("checking").await;
        let honest = pooled.get("/v1/A1").await;
        let length = honest.content_length().unwrap();
        bank.set("checking", fault).await;
        let struck = match fault {
            "smuggle" => {
                pooled.0.write_all(b"GET /v1/A1 HTTP/1.1\r\nHost: bank\r\n\r\n").await.unwrap();
                pooled.receive(|received| received.text.ends_with("{\"smuggled\":true}")).await
            }
            "short-length" => {
                pooled.0.write_all(b"GET /v1/A1 HTTP/1.1\r\nHost: bank\r\n\r\n").await.unwrap();
                pooled.receive(|received| received.body() == honest.body()).await
            }
            _ => pooled.get("/v1/A1").await,
        };
        let (said, sent) = (struck.content_length(), struck.body().len());
        match fault {
            "garbage" => assert!(!struck.text.starts_with("HTTP") && struck.closed),
            "cut" => assert_eq!((said, sent, struck.closed), (Some(length), length / 2, true)),
            "wrong-length" => {
                assert_eq!((said, sent, struck.closed), (Some(length + 100), length, true))
            }
            "short-length" => {
                assert_eq!((said, sent, struck.closed), (Some(length / 2), length, false))
            }
            _ => assert!(said == Some(length) && sent > length && !struck.closed),
        }
        // Setting the switch again ends what a fault left open.
        bank.set("checking", "ok").await;
        assert!(pooled.receive(|_| false).await.closed, "{fault}");
    }
}

#[tokio::test]
async fn a_service_that_is_down_closes_what_is_idle_and_fails_its_health_check() {
    let bank = Open::bank().await;
    let mut idle = bank.client("cards").await;
    idle.get("/v1/A1").await;
    bank.set("cards", "down").await;
    assert!(idle.receive(|_| false).await.text.is_empty());
    let met = bank.client("cards").await.get("/v1/A1").await;
    assert!(met.text.is_empty() && met.closed);
    assert!(bank.client("cards").await.get("/healthz").await.text.starts_with("HTTP/1.1 503"));
    bank.set("cards", "cut").await;
    assert_eq!(bank.client("cards").await.get("/healthz").await.body(), r#"{"status":"up"}"#);
}

#[tokio::test]
async fn a_refused_port_opens_again_at_the_same_place() {
    let bank = Open::bank().await;
    let mut pooled = bank.client("loans").await;
    pooled.get("/v1/A1").await;
    bank.set("all", "refuse").await;
    let refused = TcpStream::connect(("127.0.0.1", bank.port("loans"))).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    assert!(pooled.receive(|_| false).await.closed);
    bank.control("POST /reset", json!({})).await;
    assert!(bank.client("loans").await.get("/v1/A1").await.text.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn requests_are_counted_whatever_becomes_of_them_and_health_checks_are_not() {
    let bank = Open::bank().await;
    let mut client = bank.client("savings").await;
    client.get("/v1/A1").await;
    client.get("/healthz").await;
    client.get("/echo/v1/A1").await;
    bank.set("savings", "500").await;
    client.get("/v1/A2").await;
    bank.set("savings", "down").await;
    bank.client("savings").await.get("/v1/A1/transactions").await;
    let counts = bank.control("GET /counts", json!({})).await;
    assert_eq!((&counts["savings"], &counts["total"]), (&json!(3), &json!(3)));
    assert_eq!(bank.control("GET /counts/A1", json!({})).await["total"], 2);
    let state = bank.control("POST /reset", json!({})).await;
    assert_eq!(state["services"]["savings"]["requests"], 0);
    assert_eq!(state["services"]["savings"]["fault"], "ok");
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_gone() {
    let bank = Open::bank().await;
    bank.control("PUT /delay", json!({ "ms": 3_600_000 })).await;
    let mut client = bank.client("checking").await;
    client.0.write_all(b"GET /v1/A1 HTTP/1.1\r\nHost: bank\r\n\r\n").await.unwrap();
    let service =
        async || bank.control("GET /state", json!({})).await["services"]["checking"].clone();
    while service().await["inFlight"] != 1 {}
    drop(client);
    while service().await["abandoned"] != 1 {}
    assert_eq!(service().await["inFlight"], 0);
}

#[tokio::test]
async fn an_answer_that_is_cut_was_still_carried_out() {
    let bank = Open::bank().await;
    let order = r#"{"amount":"25.00","to":"A2"}"#;
    bank.set("checking", "cut").await;
    assert!(bank.client("checking").await.send("POST /v1/A1/transfers", order).await.closed);
    bank.set("checking", "500").await;
    bank.client("checking").await.send("POST /v1/A1/transfers", order).await;
    assert_eq!(bank.control("GET /state", json!({})).await["transfers"], 1);
}

#[tokio::test]
async fn the_echo_tells_a_request_byte_for_byte_on_every_turn_of_a_connection() {
    let bank = Open::bank().await;
    let mut client = bank.client("checking").await;
    client.send("POST /v1/A1/nowhere", "a body that nobody reads").await;
    for turn in ["1", "2"] {
        let head = format!(
            "PUT /echo/a%2Fb/../c?turn={turn}#x HTTP/1.1\r\nX-Two: 1\r\nhOST: h\r\nX-Two: 2\r\nContent-Length: 3"
        );
        client.0.write_all(format!("{head}\r\n\r\nabc").as_bytes()).await.unwrap();
        let told = client.receive(Received::is_complete).await;
        let told: Value = serde_json::from_str(told.body()).unwrap();
        assert_eq!(told["rawHead"], head);
        assert_eq!(told["path"], format!("/echo/a%2Fb/../c?turn={turn}"));
        assert_eq!((&told["body"], &told["bodyLength"]), (&json!("abc"), &json!(3)));
        assert_eq!(told["headers"][0], json!(["x-two", "1"]));
    }
}

#[tokio::test]
async fn a_token_is_granted_and_the_key_set_shows_its_key() {
    let bank = Open::bank().await;
    let mut client = bank.client("identity").await;
    let form = "grant_type=client_credentials&client_id=client-1&client_secret=secret-1";
    let head = format!(
        "POST /token HTTP/1.1\r\nHost: i\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}",
        form.len()
    );
    client.0.write_all(format!("{head}\r\n\r\n{form}").as_bytes()).await.unwrap();
    let granted = client.receive(Received::is_complete).await;
    let granted: Value = serde_json::from_str(granted.body()).unwrap();
    let header = jsonwebtoken::decode_header(granted["access_token"].as_str().unwrap()).unwrap();
    let jwks = client.get("/jwks.json").await;
    assert!(jwks.text.contains("cache-control: max-age=300"));
    assert!(jwks.body().contains(&header.kid.unwrap()));
    bank.control("PUT /jwks-extra", json!([{ "kty": "oct", "kid": "extra" }])).await;
    bank.control("PUT /jwks-cache-control", json!({ "value": null })).await;
    let jwks = client.get("/jwks.json").await;
    assert!(!jwks.text.contains("cache-control") && jwks.body().contains("extra"));
    assert_eq!(bank.control("GET /state", json!({})).await["identity"]["requests"]["jwks"], 2);
}
