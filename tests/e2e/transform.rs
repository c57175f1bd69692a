//! What is changed on the way to the backend and back, and what is not.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::gateway::base_config;
use crate::support::{Answer, Backend, Bank, Tollgate, eventually};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A public route `/ID/{account}` to the bank's `/echo`.
fn echo(id: &str, edits: &str) -> String {
    format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: checking\n    rewrite: {{ path: /echo }}\n{edits}"
    )
}

async fn start(bank: &Bank, routes: &[String]) -> Tollgate {
    Tollgate::start(&(base_config(bank) + "routes:\n" + &routes.concat())).await
}

/// The values of a field as the backend got them, in order.
fn field(answer: &Answer, name: &str) -> Vec<String> {
    let echo = answer.json();
    let fields = echo["headers"].as_array().unwrap_or_else(|| panic!("{answer:?}")).iter();
    let named = fields.filter(|field| field[0] == name);
    named.map(|field| field[1].as_str().unwrap().to_owned()).collect()
}

/// Sends these bytes as they are and reads until the connection closes.
async fn raw(gateway: &Tollgate, request: &str) -> String {
    let address = SocketAddr::from((gateway.address(), 8080));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// The `/echo` body in a raw answer.
fn echoed(answer: &str) -> Answer {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    let (start, end) = (body.find('{').unwrap(), body.rfind('}').unwrap());
    Answer {
        status: http::StatusCode::OK,
        headers: http::HeaderMap::new(),
        body: body.as_bytes()[start..=end].to_vec(),
    }
}

#[tokio::test]
async fn request_fields_are_removed_renamed_set_and_added_with_values_of_the_request() {
    let bank = Bank::start().await;
    let edits = r#"    request:
      headers:
        remove: [cookie, x-secret]
        rename: { x-old: x-new }
        set: { x-account: "{account}", x-client: "{client}", x-subject: "{claim.sub}", x-from: "{address}", x-joined: "{method} {query.a}/{header.x-id}", x-absent: "{header.x-nobody}" }
        add: { x-tag: gateway, x-id: "{request_id}" }
"#;
    let route = echo("edited", edits).replace("authenticate: none", "authenticate: bank");
    let gateway = start(&bank, &[route]).await;
    let token = bank.mint(json!({ "claims": { "client_id": "app", "sub": "s-1" } })).await;
    let sent = [
        ("cookie", "a=b"),
        ("x-secret", "1"),
        ("x-old", "kept"),
        ("x-account", "4712"),
        ("x-absent", "smuggled in"),
        ("x-tag", "client"),
        ("x-id", "7"),
        ("x-request-id", "req-1"),
    ];
    let answer = gateway.get_with("/edited/4711?a=b", &token, &sent).await;
    let expected: [(&str, &[&str]); 12] = [
        ("cookie", &[]),
        ("x-secret", &[]),
        ("x-old", &[]),
        ("x-new", &["kept"]),
        ("x-account", &["4711"]),
        ("x-client", &["app"]),
        ("x-subject", &["s-1"]),
        ("x-from", &["127.0.0.1"]),
        ("x-joined", &["GET b/7"]),
        ("x-absent", &[]),
        ("x-tag", &["client", "gateway"]),
        ("x-id", &["7", "req-1"]),
    ];
    for (name, values) in expected {
        assert_eq!(field(&answer, name), values, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_value_of_the_request_never_splits_a_head() {
    let bank = Bank::start().await;
    let edits = "    request: { headers: { set: { x-q: \"{query.q}\", x-path: \"{path.account}\" } } }\n    \
         response: { headers: { set: { x-q: \"{query.q}\" } } }\n";
    let gateway = start(&bank, &[echo("edited", edits)]).await;
    let answer = gateway.get("/edited/4711?q=a%0d%0ax-evil:%201", "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(field(&answer, "x-evil").is_empty() && field(&answer, "x-q").is_empty(), "{answer:?}");
    assert!(!answer.headers.contains_key("x-evil") && !answer.headers.contains_key("x-q"));
    let plain = gateway.get("/edited/4711?q=a%20b", "").await;
    assert_eq!((plain.header("x-q"), field(&plain, "x-q")), ("a b", vec!["a b".to_owned()]));
}

#[tokio::test]
async fn fields_of_one_connection_and_of_gateways_reach_no_backend() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    let answer = raw(
        &gateway,
        "GET /plain/4711 HTTP/1.1\r\nHost: bank.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=5\r\nProxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n\
         Proxy: http://evil.example\r\nTE: gzip\r\nX-Tollgate-Caller: root\r\nX-TOLLGATE-Hop: 1\r\n\
         X-Kept: yes\r\n\r\n",
    )
    .await;
    let answer = echoed(&answer);
    for name in [
        "x-hop",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "proxy",
        "te",
        "x-tollgate-caller",
        "x-tollgate-hop",
    ] {
        assert!(field(&answer, name).is_empty(), "{name}: {}", answer.json());
    }
    assert_eq!(field(&answer, "x-kept"), ["yes"]);
}

#[tokio::test]
async fn a_connection_option_takes_no_field_away_that_matters() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    for name in ["x-forwarded-for", "x-forwarded-host", "host", "content-length", "forwarded"] {
        let request = format!(
            "POST /plain/4711 HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\n\
             Content-Length: 5\r\n\r\nhello"
        );
        let answer = raw(&gateway, &request).await;
        if answer.starts_with("HTTP/1.1 400") {
            assert!(answer.contains("bad-request"), "{name}: {answer}");
            continue;
        }
        let told = echoed(&answer);
        assert_eq!(told.json()["body"], "hello", "{name}");
        assert_eq!(field(&told, "x-forwarded-for"), ["127.0.0.1"], "{name}");
        assert_eq!(field(&told, "x-forwarded-host"), ["a"], "{name}");
    }
}

#[tokio::test]
async fn a_backends_connection_fields_reach_no_client_and_its_edits_are_made() {
    let bank = Bank::start().await;
    let backend = Backend::start(|_| {
        Response::builder()
            .header("connection", "x-hop")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=9")
            .header("proxy-authenticate", "Basic")
            .header("server", "core/1.2")
            .header("x-old", "kept")
            .header("x-many", "1")
            .body(Bytes::from("{}"))
            .unwrap()
    })
    .await;
    let edits = "    response: { headers: { remove: [server], rename: { x-old: x-new }, \
         set: { x-account: \"{account}\" }, add: { x-many: \"2\" } } }\n";
    let text = base_config(&bank)
        + &format!("  own: {{ endpoints: [127.0.0.1:{}] }}\nroutes:\n", backend.port())
        + &echo("edited", edits).replace("cluster: checking", "cluster: own");
    let gateway = Tollgate::start(&text).await;
    let answer = gateway.get("/edited/4711", "").await;
    assert_eq!(answer.status, 200);
    for name in ["x-hop", "keep-alive", "proxy-authenticate", "server", "x-old"] {
        assert!(!answer.headers.contains_key(name), "{name}: {answer:?}");
    }
    assert_eq!((answer.header("x-new"), answer.header("x-account")), ("kept", "4711"));
    assert_eq!(answer.headers.get_all("x-many").iter().collect::<Vec<_>>(), ["1", "2"]);
}

#[tokio::test]
async fn the_backend_is_told_where_a_request_came_from_and_only_trusted_proxies_may_say_so() {
    let bank = Bank::start().await;
    let routes = "routes:\n".to_owned() + &echo("plain", "");
    let invented = [
        ("x-forwarded-for", "10.0.0.1"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-real-ip", "10.0.0.1"),
        ("forwarded", "for=10.0.0.1"),
        ("host", "api.bank.example"),
    ];
    let gateway = Tollgate::start(&(base_config(&bank) + &routes)).await;
    let answer = gateway.get_with("/plain/4711", "", &invented).await;
    assert_eq!(field(&answer, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(field(&answer, "x-forwarded-proto"), ["http"]);
    assert_eq!(field(&answer, "x-forwarded-host"), ["api.bank.example"]);
    assert!(field(&answer, "x-real-ip").is_empty() && field(&answer, "forwarded").is_empty());

    let trusting = base_config(&bank) + "trusted_proxies: [127.0.0.0/8]\n" + &routes;
    // `trusted_proxies` must not end up among the clusters: it stands at the margin.
    let gateway = Tollgate::start(&trusting).await;
    let answer = gateway.get_with("/plain/4711", "", &invented).await;
    assert_eq!(field(&answer, "x-forwarded-for"), ["10.0.0.1, 127.0.0.1"]);
    assert_eq!(field(&answer, "x-forwarded-proto"), ["https"]);
    assert_eq!(field(&answer, "x-forwarded-host"), ["evil.example"]);
}

#[tokio::test]
async fn a_trace_is_continued_or_begun() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let sent = [("traceparent", &*parent), ("tracestate", "vendor=1")];
    let answer = gateway.get_with("/plain/4711", "", &sent).await;
    let [passed] = &*field(&answer, "traceparent") else { panic!("{answer:?}") };
    assert!(passed.starts_with(&format!("00-{trace}-")) && passed.ends_with("-01"), "{passed}");
    assert_ne!(passed, &parent, "the gateway's own span is the backend's parent");
    assert_eq!(field(&answer, "tracestate"), ["vendor=1"]);

    for broken in ["", "00-0-0-01", &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32))] {
        let sent = [("traceparent", broken), ("tracestate", "vendor=1")];
        let answer = gateway.get_with("/plain/4711", "", &sent).await;
        let [made] = &*field(&answer, "traceparent") else { panic!("{broken}: {answer:?}") };
        let parts: Vec<&str> = made.split('-').collect();
        let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
        assert_eq!(lengths, [2, 32, 16, 2], "{broken}: {made}");
        assert_ne!(parts[1], "0".repeat(32));
        assert!(field(&answer, "tracestate").is_empty(), "{broken}: a state without its trace");
    }
    eventually("the access log to name the trace", async || {
        let log = std::fs::read_to_string(gateway.folder().join("access.log")).unwrap();
        if log.contains(trace) { Ok(()) } else { Err(log) }
    })
    .await;
}

#[tokio::test]
async fn identifiers_are_kept_when_they_are_safe_and_made_when_they_are_not() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("plain", "")]).await;
    let long = "x".repeat(129);
    let ids = [("req-1.A_b", true), ("a b", false), ("a\"b", false), (&*long, false), ("", false)];
    for (sent, kept) in ids {
        let answer = gateway.get_with("/plain/4711", "", &[("x-request-id", sent)]).await;
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id == sent, kept, "{sent}: {id}");
        assert!(kept || id.len() == 36, "{id}");
        assert_eq!(field(&answer, "x-request-id"), [id], "client and backend see one id");
    }
    let interaction = "93BAC548-d2de-4546-b106-880a5018460d";
    for (sent, kept) in [(interaction, true), ("not-a-uuid", false), ("", false)] {
        let answer = gateway.get_with("/plain/4711", "", &[("x-fapi-interaction-id", sent)]).await;
        let id = answer.header("x-fapi-interaction-id").to_owned();
        assert_eq!(id == sent, kept, "{sent}: {id}");
        assert_eq!(id.len(), 36);
        assert_eq!(field(&answer, "x-fapi-interaction-id"), [id]);
    }
    // Refusals have both too: that is when a client needs them.
    let refused = gateway
        .get_with(
            "/nowhere",
            "",
            &[("x-fapi-interaction-id", interaction), ("x-request-id", "req-2")],
        )
        .await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.header("x-fapi-interaction-id"), interaction);
    assert_eq!(refused.header("x-request-id"), "req-2");
    assert!(refused.json()["instance"].as_str().is_some_and(|instance| instance.contains("req-2")));
}

