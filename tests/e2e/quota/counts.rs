//! Which requests and answers are uses: `when`, `counts`, `count_hits`, `accuracy`.

use serde_json::json;

use super::{World, count, route, route_to, standing};
use crate::support::wire::{Wire, assert_problem};

const PRESENT: (&str, &str) = ("x-fapi-customer-ip-address", "203.0.113.7");

/// The condition for unattended reads that the shipped configurations have.
fn shipped_when() -> String {
    let file = |name: &str| {
        let text =
            std::fs::read_to_string(format!("{}/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("when: \"")).unwrap();
        line.strip_suffix('"').unwrap_or_else(|| panic!("{name}: {line}")).to_owned()
    };
    let when = file("conf/demo.yaml");
    for other in ["conf/example.yaml", "README.md", "docs/quotas.md"] {
        assert_eq!(file(other), when, "{other}");
    }
    when
}

#[tokio::test]
async fn a_request_that_the_condition_lets_off_is_neither_counted_nor_refused() {
    let rules = "  unattended: { per: [account], limit: 2, window: 24h, \
                 when: \"WHEN\" }\n\
                 \x20 odd: { per: [account], limit: 1, window: 24h, \
                 when: \"int(request.headers['x-count']) > 0\" }\n";
    let rules = &rules.replace("WHEN", &shipped_when());
    let world = World::start(rules, &(route("when", "unattended") + &route("odd", "odd"))).await;
    for _ in 0..3 {
        let present = world.gateway.get_with("/when/4711", &world.token, &[PRESENT]).await;
        assert_eq!(present.status, 200);
        assert_eq!(present.header("ratelimit"), "", "it stands against no limit");
    }
    assert_eq!(world.used("4711", "unattended").await, 0);
    assert_eq!(world.statuses("/when/4711", 3).await, [200, 200, 429]);
    let present = world.gateway.get_with("/when/4711", &world.token, &[PRESENT]).await;
    assert_eq!(present.status, 200, "with the customer there, also when all is used");
    assert_eq!(world.used("4711", "unattended").await, 2);
    // A field that names no address shows nobody there.
    for nobody in ["", " ", "unknown", "203.0.113.7, 10.0.0.1", "cafe", ".", "999.999.1", "a:b"] {
        let fields = [("x-fapi-customer-ip-address", nobody)];
        let refused = world.gateway.get_with("/when/4711", &world.token, &fields).await;
        assert_eq!(refused.status, 429, "{nobody:?}");
    }
    for six in ["2001:db8::7", "::1", "::ffff:203.0.113.7"] {
        let six = [("x-fapi-customer-ip-address", six)];
        let served = world.gateway.get_with("/when/4711", &world.token, &six).await;
        assert_eq!(served.status, 200, "{six:?}");
    }

    let odd = async |value: &str| {
        world.gateway.get_with("/odd/4711", &world.token, &[("x-count", value)]).await
    };
    assert_eq!(odd("0").await.status, 200);
    assert_eq!(world.used("4711", "odd").await, 0);
    assert_eq!(odd("no number").await.status, 200);
    assert_eq!(world.used("4711", "odd").await, 1, "a condition that fails counts");
    assert_eq!(world.get("/odd/4711").await.status, 429);
}

