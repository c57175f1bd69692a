//! The operators' port: what its description says is what it does.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_TOKEN, base_config};
use crate::support::{Answer, Bank, Tollgate, eventually};

const DESCRIPTION: &str = include_str!("../../src/admin/openapi.json");
const SOURCE: &str = include_str!("../../src/admin/routes.rs");
const ACCOUNT: &str = "778899001122";

fn config(bank: &Bank) -> String {
    format!(
        "{}quotas:\n  daily: {{ per: [account], limit: 5, window: 24h }}\n\
         routes:\n  - id: kept\n    match: {{ path: \"/kept/{{account}}\" }}\n    authenticate: bank\n    \
         account: path.account\n    quotas: [daily]\n    cache: {{ fresh: 1h, visible_to: client }}\n    \
         cluster: checking\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n    \
         request: {{ headers: {{ set: {{ x-api-key: header-secret }} }} }}\n",
        base_config(bank)
    )
}

async fn call(
    gateway: &Tollgate,
    method: &Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = gateway.client().request(method.clone(), gateway.admin_url(path));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = request.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    Answer { status, headers, body: answer.bytes().await.unwrap().to_vec() }
}

#[track_caller]
fn assert_problem(answer: &Answer, status: u16, detail: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
    let body = answer.json();
    assert_eq!(body["status"], status);
    assert!(!body["title"].as_str().unwrap().is_empty(), "{body}");
    assert!(body["detail"].as_str().unwrap().contains(detail), "{body}");
}

/// Every call of the description: path, method, and what it says of it.
fn described() -> Vec<(String, Method, Value)> {
    let description: Value = serde_json::from_str(DESCRIPTION).unwrap();
    let mut calls = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, call) in methods.as_object().unwrap() {
            let method = method.to_ascii_uppercase().parse().unwrap();
            calls.push((path.clone(), method, call.clone()));
        }
    }
    calls
}

/// The calls that the router has, as its source says.
fn served() -> BTreeSet<(String, String)> {
    let routes = SOURCE.split(".route(\"").skip(1);
    routes
        .map(|rest| {
            let (path, rest) = rest.split_once("\", ").unwrap();
            let (method, _) = rest.split_once('(').unwrap();
            (path.to_owned(), method.to_ascii_uppercase())
        })
        .collect()
}

fn body_for(path: &str) -> Option<Value> {
    (path == "/cache/purge").then(|| json!({ "account": ACCOUNT }))
}

#[tokio::test]
async fn every_call_of_the_description_is_there_and_no_other_is() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let given = call(&gateway, &Method::GET, "/openapi.json", None, None).await;
    assert_eq!(given.header("content-type"), "application/json");
    assert_eq!(String::from_utf8(given.body).unwrap(), DESCRIPTION);

    let calls = described();
    let told: BTreeSet<_> =
        calls.iter().map(|(path, method, _)| (path.clone(), method.to_string())).collect();
    assert_eq!(told, served());
    for (path, method, told) in &calls {
        let name = format!("{method} {path}");
        let path = path.replace("{account}", ACCOUNT);
        let changes = told.get("security").is_some();
        assert_eq!(changes, method == Method::POST, "{name}: what changes something needs a token");
        let body = body_for(&path);
        let answers = told["responses"].as_object().unwrap();
        let token = changes.then_some(ADMIN_TOKEN);
        let done = call(&gateway, method, &path, token, body.as_ref()).await;
        assert_eq!(done.status, 200, "{name}: {done:?}");
        assert!(answers.contains_key("200"), "{name}");
        if path == "/metrics" {
            assert!(done.header("content-type").starts_with("application/openmetrics-text"));
            assert!(done.body.ends_with(b"# EOF\n"));
        } else {
            assert_eq!(done.header("content-type"), "application/json", "{name}");
            done.json();
        }
        if changes {
            for token in [None, Some("wrong"), Some(""), Some(&ADMIN_TOKEN[1..])] {
                let refused = call(&gateway, method, &path, token, body.as_ref()).await;
                assert_problem(&refused, 401, "admin token");
                assert_eq!(refused.header("www-authenticate"), "Bearer");
            }
            assert!(answers.contains_key("401") && answers.contains_key("403"), "{name}");
        }
    }
}

