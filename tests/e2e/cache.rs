//! The account cache, as callers and operators see it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Response};
use serde_json::{Value, json};

use crate::support::gateway::{ADMIN_TOKEN, base_config};
use crate::support::{Answer, Backend, Bank, Tollgate, eventually};

const SERVICES: [&str; 5] = ["checking", "savings", "cards", "loans", "investments"];

fn config(bank: &Bank, rest: &str) -> String {
    base_config(bank) + rest
}

/// A route of the checking service's accounts under `/ID/{account}`.
fn route(id: &str, cache: &str) -> String {
    format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\" }}\n    authenticate: bank\n    \
         account: path.account\n    cache: {{ {cache} }}\n    cluster: checking\n    \
         rewrite: {{ path: \"/v1/{{account}}\" }}\n"
    )
}

/// A composition of all services' accounts under `/ID/{account}`.
fn composed(id: &str, cache: &str, part: &str) -> String {
    let mut text = format!(
        "  - id: {id}\n    match: {{ path: \"/{id}/{{account}}\", methods: [GET] }}\n    authenticate: bank\n    \
         account: path.account\n    cache: {{ {cache} }}\n    compose:\n      parts:\n"
    );
    for service in SERVICES {
        text.push_str(&format!(
            "        {service}: {{ cluster: {service}, path: \"/v1/{{account}}\"{part} }}\n"
        ));
    }
    text
}

async fn token(bank: &Bank, client: &str, subject: &str) -> String {
    bank.mint(json!({ "claims": { "client_id": client, "sub": subject } })).await
}

async fn until_on_disk(gateway: &Tollgate, entries: u64) {
    eventually("the answers to be on disk", async || {
        let vault = gateway.view("/cache").await;
        let written = vault["disk_entries"] == entries && vault["queued"] == 0;
        if written { Ok(()) } else { Err(vault) }
    })
    .await;
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(files_below(&path)) } else { files.push(path) }
    }
    files
}

#[tokio::test]
async fn an_answer_is_shared_with_exactly_those_whom_the_route_names() {
    let bank = Bank::start().await;
    let mut text = config(&bank, "routes:\n");
    for who in ["client", "subject", "everyone"] {
        text.push_str(&route(who, &format!("fresh: 1h, visible_to: {who}")));
    }
    let gateway = Tollgate::start(&text).await;
    let (a1, a2, b1) =
        (token(&bank, "a", "1").await, token(&bank, "a", "2").await, token(&bank, "b", "1").await);
    // For each route: who asks, and whether the answer is there already.
    let asked = [
        ("client", [(&a1, false), (&a2, true), (&b1, false), (&b1, true), (&a1, true)]),
        ("subject", [(&a1, false), (&a2, false), (&b1, false), (&a2, true), (&a1, true)]),
        ("everyone", [(&a1, false), (&a2, true), (&b1, true), (&a2, true), (&a1, true)]),
    ];
    for (id, callers) in asked {
        for (turn, (caller, hit)) in callers.into_iter().enumerate() {
            let before = bank.calls().await;
            let answer = gateway.get(&format!("/{id}/4711"), caller).await;
            assert_eq!((answer.status.as_u16(), answer.is_hit()), (200, hit), "{id} {turn}");
            assert_eq!(bank.calls().await - before, u64::from(!hit), "{id} {turn}");
        }
        let other = gateway.get(&format!("/{id}/4712"), &a1).await;
        assert!(!other.is_hit() && other.json()["accountId"] == "4712", "{id}: {other:?}");
    }
}

