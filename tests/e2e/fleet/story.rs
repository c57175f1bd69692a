//! The story of `make demo-fleet`.

use std::process::Command;

use crate::broker::Broker;
use crate::support::fleet::Fleet;
use crate::support::story::summary;
use crate::support::{Bank, Tollgate};

/// Clients know the fleet by one name.
const HOST: (&str, &str) = ("host", "accounts.bank.example");

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_counted_and_cached_in_one_place_whichever_gateway_is_asked() {
    let broker = Broker::shared();
    let bank = Bank::start().await;
    let fleet = Fleet::start(broker, &bank, 3, &summary("2s")).await;
    let token = bank.token("budget-app").await;
    let path = "/accounts/4711/summary";

    let first = fleet.gateways[0].get_with(path, &token, &[HOST]).await;
    assert_eq!(first.status, 200, "{first:?}");
    assert!(!first.is_hit());
    assert_eq!(bank.calls().await, 5);
    for (gateway, left) in [(1, 2), (2, 1), (0, 0)] {
        let again = fleet.gateways[gateway].get_with(path, &token, &[HOST]).await;
        assert!(again.is_hit(), "{again:?}");
        assert_eq!(again.body, first.body);
        assert_eq!(again.header("ratelimit").split(';').nth(1), Some(&*format!("r={left}")));
    }
    assert_eq!(bank.calls().await, 5, "the owner's cache answered for all");
    for gateway in &fleet.gateways {
        let refused = gateway.get_with(path, &token, &[HOST]).await;
        assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
    }
    for gateway in &fleet.gateways {
        let view = gateway.view("/quotas/4711").await;
        assert_eq!(view["quotas"][0]["used"], 4, "every gateway can say what is used: {view}");
    }
    let owner = Fleet::name(&fleet.gateways[fleet.owner_of("4711").await]);
    for gateway in &fleet.gateways {
        let (told, status) = explained(gateway, &token, &["--admin", &gateway.admin_url("")]);
        assert_eq!(status, 0);
        assert!(told.contains("fleet     pass    answered by the owner of partition"), "{told}");
        assert!(told.contains(&format!(": {owner}\n")), "{told}");
    }
    let (told, _) = explained(&fleet.gateways[0], &token, &[]);
    assert!(told.contains("--admin asks a gateway who that is"), "{told}");
    // What can be said is said, even if the gateway that was to be asked is not there.
    let nobody = ["--admin", "http://127.0.0.1:9"];
    let (told, status) = explained(&fleet.gateways[0], &token, &nobody);
    assert_eq!(status, 3);
    assert!(told.contains("'summary'") && !told.contains(&owner), "{told}");
}

/// What `tollgate explain` says of the story's first request, and its exit status.
fn explained(gateway: &Tollgate, token: &str, more: &[&str]) -> (String, i32) {
    let output = Command::new(env!("CARGO_BIN_EXE_tollgate"))
        .arg("explain")
        .arg(gateway.folder().join("tollgate.yaml"))
        .args(["GET", "http://accounts.bank.example/accounts/4711/summary"])
        .args(["-H", &format!("authorization: Bearer {token}")])
        .args(more)
        .output()
        .unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_count_holds_when_the_owner_is_killed_and_another_takes_its_place() {
    let broker = Broker::shared();
    let bank = Bank::start().await;
    let mut fleet = Fleet::start(broker, &bank, 3, &summary("2s")).await;
    let token = bank.token("budget-app").await;
    let account = fleet.account_of(2).await;
    let path = format!("/accounts/{account}/summary");
    for _ in 0..2 {
        assert_eq!(fleet.gateways[0].get_with(&path, &token, &[HOST]).await.status, 200);
    }
    fleet.gateways[2].process().kill();
    // The very next request is served: whoever gets it finds the owner gone and another takes over.
    for (gateway, left) in [(0, 1), (1, 0)] {
        let answer = fleet.gateways[gateway].get_with(&path, &token, &[HOST]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("ratelimit").split(';').nth(1), Some(&*format!("r={left}")));
    }
    let refused = fleet.gateways[1].get_with(&path, &token, &[HOST]).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (429, "quota-exceeded"));
}
