//! Purges by operators.

use std::process::{Command, Output};

use serde_json::{Value, json};

use super::{config, route, until_on_disk};
use crate::support::gateway::ADMIN_TOKEN;
use crate::support::{Bank, Tollgate};

fn tollgate(gateway: &Tollgate, arguments: &[&str], token: Option<&str>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).env("TOLLGATE_ADMIN", gateway.admin_url(""));
    if let Some(token) = token {
        command.env("TOLLGATE_ADMIN_TOKEN", token);
    }
    command.output().unwrap()
}

/// Fills two routes for two accounts, then says which of the four are still there.
async fn kept(gateway: &Tollgate, caller: &str) -> Vec<bool> {
    let mut kept = Vec::new();
    for path in ["/one/4711", "/one/4712", "/two/4711", "/two/4712"] {
        kept.push(gateway.get(path, caller).await.is_hit());
    }
    kept
}

#[tokio::test]
async fn operators_purge_by_account_by_route_or_everything() {
    let bank = Bank::start().await;
    let cache = "fresh: 1h, visible_to: client";
    let text = config(&bank, "routes:\n") + &route("one", cache) + &route("two", cache);
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    kept(&gateway, &caller).await;
    let purges: [(Value, &[&str], [bool; 4]); 3] = [
        (json!({ "account": "4711" }), &["--account", "4711"], [false, true, false, true]),
        (json!({ "route": "two" }), &["--route", "two"], [true, true, false, false]),
        (json!({ "all": true }), &["--all"], [false; 4]),
    ];
    for (body, flags, left) in purges {
        assert_eq!(kept(&gateway, &caller).await, [true; 4]);
        let done = gateway.command("/cache/purge", body).await;
        assert_eq!(done.status, 200, "{done:?}");
        assert_eq!(kept(&gateway, &caller).await, left, "{flags:?}");

        assert_eq!(kept(&gateway, &caller).await, [true; 4]);
        let done = tollgate(&gateway, &[&["cache", "purge"], flags].concat(), Some(ADMIN_TOKEN));
        assert!(done.status.success(), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stdout).contains("removed"), "{done:?}");
        assert_eq!(kept(&gateway, &caller).await, left, "{flags:?} by command");
    }
    let shown = tollgate(&gateway, &["cache", "show", "4711"], None);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.status.success() && text.lines().count() == 2, "{shown:?}");
    assert!(text.contains("visible to client") && text.contains("fresh until"), "{text}");
}

#[tokio::test]
async fn nobody_purges_without_the_admin_token() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &route("one", "fresh: 1h, visible_to: client");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    gateway.get("/one/4711", &caller).await;
    for wrong in [None, Some("wrong"), Some(&*format!("{ADMIN_TOKEN}x")), Some("")] {
        let mut request =
            gateway.client().post(gateway.admin_url("/cache/purge")).json(&json!({ "all": true }));
        if let Some(token) = wrong {
            request = request.bearer_auth(token);
        }
        assert_eq!(request.send().await.unwrap().status(), 401, "{wrong:?}");
    }
    let refused = tollgate(&gateway, &["cache", "purge", "--all"], None);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("refused (401)"), "{refused:?}");
    assert!(gateway.get("/one/4711", &caller).await.is_hit());
    let nonsense = gateway.command("/cache/purge", json!({ "everything": true })).await;
    assert!(nonsense.status.is_client_error(), "{nonsense:?}");

    // Without a token in the configuration nobody may, and only a loopback address goes without.
    let tokenless = text.replace(&format!(", token: {ADMIN_TOKEN}"), "");
    let gateway = Tollgate::start(&tokenless).await;
    let refused = gateway.command("/cache/purge", json!({ "all": true })).await;
    assert_eq!(refused.status, 403, "{refused:?}");
}

#[tokio::test]
async fn a_purge_survives_kill_9() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &route("one", "fresh: 1h, visible_to: client");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    gateway.get("/one/4711", &caller).await;
    until_on_disk(&gateway, 1).await;
    assert_eq!(gateway.command("/cache/purge", json!({ "account": "4711" })).await.status, 200);
    gateway.crash_and_restart().await;
    let after = gateway.get("/one/4711", &caller).await;
    assert!(after.status == 200 && !after.is_hit(), "{after:?}");
}
