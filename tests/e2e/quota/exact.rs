//! Never one too many; all or none.

use futures::future::join_all;

use super::{World, count, route, route_to, standing};

#[tokio::test]
async fn of_sixty_requests_at_once_exactly_as_many_as_the_limit_are_served() {
    let rules = "  strict: { per: [account], limit: 7, window: 24h }\n\
                 \x20 fast: { per: [account], limit: 20, window: 24h, accuracy: { fast: 5 } }\n";
    let world = World::start(rules, &(route("strict", "strict") + &route("fast", "fast"))).await;
    for (rule, limit) in [("strict", 7), ("fast", 20)] {
        let calls = world.bank.calls().await;
        let path = format!("/{rule}/4711");
        let answers = join_all((0..60).map(|_| world.get(&path))).await;
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
        assert_eq!(
            (count(&statuses, 200), count(&statuses, 429)),
            (limit, 60 - limit),
            "{rule}: {statuses:?}"
        );
        assert_eq!(world.bank.calls().await - calls, limit as u64, "refused before the backend");
        assert_eq!(world.used("4711", rule).await, limit as u64);
        let mut left: Vec<u64> = answers
            .iter()
            .filter(|answer| answer.status == 200)
            .map(|answer| standing(answer, rule).0)
            .collect();
        left.sort_unstable();
        let each_once: Vec<u64> = (0..limit as u64).collect();
        assert_eq!(left, each_once, "each was told of a place of its own");
    }
}

#[tokio::test]
async fn a_request_is_charged_to_all_its_rules_or_to_none() {
    let rules = "  day: { per: [account], limit: 3, window: 24h }\n\
                 \x20 month: { per: [account], limit: 10, window: 30d }\n\
                 \x20 client: { per: [account, client], limit: 8, window: 7d }\n";
    let routes = route("both", "month, day, client") + &route("months", "month");
    let world = World::start(rules, &routes).await;
    assert_eq!(world.statuses("/both/4711", 6).await, [200, 200, 200, 429, 429, 429]);
    let refused = world.get("/both/4711").await;
    assert_eq!(refused.json()["violated-policies"], serde_json::json!(["day"]), "{refused:?}");
    for rule in ["day", "month", "client"] {
        assert_eq!(world.used("4711", rule).await, 3, "{rule} was charged for refused requests");
    }
    // At once, so that none is refused by a first look alone.
    let world_path = "/both/4712";
    let statuses: Vec<u16> = join_all((0..40).map(|_| world.get(world_path)))
        .await
        .iter()
        .map(|answer| answer.status.as_u16())
        .collect();
    let served = count(&statuses, 200) as u64;
    assert!((1..=3).contains(&served), "{statuses:?}");
    assert_eq!(count(&statuses, 429) as u64, 40 - served, "{statuses:?}");
    for rule in ["day", "month", "client"] {
        world.until_used("4712", rule, served).await;
    }
    let later = world.statuses("/both/4712", 4).await;
    assert_eq!(count(&later, 200) as u64, 3 - served, "what was given back can be used");
    let months = world.statuses("/months/4712", 8).await;
    assert_eq!(months, [200, 200, 200, 200, 200, 200, 200, 429], "the month had seven left");
}

#[tokio::test]
async fn several_accounts_in_one_request_are_charged_all_or_none() {
    let rules = "  day: { per: [account], limit: 2, window: 24h }\n";
    let batch = "  - { id: batch, match: { path: /batch }, authenticate: bank, \
                 account: { from: query.accounts, separator: \",\" }, quotas: [day], \
                 cluster: checking, rewrite: { path: /echo/batch } }\n";
    let world = World::start(rules, &(route("one", "day") + batch)).await;
    let all = world.get("/batch?accounts=a1,a2,a3,a2").await;
    assert_eq!(all.status, 200, "{all:?}");
    for account in ["a1", "a2", "a3"] {
        assert_eq!(world.used(account, "day").await, 1, "{account}: once, however often named");
    }
    assert_eq!(world.get("/one/a2").await.status, 200);
    let calls = world.bank.calls().await;
    let refused = world.get("/batch?accounts=a1,a2,a3").await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
    assert_eq!(world.bank.calls().await, calls);
    for (account, used) in [("a1", 1), ("a2", 2), ("a3", 1)] {
        world.until_used(account, "day", used).await;
    }
    assert_eq!(
        world.get("/batch?accounts=a1,a3").await.status,
        200,
        "without the one that is used up"
    );
    let many: Vec<String> = (0..51).map(|number| format!("m{number}")).collect();
    let too_many = world.get(&format!("/batch?accounts={}", many.join(","))).await;
    assert_eq!((too_many.status.as_u16(), too_many.problem().as_str()), (400, "bad-request"));
    assert_eq!(world.used("m0", "day").await, 0);
    let holes = world.get("/batch?accounts=a1,,a3").await;
    assert_eq!((holes.status.as_u16(), holes.problem().as_str()), (400, "account-invalid"));
}

#[tokio::test]
async fn crossing_batches_of_accounts_never_use_one_too_often() {
    let rules = "  day: { per: [account], limit: 5, window: 24h }\n";
    let batch = "  - { id: batch, match: { path: /batch }, authenticate: bank, \
                 account: { from: query.accounts, separator: \",\" }, quotas: [day], \
                 cluster: checking, rewrite: { path: /echo/batch } }\n";
    let world =
        World::start(rules, &(batch.to_owned() + &route_to("cards", "one", "day", ""))).await;
    let pairs = ["b1,b2,b3", "b3,b2,b1", "b2,b4", "b4,b1", "b3", "b1,b4"];
    let answers = join_all((0..48).map(|number| {
        let accounts = pairs[number % pairs.len()];
        let path = format!("/batch?accounts={accounts}");
        let world = &world;
        async move { (accounts, world.get(&path).await.status.as_u16()) }
    }))
    .await;
    for account in ["b1", "b2", "b3", "b4"] {
        let served = answers
            .iter()
            .filter(|(accounts, status)| {
                *status == 200 && accounts.split(',').any(|one| one == account)
            })
            .count() as u64;
        assert!(served <= 5, "{account} was used {served} times");
        world.until_used(account, "day", served).await;
        let rest = world.statuses(&format!("/one/{account}"), 6).await;
        assert_eq!(count(&rest, 200) as u64, 5 - served, "{account}: no use was lost");
    }
    assert!(answers.iter().all(|(_, status)| [200, 429].contains(status)), "{answers:?}");
}