#[tokio::test]
async fn the_chosen_query_parameters_and_fields_make_different_answers_and_no_others() {
    let bank = Bank::start().await;
    let chosen = "fresh: 1h, visible_to: everyone, query: [from, to], headers: [accept-language]";
    let text = config(&bank, "routes:\n")
        + &route("chosen", chosen)
        + &route("all", "fresh: 1h, visible_to: everyone");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let german = [("accept-language", "de")];
    let steps: [(&str, &[(&str, &str)], bool); 12] = [
        ("/chosen/4711?from=2024-01-01", &[], false),
        ("/chosen/4711?from=2024-01-01&utm=x", &[], true),
        ("/chosen/4711?from=2024-01-02", &[], false),
        ("/chosen/4711?from=2024-01-01&to=2024-02-01", &[], false),
        ("/chosen/4711?to=2024-02-01&from=2024-01-01", &[], true),
        ("/chosen/4711?from=2024-01-01", &german, false),
        ("/chosen/4711?from=2024-01-01", &german, true),
        ("/chosen/4711?from=2024-01-01", &[("accept-encoding", "br")], true),
        ("/all/4711?a=1", &[], false),
        ("/all/4711?a=2", &[], false),
        ("/all/4711?a=1&b=2", &[], false),
        ("/all/4711?b=2&a=1", &[], true),
    ];
    for (path, headers, hit) in steps {
        let answer = gateway.get_with(path, &caller, headers).await;
        assert_eq!((answer.status.as_u16(), answer.is_hit()), (200, hit), "{path} {headers:?}");
    }
}

#[tokio::test]
async fn age_and_cache_status_tell_where_an_answer_comes_from() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &route("short", "fresh: 2s, visible_to: client");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;

    let first = gateway.get("/short/4711", &caller).await;
    assert_eq!(first.header("cache-status"), "tollgate; fwd=uri-miss; stored", "{first:?}");
    assert_eq!(first.header("age"), "");
    let age = eventually("the kept answer to be a second old", async || {
        let hit = gateway.get("/short/4711", &caller).await;
        if !hit.header("cache-status").contains("; hit") {
            return Ok(None);
        }
        assert_eq!(hit.body, first.body);
        let age: u64 = hit.header("age").parse().unwrap();
        if age > 0 { Ok(Some(age)) } else { Err(age) }
    })
    .await;
    assert!(age.is_none_or(|age| age <= 2), "{age:?}: never older than it may be");

    let renewed = eventually("its time to be over", async || {
        let answer = gateway.get("/short/4711", &caller).await;
        if answer.header("cache-status").contains("fwd=stale") { Ok(answer) } else { Err(answer) }
    })
    .await;
    assert_eq!((renewed.status.as_u16(), &renewed.body), (200, &first.body));
    assert!(bank.calls().await >= 2, "the backend was asked again");
    let young = gateway.get("/short/4711", &caller).await;
    assert!(young.is_hit() && young.header("age") != "2", "its age starts again: {young:?}");

    let unkept = gateway.send(Method::POST, "/short/4711", &caller, &[], Vec::new()).await;
    assert!(unkept.header("cache-status").contains("fwd="), "{unkept:?}");
}

#[tokio::test]
async fn who_has_the_answer_already_gets_304_and_that_counts_too() {
    let bank = Bank::start().await;
    let quotas =
        "quotas:\n  daily: { per: [account], limit: 5, window: 24h, rolling: true }\nroutes:\n";
    let text = config(&bank, quotas)
        + &composed("counted", "fresh: 1h, visible_to: client", "")
            .replace("account: path.account", "account: path.account\n    quotas: [daily]");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;

    let first = gateway.get("/counted/4711", &caller).await;
    let etag = first.header("etag").to_owned();
    assert!(etag.starts_with('"') && etag.len() > 10, "{first:?}");
    let lists = [etag.clone(), format!("W/{etag}"), format!("\"other\", {etag}")];
    for (list, left) in lists.iter().zip([3, 2, 1]) {
        let same = gateway.get_with("/counted/4711", &caller, &[("if-none-match", list)]).await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0), "{list}: {same:?}");
        assert_eq!(same.header("etag"), etag);
        assert!(same.is_hit(), "{same:?}");
        assert!(same.header("ratelimit").contains(&format!("r={left}")), "{left}: {same:?}");
    }
    let other = gateway.get_with("/counted/4711", &caller, &[("if-none-match", "\"other\"")]).await;
    assert_eq!((other.status.as_u16(), &other.body), (200, &first.body));
    let over = gateway.get_with("/counted/4711", &caller, &[("if-none-match", &etag)]).await;
    assert_eq!((over.status.as_u16(), over.problem().as_str()), (429, "quota-exceeded"));
    assert_eq!(bank.calls().await, 5);
}