const BODY_EDITS: &str = r#"    request:
      body:
        - drop: /secret
        - rename: { at: /old, to: new }
        - move: { from: /amount, to: /money/amount }
        - set: { at: /channel, value: { name: gateway } }
        - mask: { at: "/cards/*/number", keep: 4 }
"#;

#[tokio::test]
async fn a_json_body_is_edited_on_its_way_to_the_backend() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("edited", BODY_EDITS)]).await;
    let body = json!({
        "secret": "s", "old": 1, "amount": 1.10, "channel": "x",
        "cards": [{ "number": "4111111111111111" }, { "number": "ÄÖÜ12345" }], "kept": "\u{1F600}",
    });
    let send = async |headers: &[(&str, &str)], body: Vec<u8>| {
        gateway.send(Method::POST, "/edited/4711", "", headers, body).await
    };
    let answer = send(&[JSON], body.to_string().into_bytes()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let told = answer.json();
    let text = told["body"].as_str().unwrap();
    let expected = json!({
        "new": 1, "channel": { "name": "gateway" },
        "cards": [{ "number": "************1111" }, { "number": "****2345" }],
        "kept": "\u{1F600}", "money": { "amount": 1.10 },
    });
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), expected);
    assert_eq!(field(&answer, "content-length"), [text.len().to_string()]);
    assert!(field(&answer, "transfer-encoding").is_empty());

    let wrong: [(&[(&str, &str)], &[u8], u16, &str); 4] = [
        (&[JSON], b"{\"a\":", 400, "malformed-body"),
        (&[JSON], b"\xff\xfe", 400, "malformed-body"),
        (&[("content-type", "text/plain")], b"{}", 415, "unsupported-media-type"),
        (&[], b"{}", 415, "unsupported-media-type"),
    ];
    for (headers, body, status, kind) in wrong {
        let refused = send(headers, body.to_vec()).await;
        assert_eq!((refused.status.as_u16(), &*refused.problem()), (status, kind), "{refused:?}");
    }
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    assert_eq!(send(&[JSON], deep.into_bytes()).await.problem(), "malformed-body");
}

