//! What is looked up when metrics are asked for, and where a request's time went.

use serde_json::json;

use crate::support::gateway::base_config;
use crate::support::wire::{Wire, logged, metric, metric_becomes};
use crate::support::{Bank, Tollgate, eventually};

fn config(bank: &Bank) -> String {
    let port = bank.port("loans");
    base_config(bank)
        + &format!(
            "  ejected: {{ endpoints: [127.0.0.1:{port}], ejection: {{ consecutive_failures: 1, \
             period: 2s, max_percent: 100 }} }}\n"
        )
        + r#"routes:
  - { id: ejected, match: { path: "/ejected/{account}" }, authenticate: none, account: path.account, cluster: ejected, rewrite: { path: "/v1/{account}" } }
  - id: kept
    match: { path: "/kept/{account}" }
    authenticate: none
    account: path.account
    cluster: checking
    rewrite: { path: "/v1/{account}" }
    cache: { fresh: 1h, visible_to: everyone }
    response: { body: [{ drop: /secret }] }
  - id: composed
    match: { path: "/composed/{account}", methods: [GET] }
    authenticate: none
    account: path.account
    compose: { parts: { a: { cluster: savings, path: "/v1/{account}", into: a } } }
"#
}

#[tokio::test]
async fn build_process_connections_and_cache_can_be_watched() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let text = gateway.metrics().await;
    assert!(text.contains(r#"tollgate_build_info{version=""#), "{text}");
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse::<f64>().unwrap()
    };
    assert!(value("process_resident_memory_bytes") > 1e6);
    assert!(value("process_cpu_seconds_total") > 0.0);
    assert!(
        value("process_open_fds") > 5.0 && value("process_max_fds") > value("process_open_fds")
    );
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - value("process_start_time_seconds")).abs() < 600.0);
    assert_eq!((value("tollgate_ready"), value("tollgate_degraded")), (1.0, 0.0));
    assert!(value("tollgate_state_disk_available_bytes") > 1e6);

    let open = format!("tollgate_open_connections{{listener=\"{}:8080\"}}", gateway.address());
    let before = metric(&gateway, &open).await;
    let held = [Wire::to(&gateway, 8080).await, Wire::to(&gateway, 8080).await];
    metric_becomes(&gateway, &open, before + 2).await;
    drop(held);
    metric_becomes(&gateway, &open, before).await;

    let [bytes, entries] = ["bytes", "entries"].map(|what| {
        ["memory", "disk"].map(|tier| format!("tollgate_cache_{what}{{tier=\"{tier}\"}}"))
    });
    assert_eq!(metric(&gateway, &entries[0]).await, 0);
    assert_eq!(gateway.get("/kept/4711", "").await.status, 200);
    for tier in 0..2 {
        metric_becomes(&gateway, &entries[tier], 1).await;
        assert!(metric(&gateway, &bytes[tier]).await > 100, "{}", bytes[tier]);
    }
    assert_eq!(gateway.command("/cache/purge", json!({ "all": true })).await.status, 200);
    metric_becomes(&gateway, &entries[1], 0).await;
}

#[tokio::test]
async fn an_endpoint_that_is_taken_out_shows_and_so_do_those_that_nobody_checks() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let port = bank.port("loans");
    let healthy = |cluster: &str| {
        format!("tollgate_endpoint_healthy{{cluster=\"{cluster}\",endpoint=\"127.0.0.1:{port}\"}}")
    };
    assert_eq!(metric(&gateway, &healthy("loans")).await, 1, "it has no checks");
    assert_eq!(metric(&gateway, &healthy("ejected")).await, 1);
    bank.fault("loans", "500").await;
    gateway.get("/ejected/4711", "").await;
    assert_eq!(metric(&gateway, &healthy("ejected")).await, 0);
    assert_eq!(metric(&gateway, &healthy("loans")).await, 1, "another cluster's failures");
    bank.fault("loans", "ok").await;
    metric_becomes(&gateway, &healthy("ejected"), 1).await;

    let text = std::fs::read_to_string(gateway.folder().join("tollgate.yaml")).unwrap();
    let gone = text.replace(&format!("  loans: {{ endpoints: [127.0.0.1:{port}] }}\n"), "");
    assert_ne!(gone, text);
    std::fs::write(gateway.folder().join("tollgate.yaml"), gone).unwrap();
    eventually("the cluster's series to go", async || {
        let text = gateway.metrics().await;
        if text.contains("cluster=\"loans\"") { Err("there") } else { Ok(()) }
    })
    .await;
}

#[tokio::test]
async fn the_log_and_the_metrics_say_where_the_time_went_up_to_the_answer() {
    let bank = Bank::start().await;
    bank.delay(60).await;
    let gateway = Tollgate::start(&config(&bank)).await;
    for (path, stages) in [
        ("/kept/4711", &["vault", "upstream", "transform"][..]),
        ("/kept/4711", &["vault"]),
        ("/composed/4711", &["compose"]),
        ("/ejected/4711", &["upstream"]),
    ] {
        let answer = gateway.get(path, "").await;
        assert_eq!(answer.status, 200);
        let line = logged(&gateway, answer.header("x-request-id")).await;
        let times = line["tollgate"]["stage_us"].as_object().unwrap();
        let after: Vec<&String> =
            times.keys().skip_while(|stage| *stage != "quota").skip(1).collect();
        assert_eq!(after, stages, "{path}: {line}");
        // The bank takes its time, and that is where it is seen.
        for stage in ["upstream", "compose"] {
            let time = times.get(stage).map(|time| time.as_u64().unwrap());
            assert!(time.is_none_or(|time| time >= 50_000), "{path}: {line}");
        }
        let known: u64 = times.values().map(|time| time.as_u64().unwrap()).sum();
        let whole = line["event"]["duration"].as_u64().unwrap() / 1_000;
        assert!(known <= whole + times.len() as u64, "{line}");
    }
    for (stage, count) in [("vault", 2), ("upstream", 2), ("compose", 1), ("transform", 1)] {
        let series = format!("tollgate_stage_duration_seconds_count{{stage=\"{stage}\"}}");
        assert_eq!(metric(&gateway, &series).await, count, "{stage}");
    }
}
