//! What operators see: the access log, metrics, the program's own log.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::{Value, json};

use crate::support::gateway::base_config;
use crate::support::wire::{Wire, ask, logged, metric, metric_becomes};
use crate::support::{Answer, Bank, Tollgate, eventually};

mod certificates;
mod gauges;
mod masking;
mod program;
mod why;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/access-log.json");
const NAMES: &str = include_str!("../../src/observe/names.rs");

fn routes() -> &'static str {
    r#"quotas:
  daily: { per: [account, client], limit: 3, window: 24h }
routes:
  - id: summary
    match: { path: "/accounts/{account}/summary", methods: [GET] }
    authenticate: bank
    account: path.account
    quotas: [daily]
    cache: { fresh: 1h, visible_to: client }
    compose:
      parts:
        checking: { cluster: checking, path: "/v1/{account}", into: accounts.checking }
        cards: { cluster: cards, path: "/v1/{account}", into: accounts.cards, optional: true }
  - id: proxied
    match: { path: "/own/{account}" }
    authenticate: none
    account: path.account
    cluster: savings
    rewrite: { path: "/v1/{account}" }
  - id: fixed
    match: { path: /fixed }
    authenticate: none
    answer: { body: fixed }
"#
}

fn config(bank: &Bank) -> String {
    base_config(bank) + routes()
}

/// Everything that differs from run to run, replaced by what it is.
fn masked(mut line: Value, gateway: &Tollgate, bank: &Bank) -> Value {
    let mut put = |pointer: &str, kind: &str, is: fn(&Value) -> bool| {
        if let Some(place) = line.pointer_mut(pointer) {
            assert!(is(place), "{pointer}: {place} is no {kind}");
            *place = json!(format!("<{kind}>"));
        }
    };
    put("/@timestamp", "time", |value| {
        value.as_str().is_some_and(|text| text.len() == 24 && text.ends_with('Z'))
    });
    put("/event/duration", "nanoseconds", |value| value.as_u64().is_some_and(|it| it > 1_000));
    put("/trace/id", "trace id", |value| {
        value.as_str().is_some_and(|text| text.len() == 32 && !text.contains('-'))
    });
    put("/tollgate/account", "keyed hash", |value| {
        value.as_str().is_some_and(|text| text.len() >= 32 && !text.contains("4711"))
    });
    put("/http/response/body/bytes", "bytes", Value::is_u64);
    // Which partition an account has depends on the gateway's own key.
    if let Some(Value::String(detail)) = line.pointer_mut("/tollgate/detail")
        && let Some((before, _)) = detail.split_once(" offset ")
    {
        *detail = format!("{before} <offset and partition>");
    }
    if let Some(stages) = line.pointer_mut("/tollgate/stage_us").and_then(Value::as_object_mut) {
        for (stage, time) in stages {
            assert!(time.as_f64().is_some_and(|time| time >= 0.0), "{stage}: {time}");
            *time = json!("<microseconds>");
        }
    }
    let mut text = line.to_string().replace(&gateway.address().to_string(), "<gateway>");
    for service in ["checking", "savings", "cards"] {
        text = text.replace(&format!("127.0.0.1:{}", bank.port(service)), &format!("<{service}>"));
    }
    serde_json::from_str(&text).unwrap()
}

/// Stages behind the checks, which not every request meets.
const ANSWERING: [&str; 4] = ["vault", "upstream", "compose", "transform"];

/// The whole access log without what is drawn by chance or measured: that may look like anything.
fn told(gateway: &Tollgate) -> String {
    let log = fs::read_to_string(gateway.folder().join("access.log")).unwrap();
    let mut told = String::new();
    for line in log.lines() {
        let mut line: Value = serde_json::from_str(line).unwrap();
        for chance in [
            "/@timestamp",
            "/event",
            "/trace",
            "/http/request/id",
            "/http/response/body",
            "/tollgate/account",
            "/tollgate/endpoint",
            "/tollgate/stage_us",
        ] {
            line.pointer_mut(chance).map(Value::take);
        }
        told += &format!("{line}\n");
    }
    told
}

async fn line_of(gateway: &Tollgate, answer: &Answer) -> Value {
    logged(gateway, answer.header("x-request-id")).await
}

