//! Where the account stands in a request, and what must agree with it.

use http::Method;
use serde_json::json;

use super::World;

const RULES: &str = "  day: { per: [account], limit: 2, window: 24h }\n";

fn route(id: &str, account: &str) -> String {
    format!(
        "  - {{ id: {id}, match: {{ path: /{id} }}, authenticate: bank, account: {account}, \
         quotas: [day], cluster: checking, rewrite: {{ path: /echo/{id} }} }}\n"
    )
}

#[tokio::test]
async fn the_account_is_found_in_query_header_claim_and_body() {
    let routes = route("query", "query.account")
        + &route("header", "header.x-account")
        + &route("claim", "claim.consent.account")
        + &route("body", "body./order/from");
    let world = World::start(RULES, &routes).await;
    let token = world.bank.mint(json!({ "claims": { "consent": { "account": "c1" } } })).await;
    let order = json!({ "order": { "from": "b1", "amount": 5 } }).to_string().into_bytes();
    let json_type = ("content-type", "application/json");
    for (account, method, path, headers, body) in [
        ("q1", Method::GET, "/query?account=q1", vec![], vec![]),
        ("h1", Method::GET, "/header", vec![("x-account", "h1")], vec![]),
        ("c1", Method::GET, "/claim", vec![], vec![]),
        ("b1", Method::POST, "/body", vec![json_type], order.clone()),
    ] {
        for wanted in [200, 200, 429] {
            let answer =
                world.gateway.send(method.clone(), path, &token, &headers, body.clone()).await;
            assert_eq!(answer.status, wanted, "{path}: {answer:?}");
            if path == "/body" && wanted == 200 {
                let seen = answer.json();
                assert_eq!(seen["body"].as_str().unwrap().as_bytes(), order, "it was passed on");
            }
        }
        assert_eq!(world.used(account, "day").await, 2, "{account}");
    }
    // A number is an account as well.
    let number = json!({ "order": { "from": 77 } }).to_string().into_bytes();
    let answer = world.gateway.send(Method::POST, "/body", &token, &[json_type], number).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(world.used("77", "day").await, 1);
    for (path, headers) in [("/query", vec![]), ("/header", vec![]), ("/query?other=1", vec![])] {
        let none = world.gateway.get_with(path, &token, &headers).await;
        assert_eq!(
            (none.status.as_u16(), none.problem().as_str()),
            (400, "account-missing"),
            "{path}"
        );
    }
    for odd in ["1e30", "77.0", "12345678901234567890123", "true"] {
        let body = format!("{{\"order\":{{\"from\":{odd}}}}}").into_bytes();
        let answer = world.gateway.send(Method::POST, "/body", &token, &[json_type], body).await;
        let told = (answer.status.as_u16(), answer.problem());
        assert_eq!(told, (400, "account-invalid".to_owned()), "{odd}: {answer:?}");
    }
    let empty = world.gateway.get("/query?account=", &token).await;
    assert_eq!((empty.status.as_u16(), empty.problem().as_str()), (400, "account-invalid"));
    let long = world.gateway.get(&format!("/query?account={}", "9".repeat(129)), &token).await;
    assert_eq!((long.status.as_u16(), long.problem().as_str()), (400, "account-invalid"));
    let odd = world.gateway.get("/query?account=a%00b", &token).await;
    assert_eq!(odd.status, 400, "{odd:?}");
}

#[tokio::test]
async fn an_account_that_the_token_was_not_granted_for_is_refused_and_not_charged() {
    let routes = "  - { id: own, match: { path: \"/own/{account}\" }, authenticate: bank, \
                  account: { from: path.account, agrees_with: claim.accounts }, quotas: [day], \
                  cluster: checking, rewrite: { path: \"/v1/{account}\" } }\n"
        .to_owned()
        + &route("pair", "{ from: header.x-account, agrees_with: query.account }");
    let world = World::start(RULES, &routes).await;
    let listed = world.bank.mint(json!({ "claims": { "accounts": ["a1", "a2"] } })).await;
    let single = world.bank.mint(json!({ "claims": { "accounts": "a1" } })).await;
    let numbers = world.bank.mint(json!({ "claims": { "accounts": [202, 203.0] } })).await;
    for (token, path, status) in [
        (&listed, "/own/a1", 200),
        (&listed, "/own/a2", 200),
        (&listed, "/own/a3", 403),
        (&listed, "/own/A1", 403),
        (&single, "/own/a1", 200),
        (&single, "/own/a2", 403),
        (&world.token, "/own/a1", 403),
        (&numbers, "/own/202", 200),
        (&numbers, "/own/203", 403),
    ] {
        let answer = world.gateway.get(path, token).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status == 403 {
            assert_eq!(answer.problem(), "account-mismatch");
        }
    }
    for (account, used) in [("a1", 2), ("a2", 1), ("a3", 0), ("A1", 0)] {
        assert_eq!(world.used(account, "day").await, used, "{account}");
    }
    let pair = async |path: &str| {
        let answer = world.gateway.get_with(path, &world.token, &[("x-account", "p1")]).await;
        answer.status.as_u16()
    };
    assert_eq!(pair("/pair?account=p1").await, 200);
    assert_eq!(pair("/pair?account=p2").await, 403);
    assert_eq!(pair("/pair").await, 403, "nothing agrees with nothing");
}

