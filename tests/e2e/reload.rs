//! A changed configuration takes effect whole and loses nothing; a wrong one changes nothing. And
//! the orderly end of a gateway.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_TOKEN, base_config};
use crate::support::wire::metric;
use crate::support::{Bank, Tollgate, eventually};

/// A public route with a fixed answer: its text tells which configuration is in use.
fn saying(path: &str, text: &str) -> String {
    format!(
        "  - id: {path}\n    match: {{ path: /{path} }}\n    authenticate: none\n    \
         answer: {{ body: \"{text}\" }}\n"
    )
}

fn config(bank: &Bank, text: &str) -> String {
    format!("{}routes:\n{}", base_config(bank), saying("version", text))
}

async fn until_says(gateway: &Tollgate, path: &str, text: &str) {
    eventually(&format!("{path} to say {text}"), async || {
        let answer = gateway.get(path, "").await;
        let told = String::from_utf8(answer.body).unwrap();
        if answer.status == 200 && told == text { Ok(()) } else { Err((answer.status, told)) }
    })
    .await;
}

async fn says(gateway: &Tollgate, path: &str) -> String {
    String::from_utf8(gateway.get(path, "").await.body).unwrap()
}

async fn reload(gateway: &Tollgate) -> Value {
    let answer = gateway.command("/reload", json!({})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// The state of the last reload: its error, once the metric says the same.
async fn until_refused(gateway: &Tollgate) -> String {
    eventually("a refused reload", async || {
        let view = gateway.view("/config").await["last_reload"].clone();
        let refused = metric(gateway, "tollgate_last_reload_ok").await == 0;
        match view["error"].as_str() {
            Some(error) if refused => Ok(error.to_owned()),
            _ => Err((view, refused)),
        }
    })
    .await
}

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
    let mut gateway = Tollgate::start(&(include + &config(&bank, "one"))).await;
    until_says(&gateway, "/part", "one").await;

    point_to(folder.path(), "two");
    gateway.process().signal("HUP");
    until_says(&gateway, "/part", "two").await;

    point_to(folder.path(), "three");
    let done = reload(&gateway).await;
    assert_eq!(done["changed"], true, "{done}");
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

/// The two configurations that alternate under load. They differ in routes and in the cluster.
fn alternate(bank: &Bank, text: &str) -> String {
    let port = bank.port("checking");
    let connect = if text == "one" { "1s" } else { "2s" };
    format!(
        "{}  own: {{ endpoints: [127.0.0.1:{port}], deadlines: {{ connect: {connect} }} }}\nroutes:\n{}\
         \x20 - id: proxied\n    match: {{ path: \"/own/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: own\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n    \
         response: {{ headers: {{ set: {{ x-version: \"{text}\" }} }} }}\n",
        base_config(bank),
        saying("version", text)
    )
}

/// Clients that ask on and on until told to stop; each returns how many answers it had.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<[u64; 2]>>,
}

impl Load {
    fn start(gateway: &Tollgate, clients: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let urls = [gateway.url("/own/4711"), gateway.url("/version")];
        let one = |number: usize| {
            let (stop, answered, client) =
                (stop.clone(), answered.clone(), gateway.client().clone());
            let url = urls[number % 2].clone();
            tokio::spawn(async move {
                let mut seen = [0, 0];
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get(&url).send().await.expect("an answer");
                    assert_eq!(answer.status(), 200, "{url}");
                    let version = answer.headers().get("x-version").cloned();
                    let body = answer.text().await.expect("a whole answer");
                    let told = version.map_or(body, |version| version.to_str().unwrap().to_owned());
                    match told.as_str() {
                        "one" => seen[0] += 1,
                        "two" => seen[1] += 1,
                        other => panic!("{url} says {other}"),
                    }
                    answered.fetch_add(1, Ordering::Relaxed);
                }
                seen
            })
        };
        let clients = (0..clients).map(one).collect();
        Self { stop, answered, clients }
    }

    async fn until_answered(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        eventually("the load to go on", async || {
            // A client that met a refusal has ended; joining it will say why.
            let over = self.clients.iter().any(tokio::task::JoinHandle::is_finished);
            let now = self.answered.load(Ordering::Relaxed);
            if now >= goal || over { Ok(()) } else { Err(now) }
        })
        .await;
    }

    async fn end(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = [0, 0];
        for client in self.clients {
            let seen = client.await.expect("every request was answered with 200");
            all = [all[0] + seen[0], all[1] + seen[1]];
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reloads_under_load_lose_no_request() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&alternate(&bank, "one")).await;
    let load = Load::start(&gateway, 4);
    load.until_answered(10).await;
    let mut revisions = [String::new(), String::new()];
    for number in 1..=200 {
        let which = number % 2;
        gateway.rewrite_config(&alternate(&bank, ["one", "two"][which]));
        let done = reload(&gateway).await;
        let revision = done["revision"].as_str().unwrap().to_owned();
        let known = &mut revisions[which];
        assert!(known.is_empty() || *known == revision, "{number}: {done}");
        *known = revision;
        // Some requests fall between any two reloads.
        load.until_answered(2).await;
    }
    assert_ne!(revisions[0], revisions[1]);
    let [one, two] = load.end().await;
    assert!(one >= 100 && two >= 100, "both configurations were in use: {one}, {two}");
    assert!(metric(&gateway, r#"tollgate_reloads_total{ok="true"}"#).await >= 200);
    assert_eq!(metric(&gateway, r#"tollgate_reloads_total{ok="false"}"#).await, 0);
}

fn with_state(bank: &Bank, text: &str) -> String {
    let loans = bank.port("loans");
    format!(
        "{}  sick: {{ endpoints: [127.0.0.1:{loans}], ejection: {{ consecutive_failures: 1, period: 10m, max_percent: 100 }} }}\n\
         rates:\n  hourly: {{ per: [address], rate: 2/h }}\n\
         quotas:\n  daily: {{ per: [account], limit: 5, window: 24h }}\n\
         routes:\n{}\
         \x20 - id: kept\n    match: {{ path: \"/kept/{{account}}\" }}\n    authenticate: bank\n    \
         account: path.account\n    quotas: [daily]\n    cache: {{ fresh: 1h, visible_to: client }}\n    \
         cluster: checking\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n\
         \x20 - id: paced\n    match: {{ path: /paced }}\n    authenticate: none\n    rates: [hourly]\n    \
         answer: {{ body: paced }}\n\
         \x20 - id: sick\n    match: {{ path: \"/sick/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: sick\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n",
        base_config(bank),
        saying("version", text)
    )
}

async fn sick(gateway: &Tollgate) -> Value {
    let clusters = gateway.view("/clusters").await;
    let list = clusters.as_array().unwrap();
    list.iter().find(|view| view["name"] == "sick").unwrap()["endpoints"][0].clone()
}

#[tokio::test]
async fn counts_kept_answers_rates_and_health_survive_a_reload() {
    let bank = Bank::start().await;
    let gateway = Tollgate::start(&with_state(&bank, "one")).await;
    let token = bank.token("budget-app").await;
    let first = gateway.get("/kept/4711", &token).await;
    assert_eq!((first.status.as_u16(), first.is_hit()), (200, false));
    for _ in 0..2 {
        assert_eq!(gateway.get("/paced", "").await.status, 200);
    }
    assert_eq!(gateway.get("/paced", "").await.status, 429);
    bank.fault("loans", "500").await;
    assert_eq!(gateway.get("/sick/4711", "").await.status, 500);
    bank.fault("loans", "ok").await;
    let out = sick(&gateway).await["ejected_until"].clone();
    assert!(out.is_u64(), "{out}");
    let calls = bank.calls().await;

    gateway.rewrite_config(&with_state(&bank, "two"));
    reload(&gateway).await;
    assert_eq!(says(&gateway, "/version").await, "two");

    for left in [3, 2, 1, 0] {
        let again = gateway.get("/kept/4711", &token).await;
        assert!(again.is_hit() && again.body == first.body, "{again:?}");
        assert!(again.header("ratelimit").contains(&format!("r={left}")), "{again:?}");
    }
    assert_eq!(gateway.get("/kept/4711", &token).await.problem(), "quota-exceeded");
    assert_eq!(gateway.get("/paced", "").await.status, 429);
    assert_eq!(gateway.get("/sick/4711", "").await.status, 503);
    assert_eq!(sick(&gateway).await["ejected_until"], out);
    assert_eq!(bank.calls().await, calls, "no backend was asked");
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

async fn until_exited(gateway: &mut Tollgate) -> ExitStatus {
    eventually("the process to exit", async || gateway.process().exited().ok_or("still there"))
        .await
}

fn slow(bank: &Bank, observe: &str) -> String {
    let base = base_config(bank).replace("access_log: {", &format!("{observe}access_log: {{"));
    format!(
        "{base}routes:\n{}\
         \x20 - id: slow\n    match: {{ path: \"/slow/{{account}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cluster: checking\n    rewrite: {{ path: \"/v1/{{account}}\" }}\n",
        saying("version", "one")
    )
}

/// Asks for what the backend is holding back, and returns once the backend has the request.
async fn ask_and_wait(
    bank: &Bank,
    gateway: &Tollgate,
) -> tokio::task::JoinHandle<reqwest::Result<(u16, usize)>> {
    bank.put("/fault/checking", json!({ "fault": "slow", "ms": 600_000 })).await;
    let request = gateway.client().get(gateway.url("/slow/4711")).send();
    let asked = tokio::spawn(async move {
        let answer = request.await?;
        Ok((answer.status().as_u16(), answer.bytes().await?.len()))
    });
    eventually("the backend to have the request", async || match bank.sum("inFlight").await {
        1 => Ok(()),
        other => Err(other),
    })
    .await;
    asked
}

#[tokio::test]
async fn after_sigterm_readiness_fails_and_a_request_in_progress_is_finished() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "")).await;
    let asked = ask_and_wait(&bank, &gateway).await;
    gateway.process().signal("TERM");
    let reasons = eventually("readiness to fail", async || {
        let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
        let status = answer.status();
        let body: Value = answer.json().await.unwrap();
        if status == 503 { Ok(body["reasons"].clone()) } else { Err(status) }
    })
    .await;
    assert_eq!(reasons, json!(["the gateway is stopping"]));
    assert!(gateway.process().exited().is_none() && !asked.is_finished());

    bank.fault("checking", "ok").await;
    let (status, length) = asked.await.unwrap().expect("the answer came whole");
    assert!(status == 200 && length > 0, "{status}");
    let answered = Instant::now();
    let exit = until_exited(&mut gateway).await;
    assert_eq!(exit.code(), Some(0), "{exit}");
    assert!(answered.elapsed() < Duration::from_secs(10), "{:?}", answered.elapsed());
    let log = fs::read_to_string(gateway.folder().join("access.log")).unwrap();
    assert!(log.contains(r#""route":"slow""#), "its line is in the access log: {log}");
}

#[tokio::test]
async fn an_idle_gateway_stops_at_once_though_connections_are_open() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "")).await;
    until_says(&gateway, "/version", "one").await;
    let asked = Instant::now();
    gateway.process().signal("TERM");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    // The drain could last 30 s.
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn drain_timeout_ends_what_does_not_end() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "drain_timeout: 300ms, ")).await;
    let asked = ask_and_wait(&bank, &gateway).await;
    let begun = Instant::now();
    gateway.process().signal("TERM");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    // The backend would have held the request for ten minutes, its deadline for ten seconds.
    assert!((Duration::from_millis(300)..Duration::from_secs(8)).contains(&begun.elapsed()));
    assert_ne!(asked.await.unwrap().ok().map(|(status, _)| status), Some(200));
}

#[tokio::test]
async fn drain_wait_serves_on_while_readiness_fails_and_a_person_waits_for_none() {
    let bank = Bank::start().await;
    let mut gateway = Tollgate::start(&slow(&bank, "drain_wait: 1s, ")).await;
    let begun = Instant::now();
    gateway.process().signal("TERM");
    eventually("readiness to fail", async || {
        let answer = gateway.client().get(gateway.admin_url("/ready")).send().await.unwrap();
        if answer.status() == 503 { Ok(()) } else { Err(answer.status()) }
    })
    .await;
    assert_eq!(gateway.get("/version", "").await.status, 200, "new requests are served on");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    assert!(begun.elapsed() >= Duration::from_secs(1), "{:?}", begun.elapsed());

    let mut gateway = Tollgate::start(&slow(&bank, "drain_wait: 10m, ")).await;
    let begun = Instant::now();
    gateway.process().signal("INT");
    assert_eq!(until_exited(&mut gateway).await.code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