/// With UPDATE_GOLDEN=1 the file is written anew.
#[tokio::test]
async fn a_line_of_the_access_log_has_these_members() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    let ask = async |name: &'static str, path: &str, token: &str| {
        let headers = [("x-request-id", name)];
        let answer = gateway.get_with(path, token, &headers).await;
        assert_eq!(answer.header("x-request-id"), name, "{answer:?}");
        (name, masked(logged(&gateway, name).await, &gateway, &bank))
    };
    let mut lines = vec![
        ask("composed", "/accounts/4711/summary", &token).await,
        ask("cached", "/accounts/4711/summary", &token).await,
        ask("unauthenticated", "/accounts/4711/summary", "").await,
        ask("proxied", "/own/4711", "").await,
        ask("fixed", "/fixed?secret=1", "").await,
        ask("unknown-route", "/nothing", "").await,
    ];
    bank.fault("cards", "500").await;
    lines.push(ask("partial", "/accounts/4712/summary", &token).await);
    bank.fault("cards", "ok").await;
    lines.push(ask("last-use", "/accounts/4711/summary", &token).await);
    lines.push(ask("used-up", "/accounts/4711/summary", &token).await);
    bank.fault("savings", "refuse").await;
    let mut unreachable = ask("unreachable", "/own/4711", "").await;
    // One more if the gateway finds a pooled connection closed first.
    unreachable.1["tollgate"]["tries"] = "1 or 2".into();
    lines.push(unreachable);
    let seen: serde_json::Map<_, _> =
        lines.into_iter().map(|(name, line)| (name.to_owned(), line)).collect();
    let seen = format!("{:#}\n", Value::Object(seen));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(GOLDEN, &seen).unwrap();
    }
    let golden = fs::read_to_string(GOLDEN).unwrap_or_default();
    assert!(seen == golden, "{GOLDEN} (UPDATE_GOLDEN=1) differs from\n{seen}");

    let one = line_of(&gateway, &gateway.get("/accounts/4711/summary", &token).await).await;
    let other = line_of(&gateway, &gateway.get("/accounts/4712/summary", &token).await).await;
    assert_ne!(one["tollgate"]["account"], other["tollgate"]["account"]);
    let log = told(&gateway);
    assert!(!log.contains("4711") && !log.contains("4712") && !log.contains("eyJ"), "{log}");
}

#[tokio::test]
async fn every_request_has_one_line_and_stage_times_add_up() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&config(&bank)).await;
    let token = bank.token("budget-app").await;
    let mut ids = Vec::new();
    for number in 0..5 {
        for (path, token) in [
            ("/accounts/4711/summary", &*token),
            ("/accounts/4711/summary", ""),
            ("/own/4711", ""),
            ("/fixed", ""),
            ("/nothing", ""),
            ("/%00", ""),
        ] {
            let answer = gateway.get(path, token).await;
            assert_eq!(answer.headers.get_all("x-request-id").iter().count(), 1, "{number} {path}");
            ids.push(answer.header("x-request-id").to_owned());
        }
    }
    // The listener refuses this one itself.
    let refused = ask(&gateway, "GET /fixed HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n").await;
    assert_eq!(refused.status, 400);
    ids.push(refused.header("x-request-id").to_owned());

    gateway.process().signal("TERM");
    eventually("the process to exit", async || gateway.process().exited().ok_or("still there"))
        .await;
    let log = fs::read_to_string(gateway.folder().join("access.log")).unwrap();
    let mut logged = Vec::new();
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        logged.push(line["http"]["request"]["id"].as_str().unwrap().to_owned());
        let stages = line["tollgate"]["stage_us"].as_object().unwrap();
        let sum: f64 = stages.values().map(|time| time.as_f64().unwrap()).sum();
        let whole = line["event"]["duration"].as_f64().unwrap() / 1e3;
        assert!(sum <= whole + stages.len() as f64, "{line}");
        // The one that refused is the last.
        let passed = match line["tollgate"]["problem"].as_str() {
            None | Some("quota-exceeded") => {
                &["route", "auth", "access", "limit", "guard", "account", "quota"][..]
            }
            Some("unauthenticated") => &["route", "auth"],
            Some("no-route" | "bad-path") => &["route"],
            Some("bad-request") => &[],
            Some(other) => panic!("{other}"),
        };
        let (admitting, answering): (Vec<_>, Vec<_>) =
            stages.keys().partition(|stage| !ANSWERING.contains(&stage.as_str()));
        assert_eq!(admitting, passed, "{line}");
        assert!(answering.is_empty() || admitting.len() == 7, "{line}");
    }
    logged.sort();
    ids.sort();
    assert_eq!(logged, ids);
}

