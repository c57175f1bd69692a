//! What makes a gateway load its configuration again, and what it refuses to load.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;

use super::{config, reload, saying, says, until_refused, until_says};
use crate::support::gateway::ADMIN_TOKEN;
use crate::support::wire::metric;
use crate::support::{Bank, Tollgate, eventually};

#[tokio::test]
async fn a_changed_file_an_included_one_and_a_new_one_take_effect_by_themselves() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("10.yaml");
    fs::write(&part, format!("routes:\n{}", saying("part", "one"))).unwrap();
    let include = format!("include: [\"{}/*.yaml\"]\n", folder.path().display());
    let gateway = Tollgate::start(&(include.clone() + &config(&bank, "one"))).await;
    assert_eq!(metric(&gateway, "tollgate_last_reload_ok").await, 1, "nothing was refused so far");
    until_says(&gateway, "/version", "one").await;
    until_says(&gateway, "/part", "one").await;

    gateway.rewrite_config(&(include.clone() + &config(&bank, "two")));
    until_says(&gateway, "/version", "two").await;
    fs::write(&part, format!("routes:\n{}", saying("part", "two"))).unwrap();
    until_says(&gateway, "/part", "two").await;

    let new = folder.path().join("20.yaml");
    fs::write(&new, format!("routes:\n{}", saying("new", "there"))).unwrap();
    until_says(&gateway, "/new", "there").await;
    fs::remove_file(&new).unwrap();
    eventually("the removed file's route to be gone", async || {
        let status = gateway.get("/new", "").await.status;
        if status == 404 { Ok(()) } else { Err(status) }
    })
    .await;
    // A change that follows at once on another is not lost.
    for text in ["three", "four", "five", "six"] {
        gateway.rewrite_config(&(include.clone() + &config(&bank, text)));
        until_says(&gateway, "/version", text).await;
    }
}

#[tokio::test]
async fn a_link_that_points_to_another_release_is_followed_there() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let write = |release: &str, text: &str| {
        fs::write(at(release).join("x.yaml"), format!("routes:\n{}", saying("part", text)))
            .unwrap();
    };
    for release in ["v1", "v2"] {
        fs::create_dir(at(release)).unwrap();
        write(release, release);
    }
    symlink(at("v1/x.yaml"), at("current.yaml")).unwrap();
    let include = format!("include: [\"{}\"]\n", at("current.yaml").display());
    let gateway = Tollgate::start(&(include + &config(&bank, "one"))).await;
    until_says(&gateway, "/part", "v1").await;
    symlink(at("v2/x.yaml"), at("fresh")).unwrap();
    fs::rename(at("fresh"), at("current.yaml")).unwrap();
    until_says(&gateway, "/part", "v2").await;
    write("v2", "v2.1");
    until_says(&gateway, "/part", "v2.1").await;
}

/// Where a link in the middle of a way points is no event in the folders that are watched: only a
/// reload that was asked for sees it.
fn point_to(folder: &Path, target: &str) {
    let fresh = folder.join("hidden/fresh");
    symlink(folder.join(target), &fresh).unwrap();
    fs::rename(fresh, folder.join("hidden/middle")).unwrap();
}

#[tokio::test]
async fn a_signal_and_the_admin_port_reload_what_no_watch_can_see() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for text in ["one", "two", "three"] {
        fs::create_dir(at(text)).unwrap();
        fs::write(at(text).join("x.yaml"), format!("routes:\n{}", saying("part", text))).unwrap();
    }
    fs::create_dir(at("hidden")).unwrap();
    point_to(folder.path(), "one");
    symlink(at("hidden/middle/x.yaml"), at("outer.yaml")).unwrap();
    let include = format!("include: [\"{}\"]\n", at("outer.yaml").display());
    let gateway = Tollgate::start(&(include + &config(&bank, "one"))).await;
    until_says(&gateway, "/part", "one").await;

    point_to(folder.path(), "two");
    gateway.hang_up();
    until_says(&gateway, "/part", "two").await;

    point_to(folder.path(), "three");
    let done = reload(&gateway).await;
    // The watch that the last reload made anew may have seen it first.
    assert!(done["changed"].is_boolean(), "{done}");
    assert_eq!(says(&gateway, "/part").await, "three", "in use once the call has returned");
    assert_eq!(gateway.view("/config").await["revision"], done["revision"]);
    assert_eq!(reload(&gateway).await["changed"], false);
}

#[tokio::test]
async fn a_file_that_came_in_with_a_reload_that_was_asked_for_is_watched() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("part.yaml");
    fs::write(&part, format!("routes:\n{}", saying("part", "one"))).unwrap();
    let gateway = Tollgate::start(&config(&bank, "one")).await;
    let include = format!("include: [\"{}\"]\n", part.display());
    gateway.rewrite_config(&(include + &config(&bank, "two")));
    reload(&gateway).await;
    until_says(&gateway, "/part", "one").await;
    fs::write(&part, format!("routes:\n{}", saying("part", "two"))).unwrap();
    until_says(&gateway, "/part", "two").await;
}

#[tokio::test]
async fn one_change_is_one_reload() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let gateway = Tollgate::start(&config(&bank, "one")).await;
    // The files that are read become others with each of the changes.
    for number in 1..=5 {
        let part = folder.path().join(format!("{number}.yaml"));
        fs::write(&part, format!("routes:\n{}", saying("part", &number.to_string()))).unwrap();
        let include = format!("include: [\"{}\"]\n", part.display());
        gateway.rewrite_config(&(include + &config(&bank, "one")));
        until_says(&gateway, "/part", &number.to_string()).await;
    }
    let counted = metric(&gateway, r#"tollgate_reloads_total{ok="true"}"#).await;
    assert_eq!(counted, 5);
}