#[tokio::test]
async fn a_chunked_body_is_edited_as_well() {
    let bank = Bank::start().await;
    let gateway = start(&bank, &[echo("edited", BODY_EDITS)]).await;
    let answer = raw(
        &gateway,
        "POST /edited/4711 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n9\r\n{\"secret\"\r\n10\r\n:1,\"old\":\"gone\"}\r\n0\r\n\r\n",
    )
    .await;
    let answer = echoed(&answer);
    let expected = json!({ "new": "gone", "channel": { "name": "gateway" } }).to_string();
    assert_eq!(answer.json()["body"], expected);
    assert_eq!(field(&answer, "content-length"), [expected.len().to_string()]);
    assert!(field(&answer, "transfer-encoding").is_empty(), "{answer:?}");
}

#[tokio::test]
async fn a_body_that_must_be_read_is_bounded() {
    let bank = Bank::start().await;
    let gateway = start(
        &bank,
        &[
            echo("edited", BODY_EDITS).replace("    cluster:", "    max_body: 64KiB\n    cluster:"),
            echo("small", "    max_body: 1KiB\n"),
        ],
    )
    .await;
    let text = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8)).into_bytes();
    let send =
        async |path: &str, body: Vec<u8>| gateway.send(Method::POST, path, "", &[JSON], body).await;
    let largest = send("/edited/4711", text(60 << 10)).await;
    assert_eq!(largest.status, 200, "{:?}", largest.headers);
    assert!(largest.json()["bodyLength"].as_u64().unwrap() > 60 << 10);
    for (path, bytes) in [("/edited/4711", (64 << 10) + 1), ("/small/4711", 1025)] {
        let refused = send(path, text(bytes)).await;
        assert_eq!(
            (refused.status.as_u16(), &*refused.problem()),
            (413, "body-too-large"),
            "{path}"
        );
    }
    assert_eq!(send("/small/4711", text(1024)).await.status, 200);
    // Without a length it is found out on the way, before the backend has all of it.
    let chunk = format!("401\r\n{}\r\n0\r\n\r\n", "x".repeat(1025));
    let head = "POST /small/4711 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let refused = raw(&gateway, &format!("{head}{chunk}")).await;
    assert!(refused.starts_with("HTTP/1.1 413") && refused.contains("body-too-large"), "{refused}");
}