#[tokio::test]
async fn a_hundred_misses_at_once_are_one_composition() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &composed("all", "fresh: 1h, visible_to: client", "");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    bank.delay(300).await;

    let answers = join_all((0..100).map(|_| gateway.get("/all/4711", &caller))).await;
    assert_eq!(bank.calls().await, 5, "each part was asked once");
    let made = answers.iter().filter(|answer| !answer.is_hit()).count();
    assert_eq!(made, 1, "all but one were answered by the same composition");
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), &answer.body), (200, &answers[0].body));
    }
}

#[tokio::test]
async fn head_is_answered_from_the_kept_get_and_leaves_a_whole_answer_behind() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &route("kept", "fresh: 1h, visible_to: client");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let head = async |path| gateway.send(Method::HEAD, path, &caller, &[], Vec::new()).await;

    let got = gateway.get("/kept/4711", &caller).await;
    let seen = head("/kept/4711").await;
    assert_eq!((seen.status.as_u16(), seen.body.len()), (200, 0));
    assert!(seen.is_hit(), "{seen:?}");
    assert_eq!(seen.header("etag"), got.header("etag"));
    assert_eq!(seen.header("content-length"), got.body.len().to_string());

    let first = head("/kept/4712").await;
    assert_eq!((first.status.as_u16(), first.body.len()), (200, 0));
    let whole = gateway.get("/kept/4712", &caller).await;
    assert_eq!(whole.json()["accountId"], "4712", "HEAD did not leave an empty answer: {whole:?}");
}

#[tokio::test]
async fn a_change_through_the_gateway_ends_the_accounts_kept_answers() {
    let bank = Bank::start().await;
    let transfers = "  - id: transfers\n    match: { path: \"/transfers/{account}\", methods: [POST] }\n    \
         authenticate: bank\n    account: path.account\n    cluster: checking\n    \
         rewrite: { path: \"/v1/{account}/transfers\" }\n";
    let text = config(&bank, "routes:\n")
        + &route("kept", "fresh: 1h, visible_to: client")
        + &composed("all", "fresh: 1h, visible_to: everyone", "")
        + transfers;
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let order = async |amount: &str| {
        let body = json!({ "amount": amount, "to": "4712" }).to_string().into_bytes();
        let json = [("content-type", "application/json")];
        gateway.send(Method::POST, "/transfers/4711", &caller, &json, body).await
    };

    let before = gateway.get("/kept/4711", &caller).await;
    for path in ["/all/4711", "/kept/4712"] {
        assert_eq!(gateway.get(path, &caller).await.status, 200);
    }
    let refused = order("99999999.00").await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(gateway.get("/kept/4711", &caller).await.is_hit(), "nothing was changed");

    let booked = order("12.34").await;
    assert_eq!(booked.status, 201, "{booked:?}");
    let after = gateway.get("/kept/4711", &caller).await;
    assert!(!after.is_hit(), "{after:?}");
    assert_ne!(after.json()["balance"], before.json()["balance"]);
    assert!(!gateway.get("/all/4711", &caller).await.is_hit(), "of every route");
    assert!(gateway.get("/kept/4712", &caller).await.is_hit(), "and of no other account");
}

