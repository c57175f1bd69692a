//! Requests that arrive at one gateway and belong to another.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Method, Response};
use serde_json::{Value, json};

use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::{Backend, Bank, eventually};

fn routes(backend: &Backend) -> String {
    format!(
        r#"  own: {{ endpoints: ["127.0.0.1:{}"] }}
rates:
  burst: {{ rate: 1000/s, per: [client] }}
quotas:
  daily: {{ per: [account], limit: 100, window: 24h }}
routes:
  - id: echo
    match: {{ path: "/echo/{{account}}" }}
    authenticate: bank
    account: path.account
    quotas: [daily]
    rates: [burst]
    cluster: own
  - id: body
    match: {{ path: /transfers, methods: [POST] }}
    authenticate: bank
    account: body./account
    quotas: [daily]
    request: {{ body: [{{ set: {{ at: /seen, value: true }} }}] }}
    cluster: own
  - id: nobody
    match: {{ path: /rates }}
    authenticate: bank
    cluster: own
  - id: deadline
    match: {{ path: "/slow/{{account}}" }}
    account: path.account
    authenticate: none
    deadline: 1s
    cluster: checking
    rewrite: {{ path: /v1/4711 }}
"#,
        backend.port()
    )
}

/// Gives back what it got.
async fn echo() -> Backend {
    Backend::start(|seen| {
        let body = json!({ "target": seen.target, "body": String::from_utf8_lossy(&seen.body), "headers": seen.headers });
        Response::new(Bytes::from(body.to_string()))
    })
    .await
}

/// A fleet of two, and an account of the second.
async fn two(bank: &Bank, backend: &Backend) -> (Fleet, String) {
    let fleet = Fleet::start(Broker::shared(), bank, 2, &routes(backend)).await;
    let account = fleet.account_of(1).await;
    (fleet, account)
}