#[tokio::test]
async fn what_the_backend_failed_to_answer_is_given_back_unless_the_rule_counts_all() {
    let rules = "  lenient: { per: [account], limit: 50, window: 24h }\n\
                 \x20 stern: { per: [account], limit: 50, window: 24h, counts: all }\n\
                 \x20 once: { per: [account], limit: 1, window: 24h }\n";
    let mut routes = route_to("loans", "once", "once", "");
    let faults = [
        ("checking", "500"),
        ("savings", "cut"),
        ("cards", "down"),
        ("loans", "refuse"),
        ("investments", "garbage"),
    ];
    for (service, _) in faults {
        routes += &route_to(service, service, "lenient, stern", "");
    }
    let world = World::start(rules, &routes).await;
    for (service, fault) in faults {
        let account = format!("acc-{service}");
        let path = format!("/{service}/{account}");
        assert_eq!(world.get(&path).await.status, 200);
        world.bank.fault(service, fault).await;
        for left in [48, 47, 46] {
            let method = http::Method::GET;
            let answer = world.gateway.try_send(method, &path, &world.token, &[], Vec::new()).await;
            let failed = answer.as_ref().map_or(true, |answer| answer.status.as_u16() >= 500);
            assert!(failed, "{fault}: {answer:?}");
            // A use that is given back is told as one that is left.
            if let Ok(answer) = answer {
                assert_eq!(standing(&answer, "lenient").0, 49, "{fault}: {answer:?}");
                assert_eq!(standing(&answer, "stern").0, left, "{fault}: {answer:?}");
                world.until_used(&account, "lenient", 1).await;
            }
        }
        world.until_used(&account, "stern", 4).await;
        world.until_used(&account, "lenient", 1).await;
        world.bank.fault(service, "ok").await;
    }
    // It is there by the time that the client can ask again.
    for fault in ["500", "garbage", "down"] {
        world.bank.fault("loans", fault).await;
        let (path, method) = ("/once/acc-once", http::Method::GET);
        for turn in 0..60 {
            let answer =
                world.gateway.try_send(method.clone(), path, &world.token, &[], Vec::new());
            let status = answer.await.map(|answer| answer.status.as_u16());
            assert!(matches!(status, Ok(500 | 502)), "{fault}, turn {turn}: {status:?}");
        }
    }
    world.bank.fault("loans", "ok").await;
    // Not the backend's fault.
    assert_eq!(world.get("/checking/none-such").await.status, 404);
    assert_eq!(world.used("none-such", "lenient").await, 1, "an answer below 500 is a use");
}

#[tokio::test]
async fn answers_from_the_cache_are_uses_unless_the_rule_says_otherwise() {
    let rules = "  every: { per: [account], limit: 4, window: 24h }\n\
                 \x20 backend: { per: [account], limit: 2, window: 24h, count_hits: false }\n";
    let cache = ", cache: { fresh: 1h, visible_to: client }";
    let routes = route_to("checking", "both", "every, backend", cache)
        + &route_to("checking", "spared", "backend", cache);
    let world = World::start(rules, &routes).await;
    let first = world.get("/both/4711").await;
    assert!(first.status == 200 && !first.is_hit(), "{first:?}");
    for left in [2, 1, 0] {
        let hit = world.get("/both/4711").await;
        assert!(hit.status == 200 && hit.is_hit(), "{hit:?}");
        assert_eq!(standing(&hit, "every").0, left);
        world.until_used("4711", "backend", 1).await;
    }
    assert_eq!(world.get("/both/4711").await.status, 429, "the fifth, though it is cached");
    assert_eq!(world.used("4711", "every").await, 4);

    for _ in 0..5 {
        assert_eq!(world.get("/spared/4712").await.status, 200, "hits cost nothing here");
        assert_eq!(world.used("4712", "backend").await, 1);
    }
    assert_eq!(world.bank.calls().await, 2);
}

#[tokio::test]
async fn at_its_limit_a_rule_that_counts_no_hits_refuses_only_what_needs_the_backend() {
    let rules = "  backend: { per: [account], limit: 2, window: 24h, count_hits: false }\n";
    let cache = ", cache: { fresh: 1h, visible_to: client }";
    let world = World::start(rules, &route_to("checking", "spared", "backend", cache)).await;
    for (path, left) in [("/spared/4711", 1), ("/spared/4711?page=2", 0)] {
        let miss = world.get(path).await;
        assert_eq!((miss.status.as_u16(), miss.is_hit()), (200, false), "{miss:?}");
        assert_eq!(standing(&miss, "backend").0, left);
    }
    for path in ["/spared/4711", "/spared/4711?page=2"] {
        let hit = world.get(path).await;
        assert_eq!((hit.status.as_u16(), hit.is_hit()), (200, true), "{hit:?}");
        assert_eq!(standing(&hit, "backend").0, 0, "it tells where the caller stands");
    }
    let refused = world.get("/spared/4711?page=3").await;
    assert_eq!((refused.status.as_u16(), &*refused.problem()), (429, "quota-exceeded"));
    assert_eq!(refused.json()["violated-policies"], json!(["backend"]));
    assert_ne!(refused.header("connection"), "close", "the client keeps its connection");

    // What was a hit a moment ago is none any more.
    let purged = world.gateway.command("/cache/purge", json!({ "account": "4711" })).await;
    assert_eq!(purged.status, 200, "{purged:?}");
    assert_eq!(world.statuses("/spared/4711", 2).await, [429, 429]);
    assert_eq!(world.used("4711", "backend").await, 2);
    assert_eq!(world.bank.calls().await, 2);
}

