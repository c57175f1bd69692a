//! What one caller sends shapes no answer that others are given.

use bytes::Bytes;
use http::Response;
use serde_json::json;

use super::config;
use crate::support::{Backend, Bank, Tollgate};

/// Tells its request back, as an answer that may be kept.
async fn mirror() -> Backend {
    Backend::start(|request| {
        let told = json!({ "target": request.target, "headers": request.headers });
        Response::builder()
            .header("content-type", "application/json")
            .body(Bytes::from(told.to_string()))
            .unwrap()
    })
    .await
}

/// A route `/ID` of this backend.
fn route(id: &str, more: &str) -> String {
    format!(
        "  - {{ id: {id}, match: {{ path: \"/{id}/{{account}}\" }}, account: path.account, {more} }}\n"
    )
}

async fn start(backend: &Backend, routes: &str) -> (Bank, Tollgate) {
    let bank = Bank::start().await;
    let own = format!("  own: {{ endpoints: [127.0.0.1:{}] }}\nroutes:\n{routes}", backend.port());
    let gateway = Tollgate::start(&config(&bank, &own)).await;
    (bank, gateway)
}

#[tokio::test]
async fn parameters_that_are_not_in_the_key_reach_no_backend_whose_answer_is_kept() {
    let backend = mirror().await;
    let cache =
        "authenticate: none, cache: { fresh: 1h, visible_to: everyone, query: [a] }, cluster: own";
    let by_query = "  - { id: query, match: { path: /query, query: { kind: full } }, authenticate: none, \
         account: query.acc, cache: { fresh: 1h, visible_to: everyone, query: [] }, cluster: own }\n";
    let all = "authenticate: none, cache: { fresh: 1h, visible_to: everyone }, cluster: own";
    let (_bank, gateway) =
        start(&backend, &(route("chosen", cache) + by_query + &route("all", all))).await;
    for (path, target) in [
        ("/chosen/1?a=1&evil=x", "/chosen/1?a=1"),
        ("/chosen/2?evil=x", "/chosen/2"),
        ("/chosen/3?evil=x&%61=1&a=2&A=3&a[]=4&x=1;a=5", "/chosen/3?%61=1&a=2"),
        ("/query?kind=full&evil=1&acc=7", "/query?kind=full&acc=7"),
        ("/all/1?b=2&a=1", "/all/1?b=2&a=1"),
    ] {
        let first = gateway.get(path, "").await;
        assert_eq!((first.status.as_u16(), first.is_hit()), (200, false), "{path}: {first:?}");
        assert_eq!(first.json()["target"], target, "{path}");
    }
    let hit = gateway.get("/chosen/1?a=1", "").await;
    assert!(hit.is_hit() && hit.json()["target"] == "/chosen/1?a=1", "{hit:?}");
    // What is not kept goes as it came.
    let posted = gateway.send(http::Method::POST, "/chosen/1?a=1&b=2", "", &[], Vec::new()).await;
    assert_eq!(posted.json()["target"], "/chosen/1?a=1&b=2");
}

#[tokio::test]
async fn fields_that_are_not_in_the_key_shape_no_answer_for_everyone() {
    let backend = mirror().await;
    let policy = |who: &str| {
        format!(
            "authenticate: bank, cluster: own, request: {{ headers: {{ set: {{ x-set: \"{{account}}\" }} }} }}, \
             cache: {{ fresh: 1h, visible_to: {who}, headers: [accept-language] }}"
        )
    };
    let public = "authenticate: none, cache: { fresh: 1h, visible_to: everyone }, cluster: own";
    let routes = route("everyone", &policy("everyone"))
        + &route("client", &policy("client"))
        + &route("public", public);
    let (bank, gateway) = start(&backend, &routes).await;
    let token = bank.token("budget-app").await;
    let sent = [
        ("accept-language", "de"),
        ("accept", "text/x-evil"),
        ("cookie", "debug=1"),
        ("x-original-url", "/evil"),
        ("x-http-method-override", "DELETE"),
        ("x-set", "evil"),
    ];
    let shared = gateway.get_with("/everyone/1", &token, &sent).await.json();
    for name in ["accept", "cookie", "x-original-url", "x-http-method-override"] {
        assert!(shared["headers"].get(name).is_none(), "{name}: {shared:#}");
    }
    assert_eq!(shared["headers"]["accept-language"], "de");
    assert_eq!(shared["headers"]["x-set"], "1");
    assert_eq!(shared["headers"]["authorization"], format!("Bearer {token}"));
    for name in ["x-request-id", "traceparent", "x-forwarded-for", "host"] {
        assert!(shared["headers"].get(name).is_some(), "{name}: {shared:#}");
    }
    let other = bank.token("ledger-app").await;
    let hit = gateway.get_with("/everyone/1", &other, &[("accept-language", "de")]).await;
    assert!(hit.is_hit() && hit.json() == shared, "{hit:?}");

    let own = gateway.get_with("/client/1", &token, &sent[..3]).await.json();
    assert_eq!(own["headers"]["accept"], "text/x-evil", "a client's own answers vary by Vary");
    let public = gateway.get("/public/1", "made-up").await.json();
    assert!(public["headers"].get("authorization").is_none(), "nobody has looked at it");
    let posted =
        gateway.send(http::Method::POST, "/everyone/1", &token, &sent[..3], Vec::new()).await;
    assert_eq!(posted.json()["headers"]["accept"], "text/x-evil", "it is not kept");
}

#[tokio::test]
async fn a_composed_answer_that_is_kept_is_in_no_callers_language_unless_the_key_has_it() {
    let backend = mirror().await;
    let composed = |headers: &str| {
        format!(
            "authenticate: none, cache: {{ fresh: 1h, visible_to: everyone{headers} }}, \
             compose: {{ parts: {{ one: {{ cluster: own, path: \"/{{account}}\", into: one }} }} }}"
        )
    };
    let routes =
        route("plain", &composed("")) + &route("spoken", &composed(", headers: [accept-language]"));
    let routes = routes.replace("\" }, account:", "\", methods: [GET] }, account:");
    let (_bank, gateway) = start(&backend, &routes).await;
    let german = [("accept-language", "de")];
    let plain = gateway.get_with("/plain/1", "", &german).await.json();
    assert!(plain["one"]["headers"].get("accept-language").is_none(), "{plain:#}");
    let spoken = gateway.get_with("/spoken/1", "", &german).await.json();
    assert_eq!(spoken["one"]["headers"]["accept-language"], "de");
    assert!(!gateway.get("/spoken/1", "").await.is_hit());
}