/// The answer is 502 or, if its head had gone out when that was found, breaks off: it is never
/// taken for a whole one.
async fn fails(gateway: &Tollgate, path: &str) {
    match gateway.try_send(Method::GET, path, "", &[], Vec::new()).await {
        Err(broken) => assert!(!broken.is_timeout() && !broken.is_connect(), "{path}: {broken}"),
        Ok(answer) => {
            let seen = (answer.status.as_u16(), answer.problem());
            assert_eq!(seen, (502, "backend-failed".to_owned()), "{path}");
        }
    }
}

#[tokio::test]
async fn a_json_answer_is_edited_on_its_way_back() {
    let bank = Bank::start().await;
    let edits = r#"    response:
      body:
        - pick: { members: [accountId, balance, cards, holder] }
        - mask: { at: "/cards/*/number", keep: 4 }
        - drop: "/cards/*/expires"
        - rename: { at: /holder, to: owner }
        - move: { from: /balance/owed, to: /debt/now }
        - set: { at: /source, value: core }
"#;
    let route = |id: &str, edits: &str| {
        echo(id, edits)
            .replace("cluster: checking", "cluster: cards")
            .replace("path: /echo", "path: \"/v1/{account}\"")
    };
    let gateway = start(&bank, &[route("edited", edits), route("plain", "")]).await;
    let plain = gateway.get("/plain/4711", "").await.json();
    let answer = gateway.get_with("/edited/4711", "", &[("accept-encoding", "gzip")]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let members: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(members, ["accountId", "balance", "cards", "owner", "debt", "source"]);
    assert_eq!(
        (&body["owner"], &body["debt"]["now"]),
        (&plain["holder"], &plain["balance"]["owed"])
    );
    assert!(body["balance"].get("owed").is_none());
    for (edited, card) in
        body["cards"].as_array().unwrap().iter().zip(plain["cards"].as_array().unwrap())
    {
        let number = card["number"].as_str().unwrap();
        let shown = &number[number.len() - 4..];
        assert_eq!(edited["number"], "*".repeat(number.len() - 4) + shown);
        assert!(edited.get("expires").is_none() && card.get("expires").is_some());
    }
    assert!(answer.header("etag").is_empty(), "the backend's validator is another text's");

    // What is no JSON though it says so is of no use.
    bank.fault("cards", "garbage-json").await;
    fails(&gateway, "/edited/4711").await;
    bank.fault("cards", "ok").await;
    assert_eq!(gateway.get("/edited/4711", "").await.body, answer.body);
}

#[tokio::test]
async fn an_answer_that_readers_read_differently_is_not_edited() {
    let bank = Bank::start().await;
    let backend = Backend::start(|request| {
        let body = match request.target.trim_start_matches("/edited/") {
            "twice" => r#"{"owner":"Ann","owner":"Eve","a":1}"#.to_owned(),
            "escaped" => r#"{"owner":"Ann","own\u0065r":"Eve","a":1}"#.to_owned(),
            "deep" => "[".repeat(65) + &"]".repeat(65),
            _ => r#"{"owner":"Ann\u0000\u0000","a":1}"#.to_owned(),
        };
        Response::builder().header(JSON.0, JSON.1).body(Bytes::from(body)).unwrap()
    })
    .await;
    let gateway = mirrored(&bank, &backend).await;
    for path in ["/edited/twice", "/edited/escaped", "/edited/deep"] {
        fails(&gateway, path).await;
    }
    // Padding that old systems send is theirs.
    let padded = gateway.get("/edited/padded", "").await;
    assert_eq!(
        (padded.status.as_u16(), &padded.body[..]),
        (200, &br#"{"owner":"Ann\u0000\u0000"}"#[..])
    );
}

/// Bytes that show any loss, repetition or change of order.
fn noise(length: usize) -> Vec<u8> {
    (0..length as u32)
        .flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes())
        .take(length)
        .collect()
}

/// Gives back what it gets, chunked or not; without a body 1 MiB of noise or of JSON.
async fn mirror() -> Backend {
    Backend::start(|request| {
        let mut answer = Response::builder();
        let json = request.target.contains("json");
        answer = answer.header("content-type", if json { "application/json" } else { "image/png" });
        if request.target.contains("chunked") {
            answer = answer.header("transfer-encoding", "chunked");
        }
        let size = request.target.split_once("size=").map_or(1 << 20, |(_, n)| n.parse().unwrap());
        let body = match (request.body.is_empty(), json) {
            (false, _) => request.body.clone(),
            (true, false) => Bytes::from(noise(size)),
            (true, true) => Bytes::from(format!("{{\"a\":1,\"b\":\"{}\"}}", "x".repeat(size - 14))),
        };
        answer.body(body).unwrap()
    })
    .await
}

async fn mirrored(bank: &Bank, backend: &Backend) -> Tollgate {
    let own = format!("  own: {{ endpoints: [127.0.0.1:{}] }}\nroutes:\n", backend.port());
    let route = |id: &str, edits: &str| {
        echo(id, edits)
            .replace("cluster: checking", "cluster: own")
            .replace("    rewrite: { path: /echo }\n", "    max_body: 4MiB\n")
    };
    let edits = "    response: { max_body: 64KiB, body: [{ drop: /a }] }\n";
    Tollgate::start(&(base_config(bank) + &own + &route("plain", "") + &route("edited", edits)))
        .await
}

#[tokio::test]
async fn large_and_chunked_bodies_pass_byte_for_byte_both_ways() {
    let (bank, backend) = (Bank::start().await, mirror().await);
    let gateway = mirrored(&bank, &backend).await;
    for kind in ["whole", "chunked"] {
        let down = gateway.get(&format!("/plain/{kind}"), "").await;
        assert_eq!(down.status, 200);
        assert!(down.body == noise(1 << 20), "{kind}: {} bytes came down", down.body.len());
        let sent = noise((1 << 20) + 13);
        let path = format!("/plain/{kind}");
        let up = gateway.send(Method::PUT, &path, "", &[], sent.clone()).await;
        assert!(up.body == sent, "{kind}: {} bytes came back", up.body.len());
        let seen = backend.seen();
        assert!(seen.last().is_some_and(|seen| seen.body == sent), "{kind}");
    }
    // Chunked on its way up.
    let body = "x".repeat(50_000);
    let chunks: String = body
        .as_bytes()
        .chunks(999)
        .map(|piece| format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)))
        .collect();
    let head = "PUT /plain/whole HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(&gateway, &format!("{head}{chunks}0\r\n\r\n")).await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with(&body),
        "{} bytes",
        answer.len()
    );
}