/// Names as they stand in `/metrics`, from the one place that has them.
fn metric_names() -> Vec<&'static str> {
    let texts = NAMES.split("pub const fn help").next().unwrap();
    texts.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect()
}

/// What only a fleet counts, or a journal that has failed.
const OTHERS_METRICS: [&str; 4] = [
    "tollgate_forwarded",
    "tollgate_journal_append_failures",
    "tollgate_journal_lag",
    "tollgate_journal_corrupt_records",
];

/// Lets everything happen that is counted.
async fn use_everything(bank: &Bank, gateway: &Tollgate) {
    let token = bank.token("budget-app").await;
    for _ in 0..4 {
        gateway.get("/accounts/4711/summary", &token).await;
    }
    let wire = ask(gateway, "GET / HTTP/1.1\r\nbad header\r\n\r\n").await;
    assert_eq!(wire.status, 400);
    bank.fault("loans", "500").await;
    // Three second tries are always allowed in ten seconds.
    for _ in 0..6 {
        gateway.get("/retried/4711", "").await;
    }
    gateway.get("/ejected/4711", "").await;
    assert_eq!(gateway.command("/reload", json!({})).await.status, 200);
}

/// What is only counted in a fleet, where there is TLS, or when the journal or cache feed is in
/// trouble; tests of those look at it.
const FLEETS: &[&str] = &[
    "tollgate_forward",
    "tollgate_journal_append_failures",
    "tollgate_journal_lag",
    "tollgate_journal_replayed",
    "tollgate_journal_corrupt",
    "tollgate_cache_feed",
    "tollgate_change_events",
    "tollgate_certificate",
];

#[tokio::test]
async fn every_metric_is_there_once_what_it_counts_has_happened() {
    let bank = Bank::start().await;
    let port = bank.port("loans");
    let own = |id: &str, extra: &str| {
        format!(
            "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: none\n    \
             account: path.account\n    cluster: {id}\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n{extra}"
        )
    };
    let clusters = format!(
        "  retried: {{ endpoints: [\"localhost:{port}\", \"127.0.0.1:{port}\"], retries: {{ attempts: 1, budget_percent: 1, on: [500] }} }}\n\
         \x20 ejected: {{ endpoints: [127.0.0.1:{port}], health: {{ path: /healthz }}, \
         ejection: {{ consecutive_failures: 1, max_percent: 100 }} }}\nquotas:\n"
    );
    let text = config(&bank).replacen("quotas:\n", &clusters, 1)
        + &own("retried", "")
        + &own("ejected", "");
    let gateway = Tollgate::start(&text).await;
    assert_eq!(gateway.upgrade().await.status, 200);
    use_everything(&bank, &gateway).await;
    let mut names = metric_names();
    names.retain(|name| !OTHERS_METRICS.contains(name));
    assert!(names.len() >= 30, "{names:?}");
    eventually("every metric", async || {
        let text = gateway.metrics().await;
        let has = |name: &str| {
            let sample = |line: &str| {
                line.strip_prefix(name).is_some_and(|rest| {
                    let ends = ["", "_total", "_seconds", "_seconds_count", "_seconds_bucket"];
                    ends.iter().any(|end| {
                        let rest = rest.strip_prefix(end);
                        rest.is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
                    })
                })
            };
            let described = text.lines().any(|line| {
                line.strip_prefix("# HELP ").is_some_and(|rest| rest.starts_with(name))
            });
            described && text.lines().any(sample)
        };
        let alone = |name: &&&str| !FLEETS.iter().any(|one| name.starts_with(one));
        let missing: Vec<_> =
            names.iter().filter(alone).filter(|name| !has(name)).copied().collect();
        if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?}")) }
    })
    .await;
    for series in [
        r#"tollgate_requests_total{route="summary",method="GET",status="200",source="backends",arrival="client"}"#,
        r#"tollgate_requests_total{route="summary",method="GET",status="200",source="cache",arrival="client"}"#,
        r#"tollgate_requests_total{route="summary",method="GET",status="429",source="gateway",arrival="client"}"#,
        r#"tollgate_quota_reservations_total{rule="daily",outcome="admitted"}"#,
        r#"tollgate_quota_reservations_total{rule="daily",outcome="exceeded"}"#,
        r#"tollgate_compose_parts_total{route="summary",part="cards",ok="true"}"#,
        r#"tollgate_cache_operations_total{operation="memory_hit"}"#,
        r#"tollgate_upstream_retries_total{cluster="retried"}"#,
        r#"tollgate_upstream_retries_over_budget_total{cluster="retried"}"#,
    ] {
        assert!(metric(&gateway, series).await > 0, "{series}");
    }
    metric_becomes(&gateway, "tollgate_requests_in_progress", 0).await;
}