#[tokio::test]
async fn a_miss_that_one_rule_refuses_costs_nothing_in_the_others() {
    let rules = "  every: { per: [account], limit: 9, window: 24h }\n\
                 \x20 backend: { per: [account], limit: 1, window: 24h, count_hits: false }\n";
    let cache = ", cache: { fresh: 1h, visible_to: client }";
    let routes = route_to("checking", "both", "every, backend", cache);
    let world = World::start(rules, &routes).await;
    assert_eq!(world.get("/both/4711").await.status, 200);
    for _ in 0..3 {
        let refused = world.get("/both/4711?page=2").await;
        assert_eq!(refused.status, 429, "{refused:?}");
        let told = refused.header("ratelimit");
        assert!(told.contains("\"backend\"") && !told.contains("\"every\""), "{told}");
    }
    world.until_used("4711", "every", 1).await;
    let hit = world.get("/both/4711").await;
    assert_eq!((hit.status.as_u16(), standing(&hit, "every").0), (200, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_who_wait_for_one_answer_use_the_backend_once() {
    let rules = "  backend: { per: [account], limit: 1, window: 24h, count_hits: false }\n";
    let cache = ", cache: { fresh: 1h, visible_to: client }";
    let world = World::start(rules, &route_to("checking", "spared", "backend", cache)).await;
    world.bank.delay(200).await;
    let crowd = async |path: &str| {
        let asked = futures::future::join_all((0..20).map(|_| world.get(path))).await;
        let mut statuses: Vec<u16> = asked.iter().map(|answer| answer.status.as_u16()).collect();
        statuses.dedup();
        statuses
    };
    assert_eq!(crowd("/spared/4711").await, [200]);
    assert_eq!(crowd("/spared/4711?page=2").await, [429], "and no one is kept waiting for it");
    assert_eq!(world.used("4711", "backend").await, 1);
    assert_eq!(world.bank.calls().await, 1);
}

#[tokio::test]
async fn a_fast_rule_serves_counts_and_keeps_the_count() {
    let rules = "  fast: { per: [account], limit: 12, window: 24h, accuracy: { fast: 3 } }\n";
    let mut world = World::start(rules, &route("fast", "fast")).await;
    let first = world.get("/fast/4711").await;
    assert_eq!((first.status.as_u16(), standing(&first, "fast").0), (200, 11));
    assert_eq!(world.statuses("/fast/4711", 6).await, [200; 6]);
    world.until_used("4711", "fast", 7).await;
    world.gateway.crash_and_restart().await;
    let later = world.statuses("/fast/4711", 8).await;
    assert_eq!((count(&later, 200), count(&later, 429)), (5, 3), "{later:?}");
    let refused = world.get("/fast/4711").await;
    assert_eq!(refused.json()["violated-policies"], json!(["fast"]));
}

#[tokio::test]
async fn a_request_that_no_backend_can_be_asked_costs_nothing() {
    let rules = "  day: { per: [account], limit: 2, window: 24h, counts: all }\n\
                 \x20 attended: { per: [account], limit: 2, window: 24h, counts: all, \
                 when: \"!('x-present' in request.headers)\" }\n";
    let routes = route("plain", "day")
        + &route("attended", "attended")
        + &route("needs", "day").replace("\"/v1/{account}\"", "\"/v1/{account}/{query.part}\"");
    let world = World::start(rules, &routes).await;
    assert_eq!(world.statuses("/needs/4711", 3).await, [400; 3]);
    for options in ["host", "x-forwarded-for", "close, X-Forwarded-Host"] {
        let mut wire = Wire::to(&world.gateway, 8080).await;
        wire.send(format!(
            "GET /plain/4711 HTTP/1.1\r\nHost: a\r\nConnection: {options}\r\nAuthorization: Bearer {}\r\n\r\n",
            world.token
        ))
        .await;
        assert_problem(&wire.answer().await, 400, "bad-request");
    }
    assert_eq!(world.used("4711", "day").await, 0);
    // What goes with the connection reaches no backend, so no rule goes by it either.
    let mut wire = Wire::to(&world.gateway, 8080).await;
    wire.send(format!(
        "GET /attended/4711 HTTP/1.1\r\nHost: a\r\nConnection: close, X-Present\r\nX-Present: yes\r\n\
         Authorization: Bearer {}\r\n\r\n",
        world.token
    ))
    .await;
    assert_eq!(wire.answer().await.status, 200);
    assert_eq!(world.used("4711", "attended").await, 1);
}