#[tokio::test]
async fn an_answer_too_large_to_edit_is_the_backends_failure_and_other_types_pass_unread() {
    let (bank, backend) = (Bank::start().await, mirror().await);
    let gateway = mirrored(&bank, &backend).await;
    for kind in ["json", "json-chunked"] {
        let small = gateway.get(&format!("/edited/{kind}?size=65536"), "").await;
        assert_eq!(small.status, 200, "{kind}");
        assert_eq!(small.json().as_object().unwrap().keys().collect::<Vec<_>>(), ["b"], "{kind}");
        for size in [65_537, 1 << 20] {
            let path = format!("/edited/{kind}?size={size}");
            if kind == "json" {
                let large = gateway.get(&path, "").await;
                let seen = (large.status.as_u16(), large.problem());
                assert_eq!(seen, (502, "backend-failed".into()), "{size}: its length says so");
            } else {
                fails(&gateway, &path).await;
            }
        }
    }
    for kind in ["picture", "chunked"] {
        let picture = gateway.get(&format!("/edited/{kind}"), "").await;
        assert!(picture.status == 200 && picture.body == noise(1 << 20), "{kind}");
    }
    let head = gateway.send(Method::HEAD, "/edited/json?size=1000", "", &[], Vec::new()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{head:?}");
    // The connection that carried a broken answer serves no other.
    assert_eq!(gateway.get("/edited/json?size=100", "").await.status, 200);
}
