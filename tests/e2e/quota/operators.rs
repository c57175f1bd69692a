//! What operators see and do: command line, admin port, reload.

use std::process::Command;

use serde_json::{Value, json};

use super::{World, buckets, config, route};
use crate::support::gateway::ADMIN_TOKEN;

/// Runs `tollgate quota …` against the gateway; exit status, output, errors.
fn quota(world: &World, token: Option<&str>, arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.arg("quota").args(arguments).args(["--admin", &world.gateway.admin_url("")]);
    command.env_remove("TOLLGATE_ADMIN_TOKEN");
    if let Some(token) = token {
        command.env("TOLLGATE_ADMIN_TOKEN", token);
    }
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn an_operator_sees_what_an_account_has_used_and_gives_it_back() {
    let rules = "  day: { per: [account, client], limit: 2, window: 24h }\n\
                 \x20 month: { per: [account], limit: 50, window: 30d }\n";
    let world = World::start(rules, &route("all", "day, month")).await;
    let (status, out, _) = quota(&world, None, &["show", "4711"]);
    assert_eq!((status, out.trim()), (0, "no uses are counted for this account"));

    assert_eq!(world.statuses("/all/4711", 3).await, [200, 200, 429]);
    assert_eq!(world.get("/all/4712").await.status, 200);
    let (status, out, _) = quota(&world, None, &["show", "4711"]);
    assert_eq!(status, 0);
    let day = out.lines().find(|line| line.starts_with("day")).unwrap_or_else(|| panic!("{out}"));
    assert!(day.contains("client=budget-app") && day.contains("2 of 2"), "{day}");
    assert!(out.lines().any(|line| line.starts_with("month") && line.contains("2 of 50")), "{out}");
    let (_, out, _) = quota(&world, None, &["show", "4711", "--json"]);
    let view: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(view, world.gateway.view("/quotas/4711").await);
    assert!(!out.contains("4711"), "{out}");

    let (status, _, refused) = quota(&world, None, &["reset", "4711"]);
    assert!(status == 1 && refused.contains("401") && refused.contains("admin token"), "{refused}");
    let (status, _, _) = quota(&world, Some("wrong"), &["reset", "4711"]);
    assert_eq!(status, 1);
    assert_eq!(world.get("/all/4711").await.status, 429, "nothing was given back");
    let (status, out, _) = quota(&world, Some(ADMIN_TOKEN), &["reset", "4711"]);
    assert_eq!((status, out.trim()), (0, "given back: 2 counts"));
    let (status, out, _) = quota(&world, Some(ADMIN_TOKEN), &["reset", "4711"]);
    assert_eq!((status, out.trim()), (0, "given back: 0 counts"), "nothing was left");
    assert_eq!(world.statuses("/all/4711", 3).await, [200, 200, 429]);
    assert_eq!(world.used("4712", "month").await, 1, "other accounts keep their counts");

    let (status, _, error) = quota(&world, None, &["show", &"9".repeat(200)]);
    assert!(status == 2 && error.contains("longer than 128 bytes"), "{error}");
    let nobody = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .args(["quota", "show", "4711", "--admin", "http://127.0.0.1:9"])
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("can't be reached"));
}

#[tokio::test]
async fn what_an_operator_gave_back_stays_given_back_after_a_crash() {
    let rules = "  day: { per: [account], limit: 3, window: 24h }\n";
    let mut world = World::start(rules, &route("all", "day")).await;
    assert_eq!(world.statuses("/all/4711", 4).await, [200, 200, 200, 429]);
    let done = world.gateway.command("/quotas/4711/reset", json!({})).await;
    assert_eq!((done.status.as_u16(), &done.json()["buckets"]), (200, &json!(1)));
    assert_eq!(world.get("/all/4711").await.status, 200);
    world.gateway.crash_and_restart().await;
    assert_eq!(world.used("4711", "day").await, 1);
    assert_eq!(world.statuses("/all/4711", 3).await, [200, 200, 429]);
}

#[tokio::test]
async fn a_limit_changed_by_a_reload_keeps_the_counts() {
    let rules = |limit: u64| format!("  day: {{ per: [account], limit: {limit}, window: 24h }}\n");
    let world = World::start(&rules(3), &route("all", "day")).await;
    assert_eq!(world.statuses("/all/4711", 4).await, [200, 200, 200, 429]);
    let reload = async |limit| {
        world.gateway.rewrite_config(&config(&world.bank, &rules(limit), &route("all", "day")));
        let done = world.gateway.command("/reload", json!({})).await;
        assert_eq!(done.status, 200, "{done:?}");
        let seen = buckets(&world.gateway, "4711", "day").await;
        assert_eq!(seen[0]["limit"], limit, "{seen:?}");
    };
    reload(5).await;
    assert_eq!(world.statuses("/all/4711", 3).await, [200, 200, 429], "two more than before");
    reload(2).await;
    let refused = world.get("/all/4711").await;
    assert_eq!(refused.status, 429);
    assert_eq!((&refused.json()["limit"], &refused.json()["used"]), (&json!(2), &json!(5)));
    assert_eq!(world.statuses("/all/4712", 3).await, [200, 200, 429]);
}