#[tokio::test]
async fn a_wrong_file_changes_nothing_is_seen_everywhere_and_a_right_one_heals() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank, "one")).await;
    let before = gateway.view("/config").await;
    let wrong = config(&bank, "two").replace("authenticate: none", "authentcate: none");
    gateway.rewrite_config(&wrong);
    let error = until_refused(&gateway).await;
    assert!(error.contains("authentcate") && error.contains("tollgate.yaml:"), "{error}");
    assert!(error.contains("`authenticate`"), "the nearest key is named: {error}");
    let counted = metric(&gateway, r#"tollgate_reloads_total{ok="false"}"#).await;
    assert!(counted >= 1, "{counted}");
    let log = gateway.log();
    assert!(log.contains("reload refused") && log.contains("authentcate"), "{log}");
    assert!(!log.contains(ADMIN_TOKEN) && !error.contains(ADMIN_TOKEN), "{log}");

    assert_eq!(says(&gateway, "/version").await, "one");
    let after = gateway.view("/config").await;
    assert_eq!(after["revision"], before["revision"]);
    assert_eq!(after["configuration"], before["configuration"]);
    let asked = gateway.command("/reload", json!({})).await;
    assert_eq!(asked.status, 409);
    assert_eq!(asked.json()["detail"], error);

    gateway.rewrite_config(&config(&bank, "two"));
    until_says(&gateway, "/version", "two").await;
    assert_eq!(metric(&gateway, "tollgate_last_reload_ok").await, 1);
    let healed = gateway.view("/config").await["last_reload"].clone();
    assert!(healed["error"].is_null() && healed["at"].is_string(), "{healed}");

    // Going back to what is in use heals as well.
    gateway.rewrite_config("not: [yaml");
    until_refused(&gateway).await;
    gateway.rewrite_config(&config(&bank, "two"));
    eventually("the refusal to be over", async || {
        let ok = metric(&gateway, "tollgate_last_reload_ok").await;
        if ok == 1 { Ok(()) } else { Err(ok) }
    })
    .await;
}

#[tokio::test]
async fn a_wrong_file_that_came_in_with_a_change_is_noticed_when_it_is_corrected() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank, "one")).await;
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("part.yaml");
    fs::write(&part, "routs: []\n").unwrap();
    let include = format!("include: [\"{}\"]\n", part.display());
    gateway.rewrite_config(&(include + &config(&bank, "two")));
    let error = until_refused(&gateway).await;
    assert!(error.contains("routs") && error.contains("part.yaml:1"), "{error}");
    fs::write(&part, format!("routes:\n{}", saying("part", "right"))).unwrap();
    until_says(&gateway, "/part", "right").await;
    assert_eq!(says(&gateway, "/version").await, "two");
}

#[tokio::test]
async fn what_needs_a_restart_is_refused_with_that_reason() {
    let bank = Bank::start().await;
    let first = config(&bank, "one");
    let gateway = Tollgate::start(&first).await;
    let state = "state: { directory: FOLDER/state";
    let log = "observe: { access_log";
    for (from, to, reason) in [
        ("ADDRESS:8080", "ADDRESS:8081", "the port"),
        ("ADDRESS:9901", "ADDRESS:9902", "admin.address changed"),
        ("FOLDER/state", "FOLDER/other", "state.directory changed"),
        (state, "state: { partitions: 32, directory: FOLDER/state", "state.partitions changed"),
        (
            state,
            "state: { account_key: 0123456789abcdef0123456789abcdef, directory: FOLDER/state",
            "state.account_key changed",
        ),
        (log, "observe: { log: debug, access_log", "observe.log changed"),
        ("FOLDER/access.log", "FOLDER/other.log", "observe.access_log changed"),
    ] {
        let changed = first.replace(from, to).replace("\"one\"", "\"two\"");
        assert_ne!(changed, first.replace("\"one\"", "\"two\""), "{from} is not in the file");
        gateway.rewrite_config(&changed);
        let refused = gateway.command("/reload", json!({})).await;
        assert_eq!(refused.status, 409, "{reason}: {refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("needs a restart") && detail.contains(reason), "{detail}");
        assert!(!detail.contains("0123456789abcdef"), "{detail}");
        assert_eq!(says(&gateway, "/version").await, "one", "{reason}: all or nothing");
    }
    gateway.rewrite_config(&first);
    reload(&gateway).await;
    assert_eq!(metric(&gateway, "tollgate_last_reload_ok").await, 1);
}

#[tokio::test]
async fn a_secret_file_that_changes_is_noticed() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("admin-token");
    fs::write(&file, "first-secret\n").unwrap();
    let reference = format!("\"${{file:{}}}\"", file.display());
    let text = config(&bank, "one").replace(ADMIN_TOKEN, &reference);
    let gateway = Tollgate::start(&text).await;
    let status = async |token: &str| {
        let call = gateway.client().post(gateway.admin_url("/reload")).bearer_auth(token);
        call.send().await.unwrap().status().as_u16()
    };
    assert_eq!((status("first-secret").await, status("second-secret").await), (200, 401));

    let fresh = folder.path().join("admin-token.new");
    fs::write(&fresh, "second-secret\n").unwrap();
    fs::rename(fresh, &file).unwrap();
    eventually("the new token to be taken", async || match status("second-secret").await {
        200 => Ok(()),
        other => Err(other),
    })
    .await;
    assert_eq!(status("first-secret").await, 401);
    let view = gateway.view("/config").await.to_string();
    assert!(view.contains("admin-token") && !view.contains("-secret"), "{view}");
    assert!(!gateway.log().contains("-secret"));
}
