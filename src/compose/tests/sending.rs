//! What backends get, and validators.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};
use serde_json::json;

use super::backend::Backend;
use super::inputs::inputs;
use super::{plan, run, run_with};
use crate::config::model::{Balance, HeaderEdits};
use crate::request::{Template, ValueSource};

fn fields(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    fields
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
        .collect()
}

#[tokio::test]
async fn backends_get_identifiers_and_language_and_no_credential() {
    let backend = Backend::telling(|path| json!(path)).await;
    let composer = plan(backend.address).part("a", "/a").build();
    let request = fields(&[
        ("authorization", "Bearer secret"),
        ("cookie", "session=secret"),
        ("x-other", "1"),
        ("host", "gateway.example"),
        ("accept", "text/html"),
        ("accept-encoding", "gzip"),
        ("x-request-id", "r-1"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("tracestate", "v=1"),
        ("x-fapi-interaction-id", "93bac548-d2de-4546-b106-880a5018460d"),
        ("accept-language", "de"),
    ]);
    run_with(&composer, &inputs("4711"), &request).await.text();
    let mut sent: Vec<String> = backend
        .fields()
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    sent.sort();
    assert_eq!(
        sent,
        [
            "accept-encoding: identity",
            "accept-language: de",
            "accept: application/json",
            &format!("host: {}", backend.address),
            "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "tracestate: v=1",
            "x-fapi-interaction-id: 93bac548-d2de-4546-b106-880a5018460d",
            "x-request-id: r-1",
        ]
    );
}

#[tokio::test]
async fn a_field_that_the_routes_edits_write_goes_to_the_backends() {
    let backend = Backend::telling(|path| json!(path)).await;
    let template = Template::parse("{header.authorization}", &[]).unwrap();
    let name = HeaderName::from_static;
    let mut plan = plan(backend.address).part("a", "/a");
    plan.edits = HeaderEdits {
        set: vec![(name("authorization"), template.clone()), (name("host"), template.clone())],
        add: vec![(name("x-version"), template)],
        rename: vec![(name("x-old"), name("x-new"))],
        ..HeaderEdits::default()
    };
    let request = fields(&[
        ("authorization", "Bearer wanted"),
        ("x-version", "2"),
        ("x-version", "3"),
        ("x-new", "n"),
        ("host", "gateway.example"),
        ("cookie", "session=secret"),
    ]);
    run_with(&plan.build(), &inputs("4711"), &request).await.text();
    let sent = backend.fields();
    assert_eq!(sent["authorization"], "Bearer wanted");
    assert_eq!(sent["x-new"], "n");
    assert_eq!(sent["host"], backend.address.to_string().as_str());
    assert_eq!(sent.get_all("x-version").iter().count(), 2);
    assert!(!sent.contains_key("cookie"));
}

#[tokio::test]
async fn a_caller_that_has_the_answer_already_is_told_so() {
    let backend = Backend::telling(|path| json!(path)).await;
    let composer = plan(backend.address).part("a", "/a/{account}").build();
    let first = run(&composer).await;
    let etag = first.answer.headers["etag"].clone();
    assert!(etag.to_str().unwrap().starts_with('"') && etag.len() == 34, "{etag:?}");
    let asking = async |account: &str, method: Method, known: &str| {
        let known = HeaderValue::from_str(known).unwrap();
        let request = HeaderMap::from_iter([(http::header::IF_NONE_MATCH, known)]);
        let mut inputs = inputs(account);
        inputs.head.method = method;
        run_with(&composer, &inputs, &request).await.answer
    };
    let etag = etag.to_str().unwrap();
    for known in [etag.to_owned(), format!("W/{etag}"), format!("\"x\" , {etag}"), "*".into()] {
        let again = asking("4711", Method::GET, &known).await;
        assert_eq!(again.status, StatusCode::NOT_MODIFIED, "{known}");
        assert_eq!(again.headers["etag"], etag);
        assert!(again.body.is_empty());
    }
    assert_eq!(asking("4712", Method::GET, etag).await.status, StatusCode::OK);
    assert_eq!(asking("4711", Method::GET, "\"x\"").await.status, StatusCode::OK);
    assert_eq!(asking("4711", Method::POST, etag).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_same_account_goes_to_the_same_endpoint_where_the_cluster_says_so() {
    let (one, other) =
        (Backend::telling(|_| json!("one")).await, Backend::telling(|_| json!("other")).await);
    let mut cluster = super::cluster("bank", one.address);
    cluster.endpoints.extend(super::cluster("x", other.address).endpoints);
    cluster.balance = Balance::ConsistentHash(ValueSource::Account);
    let composer = plan(one.address).part_of(cluster, "a", "/a").build();
    for account in ["1", "2", "3", "4"] {
        let ask = async || {
            let ran = run_with(&composer, &inputs(account), &HeaderMap::new()).await;
            ran.text().to_owned()
        };
        assert_eq!(ask().await, ask().await, "{account}");
        assert_eq!(ask().await, ask().await, "{account}");
    }
}
