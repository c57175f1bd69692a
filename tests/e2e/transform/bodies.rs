//! Bodies on their way to the backend and back.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};

use super::{JSON, echo, echoed, field, raw, start};
use crate::support::gateway::base_config;
use crate::support::{Backend, Bank, Tollgate};

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
    // A number keeps its value or is refused: an amount must not change on its way.
    for (sent, got) in
        [("1.10", "1.1"), ("-0.5e3", "-500.0"), ("18446744073709551615", "18446744073709551615")]
    {
        let answer = send(&[JSON], format!("{{\"kept\":{sent}}}").into_bytes()).await;
        let told = answer.json();
        let body = told["body"].as_str().unwrap();
        assert!(body.starts_with(&format!("{{\"kept\":{got},")), "{sent}: {body}");
    }
    for sent in ["12345678901234567890123", "1234567890123456.78"] {
        let refused = send(&[JSON], format!("{{\"kept\":{sent}}}").into_bytes()).await;
        assert_eq!((refused.status.as_u16(), &*refused.problem()), (400, "malformed-body"));
        assert!(refused.json()["detail"].as_str().unwrap().contains("digits"), "{refused:?}");
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
async fn an_answer_too_large_to_edit_is_the_backends_failure() {
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
    let head = gateway.send(Method::HEAD, "/edited/json?size=1000", "", &[], Vec::new()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{head:?}");
    // The connection that carried a broken answer serves no other.
    assert_eq!(gateway.get("/edited/json?size=100", "").await.status, 200);
}