/// A backend whose answers say how they may be kept; the path says which.
async fn opinionated() -> Backend {
    Backend::start(|request| {
        let name = request.target.split(['/', '?']).nth(2).unwrap_or_default();
        let answer = Response::builder().header("content-type", "application/json");
        let answer = match name {
            "no-store" => answer.header("cache-control", "no-store"),
            "private" => answer.header("cache-control", "private, max-age=60"),
            "no-cache" => answer.header("cache-control", "no-cache"),
            "no-time" => answer.header("cache-control", "max-age=0"),
            "old" => answer.header("cache-control", "max-age=60").header("age", "60"),
            "cookie" => answer.header("set-cookie", "a=b"),
            "vary" => answer.header("vary", "*"),
            "missing" => answer.status(404),
            "language" => answer.header("vary", "accept-language"),
            "chunked" => answer.header("transfer-encoding", "chunked"),
            _ => answer,
        };
        let size = request.target.split_once("size=").and_then(|(_, size)| size.parse().ok());
        let filler = "x".repeat(size.unwrap_or(10));
        answer.body(Bytes::from(json!({ "filler": filler }).to_string())).unwrap()
    })
    .await
}

/// A public route to such a backend: `/own/{account}/{kind}`.
fn own_route(backend: &Backend, before: &str, cache: &str) -> String {
    format!(
        "  own: {{ endpoints: [127.0.0.1:{}] }}\n{before}routes:\n  - id: own\n    \
         match: {{ path: \"/{{account}}/{{kind}}\" }}\n    authenticate: none\n    \
         account: path.account\n    cache: {{ {cache} }}\n    cluster: own\n",
        backend.port()
    )
}

#[tokio::test]
async fn what_the_backend_wants_unkept_is_not_kept() {
    let (bank, backend) = (Bank::start().await, opinionated().await);
    let text = config(&bank, &own_route(&backend, "", "fresh: 1h, visible_to: everyone"));
    let gateway = Tollgate::start(&text).await;
    for kind in ["no-store", "private", "no-cache", "no-time", "old", "cookie", "vary", "missing"] {
        for turn in 0..2 {
            let answer = gateway.get(&format!("/4711/{kind}"), "").await;
            assert!(!answer.is_hit(), "{kind} {turn}: {answer:?}");
            assert!(!answer.header("cache-status").contains("stored"), "{kind}: {answer:?}");
        }
    }
    assert_eq!(backend.seen().len(), 16);
    for kind in ["plain", "chunked"] {
        let first = gateway.get(&format!("/4711/{kind}"), "").await;
        let again = gateway.get(&format!("/4711/{kind}"), "").await;
        assert!(again.is_hit() && again.body == first.body, "{kind}: {again:?}");
    }
    let languages = [("de", false), ("fr", false), ("de", true), ("fr", true)];
    for (language, hit) in languages {
        let wanted = [("accept-language", language)];
        let answer = gateway.get_with("/4711/language", "", &wanted).await;
        assert_eq!(answer.is_hit(), hit, "{language}: {answer:?}");
    }
}

#[tokio::test]
async fn a_request_may_ask_for_a_new_answer_only_where_the_route_obeys() {
    let (bank, backend) = (Bank::start().await, opinionated().await);
    let kept = own_route(&backend, "", "fresh: 1h, visible_to: everyone")
        + "  - id: obeys\n    match: { path: \"/obeys/{account}/{kind}\" }\n    authenticate: none\n    \
           account: path.account\n    cluster: own\n    \
           cache: { fresh: 1h, visible_to: everyone, obey_request: true }\n";
    let gateway = Tollgate::start(&config(&bank, &kept)).await;
    for (path, hit) in [("/4711/plain", true), ("/obeys/4711/plain", false)] {
        assert!(!gateway.get(path, "").await.is_hit());
        assert!(gateway.get(path, "").await.is_hit());
        for wish in ["no-cache", "no-store", "max-age=0"] {
            let answer = gateway.get_with(path, "", &[("cache-control", wish)]).await;
            // An answer of this second is not older than max-age=0 allows.
            let hit = hit || (wish == "max-age=0" && answer.header("age") == "0");
            assert_eq!((answer.status.as_u16(), answer.is_hit()), (200, hit), "{path} {wish}");
        }
    }
    let only_kept = [("cache-control", "only-if-cached")];
    let none = gateway.get_with("/obeys/4712/plain", "", &only_kept).await;
    assert_eq!((none.status.as_u16(), none.problem().as_str()), (504, "not-cached"));
    assert_eq!(gateway.get_with("/4712/plain", "", &only_kept).await.status, 200);
}

