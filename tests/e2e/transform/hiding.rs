//! What a route's edits are there to hide never passes them by.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::json;

use super::{echo, raw};
use crate::support::gateway::base_config;
use crate::support::{Answer, Backend, Bank, Tollgate};

const CARD: &str = "4111111111111111";
const BODY: &str = r#"{"number":"4111111111111111","owner":"Ann"}"#;

/// Answers `/edited/1?STATUS!TYPE!FRAMING`; `-` is none of it.
async fn teller() -> Backend {
    Backend::start(|request| {
        let (_, wish) = request.target.split_once('?').unwrap();
        let [status, kind, framing] = *wish.split('!').collect::<Vec<_>>() else {
            panic!("{wish}");
        };
        let mut answer = Response::builder().status(status.parse::<u16>().unwrap());
        for one in kind.split('&').filter(|kind| *kind != "-") {
            answer = answer.header("content-type", one);
        }
        if framing.contains("chunked") {
            answer = answer.header("transfer-encoding", "chunked");
        }
        if framing.contains("gzip") {
            answer = answer.header("content-encoding", "gzip");
        }
        let body = match () {
            () if framing.contains("empty") => Bytes::new(),
            () if framing.contains("list") => Bytes::from(format!("[{BODY}]")),
            () if framing.contains("text") => Bytes::from(format!("\"{CARD}\"")),
            () if framing.contains("broken") => Bytes::from(format!("{BODY} and more")),
            () => Bytes::from(BODY),
        };
        answer.header("etag", "\"of the whole\"").body(body).unwrap()
    })
    .await
}

async fn start(backend: &Backend) -> (Bank, Tollgate) {
    let bank = Bank::start().await;
    let edits = "    response: { body: [{ mask: { at: /number, keep: 4 } }] }\n";
    let picks = "    response: { body: [{ pick: { members: [balance] } }] }\n";
    let text = base_config(&bank)
        + &format!(
            "  own: {{ endpoints: [127.0.0.1:{}], ejection: {{ consecutive_failures: 2, period: 1h }} }}\nroutes:\n",
            backend.port()
        )
        + &[echo("edited", edits), echo("picked", picks)]
            .concat()
            .replace("cluster: checking", "cluster: own")
            .replace("    rewrite: { path: /echo }\n", "");
    let gateway = Tollgate::start(&text).await;
    (bank, gateway)
}

fn shows_the_card(answer: &Answer) -> bool {
    String::from_utf8_lossy(&answer.body).contains(CARD)
}

#[tokio::test]
async fn a_success_that_is_not_json_is_the_backends_failure_and_shows_nothing() {
    let backend = teller().await;
    let (_bank, gateway) = start(&backend).await;
    for answer in ["200!application/json!-", "201!application/pay+json!chunked"] {
        let edited = gateway.get(&format!("/edited/1?{answer}"), "").await;
        assert_eq!(edited.json(), json!({ "number": "************1111", "owner": "Ann" }));
        assert_eq!(edited.header("etag"), "", "it is that of another text");
    }
    for answer in [
        "200!-!-",
        "200!text/json!-",
        "200!text/plain!chunked",
        "200!application/octet-stream!-",
        "200!application/json;charset=utf-16!-",
        "200!application/json&text/plain!-",
        "200!application/json!gzip",
        "206!application/json!-",
        "299!image/png!-",
    ] {
        let refused = gateway.get(&format!("/edited/1?{answer}"), "").await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (502, "backend-failed".to_owned()), "{answer}: {refused:?}");
        assert!(!shows_the_card(&refused), "{answer}");
    }
    // Its head says neither that there is a body nor that there is none: it breaks off.
    for answer in ["200!-!chunked", "200!application/json!broken,chunked"] {
        let path = format!("/edited/1?{answer}");
        match gateway.try_send(Method::GET, &path, "", &[], Vec::new()).await {
            Err(broken) => assert!(!broken.is_timeout() && !broken.is_connect(), "{broken}"),
            Ok(refused) => assert_eq!(refused.status, 502, "{answer}: {refused:?}"),
        }
    }
    // None of this was the endpoint's fault: it was not ejected.
    assert_eq!(gateway.get("/edited/1?200!application/json!-", "").await.status, 200);
}