fn series(metrics: &str) -> BTreeSet<String> {
    let samples = metrics.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
}

#[tokio::test]
async fn callers_can_t_make_series() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let ask_oddly = async |number: u32| {
        for (method, path) in [
            (format!("BREW{number}"), "/fixed".to_owned()),
            (format!("BREW{number}"), format!("/made-up-{number}")),
            ("GET".to_owned(), format!("/made-up-{number}")),
            ("GET".to_owned(), format!("/own/made-up-{number}")),
            ("GET".to_owned(), format!("/fixed?made-up={number}")),
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let host = format!("made-up-{number}.example");
            let id = format!("made-up-{number}");
            let headers = [
                ("host", &*host),
                ("user-agent", &*id),
                ("x-request-id", &*id),
                ("origin", &*host),
            ];
            gateway.send(method, &path, "", &headers, Vec::new()).await;
        }
    };
    // Each series once, with all that is made in the background.
    ask_oddly(0).await;
    let started = eventually("the first round to be counted", async || {
        let text = gateway.metrics().await;
        let counts = text.lines().filter(|line| line.starts_with("tollgate_requests_total{"));
        let all: u64 =
            counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum();
        if all >= 5 { Ok(series(&text)) } else { Err(text) }
    })
    .await;
    for number in 1..=30 {
        ask_oddly(number).await;
    }
    let text = gateway.metrics().await;
    let made: Vec<_> = series(&text).difference(&started).cloned().collect();
    assert!(made.is_empty(), "{made:#?}");
    assert!(!text.contains("made-up") && !text.contains("BREW"), "{text}");
}

async fn stopped(mut gateway: Tollgate) -> (Tollgate, String) {
    gateway.process().signal("TERM");
    eventually("the process to exit", async || gateway.process().exited().ok_or("still there"))
        .await;
    let log = gateway.log();
    (gateway, log)
}

/// The lines of the access log in a text that may hold other lines.
fn access_lines(text: &str) -> usize {
    text.lines().filter(|line| line.starts_with('{') && line.contains("\"@timestamp\"")).count()
}

#[tokio::test]
async fn the_access_log_goes_to_a_file_to_standard_output_or_nowhere() {
    let bank = Bank::start().await;
    let to = |place: &str| {
        let text = config(&bank).replace("{ file: FOLDER/access.log }", place);
        assert!(text.contains(&format!("access_log: {place} }}")), "{text}");
        text
    };
    for (place, in_output, in_file) in
        [("stdout", 3, None), ("off", 0, None), ("{ file: FOLDER/own.log }", 0, Some(3))]
    {
        let gateway = Tollgate::start(&to(place)).await;
        for _ in 0..3 {
            assert_eq!(gateway.get("/fixed", "").await.status, 200);
        }
        let (gateway, output) = stopped(gateway).await;
        assert_eq!(access_lines(&output), in_output, "{place}: {output}");
        let file = fs::read_to_string(gateway.folder().join("own.log")).ok();
        assert_eq!(file.map(|text| access_lines(&text)), in_file, "{place}");
        assert!(!gateway.folder().join("access.log").exists(), "{place}");
    }
}