#[tokio::test]
async fn an_answer_larger_than_max_entry_is_given_and_not_kept() {
    let (bank, backend) = (Bank::start().await, opinionated().await);
    let bounds = "cache: { max_entry: 2KiB }\n";
    let text = config(&bank, &own_route(&backend, bounds, "fresh: 1h, visible_to: everyone"));
    let gateway = Tollgate::start(&text).await;
    for kind in ["plain", "chunked"] {
        for (size, hit) in [(1000, true), (3000, false), (200_000, false)] {
            let path = format!("/4711/{kind}?size={size}");
            let first = gateway.get(&path, "").await;
            assert_eq!((first.status.as_u16(), first.body.len()), (200, size + 13), "{path}");
            let again = gateway.get(&path, "").await;
            assert_eq!((again.is_hit(), &again.body), (hit, &first.body), "{path}");
        }
    }
}

#[tokio::test]
async fn a_partial_answer_is_kept_only_where_the_route_says_so() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n")
        + &composed("whole", "fresh: 1h, visible_to: client", ", optional: true")
        + &composed(
            "partial",
            "fresh: 1h, visible_to: client, keep_partial: true",
            ", optional: true",
        );
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    bank.fault("savings", "500").await;
    for path in ["/whole/4711", "/partial/4711"] {
        let answer = gateway.get(path, &caller).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("x-partial"), "savings;reason=failed", "{path}");
    }
    bank.fault("savings", "ok").await;
    let whole = gateway.get("/whole/4711", &caller).await;
    assert!(!whole.is_hit() && whole.header("x-partial").is_empty(), "{whole:?}");
    assert!(gateway.get("/whole/4711", &caller).await.is_hit());
    let partial = gateway.get("/partial/4711", &caller).await;
    assert!(partial.is_hit(), "{partial:?}");
    assert_eq!(partial.header("x-partial"), "savings;reason=failed");
    assert_eq!(partial.json()["_missing"][0]["part"], "savings");
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failing_backend_where_the_route_allows_it() {
    let bank = Bank::start().await;
    let stale = "fresh: 1s, visible_to: client, stale_if_error: 1h";
    let text = config(&bank, "routes:\n")
        + &route("stale", stale)
        + &composed("parts", stale, "")
        + &route("strict", "fresh: 1s, visible_to: client");
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let mut first = Vec::new();
    for path in ["/stale/4711", "/parts/4711", "/strict/4711"] {
        first.push(gateway.get(path, &caller).await.body);
    }
    for fault in ["refuse", "500", "garbage"] {
        bank.fault("all", fault).await;
        for (path, body) in [("/stale/4711", &first[0]), ("/parts/4711", &first[1])] {
            let stale = eventually("the answer to be stale", async || {
                let answer = gateway.get(path, &caller).await;
                let fresh = answer.header("cache-status") == "tollgate; hit";
                if fresh { Err(answer) } else { Ok(answer) }
            })
            .await;
            let status = stale.header("cache-status");
            assert_eq!(stale.status, 200, "{fault} {path}: {stale:?}");
            assert_eq!(status, "tollgate; hit; detail=stale-if-error", "{fault} {path}");
            assert_eq!(&stale.body, body, "{fault} {path}");
            assert!(stale.header("age").parse::<u64>().unwrap() >= 1, "{fault} {path}");
        }
    }
    bank.fault("all", "refuse").await;
    let failed = eventually("the strict route's answer to be over", async || {
        let answer = gateway.get("/strict/4711", &caller).await;
        if answer.status.is_success() { Err(answer) } else { Ok(answer) }
    })
    .await;
    assert_eq!((failed.status.as_u16(), failed.problem().as_str()), (502, "backend-failed"));
    bank.fault("all", "ok").await;
    let renewed = gateway.get("/stale/4711", &caller).await;
    assert!(renewed.status == 200 && !renewed.is_hit(), "{renewed:?}");
}

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
async fn kept_answers_survive_kill_9() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n")
        + &route("one", "fresh: 1h, visible_to: client")
        + &composed("all", "fresh: 1h, visible_to: subject", "");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let (one, all) =
        (gateway.get("/one/4711", &caller).await, gateway.get("/all/4711", &caller).await);
    until_on_disk(&gateway, 2).await;
    gateway.crash_and_restart().await;
    bank.fault("all", "refuse").await;
    for (path, before) in [("/one/4711", one), ("/all/4711", all)] {
        let after = gateway.get(path, &caller).await;
        assert!(after.is_hit(), "{path}: {after:?}");
        assert_eq!(after.body, before.body);
        assert_eq!(after.header("etag"), before.header("etag"));
    }
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

