//! What goes on and what stays while configurations change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;

use super::{reload, saying, says};
use crate::support::gateway::base_config;
use crate::support::wire::metric;
use crate::support::{Bank, Tollgate, eventually};

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
    let mut changes = 0;
    for number in 1..=200 {
        let which = number % 2;
        gateway.rewrite_config(&alternate(&bank, ["one", "two"][which]));
        let done = reload(&gateway).await;
        changes += u64::from(done["changed"] == true);
        let revision = done["revision"].as_str().unwrap().to_owned();
        let known = &mut revisions[which];
        assert!(known.is_empty() || *known == revision, "{number}: {done}");
        *known = revision;
        // Some requests fall between any two reloads.
        load.until_answered(2).await;
    }
    assert_ne!(revisions[0], revisions[1]);
    assert!(changes > 0, "the watch can't have been first each time");
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
    assert!(out.is_string(), "{out}");
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
