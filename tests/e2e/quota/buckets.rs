//! What a rule counts for itself: `per`.

use serde_json::json;

use super::{World, buckets, route};

#[tokio::test]
async fn clients_share_the_bucket_of_an_account_unless_the_rule_is_per_client() {
    let rules = "  shared: { per: [account], limit: 3, window: 24h }\n\
                 \x20 own: { per: [account, client], limit: 3, window: 24h }\n";
    let world = World::start(rules, &(route("shared", "shared") + &route("own", "own"))).await;
    let ledger = world.bank.token("ledger-app").await;
    assert_eq!(world.statuses("/shared/4711", 2).await, [200, 200]);
    assert_eq!(world.gateway.get("/shared/4711", &ledger).await.status, 200);
    assert_eq!(world.gateway.get("/shared/4711", &ledger).await.status, 429);
    assert_eq!(world.get("/shared/4711").await.status, 429);
    assert_eq!(world.get("/shared/4712").await.status, 200, "another account has its own");

    assert_eq!(world.statuses("/own/4711", 4).await, [200, 200, 200, 429]);
    assert_eq!(world.gateway.get("/own/4711", &ledger).await.status, 200);
    let mut seen: Vec<(String, u64)> = buckets(&world.gateway, "4711", "own")
        .await
        .iter()
        .map(|bucket| {
            (bucket["dimensions"].as_str().unwrap().to_owned(), bucket["used"].as_u64().unwrap())
        })
        .collect();
    seen.sort();
    assert_eq!(seen, [("client=budget-app".to_owned(), 3), ("client=ledger-app".to_owned(), 1)]);
    assert_eq!(buckets(&world.gateway, "4711", "shared").await[0]["dimensions"], "");
}

#[tokio::test]
async fn a_rule_counts_by_route_subject_header_or_claim_where_it_says_so() {
    let mut rules = String::new();
    let mut routes = String::new();
    for (name, per) in [
        ("by-route", "route"),
        ("by-subject", "subject"),
        ("by-header", "header.x-tpp"),
        ("by-claim", "claim.org.id"),
        ("by-method", "method"),
        ("by-query", "query.class"),
    ] {
        rules += &format!("  {name}: {{ per: [account, {per}], limit: 1, window: 24h }}\n");
        routes += &route(name, name);
    }
    routes += &route("twin", "by-route");
    let world = World::start(&rules, &routes).await;

    assert_eq!(world.statuses("/by-route/4711", 2).await, [200, 429]);
    assert_eq!(world.statuses("/twin/4711", 2).await, [200, 429], "another route of the same rule");

    for claims in [json!({ "sub": "anna" }), json!({ "sub": "bert" })] {
        let token = world.bank.mint(json!({ "claims": claims })).await;
        assert_eq!(world.gateway.get("/by-subject/4711", &token).await.status, 200, "{claims}");
        assert_eq!(world.gateway.get("/by-subject/4711", &token).await.status, 429, "{claims}");
    }
    for org in ["one", "two"] {
        let token = world.bank.mint(json!({ "claims": { "org": { "id": org } } })).await;
        assert_eq!(world.gateway.get("/by-claim/4711", &token).await.status, 200, "{org}");
        assert_eq!(world.gateway.get("/by-claim/4711", &token).await.status, 429, "{org}");
    }
    for headers in [&[("x-tpp", "one")][..], &[("x-tpp", "two")], &[]] {
        let asked = world.gateway.get_with("/by-header/4711", &world.token, headers).await;
        assert_eq!(asked.status, 200, "{headers:?}");
        let again = world.gateway.get_with("/by-header/4711", &world.token, headers).await;
        assert_eq!(again.status, 429, "{headers:?}: those without the header share a bucket");
    }
    assert_eq!(world.statuses("/by-query/4711?class=a", 2).await, [200, 429]);
    assert_eq!(world.statuses("/by-query/4711?class=b", 2).await, [200, 429]);
    assert_eq!(world.statuses("/by-method/4711", 2).await, [200, 429]);
    let head = world
        .gateway
        .send(http::Method::HEAD, "/by-method/4711", &world.token, &[], Vec::new())
        .await;
    assert_eq!(head.status, 200);
}

