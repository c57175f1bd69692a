//! An account number stays in the request and in the answer: nowhere else.

use std::fs;
use std::path::Path;

use http::Method;
use serde_json::json;

use super::{World, config};
use crate::support::{Bank, Tollgate, eventually};

const ACCOUNT: &str = "DE89370400440532013000";
const OTHER: &str = "DE75512108001245126199";

const RULES: &str = "  day: { per: [account, subject, header.x-account, query.account], limit: 3, \
                     window: 24h }\n\
                     \x20 loose: { per: [account], limit: 100, window: 24h }\n";

fn routes() -> String {
    let cache = ", cache: { fresh: 1h, visible_to: client }";
    let one = |id: &str, path: &str, account: &str, to: &str, more: &str| {
        let rule = if to == "cards" { "loose" } else { "day" };
        format!(
            "  - {{ id: {id}, match: {{ path: \"{path}\" }}, authenticate: bank, \
             account: {account}, quotas: [{rule}], cluster: {to}, \
             rewrite: {{ path: \"/v1/{{account}}\" }}{more} }}\n"
        )
    };
    one("path", "/path/{account}", "path.account", "checking", cache)
        + &one("scoped", "/scoped/{account}", "path.account", "checking", ", scopes: [admin:all]")
        + &one("bad", "/bad/{account}/x", "path.account", "cards", "")
        + &one("query", "/query", "query.account", "savings", cache)
        + &one("header", "/header", "header.x-account", "savings", "")
        + &one("claim", "/claim", "claim.account", "savings", "")
        + &one("body", "/body", "body./account", "savings", "")
        + "  - { id: batch, match: { path: \"/batch/{accounts}\" }, authenticate: bank, \
           account: { from: path.accounts, separator: \",\" }, quotas: [loose], cluster: savings, \
           rewrite: { path: /echo/batch } }\n"
        + "  - { id: composed, match: { path: \"/composed/{account}\", methods: [GET] }, authenticate: bank, \
           account: path.account, quotas: [loose], compose: { parts: { \
           a: { cluster: checking, path: \"/v1/{account}\", into: a, deadline: 20s }, \
           b: { cluster: cards, path: \"/v1/{account}\", into: b, deadline: 20s, optional: true } } } }\n"
}

/// Every file below a folder: its path and what is in it.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), fs::read(&path).unwrap_or_default()));
        }
    }
    found
}

fn has(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Requests of every kind of outcome; returns how many.
async fn ask_for_all(world: &World) -> usize {
    let World { bank, gateway, token } = world;
    let named = bank.mint(json!({ "claims": { "account": ACCOUNT, "sub": ACCOUNT } })).await;
    let mut asked = 0;
    let mut ask = async |method: Method, path: String, token: &str, headers: &[(&str, &str)]| {
        asked += 1;
        let body = match method {
            Method::POST => json!({ "account": ACCOUNT }).to_string().into_bytes(),
            _ => Vec::new(),
        };
        // Some faults break the connection: that is one of the outcomes.
        let answer = gateway.try_send(method, &path, token, headers, body).await;
        answer.map_or(0, |answer| answer.status.as_u16())
    };
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(ask(Method::GET, format!("/path/{ACCOUNT}"), token, &[]).await);
    }
    assert_eq!(seen, [200, 200, 200, 429]);
    assert_eq!(ask(Method::GET, format!("/path/{ACCOUNT}"), "", &[]).await, 401);
    assert_eq!(ask(Method::GET, format!("/path/{ACCOUNT}"), "forged.to.ken", &[]).await, 401);
    assert_eq!(ask(Method::GET, format!("/scoped/{ACCOUNT}"), token, &[]).await, 403);
    assert_eq!(ask(Method::GET, format!("/query?account={ACCOUNT}"), token, &[]).await, 200);
    assert_eq!(ask(Method::GET, "/header".into(), token, &[("x-account", ACCOUNT)]).await, 200);
    assert_eq!(ask(Method::GET, "/claim".into(), &named, &[]).await, 200);
    assert_eq!(ask(Method::DELETE, format!("/composed/{ACCOUNT}"), token, &[]).await, 405);
    assert_eq!(ask(Method::GET, format!("/pathh/{ACCOUNT}/x"), token, &[]).await, 404);
    let json_type = [("content-type", "application/json")];
    // The bank takes no POST there: the answer doesn't matter.
    ask(Method::POST, "/body".into(), &named, &json_type).await;
    assert_eq!(ask(Method::GET, format!("/batch/{ACCOUNT},{OTHER}"), token, &[]).await, 200);
    for fault in ["500", "cut", "down", "garbage"] {
        bank.fault("cards", fault).await;
        ask(Method::GET, format!("/bad/{OTHER}/x"), token, &[]).await;
        ask(Method::GET, format!("/composed/{OTHER}"), token, &[]).await;
    }
    asked
}

#[tokio::test]
async fn an_account_number_stands_in_no_log_no_metric_no_view_and_no_file() {
    let bank = Bank::start().await;
    let text = config(&bank, RULES, &routes())
        .replace("observe: {", "observe: { log: \"info,tollgate=debug\",");
    let gateway = Tollgate::start(&text).await;
    let token = bank.token("budget-app").await;
    let mut world = World { bank, gateway, token };
    let asked = ask_for_all(&world).await;

    let log = world.gateway.folder().join("access.log");
    let lines = eventually("every request's line", async || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        if text.lines().count() >= asked { Ok(text) } else { Err(text.lines().count()) }
    })
    .await;
    for number in [ACCOUNT, OTHER] {
        let leak = lines.lines().find(|line| line.contains(number));
        assert_eq!(leak, None, "the access log has an account number");
        for (path, view) in [
            ("the log", world.gateway.log()),
            ("/metrics", world.gateway.metrics().await),
            ("/quotas", world.gateway.view(&format!("/quotas/{number}")).await.to_string()),
            ("/cache", world.gateway.view(&format!("/cache/{number}")).await.to_string()),
        ] {
            let leak = view.lines().find(|line| line.contains(number));
            assert_eq!(leak, None, "{path} has an account number");
        }
    }
    assert!(lines.contains("{account}"), "what was masked is marked as such");
    assert!(world.used(ACCOUNT, "day").await > 0 && world.used(OTHER, "loose").await > 0);

    // An orderly end, so that all is on disk.
    world.gateway.process().signal("TERM");
    eventually("the end", async || world.gateway.process().exited().ok_or("it runs")).await;
    let state = files(&world.gateway.folder().join("state"));
    assert!(state.iter().any(|(path, _)| path.contains("/cache/")), "answers were kept");
    for (path, bytes) in state {
        for number in [ACCOUNT, OTHER] {
            assert!(!path.contains(number) && !has(&bytes, number), "{path} has an account number");
        }
    }
}