#[tokio::test]
async fn a_kept_answer_is_still_refused_to_whom_the_stages_before_it_refuse() {
    let bank = Bank::start().await;
    let rules = "rates:\n  few: { per: [client], rate: 2/h }\n\
         quotas:\n  daily: { per: [account, client], limit: 2, window: 24h, rolling: true }\nroutes:\n";
    let cache = "fresh: 1h, visible_to: everyone";
    let with = |id: &str, rule: &str| {
        route(id, cache).replace("authenticate: bank", &format!("authenticate: bank\n    {rule}"))
    };
    let text = config(&bank, rules)
        + &with("scoped", "scopes: [accounts:read]")
        + &with("rated", "rates: [few]")
        + &with("counted", "quotas: [daily]")
        + &with("bound", "claims: { role: { equals: advisor } }");
    let gateway = Tollgate::start(&text).await;
    let first = bank.mint(json!({ "claims": { "client_id": "a", "role": "advisor" } })).await;
    let second = token(&bank, "b", "1").await;
    for path in ["/scoped/4711", "/rated/4711", "/counted/4711", "/bound/4711"] {
        assert_eq!(gateway.get(path, &first).await.status, 200, "{path}");
        assert!(gateway.get(path, &first).await.is_hit(), "{path}");
    }
    let calls = bank.calls().await;
    let refused = async |path: &str, token: &str| {
        let answer = gateway.get(path, token).await;
        assert!(!answer.is_hit(), "{answer:?}");
        (answer.status.as_u16(), answer.problem())
    };
    let poor = bank.mint(json!({ "claims": { "client_id": "a", "scope": "other" } })).await;
    let expired = bank.mint(json!({ "expires_in": -3600 })).await;
    assert_eq!(refused("/scoped/4711", "").await, (401, "unauthenticated".into()));
    assert_eq!(refused("/scoped/4711", &expired).await, (401, "unauthenticated".into()));
    assert_eq!(refused("/scoped/4711", &poor).await, (403, "insufficient-scope".into()));
    assert_eq!(refused("/bound/4711", &second).await, (403, "forbidden".into()));
    assert_eq!(refused("/rated/4711", &first).await, (429, "rate-limited".into()));
    assert_eq!(refused("/counted/4711", &first).await, (429, "quota-exceeded".into()));
    for path in ["/rated/4711", "/counted/4711"] {
        assert!(gateway.get(path, &second).await.is_hit(), "{path}: others still get it");
    }
    assert_eq!(bank.calls().await, calls);
}

fn overwrite_with_garbage(file: &Path) {
    let length = fs::metadata(file).unwrap().len().max(64);
    let garbage: Vec<u8> = (0..length).map(|n| (n * 31 % 251) as u8).collect();
    fs::write(file, garbage).unwrap();
}

