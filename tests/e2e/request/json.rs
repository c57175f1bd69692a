//! Bodies that the gateway reads, since they name the account.

use http::Method;

use super::config;
use crate::support::wire::{assert_problem, logged};
use crate::support::{Answer, Bank, Tollgate};

async fn transfer(
    gateway: &Tollgate,
    media_type: &[(&str, &str)],
    body: impl Into<Vec<u8>>,
) -> Answer {
    gateway.send(Method::POST, "/transfers", "", media_type, body.into()).await
}

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

#[tokio::test]
async fn only_sound_json_names_an_account() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    let very_deep = "[".repeat(16_000);
    let long = "9".repeat(129);
    for (body, kind) in [
        ("".as_bytes(), "account-missing"),
        (b"{", "malformed-body"),
        (b"debtor=4711", "malformed-body"),
        (br#"{"debtor":{"account":"4711"}} {}"#, "malformed-body"),
        (br#"{"debtor":{"account":"4711",}}"#, "malformed-body"),
        (br#"{"debtor":{"account":"4711"},"debtor":{"account":"4712"}}"#, "malformed-body"),
        (br#"{"debtor":{"account":"4711","account":"4712"}}"#, "malformed-body"),
        (br#"{"debtor":{"account":"4711","\u0061ccount":"4712"}}"#, "malformed-body"),
        (br#"{"debtor":{"account":"4711\u0000"}}"#, "malformed-body"),
        (b"{\"debtor\":{\"account\":\"47\xff\"}}", "malformed-body"),
        (b"\xef\xbb\xbf{\"debtor\":{\"account\":\"4711\"}}", "malformed-body"),
        (br#"{"debtor":{"account":NaN}}"#, "malformed-body"),
        (format!(r#"{{"debtor":{{"account":"4711"}},"x":{deep}}}"#).as_bytes(), "malformed-body"),
        (very_deep.as_bytes(), "malformed-body"),
        (b"{}", "account-missing"),
        (b"null", "account-missing"),
        (br#"{"debtor":{"account":null}}"#, "account-missing"),
        (br#"{"debtor":{"account":["4711"]}}"#, "account-invalid"),
        (br#"{"debtor":{"account":{"id":"4711"}}}"#, "account-invalid"),
        (br#"{"debtor":{"account":"4711"},"Debtor":{"account":"4712"}}"#, "malformed-body"),
        (br#"{"debtor":{"account":""}}"#, "account-invalid"),
        (br#"{"debtor":{"account":"47 11"}}"#, "account-invalid"),
        (br#"{"debtor":{"account":"47\n11"}}"#, "account-invalid"),
        (br#"{"debtor":{"account":".."}}"#, "account-invalid"),
        ("{\"debtor\":{\"account\":\"４７１１\"}}".as_bytes(), "account-invalid"),
        (format!(r#"{{"debtor":{{"account":"{long}"}}}}"#).as_bytes(), "account-invalid"),
    ] {
        let answer = transfer(&gateway, JSON, body).await;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]);
        assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, kind), "{shown}");
        let id = assert_problem(&answer, 400, kind);
        assert_eq!(logged(&gateway, &id).await["tollgate"]["problem"], kind);
    }
}

#[tokio::test]
async fn a_body_that_does_not_say_it_is_plain_json_is_415() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let body = r#"{"debtor":{"account":"4711"}}"#;
    for media_type in [
        &[][..],
        &[("content-type", "text/plain")],
        &[("content-type", "application/x-www-form-urlencoded")],
        &[("content-type", "application/json; charset=utf-16")],
        &[("content-type", "application/json"), ("content-type", "text/plain")],
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
    ] {
        let answer = transfer(&gateway, media_type, body).await;
        assert_eq!(answer.status, 415, "{media_type:?}");
        assert_problem(&answer, 415, "unsupported-media-type");
    }
    for media_type in ["application/json", "Application/JSON;charset=UTF-8", "application/pay+json"]
    {
        let answer = transfer(&gateway, &[("content-type", media_type)], body).await;
        assert_eq!(answer.status, 200, "{media_type}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_was_read_reaches_the_backend_byte_for_byte() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    // White space, escapes, the order of members and a number's spelling are the client's.
    let padding = "é".repeat(5_000);
    let body = format!(
        " {{ \"z\" : 1.50, \"debtor\":{{\"account\" :\"\\u0034711\"}},\"x\":\"{padding}\"}}\n"
    );
    let answer = transfer(&gateway, JSON, body.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["body"], body.as_str());
    let line = logged(&gateway, answer.header("x-request-id")).await;
    assert!(line["tollgate"]["account"].is_string(), "{line}");
    assert!(!line.to_string().contains("4711"), "no account number stands in a log: {line}");
}

#[tokio::test]
async fn an_account_in_the_path_is_judged_as_one_in_a_body() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let fits = "9".repeat(128);
    let answer = gateway.get(&format!("/balances/{fits}"), "").await;
    assert_eq!(answer.json()["path"], format!("/echo/{fits}"));
    for account in ["9".repeat(129), "47%2011".into(), "%EF%BC%94".into(), "4711%20".into()] {
        let answer = gateway.get(&format!("/balances/{account}"), "").await;
        assert_problem(&answer, 400, "account-invalid");
    }
}