#[tokio::test]
async fn an_answer_without_a_body_passes_whatever_its_type() {
    let backend = teller().await;
    let (_bank, gateway) = start(&backend).await;
    for (answer, status) in [
        ("204!-!empty", 204),
        ("200!text/plain!empty", 200),
        ("202!-!empty", 202),
        ("202!-!empty,chunked", 202),
        ("200!application/json!empty,chunked", 200),
        ("304!application/json!empty", 304),
    ] {
        let passed = gateway.get(&format!("/edited/1?{answer}"), "").await;
        assert_eq!((passed.status.as_u16(), passed.body.len()), (status, 0), "{answer}");
    }
    let path = "/edited/1?200!application/json!-";
    let head = gateway.send(Method::HEAD, path, "", &[], Vec::new()).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{head:?}");
    assert_eq!(gateway.get(path, "").await.status, 200, "the connection is in order");
}

#[tokio::test]
async fn an_error_keeps_its_status_and_is_edited_or_told_in_the_gateways_words() {
    let backend = teller().await;
    let (_bank, gateway) = start(&backend).await;
    let edited = gateway.get("/edited/1?404!application/problem+json!-", "").await;
    assert_eq!(edited.status, 404);
    assert_eq!(edited.json(), json!({ "number": "************1111", "owner": "Ann" }));
    for (answer, status) in [
        ("404!text/plain!-", 404),
        ("500!text/html!chunked", 500),
        ("503!-!-", 503),
        ("400!application/json!gzip", 400),
    ] {
        let told = gateway.get(&format!("/edited/1?{answer}"), "").await;
        assert_eq!(told.status, status, "{answer}: {told:?}");
        assert_eq!(told.problem(), "backend-error", "{answer}");
        assert_eq!(told.json()["status"], status);
        assert_eq!(told.header("content-type"), "application/problem+json");
        assert_eq!(told.header("content-encoding"), "");
        let id = told.header("x-request-id");
        assert_eq!(told.json()["instance"], format!("urn:request:{id}"));
        assert!(!shows_the_card(&told), "{answer}");
    }
    for framing in ["broken", "broken,chunked"] {
        let path = format!("/edited/1?500!application/json!{framing}");
        let told = gateway.get(&path, "").await;
        assert_eq!((told.status.as_u16(), &*told.problem()), (500, "backend-error"), "{framing}");
    }
    // A pick leaves nothing of an error that has other members.
    for (answer, status) in
        [("404!application/problem+json!-", 404), ("500!application/json!chunked", 500)]
    {
        let told = gateway.get(&format!("/picked/1?{answer}"), "").await;
        assert_eq!((told.status.as_u16(), &*told.problem()), (status, "backend-error"));
    }
    assert_eq!(gateway.get("/picked/1?200!application/json!-", "").await.json(), json!({}));
    let moved = gateway.get("/edited/1?302!text/html!-", "").await;
    assert_eq!((moved.status.as_u16(), moved.body.len()), (302, 0), "{moved:?}");
    assert_eq!(gateway.get("/edited/1?200!application/json!-", "").await.status, 200);
}

#[tokio::test]
async fn a_pick_shows_nothing_of_what_is_no_object() {
    let backend = teller().await;
    let (_bank, gateway) = start(&backend).await;
    for framing in ["list", "text", "list,chunked"] {
        let path = format!("/picked/1?200!application/json!{framing}");
        let picked = gateway.get(&path, "").await;
        assert_eq!((picked.status.as_u16(), picked.json()), (200, json!(null)), "{framing}");
        let path = format!("/picked/1?404!application/json!{framing}");
        let told = gateway.get(&path, "").await;
        assert_eq!((told.status.as_u16(), &*told.problem()), (404, "backend-error"), "{framing}");
    }
}

#[tokio::test]
async fn neither_a_range_nor_another_protocol_gets_behind_the_edits() {
    let backend = teller().await;
    let (_bank, gateway) = start(&backend).await;
    let path = "/edited/1?200!application/json!-";
    let sent = [("range", "bytes=10-27"), ("if-range", "\"of the whole\"")];
    let answer = gateway.get_with(path, "", &sent).await;
    assert_eq!(answer.json(), json!({ "number": "************1111", "owner": "Ann" }));
    let answer = raw(
        &gateway,
        &format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: upgrade, close\r\nUpgrade: websocket\r\n\r\n"
        ),
    )
    .await;
    assert!(answer.contains("************1111"), "{answer}");
    for seen in backend.seen() {
        for name in ["range", "if-range", "upgrade"] {
            assert!(!seen.headers.contains_key(name), "{name}: {seen:?}");
        }
        assert_eq!(seen.headers["accept-encoding"], "identity");
    }
}