fn flip_bytes(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    bytes.iter_mut().skip(7).step_by(61).for_each(|byte| *byte ^= 0x55);
    fs::write(file, bytes).unwrap();
}

fn cut_in_half(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    fs::File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}

#[tokio::test]
async fn a_spoilt_cache_on_disk_is_a_miss_and_no_error() {
    let bank = Bank::start().await;
    let text = config(&bank, "routes:\n") + &route("one", "fresh: 1h, visible_to: client");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let first = gateway.get("/one/4711", &caller).await;
    for spoil in [overwrite_with_garbage, flip_bytes, cut_in_half] {
        until_on_disk(&gateway, 1).await;
        gateway.process().kill();
        let files = files_below(&gateway.folder().join("state/cache"));
        assert!(!files.is_empty());
        files.iter().for_each(|file| spoil(file));
        gateway.crash_and_restart().await;
        let again = gateway.get("/one/4711", &caller).await;
        assert_eq!((again.status.as_u16(), &again.body), (200, &first.body), "{again:?}");
        assert!(gateway.get("/one/4711", &caller).await.is_hit(), "it is kept anew");
    }
}

#[tokio::test]
async fn answers_are_opened_with_an_older_key_and_not_without_it() {
    let bank = Bank::start().await;
    let with_keys = |keys: &[char]| {
        let keys: Vec<String> = keys.iter().map(|key| key.to_string().repeat(32)).collect();
        config(&bank, &format!("cache: {{ sealing_keys: [{}] }}\nroutes:\n", keys.join(", ")))
            + &route("one", "fresh: 1h, visible_to: client")
    };
    let mut gateway = Tollgate::start(&with_keys(&['a'])).await;
    let caller = bank.token("budget-app").await;
    gateway.get("/one/4711", &caller).await;
    until_on_disk(&gateway, 1).await;

    for (keys, hit) in [(&['b', 'a'][..], true), (&['b'][..], false)] {
        gateway.process().kill();
        gateway.rewrite_config(&with_keys(keys));
        gateway.crash_and_restart().await;
        let answer = gateway.get("/one/4711", &caller).await;
        assert_eq!((answer.status.as_u16(), answer.is_hit()), (200, hit), "{keys:?}");
    }
}

#[tokio::test]
async fn neither_answers_nor_account_numbers_can_be_read_from_the_files() {
    let bank = Bank::start().await;
    let backend = Backend::start(|_| {
        let body = format!("{{\"note\":\"{}\"}}", "PLAINLY-READABLE-".repeat(40));
        Response::builder()
            .header("content-type", "application/json")
            .header("x-note", "PLAINLY-READABLE")
            .body(Bytes::from(body))
            .unwrap()
    })
    .await;
    let quotas = "quotas:\n  daily: { per: [account, client], limit: 9, window: 24h }\n";
    let cache = "fresh: 1h, visible_to: everyone";
    let text = config(&bank, &own_route(&backend, quotas, cache))
        .replace("account: path.account", "account: path.account\n    quotas: [daily]")
        .replace("authenticate: none", "authenticate: bank");
    let mut gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let account = "DE02120300000000202051";
    let answer: Answer = gateway.get(&format!("/{account}/note"), &caller).await;
    assert!(String::from_utf8_lossy(&answer.body).contains("PLAINLY-READABLE"));
    until_on_disk(&gateway, 1).await;
    gateway.process().signal("TERM");
    eventually("the gateway to stop", async || gateway.process().exited().ok_or("it runs")).await;

    let mut bytes = 0;
    for file in files_below(&gateway.folder().join("state")) {
        let content = fs::read(&file).unwrap();
        bytes += content.len();
        for secret in ["PLAINLY-READABLE", account, &*caller] {
            let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{secret} stands in {}", file.display());
        }
    }
    assert!(bytes > 500, "something was written at all");
    let log = fs::read_to_string(gateway.folder().join("access.log")).unwrap();
    assert!(log.contains("\"own\"") && !log.contains(account), "{log}");
}