#[tokio::test]
async fn a_second_account_in_any_spelling_is_refused_and_reaches_no_backend() {
    let granted = |id: &str, from: &str| {
        route(id, &format!("{{ from: {from}, agrees_with: claim.accounts }}"))
    };
    let routes = granted("query", "query.acc") + &granted("header", "header.x-account");
    let world = World::start(RULES, &routes).await;
    let token = world.bank.mint(json!({ "claims": { "accounts": ["200"] } })).await;
    for query in [
        "acc=200&acc=999",
        "acc=999&acc=200",
        "acc=200&acc=200",
        "acc=200&%61cc=999",
        "acc=200&ACC=999",
        "acc=200&acc[]=999",
        "acc=200&x=1;acc=999",
        "acc=%u003200",
        "acc=200&ac%u0063=999",
        "acc=%zz",
        "acc=20%",
    ] {
        let refused = world.gateway.get(&format!("/query?{query}"), &token).await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (400, "account-invalid".to_owned()), "{query}: {refused:?}");
    }
    for second in ["x-account", "X-ACCOUNT", "x_account"] {
        let fields = [("x-account", "200"), (second, "999")];
        let refused = world.gateway.get_with("/header", &token, &fields).await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (400, "account-invalid".to_owned()), "{second}: {refused:?}");
    }
    let one = world.gateway.get("/query?acc=200&page=2", &token).await;
    assert_eq!(
        (one.status.as_u16(), &one.json()["path"]),
        (200, &json!("/echo/query?acc=200&page=2"))
    );
    assert_eq!(world.used("200", "day").await, 1, "the others cost nothing");
    assert_eq!(world.used("999", "day").await, 0);
}

#[tokio::test]
async fn with_a_separator_every_field_and_list_item_is_charged_and_must_be_granted() {
    let separated = |id: &str, from: &str| {
        let source = format!("{{ from: {from}, agrees_with: claim.accounts, separator: \",\" }}");
        route(id, &source)
    };
    let routes = separated("query", "query.acc")
        + &separated("header", "header.x-account")
        + &separated("body", "body./accounts");
    let world = World::start(RULES, &routes).await;
    let token = world.bank.mint(json!({ "claims": { "accounts": ["1", "2", "3"] } })).await;
    let all = world.gateway.get("/query?acc=1,2&acc=3", &token).await;
    assert_eq!(all.status, 200, "{all:?}");
    let fields = [("x-account", "1"), ("x-account", "2,3")];
    assert_eq!(world.gateway.get_with("/header", &token, &fields).await.status, 200);
    for account in ["1", "2", "3"] {
        assert_eq!(world.used(account, "day").await, 2, "{account}");
    }
    assert_eq!(world.gateway.get("/query?acc=3", &token).await.status, 429);
    let foreign = [("x-account", "1"), ("x-account", "999")];
    let refused = world.gateway.get_with("/header", &token, &foreign).await;
    assert_eq!((refused.status.as_u16(), &*refused.problem()), (403, "account-mismatch"));
    let json_type = ("content-type", "application/json");
    let send = async |accounts: serde_json::Value| {
        let body = json!({ "accounts": accounts }).to_string().into_bytes();
        let answer = world.gateway.send(Method::POST, "/body", &token, &[json_type], body).await;
        (answer.status.as_u16(), answer)
    };
    assert_eq!(send(json!(["1", "999"])).await.0, 403);
    let (status, answer) = send(json!(["1", { "id": "999" }])).await;
    assert_eq!((status, &*answer.problem()), (400, "account-invalid"));
    let twice = r#"{ "accounts": ["1"], "Accounts": ["999"] }"#.as_bytes().to_vec();
    let answer = world.gateway.send(Method::POST, "/body", &token, &[json_type], twice).await;
    assert_eq!((answer.status.as_u16(), &*answer.problem()), (400, "malformed-body"));
}

#[tokio::test]
async fn of_several_accounts_each_standing_and_the_one_that_is_full_are_named() {
    let routes =
        route("query", "{ from: query.acc, separator: \",\" }") + &route("one", "query.acc");
    let world = World::start(RULES, &routes).await;
    let get = async |path: &str| world.gateway.get(path, &world.token).await;
    // The parameter `pk` is a byte sequence (RFC 9651): base64 between colons.
    let (pk_302, pk_303) = ("pk=:MzAy:", "pk=:MzAz:");
    assert_eq!(get("/one?acc=303").await.status, 200);
    let both = get("/query?acc=302,303").await;
    assert_eq!(both.status, 200, "{both:?}");
    let told: Vec<&str> = both.header("ratelimit").split(", ").collect();
    assert_eq!(told.len(), 2, "{told:?}");
    for (account, left) in [(pk_302, 1), (pk_303, 0)] {
        let one = told.iter().find(|item| item.ends_with(account)).unwrap();
        assert!(one.starts_with(&format!("\"day\";r={left};t=")), "{told:?}");
    }
    assert_eq!(both.header("ratelimit-policy"), "\"day\";q=2;w=86400", "one policy");
    let full = get("/query?acc=302,303").await;
    assert_eq!((full.status.as_u16(), &*full.problem()), (429, "quota-exceeded"));
    assert_eq!(full.json()["account"], "303");
    assert!(full.header("ratelimit").contains(pk_303), "{full:?}");
    assert_eq!(world.used("302", "day").await, 1, "all or none");
    let one = get("/one?acc=303").await;
    assert!(one.json().get("account").is_none() && !one.header("ratelimit").contains("pk="));
    let log = std::fs::read_to_string(world.gateway.folder().join("access.log")).unwrap();
    assert!(!log.contains("MzAz"), "{log}");
}