#[tokio::test]
async fn without_a_configured_token_nothing_can_be_changed() {
    let bank = Bank::start().await;
    let open = config(&bank).replace(&format!(", token: {ADMIN_TOKEN}"), "");
    assert!(!open.contains(ADMIN_TOKEN));
    let gateway = Tollgate::start(&open).await;
    let token = bank.token("budget-app").await;
    assert_eq!(gateway.get(&format!("/kept/{ACCOUNT}"), &token).await.status, 200);
    for (path, method, _) in described().into_iter().filter(|call| call.1 == Method::POST) {
        let path = path.replace("{account}", ACCOUNT);
        for token in [None, Some(""), Some(ADMIN_TOKEN)] {
            let body = body_for(&path);
            let refused = call(&gateway, &method, &path, token, body.as_ref()).await;
            assert_problem(&refused, 403, "admin.token");
        }
    }
    let quotas = gateway.view(&format!("/quotas/{ACCOUNT}")).await;
    assert_eq!(quotas["quotas"][0]["used"], 1, "{quotas}");
    assert!(gateway.get(&format!("/kept/{ACCOUNT}"), &token).await.is_hit());
}

#[tokio::test]
async fn no_view_shows_a_secret_or_an_account() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, "file-secret-0123456789abcdef0123456789").unwrap();
    let state = format!("state: {{ account_key: \"${{file:{}}}\", directory", file.display());
    let sealed = "cache: { sealing_keys: [sealing-secret-0123456789abcdef01234] }\nobserve:";
    let text = config(&bank).replace("state: { directory", &state).replace("observe:", sealed);
    let gateway = Tollgate::start(&text).await;
    let token = bank.token("budget-app").await;
    for _ in 0..2 {
        assert_eq!(gateway.get(&format!("/kept/{ACCOUNT}"), &token).await.status, 200);
    }
    for (path, method, _) in described().into_iter().filter(|call| call.1 == Method::GET) {
        let answer = call(&gateway, &method, &path.replace("{account}", ACCOUNT), None, None).await;
        let view = String::from_utf8(answer.body).unwrap();
        let secrets =
            [ADMIN_TOKEN, "file-secret", "sealing-secret", "header-secret", &token, ACCOUNT];
        for secret in secrets {
            assert!(!view.contains(secret), "{path} shows {secret}: {view}");
        }
        match path.as_str() {
            "/config" => assert!(view.contains("${file:") && view.contains("daily"), "{view}"),
            "/quotas/{account}" => assert!(view.contains("\"used\":2"), "{view}"),
            "/cache/{account}" => assert!(view.contains("\"route\":\"kept\""), "{view}"),
            _ => {}
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_call_is_told() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = Some(ADMIN_TOKEN);
    for path in ["/", "/nothing", "/config/", "/quotas", "/quotas/", "/metrics/x"] {
        let answer = call(&gateway, &Method::GET, path, None, None).await;
        assert_problem(&answer, 404, "/openapi.json");
    }
    let wrong = call(&gateway, &Method::DELETE, "/config", None, None).await;
    assert_problem(&wrong, 405, "another method");
    assert!(wrong.header("allow").contains("GET"), "{wrong:?}");

    for path in ["/quotas/%ff", "/cache/%ff"] {
        let answer = call(&gateway, &Method::GET, path, None, None).await;
        assert_problem(&answer, 400, "UTF-8");
    }
    for scheme in ["bearer", "BEARER"] {
        let request = gateway.client().post(gateway.admin_url("/reload"));
        let request = request.header("authorization", format!("{scheme} {ADMIN_TOKEN}"));
        assert_eq!(request.send().await.unwrap().status(), 200, "{scheme}");
    }

    let long = "9".repeat(129);
    for (account, why) in
        [(&*long, "longer than 128 bytes"), ("a%20b", "character"), ("%C3%A9", "character")]
    {
        for path in [format!("/quotas/{account}"), format!("/cache/{account}")] {
            let answer = call(&gateway, &Method::GET, &path, None, None).await;
            assert_problem(&answer, 400, why);
        }
        let path = format!("/quotas/{account}/reset");
        assert_problem(&call(&gateway, &Method::POST, &path, token, None).await, 400, why);
    }
    let purge =
        async |body: Value| call(&gateway, &Method::POST, "/cache/purge", token, Some(&body)).await;
    assert_problem(&purge(json!({ "account": long })).await, 400, "longer than 128 bytes");
    assert_problem(&purge(json!({ "all": false })).await, 400, "'all'");
    for body in [json!({}), json!({ "everything": true }), json!({ "all": true, "route": "kept" })]
    {
        assert_problem(&purge(body).await, 422, "JSON");
    }
}

#[tokio::test]
async fn readiness_has_reasons_and_life_has_none() {
    let bank = Bank::start().await;
    bank.fault("identity", "500").await;
    let settings = "refresh: { unknown_key_wait: 1ms }, issuer:";
    let gateway = Tollgate::start_unready(&config(&bank).replace("issuer:", settings));
    let unready = eventually("the admin port", async || {
        let answer = gateway.client().get(gateway.admin_url("/ready")).send().await;
        answer.map_err(|error| error.to_string())
    })
    .await;
    assert_eq!(unready.status(), 503);
    let body: Value = unready.json().await.unwrap();
    let reasons = ["identity provider 'bank' gave no keys yet"];
    assert_eq!(body, json!({ "ready": false, "reasons": reasons }));
    let health = call(&gateway, &Method::GET, "/health", None, None).await;
    assert_eq!((health.status.as_u16(), health.json()), (200, json!({ "status": "up" })));
    bank.fault("identity", "ok").await;
    gateway.until_ready().await;
    assert_eq!(gateway.view("/ready").await, json!({ "ready": true, "reasons": [] }));
    let views = gateway.view("/identity").await;
    assert_eq!(views[0]["provider"], "bank");
    assert!(!views[0]["keys"].as_array().unwrap().is_empty(), "{views}");
}

#[tokio::test]
async fn clusters_show_their_endpoints_and_how_they_are() {
    let bank = Bank::start().await;
    let port = bank.port("cards");
    let checked = format!(
        "  watched: {{ endpoints: [{{ address: \"127.0.0.1:{port}\", weight: 7 }}], \
         health: {{ path: /healthz, interval: 1s, timeout: 1s, healthy_after: 1, unhealthy_after: 1 }} }}\n\
         quotas:\n"
    );
    let gateway = Tollgate::start(&config(&bank).replacen("quotas:\n", &checked, 1)).await;
    let watched = async || {
        let views = gateway.view("/clusters").await;
        let views = views.as_array().unwrap();
        views.iter().find(|view| view["name"] == "watched").unwrap().clone()
    };
    let until = async |health: &str| {
        eventually(health, async || {
            let view = watched().await;
            if view["endpoints"][0]["health"] == health { Ok(view) } else { Err(view) }
        })
        .await
    };
    let well = until("healthy").await;
    assert_eq!(well["endpoints"][0]["address"], format!("127.0.0.1:{port}"));
    assert_eq!((&well["endpoints"][0]["weight"], &well["usable"]), (&json!(7), &json!(1)));
    bank.fault("cards", "down").await;
    let ill = until("unhealthy").await;
    assert_eq!(ill["usable"], 0);
    let error = &ill["endpoints"][0]["last_error"];
    assert!(error["text"].as_str().unwrap().contains("503"), "{ill}");
    let at = error["at"].as_str().unwrap_or_default();
    assert!(at.len() == 24 && at.ends_with('Z'), "times are RFC 3339 as everywhere: {ill}");
    assert_eq!(
        (&ill["endpoints"][0]["usable"], &well["endpoints"][0]["usable"]),
        (&json!(false), &json!(true))
    );
    bank.fault("cards", "ok").await;
    assert_eq!(until("healthy").await["usable"], 1);

    let routes = gateway.view("/routes").await;
    assert_eq!(
        routes,
        json!([{
            "id": "kept", "path": "/kept/{account}", "methods": [], "authenticate": ["bank"],
            "quotas": ["daily"], "cached": true, "target": { "cluster": "checking" },
        }])
    );
}
