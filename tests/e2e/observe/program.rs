//! The program's own log, and who may read what it writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::Value;

use crate::support::gateway::base_config;
use crate::support::{Bank, Tollgate, eventually};

const ROUTES: &str = r#"quotas:
  daily: { per: [account], limit: 100, window: 24h }
routes:
  - id: kept
    match: { path: "/kept/{account}" }
    authenticate: none
    account: path.account
    quotas: [daily]
    cluster: checking
    rewrite: { path: "/v1/{account}" }
    cache: { fresh: 1s, visible_to: everyone, stale_if_error: 1h }
"#;

fn lines(gateway: &Tollgate) -> Vec<Value> {
    let log = gateway.log();
    log.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}")))
        .collect()
}

#[tokio::test]
async fn the_log_says_what_serves_where_and_nothing_of_the_machine_that_built_it() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&(base_config(&bank) + ROUTES)).await;
    // The admin port answers a moment before.
    let serving = eventually("the line that it serves", async || {
        let mut all = lines(&gateway);
        let serving = all.iter().position(|line| line["fields"]["message"] == "serving");
        serving.map(|at| all.remove(at)).ok_or(all)
    })
    .await;
    let fields = &serving["fields"];
    assert_eq!(fields["listening"], format!("http://{}:8080", gateway.address()));
    assert_eq!(fields["admin"], format!("{}:9901", gateway.address()));
    assert_eq!(fields["routes"], 1);
    assert!(fields["version"].is_string() && fields["commit"].is_string(), "{serving}");

    // A backend that fails makes Pingora talk: of a request by its number, not by its path.
    assert_eq!(gateway.get("/kept/4711", "").await.status, 200);
    bank.fault("checking", "refuse").await;
    let told = eventually("Pingora to tell of the stale answer", async || {
        let id = gateway.get("/kept/4711", "").await.header("x-request-id").to_owned();
        let log = gateway.log();
        let line = log.lines().find(|line| line.contains(&format!("request {id}")));
        line.map(str::to_owned).ok_or(id)
    })
    .await;
    assert!(told.contains("pingora_proxy") && !told.contains("/kept"), "{told}");
    let log = gateway.log();
    for trace in ["/registry/", "/rustc/", "/home/", "log.file", "/kept"] {
        assert!(!log.contains(trace), "{trace} stands in\n{log}");
    }
    for line in lines(&gateway) {
        let own = line["target"].as_str().is_some_and(|target| target.starts_with("tollgate"));
        assert!(own || line["level"] != "INFO", "{line}");
    }
}

fn assert_private(path: &Path) {
    let mode = fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| assert_private(&entry.unwrap().path()));
    }
}

#[tokio::test]
async fn what_is_kept_is_for_this_user_alone_and_the_access_log_for_its_group_as_well() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&(base_config(&bank) + ROUTES)).await;
    assert_eq!(gateway.get("/kept/4711", "").await.status, 200);
    eventually("the answer to be on disk", async || {
        let queued = gateway.view("/cache").await["queued"].as_u64();
        if queued == Some(0) { Ok(()) } else { Err(queued) }
    })
    .await;
    gateway.crash_and_restart().await;
    let state = gateway.folder().join("state");
    for part in ["journal/store", "journal/confirmed", "cache", "account.key", "sealing.key"] {
        assert!(state.join(part).exists(), "{part}");
    }
    assert_private(&state);
    let log = gateway.folder().join("access.log");
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o640);
    // A mode that somebody has chosen stays.
    fs::set_permissions(&log, fs::Permissions::from_mode(0o604)).unwrap();
    gateway.crash_and_restart().await;
    assert_eq!(fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o604);
}
