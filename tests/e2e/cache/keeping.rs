//! What is kept, for how long, and what ends it.

use bytes::Bytes;
use http::{Method, Response};
use serde_json::json;

use super::{composed, config, own_route, route};
use crate::support::wire::logged;
use crate::support::{Backend, Bank, Tollgate, eventually};

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

#[tokio::test]
async fn a_stale_answer_stands_in_when_no_endpoint_is_left_to_ask() {
    let bank = Bank::start().await;
    let endpoint = format!("checking: {{ endpoints: [127.0.0.1:{}]", bank.port("checking"));
    let checked = format!(
        "{endpoint}, health: {{ path: /healthz, interval: 1s, timeout: 1s, healthy_after: 1, \
         unhealthy_after: 1 }}"
    );
    let text = config(&bank, "routes:\n").replacen(&endpoint, &checked, 1)
        + &route("stale", "fresh: 1s, visible_to: client, stale_if_error: 1h")
        + &route("strict", "fresh: 1s, visible_to: client");
    assert!(text.contains("health:"));
    let gateway = Tollgate::start(&text).await;
    let caller = bank.token("budget-app").await;
    let first = gateway.get("/stale/4711", &caller).await;
    bank.fault("checking", "down").await;
    eventually("no endpoint to be left", async || {
        let answer = gateway.get("/strict/4711", &caller).await;
        if answer.status == 503 { Ok(()) } else { Err(answer) }
    })
    .await;
    let calls = bank.calls().await;
    let stale = eventually("the answer to be stale", async || {
        let answer = gateway.get("/stale/4711", &caller).await;
        let fresh = answer.header("cache-status") == "tollgate; hit";
        if fresh { Err(answer) } else { Ok(answer) }
    })
    .await;
    assert_eq!(stale.status, 200, "{stale:?}");
    assert_eq!(stale.header("cache-status"), "tollgate; hit; detail=stale-if-error");
    assert_eq!(stale.body, first.body);
    assert_eq!(bank.calls().await, calls, "nobody was asked");
    let line = logged(&gateway, stale.header("x-request-id")).await;
    assert_eq!(line["tollgate"]["source"], "stale-cache", "{line}");
    assert!(line["tollgate"]["problem"].is_null(), "{line}");
}

#[tokio::test]
async fn memory_and_disk_hold_no_more_than_they_may() {
    let (bank, backend) = (Bank::start().await, opinionated().await);
    let cache = "fresh: 1h, visible_to: everyone";
    const MIB: u64 = 1 << 20;
    let start = async |bounds: &str| {
        let text = config(&bank, &own_route(&backend, bounds, cache));
        let gateway = Tollgate::start(&text).await;
        for number in 0..30 {
            let path = format!("/4711/plain?number={number}&size=1000000");
            assert_eq!(gateway.get(&path, "").await.status, 200);
        }
        let settled = eventually("the disk to have what it takes", async || {
            let view = gateway.view("/cache").await;
            let queued = view["queued"].as_u64().unwrap();
            if queued == 0 { Ok(view) } else { Err(view) }
        })
        .await;
        let bytes = |name: &str| settled[name].as_u64().unwrap();
        (bytes("memory_bytes"), bytes("disk_bytes"))
    };
    let (memory, disk) = start("cache: { memory: 4MiB, disk: 16MiB }\n").await;
    assert!(memory <= 4 * MIB && disk <= 16 * MIB, "{memory} {disk}");
    let (memory, disk) = start("").await;
    assert!(memory > 20 * MIB && disk > 20 * MIB, "all is kept: {memory} {disk}");
}