fn lines(log: &str) -> Vec<Value> {
    log.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_hops_are_one_request_to_whoever_looks_at_it() {
    let (bank, backend) = (Bank::start().await, echo().await);
    let (fleet, account) = two(&bank, &backend).await;
    let token = bank.token("budget-app").await;
    let path = format!("/echo/{account}?a=1");
    let sent = [("x-request-id", "one-request"), ("x-forwarded-for", "203.0.113.9")];
    let answer = fleet.gateways[0].get_with(&path, &token, &sent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("x-request-id"), "one-request");
    let limits: Vec<&str> =
        answer.headers.get_all("ratelimit").iter().map(|value| value.to_str().unwrap()).collect();
    let limits = limits.join(", ");
    assert!(limits.contains("\"daily\";r=99") && limits.contains("\"burst\";r="), "{limits}");
    let seen = answer.json();
    assert_eq!(seen["target"], path);
    assert_eq!(
        seen["headers"]["x-forwarded-for"], "127.0.0.1",
        "the client's own word is not believed"
    );
    assert!(!seen.to_string().contains("x-tollgate"), "{seen}");

    let mut logs = Vec::new();
    for gateway in &fleet.gateways {
        let file = gateway.folder().join("access.log");
        let line = eventually("the line of the request", async || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            lines(&text)
                .into_iter()
                .find(|line| line["http"]["request"]["id"] == "one-request")
                .ok_or(text)
        })
        .await;
        logs.push(line);
    }
    assert_eq!(logs[0]["trace"], logs[1]["trace"], "one trace");
    assert_eq!(logs[0]["tollgate"]["source"], "owner");
    assert_eq!(logs[0]["tollgate"]["endpoint"], Fleet::name(&fleet.gateways[1]));
    assert_eq!(logs[1]["tollgate"]["source"], "backend");
    assert_eq!(logs[1]["tollgate"]["passed_on"], true);
    assert_eq!(logs[1]["client"]["ip"], "127.0.0.1");
    assert_eq!(logs[1]["tollgate"]["client"], "budget-app");
    let metrics = fleet.gateways[0].metrics().await;
    assert!(metrics.contains(r#"tollgate_forwarded_total{outcome="answered"} 1"#), "{metrics}");
    assert!(metrics.contains("tollgate_forward_duration_seconds_count 1"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_to_the_owner_as_it_came_and_is_edited_once() {
    let (bank, backend) = (Bank::start().await, echo().await);
    let (fleet, account) = two(&bank, &backend).await;
    let token = bank.token("budget-app").await;
    let json_type = [("content-type", "application/json")];
    let body = json!({ "account": account }).to_string().into_bytes();
    let answer = fleet.gateways[0].send(Method::POST, "/transfers", &token, &json_type, body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen: Value = serde_json::from_str(answer.json()["body"].as_str().unwrap()).unwrap();
    assert_eq!(seen, json!({ "account": account, "seen": true }));

    let large = vec![b'x'; 1_000_000];
    let path = format!("/echo/{account}");
    let answer = fleet.gateways[0].send(Method::POST, &path, &token, &[], large.clone()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["body"].as_str().unwrap().len(), large.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_an_account_is_answered_where_it_arrived() {
    let (bank, backend) = (Bank::start().await, echo().await);
    let (fleet, _) = two(&bank, &backend).await;
    let token = bank.token("budget-app").await;
    for gateway in &fleet.gateways {
        assert_eq!(gateway.get("/rates", &token).await.status, 200);
        let metrics = gateway.metrics().await;
        assert!(!metrics.contains("tollgate_forwarded_total{"), "{metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_outside_the_fleet_can_speak_in_a_gateways_name() {
    let (bank, backend) = (Bank::start().await, echo().await);
    let (fleet, account) = two(&bank, &backend).await;
    let passport =
        json!({ "peer": "127.0.0.1", "caller": { "provider": "bank", "client": "forged" } });
    let passport = URL_SAFE_NO_PAD.encode(passport.to_string());
    let path = format!("/echo/{account}");
    for gateway in &fleet.gateways {
        let forged = [("x-tollgate-passport", passport.as_str())];
        let answer = gateway.get_with(&path, "", &forged).await;
        assert_eq!(answer.status, 401, "on a client's port a passport is nothing: {answer:?}");
    }
    let owner = Fleet::name(&fleet.gateways[1]);
    let stranger = crate::support::tls::Authority::new("stranger").sign("stranger", &["stranger"]);
    for identity in [None, Some(&stranger)] {
        let error = fleet_port(&fleet, identity).get(format!("https://{owner}{path}")).send().await;
        assert!(error.is_err(), "{error:?}");
    }
    let member = fleet.authority.sign("member", &["127.0.0.1"]);
    let client = fleet_port(&fleet, Some(&member));
    let bare = client.get(format!("https://{owner}{path}")).send().await.unwrap();
    assert_eq!(bare.status(), 400, "a gateway always shows a passport");
    let passed = client
        .get(format!("https://{owner}{path}"))
        .header("x-tollgate-passport", &passport)
        .send()
        .await
        .unwrap();
    assert_eq!(passed.status(), 200);
    let elsewhere = fleet.account_of(0).await;
    let wrong = client
        .get(format!("https://{owner}/echo/{elsewhere}"))
        .header("x-tollgate-passport", &passport)
        .send()
        .await
        .unwrap();
    assert_eq!(wrong.status(), 421, "one hop and no further");
}

/// A client of the fleet's port that shows this certificate.
fn fleet_port(fleet: &Fleet, identity: Option<&crate::support::tls::Signed>) -> reqwest::Client {
    let authority = reqwest::Certificate::from_pem(fleet.authority.pem().as_bytes()).unwrap();
    let mut builder = reqwest::Client::builder().add_root_certificate(authority);
    if let Some(signed) = identity {
        let identity =
            reqwest::Identity::from_pkcs8_pem(signed.certificate.as_bytes(), signed.key.as_bytes());
        builder = builder.identity(identity.unwrap());
    }
    builder.build().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_routes_deadline_counts_from_the_gateway_of_arrival() {
    let (bank, backend) = (Bank::start().await, echo().await);
    let (fleet, account) = two(&bank, &backend).await;
    bank.delay(30_000).await;
    let answer = fleet.gateways[0].get(&format!("/slow/{account}"), "").await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (504, "deadline-exceeded"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_noticed_by_the_owner_and_its_backend() {
    let (bank, backend) = (Bank::start().await, echo().await);
    let (fleet, account) = two(&bank, &backend).await;
    let routes = format!("/slow/{account}");
    bank.delay(30_000).await;
    let client = reqwest::Client::builder().timeout(Duration::from_millis(300)).build().unwrap();
    let left = client.get(fleet.gateways[0].url(&routes)).send().await;
    assert!(left.unwrap_err().is_timeout());
    eventually("the backend to see that nobody waits", async || {
        match bank.sum("abandoned").await {
            0 => Err("nothing was abandoned"),
            _ => Ok(()),
        }
    })
    .await;
}