#[tokio::test]
async fn a_second_value_opens_no_bucket_of_its_own() {
    let rules = "  by-header: { per: [account, header.x-tpp], limit: 1, window: 24h }\n\
                 \x20 by-query: { per: [account, query.class], limit: 1, window: 24h }\n\
                 \x20 present: { per: [account], limit: 1, window: 24h, \
                 when: \"request.headers['x-present'] != 'yes'\" }\n";
    let mut routes = String::new();
    for name in ["by-header", "by-query", "present"] {
        routes += &route(name, name);
    }
    let world = World::start(rules, &routes).await;
    for (path, headers) in [
        ("/by-header/4711", vec![("x-tpp", "fresh"), ("x-tpp", "one")]),
        ("/by-query/4711?class=fresh&class=a", vec![]),
        ("/by-query/4711?class=a&Class=fresh", vec![]),
        ("/present/4711", vec![("x-present", "no"), ("x-present", "yes")]),
    ] {
        let refused = world.gateway.get_with(path, &world.token, &headers).await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (400, "bad-request".to_owned()), "{path} {headers:?}: {refused:?}");
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("several values of"), "{detail}");
    }
    for rule in ["by-header", "by-query", "present"] {
        assert!(buckets(&world.gateway, "4711", rule).await.is_empty(), "{rule}");
    }
    let other = [("accept", "a/b"), ("accept", "c/d")];
    let served = world.gateway.get_with("/by-header/4711", &world.token, &other).await;
    assert_eq!(served.status, 200, "what no rule reads may come twice");
}

#[tokio::test]
async fn another_spelling_of_what_a_rule_goes_by_does_not_pass_it_by() {
    let rules = "  by-header: { per: [account, header.x-tpp], limit: 1, window: 24h }\n\
                 \x20 header: { per: [account], limit: 1, window: 24h, \
                 when: \"'x-batch' in request.headers\" }\n\
                 \x20 query: { per: [account], limit: 1, window: 24h, \
                 when: \"has(request.query.batch)\" }\n";
    let names = ["by-header", "header", "query"];
    let routes: String = names.iter().map(|name| route(name, name)).collect();
    let world = World::start(rules, &routes).await;
    for (path, headers) in [
        ("/by-header/4711", vec![("x_tpp", "one")]),
        ("/header/4711", vec![("x_batch", "1")]),
        ("/query/4711?Batch=1", vec![]),
        ("/query/4711?batch[]=1", vec![]),
        ("/query/4711?x=2;batch=1", vec![]),
        ("/query/4711?%u0062atch=1", vec![]),
    ] {
        let refused = world.gateway.get_with(path, &world.token, &headers).await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (400, "bad-request".to_owned()), "{path} {headers:?}: {refused:?}");
    }
    for rule in names {
        assert!(buckets(&world.gateway, "4711", rule).await.is_empty(), "{rule}");
    }
    assert_eq!(world.statuses("/query/4711?batch=1", 2).await, [200, 429]);
    assert_eq!(world.statuses("/query/4711?other=1", 2).await, [200, 200]);
}

#[tokio::test]
async fn a_value_that_is_no_text_shares_no_bucket_with_those_who_send_none() {
    let rules = "  by-header: { per: [account, header.x-tpp], limit: 2, window: 24h }\n\
                 \x20 by-claim: { per: [account, claim.org], limit: 2, window: 24h }\n";
    let routes = route("by-header", "by-header") + &route("by-claim", "by-claim");
    let world = World::start(rules, &routes).await;
    let fields = [("x-tpp", "b\u{fc}ro")];
    let refused = world.gateway.get_with("/by-header/4711", &world.token, &fields).await;
    assert_eq!((refused.status.as_u16(), refused.problem()), (400, "bad-request".to_owned()));
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("header.x-tpp"), "{detail}");
    for org in [json!(["one"]), json!({ "id": "one" })] {
        let token = world.bank.mint(json!({ "claims": { "org": org } })).await;
        let refused = world.gateway.get("/by-claim/4711", &token).await;
        let told = (refused.status.as_u16(), refused.problem());
        assert_eq!(told, (400, "bad-request".to_owned()), "{org}");
    }
    assert_eq!(world.statuses("/by-header/4711", 2).await, [200, 200], "nothing was charged");
    assert_eq!(world.statuses("/by-claim/4711", 2).await, [200, 200]);
}
