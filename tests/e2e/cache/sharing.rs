//! Who gets a kept answer, and what it says of its age.

use futures::future::join_all;
use http::Method;
use serde_json::json;

use super::{composed, config, route, token};
use crate::support::{Bank, Tollgate, eventually};

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
    let text = config(&bank, "routes:\n") + &route("short", "fresh: 5s, visible_to: client");
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
    assert!(age.is_none_or(|age| age <= 5), "{age:?}: never older than it may be");

    let renewed = eventually("its time to be over", async || {
        let answer = gateway.get("/short/4711", &caller).await;
        if answer.header("cache-status").contains("fwd=stale") { Ok(answer) } else { Err(answer) }
    })
    .await;
    assert_eq!((renewed.status.as_u16(), &renewed.body), (200, &first.body));
    assert!(bank.calls().await >= 2, "the backend was asked again");
    let young = gateway.get("/short/4711", &caller).await;
    assert!(young.is_hit() && young.header("age") != "5", "its age starts again: {young:?}");

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