#[tokio::test]
async fn after_logrotate_and_sighup_lines_go_to_the_new_file() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    let (file, old) = (gateway.folder().join("access.log"), gateway.folder().join("access.log.1"));
    let first = gateway.get("/fixed", "").await;
    line_of(&gateway, &first).await;
    fs::rename(&file, &old).unwrap();
    let between = gateway.get("/fixed", "").await;
    let has = |path: &Path, answer: &Answer| {
        fs::read_to_string(path).unwrap().contains(answer.header("x-request-id"))
    };
    // A line is written a moment after the answer.
    eventually("the line in the old file", async || {
        has(&old, &between).then_some(()).ok_or("none")
    })
    .await;
    gateway.hang_up();
    eventually("the file to be opened again", async || fs::metadata(&file)).await;
    let after = gateway.get("/fixed", "").await;
    line_of(&gateway, &after).await;
    assert!(has(&old, &first) && has(&old, &between) && !has(&old, &after));
    assert!(!has(&file, &first) && !has(&file, &between));
}

#[tokio::test]
async fn a_full_disk_under_the_access_log_holds_up_nobody_and_is_told() {
    let bank = Bank::start().await;
    let text = config(&bank).replace("FOLDER/access.log", "/dev/full");
    let gateway = Tollgate::start(&text).await;
    for _ in 0..60 {
        assert_eq!(gateway.get("/fixed", "").await.status, 200);
    }
    // What fits into the buffer waits for room; what doesn't is counted.
    eventually("lost lines to be counted", async || {
        match metric(&gateway, "tollgate_access_log_dropped_total").await {
            0 => Err(0),
            lost => Ok(lost),
        }
    })
    .await;
    let (_gateway, log) = stopped(gateway).await;
    let told = log.lines().filter(|line| line.contains("access log can't be written")).count();
    assert_eq!(told, 1, "said, and said once: {log}");
}

#[tokio::test]
async fn a_reader_that_has_stopped_reading_holds_up_neither_requests_nor_the_end() {
    let bank = Bank::start().await;
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    // Open for both, so that neither side waits for the other; never read.
    let _reader = File::options().read(true).write(true).open(&pipe).unwrap();
    let text = config(&bank).replace("FOLDER/access.log", &pipe.display().to_string());
    let gateway = Tollgate::start(&text).await;
    // A pipe holds 64 KiB; a line has more than 400 bytes.
    for _ in 0..250 {
        assert_eq!(gateway.get("/fixed", "").await.status, 200);
    }
    let asked = Instant::now();
    stopped(gateway).await;
    assert!(asked.elapsed() < Duration::from_secs(15), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn observe_log_says_how_much_the_program_tells() {
    let bank = Bank::start().await;
    for (filter, tells_info, tells_debug) in
        [("error", false, false), ("info", true, false), ("\"warn,tollgate=debug\"", true, true)]
    {
        let log = format!("observe: {{ log: {filter}, access_log");
        let text = config(&bank).replace("observe: { access_log", &log);
        let gateway = Tollgate::start(&text).await;
        gateway.rewrite_config(&text.replace("body: fixed", "body: other"));
        assert_eq!(gateway.command("/reload", json!({})).await.status, 200);
        // Not a change: told at debug only.
        assert_eq!(gateway.command("/reload", json!({})).await.status, 200);
        gateway.rewrite_config("routes: 7");
        assert_eq!(gateway.command("/reload", json!({})).await.status, 409);
        let (_gateway, log) = stopped(gateway).await;
        assert_eq!(log.contains("configuration reloaded"), tells_info, "{filter}: {log}");
        assert_eq!(log.contains("configuration unchanged"), tells_debug, "{filter}: {log}");
        assert!(log.contains("reload refused"), "{filter}: errors are always told");
        for line in log.lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
            assert!(line["timestamp"].is_string() && line["level"].is_string(), "{line}");
        }
    }
}

#[tokio::test]
async fn a_client_that_leaves_early_is_logged_too() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&config(&bank)).await;
    bank.put("/fault/savings", json!({ "fault": "slow", "ms": 600_000 })).await;
    let mut wire = Wire::to(&gateway, 8080).await;
    wire.send("GET /own/4711 HTTP/1.1\r\nhost: a\r\nx-request-id: left-early\r\n\r\n").await;
    eventually("the backend to have the request", async || match bank.sum("inFlight").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    drop(wire);
    let line = logged(&gateway, "left-early").await;
    assert_eq!(line["http"]["response"]["status_code"], 0, "{line}");
    assert_eq!(line["event"]["outcome"], "unknown");
    assert_eq!(line["tollgate"]["route"], "proxied");
}
